//! Deterministic weights for a detector without a checkpoint: the rule of [`candle_vision::seeded`], by the [`gain`] of its
//! layers. `tests/oracle/seeded.py` fills a PyTorch model with the same values.

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::VarBuilder;
use candle_vision::seeded::{tensor_with_gain, usual_gain, var_builder_with_gain};

pub use candle_vision::seeded::uniform;

/// The gain of a tensor: 0.25 for the linear ends of the residual ghost bottlenecks (`.conv.2.`), which add up.
#[must_use]
pub fn gain(name: &str, dims: &[usize]) -> f64 {
    let is_norm = dims.len() == 1;
    if !is_norm && name.contains(".conv.2.") { 0.25 } else { usual_gain(name, dims) }
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
        let cases: [(&str, &[usize], [f32; 3]); 3] = [
            ("model.0.conv.weight", &[16, 3, 3, 3], [-0.288_860_7, 0.320_765_58, 0.305_209_88]),
            ("model.0.bn.running_var", &[16], [0.601_820_35, 0.721_297_8, 0.782_902_84]),
            ("model.2.m.0.conv.2.cv1.conv.weight", &[8, 16, 1, 1], [0.174_059_63, -0.079_376_01, 0.094_903_9]),
        ];
        for (name, dims, expected) in cases {
            let values = tensor(name, &Shape::from(dims), DType::F32, &Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
            assert_eq!(values[..3], expected, "{name}");
        }
        Ok(())
    }
}
