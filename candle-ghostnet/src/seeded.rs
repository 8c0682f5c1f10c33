//! Deterministic weights for a classifier without a checkpoint: the rule of [`candle_vision::seeded`], by the [`gain`] of its
//! layers. `tests/oracle/seeded.py` fills a PyTorch model with the same values.

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::VarBuilder;
use candle_vision::seeded::{tensor_with_gain, usual_gain, var_builder_with_gain};

pub use candle_vision::seeded::uniform;

/// The gain of a tensor: 1 in the blocks, where half the convolutions lack an activation, and 0.25 for what is added up there:
/// the branches that are merged (`_rpr_`), and the identities of RepGhostNet (`fusion_bn`).
#[must_use]
pub fn gain(name: &str, dims: &[usize]) -> f64 {
    let is_norm = dims.len() == 1;
    match name {
        _ if is_norm && name.contains("fusion_bn") => 0.25,
        _ if !is_norm && name.contains("_rpr_") => 0.25,
        _ if name.starts_with("blocks.") => 1.,
        _ => usual_gain(name, dims),
    }
}

/// The tensor called `name`, of this shape.
pub fn tensor(name: &str, shape: &Shape, dtype: DType, device: &Device) -> Result<Tensor> {
    tensor_with_gain(gain, name, shape, dtype, device)
}

/// A builder that fills every tensor that a model asks for.
#[must_use]
pub fn var_builder(dtype: DType, device: &Device) -> VarBuilder<'static> {
    var_builder_with_gain(gain, dtype, device)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by `tests/oracle/seeded.py`.
    #[test]
    fn values_equal_those_of_the_python_rule() -> Result<()> {
        let cases: [(&str, &[usize], [f32; 3]); 4] = [
            ("classifier.bias", &[10], [-0.186_647_53, 0.034_873_746, 0.042_316_556]),
            ("blocks.0.0.ghost1.primary_conv.0.weight", &[8, 16, 1, 1], [-0.027_571_948, 0.059_782_393, -0.366_646_35]),
            (
                "blocks.0.0.ghost1.primary_rpr_conv.0.conv.weight",
                &[8, 16, 1, 1],
                [-0.151_990_64, 0.042_416_375, -0.119_154_03],
            ),
            ("blocks.0.0.ghost1.fusion_bn.0.weight", &[8], [0.166_231_26, 0.337_342_32, 0.319_152_12]),
        ];
        for (name, dims, expected) in cases {
            let values = tensor(name, &Shape::from(dims), DType::F32, &Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
            assert_eq!(values[..3], expected, "{name}");
        }
        Ok(())
    }
}
