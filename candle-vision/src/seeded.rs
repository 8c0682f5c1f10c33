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
//! | one-dimensional `weight` (batch norm) | 1 + u / 2 |
//! | the same below `fusion_bn` | (1 + u / 2) / 4 |
//! | `dfl.conv.weight` | 0, 1, 2, … (a constant of the architecture) |
//! | other `weight` | u · √(3 · gain / fan_in) |
//!
//! The gain keeps activations near 1: 1.5, for GhostNet's `blocks.`, where half the convolutions lack an activation, 1,
//! and 0.25 for what adds up: GhostNet's re-parameterisable branches (`_rpr_`), and the linear ends of the residual
//! ghost bottlenecks of YOLOv8 (`.conv.2.`). For the same reason the identities that RepGhostNet adds (`fusion_bn`) are
//! small.

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use ghostzoo_kernels::seeded::fnv1a;
pub use ghostzoo_kernels::seeded::{splitmix, uniform};

/// Variance of a layer's weights times its fan-in.
fn gain(name: &str) -> f64 {
    match name {
        _ if name.contains("_rpr_") || name.contains(".conv.2.") => 0.25,
        _ if name.starts_with("blocks.") => 1.,
        _ => 1.5,
    }
}

/// The tensor called `name` under the rule of this module.
pub fn tensor(name: &str, shape: &Shape, dtype: DType, device: &Device) -> Result<Tensor> {
    let dims = shape.dims();
    if name.ends_with("dfl.conv.weight") {
        return Tensor::arange(0f32, shape.elem_count() as f32, device)?.reshape(shape)?.to_dtype(dtype);
    }
    let fan_in = dims.iter().skip(1).product::<usize>().max(1) as f64;
    let (offset, scale) = match name.rsplit('.').next().unwrap_or(name) {
        "running_var" => (1., 0.5),
        "weight" if dims.len() == 1 && name.contains("fusion_bn") => (0.25, 0.125),
        "weight" if dims.len() == 1 => (1., 0.5),
        "weight" => (0., (3. * gain(name) / fan_in).sqrt()),
        _ => (0., 0.2),
    };
    let mut state = fnv1a(name);
    let values: Vec<f32> = (0..shape.elem_count()).map(|_| (offset + scale * splitmix(&mut state)) as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)?.to_device(device)?.to_dtype(dtype)
}

struct Seeded;

impl SimpleBackend for Seeded {
    fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        tensor(name, &shape, dtype, device)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        candle_core::bail!("seeded weights need the shape of {name}")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}

/// A builder that fills every tensor a model asks for by the rule of this module.
pub fn var_builder(dtype: DType, device: &Device) -> VarBuilder<'static> {
    VarBuilder::from_backend(Box::new(Seeded), dtype, device.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by `tests/oracle/seeded.py`.
    #[test]
    fn values_equal_those_of_the_python_rule() -> Result<()> {
        let cases: [(&str, &[usize], [f32; 3]); 7] = [
            ("model.0.conv.weight", &[16, 3, 3, 3], [-0.288_860_7, 0.320_765_58, 0.305_209_88]),
            ("model.0.bn.running_var", &[16], [0.601_820_35, 0.721_297_8, 0.782_902_84]),
            ("classifier.bias", &[10], [-0.186_647_53, 0.034_873_746, 0.042_316_556]),
            ("blocks.0.0.ghost1.primary_conv.0.weight", &[8, 16, 1, 1], [-0.027_571_948, 0.059_782_393, -0.366_646_35]),
            (
                "blocks.0.0.ghost1.primary_rpr_conv.0.conv.weight",
                &[8, 16, 1, 1],
                [-0.151_990_64, 0.042_416_375, -0.119_154_03],
            ),
            ("model.2.m.0.conv.2.cv1.conv.weight", &[8, 16, 1, 1], [0.174_059_63, -0.079_376_01, 0.094_903_9]),
            ("blocks.0.0.ghost1.fusion_bn.0.weight", &[8], [0.166_231_26, 0.337_342_32, 0.319_152_12]),
        ];
        for (name, dims, expected) in cases {
            let values = tensor(name, &Shape::from(dims), DType::F32, &Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
            assert_eq!(values[..3], expected, "{name}");
        }
        Ok(())
    }
}
