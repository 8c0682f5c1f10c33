//! Deterministic weights for a model without a checkpoint: benchmarks, summaries and golden tests.
//!
//! The rule depends on a tensor's name, shape and role only, so that `tests/oracle/seeded.py` fills a PyTorch model with
//! the same values: element `i` of tensor `name` is `u(name, i)` in [−1, 1), a SplitMix64 sequence that starts at the
//! 64-bit FNV-1a hash of the name, mapped to the range of its role:
//!
//! | tensor | value |
//! |---|---|
//! | `running_var` | 1 + u / 2 |
//! | `running_mean`, `bias` | 0.2 · u |
//! | one-dimensional `weight` (batch norm) | gain · (1 + u / 2) |
//! | `dfl.conv.weight` ([`Dfl`](crate::layers::Dfl)) | 0, 1, 2, … (a constant) |
//! | other `weight` | u · √(3 · gain / fan_in) |
//!
//! The gain keeps activations near 1. A model knows which of its tensors add up and gives its own [`Gain`];
//! [`usual_gain`] is that of a chain of layers.

use std::collections::BTreeSet;

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use ghostzoo_kernels::seeded::fnv1a;
pub use ghostzoo_kernels::seeded::{splitmix, uniform};

use crate::prune::Dependencies;

/// From a `weight`'s name and dimensions to the mean of a batch norm's, and to the variance of another layer's times its
/// fan-in.
pub type Gain = fn(&str, &[usize]) -> f64;

/// 1 for a batch norm, 1.5 for a layer with an activation behind it.
#[must_use]
pub fn usual_gain(_: &str, dims: &[usize]) -> f64 {
    if dims.len() == 1 { 1. } else { 1.5 }
}

/// The tensor called `name` under the rule of this module, by [`usual_gain`].
pub fn tensor(name: &str, shape: &Shape, dtype: DType, device: &Device) -> Result<Tensor> {
    tensor_with_gain(usual_gain, name, shape, dtype, device)
}

/// The tensor called `name` under the rule of this module.
pub fn tensor_with_gain(gain: Gain, name: &str, shape: &Shape, dtype: DType, device: &Device) -> Result<Tensor> {
    let dims = shape.dims();
    if name.ends_with("dfl.conv.weight") {
        return Tensor::arange(0f32, shape.elem_count() as f32, device)?.reshape(shape)?.to_dtype(dtype);
    }
    let fan_in = dims.iter().skip(1).product::<usize>().max(1) as f64;
    let (offset, scale) = match name.rsplit('.').next().unwrap_or(name) {
        "running_var" => (1., 0.5),
        "weight" if dims.len() == 1 => (gain(name, dims), 0.5 * gain(name, dims)),
        "weight" => (0., (3. * gain(name, dims) / fan_in).sqrt()),
        _ => (0., 0.2),
    };
    let mut state = fnv1a(name);
    let values: Vec<f32> = (0..shape.elem_count()).map(|_| (offset + scale * splitmix(&mut state)) as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)?.to_device(device)?.to_dtype(dtype)
}

struct Seeded(Gain);

impl SimpleBackend for Seeded {
    fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        tensor_with_gain(self.0, name, &shape, dtype, device)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        candle_core::bail!("seeded weights need the shape of {name}")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}

/// A builder that fills every tensor a model asks for by the rule of this module and [`usual_gain`].
#[must_use]
pub fn var_builder(dtype: DType, device: &Device) -> VarBuilder<'static> {
    var_builder_with_gain(usual_gain, dtype, device)
}

/// A builder that fills every tensor a model asks for by the rule of this module.
#[must_use]
pub fn var_builder_with_gain(gain: Gain, dtype: DType, device: &Device) -> VarBuilder<'static> {
    VarBuilder::from_backend(Box::new(Seeded(gain)), dtype, device.clone())
}

/// Of each group of channels that can be removed some, of which at least one stays, by `seed`.
#[must_use]
pub fn channels(net: &Dependencies, seed: u64) -> BTreeSet<usize> {
    let mut state = seed;
    let mut below = |count: usize| (((splitmix(&mut state) + 1.) / 2. * count as f64) as usize).min(count - 1);
    let mut chosen = BTreeSet::new();
    for group in net.groups() {
        let mut left = group.clone();
        for _ in 0..below(group.len()) {
            chosen.insert(left.swap_remove(below(left.len())));
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by `tests/oracle/seeded.py`.
    #[test]
    fn values_equal_those_of_the_python_rule() -> Result<()> {
        let cases: [(&str, &[usize], [f32; 3]); 3] = [
            ("model.0.conv.weight", &[16, 3, 3, 3], [-0.288_860_7, 0.320_765_58, 0.305_209_88]),
            ("model.0.bn.running_var", &[16], [0.601_820_35, 0.721_297_8, 0.782_902_84]),
            ("classifier.bias", &[10], [-0.186_647_53, 0.034_873_746, 0.042_316_556]),
        ];
        for (name, dims, expected) in cases {
            let values = tensor(name, &Shape::from(dims), DType::F32, &Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
            assert_eq!(values[..3], expected, "{name}");
        }
        Ok(())
    }
}
