//! Weights in 8 bits, as a file holds them: integers, and what makes numbers of them.
//!
//! | tensor | type | shape |
//! |---|---|---|
//! | `X.weight` | I8, −127 to 127 | (out, …) |
//! | `X.weight_scale` | F32 | (out) |
//! | `X.input_scale` | F32 | (1) |
//! | `X.input_zero_point` | U8 | (1) |
//!
//! The names are those of compressed-tensors. In memory `X.weight` is F32, `integer · weight_scale` of its output channel.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use crate::checkpoint::Checkpoint;

/// Largest magnitude of a weight's integer.
pub(crate) const MOST: f32 = 127.;
/// How far a weight may lie from a multiple of its step, in steps, to be written as that multiple.
const MOST_OFF: f32 = 1e-3;

/// What a convolution in 8 bits has beside its weights.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedConv {
    /// Step of the weights of each output channel, positive and normal.
    pub weight_scale: Vec<f32>,
    /// Step of the input, positive and normal.
    pub input_scale: f32,
    /// The integer of an input of 0.
    pub input_zero_point: u8,
}

/// The integers of a weight, as its file holds them.
pub(crate) struct Integers {
    pub(crate) values: Vec<i8>,
    pub(crate) shape: Vec<usize>,
}

/// The parts of a tensor's name that end a companion's.
const COMPANIONS: [&str; 3] = [".weight_scale", ".input_scale", ".input_zero_point"];

/// Puts the weights of `integers` and their companions together: `X.weight` as F32 among the tensors, the rest apart. The error
/// names a tensor, what is wrong with it and what to do.
pub(crate) fn gather(checkpoint: &mut Checkpoint, integers: BTreeMap<String, Integers>) -> Result<(), String> {
    for (name, Integers { values, shape }) in integers {
        let Some(path) = name.strip_suffix(".weight") else { continue };
        let out = shape.first().copied().unwrap_or(0);
        if shape.len() < 2 || values.is_empty() {
            return Err(format!("tensor {name} of size {shape:?} holds no weights of a convolution; quantize it anew"));
        }
        let weight_scale = take(checkpoint, path, "weight_scale", DType::F32, out)?;
        let input_scale = take(checkpoint, path, "input_scale", DType::F32, 1)?;
        let zero_point = take(checkpoint, path, "input_zero_point", DType::U8, 1)?;
        let read = |error: candle_core::Error| format!("tensor {name}: {error}");
        let conv = QuantizedConv {
            weight_scale: weight_scale.to_vec1().map_err(read)?,
            input_scale: input_scale.to_vec1::<f32>().map_err(read)?[0],
            input_zero_point: zero_point.to_vec1::<u8>().map_err(read)?[0],
        };
        conv.check(path)?;
        let per_channel = values.len() / out;
        let channels = values.chunks(per_channel).zip(&conv.weight_scale);
        let weights: Vec<f32> =
            channels.flat_map(|(row, scale)| row.iter().map(move |value| f32::from(*value) * scale)).collect();
        if values.contains(&i8::MIN) {
            return Err(format!("tensor {name} holds −128, and weights lie from −127 to 127; quantize it anew"));
        }
        let weight = Tensor::from_vec(weights, shape, &Device::Cpu).map_err(read)?;
        checkpoint.tensors.insert(name.clone(), weight);
        checkpoint.quantized.insert(path.to_owned(), conv);
    }
    let alone = |name: &&String| COMPANIONS.iter().any(|end| name.ends_with(end));
    if let Some(name) = checkpoint.tensors.keys().find(alone) {
        let path = name.rsplit_once('.').map_or("", |(path, _)| path);
        return Err(format!("tensor {name} goes with a {path}.weight of type I8, and there is none; quantize it anew"));
    }
    Ok(())
}

/// Takes a companion of `path`'s weight out of the tensors.
fn take(checkpoint: &mut Checkpoint, path: &str, end: &str, dtype: DType, count: usize) -> Result<Tensor, String> {
    let name = format!("{path}.{end}");
    let Some(tensor) = checkpoint.tensors.remove(&name) else {
        return Err(format!(
            "tensor {path}.weight is of type I8, and {name} is not there; quantize it anew, or save its dequantized float()"
        ));
    };
    if tensor.dtype() != dtype || tensor.dims() != [count] {
        let (found, dims) = (tensor.dtype().as_str().to_uppercase(), tensor.dims());
        let expected = dtype.as_str().to_uppercase();
        return Err(format!(
            "tensor {name} is {found} of size {dims:?}, and {path}.weight needs {expected} of size [{count}]; quantize it anew"
        ));
    }
    Ok(tensor)
}

impl QuantizedConv {
    /// Refuses steps by which nothing can be divided.
    fn check(&self, path: &str) -> Result<(), String> {
        let is_step = |scale: &f32| scale.is_normal() && *scale > 0.;
        let refused = |end: &str, scale: f32| {
            format!("tensor {path}.{end} holds {scale:e}, and a step is a positive, normal number; quantize it anew")
        };
        if let Some(scale) = self.weight_scale.iter().find(|scale| !is_step(scale)) {
            return Err(refused("weight_scale", *scale));
        }
        if is_step(&self.input_scale) { Ok(()) } else { Err(refused("input_scale", self.input_scale)) }
    }

    /// The integers of `path`'s weights, and its companions' bytes: name, type, shape, little-endian elements.
    pub(crate) fn integers(&self, path: &str, weight: &Tensor) -> Result<Vec<i8>, String> {
        let name = format!("{path}.weight");
        self.check(path)?;
        let out = weight.dims().first().copied().unwrap_or(0);
        if weight.dtype() != DType::F32 || weight.rank() < 2 || out != self.weight_scale.len() || out == 0 {
            return Err(format!(
                "tensor {name} is {:?} of size {:?}, and has {} steps: weights in 8 bits are F32 with a step per output channel",
                weight.dtype(),
                weight.dims(),
                self.weight_scale.len()
            ));
        }
        let values = weight.flatten_all().and_then(|values| values.to_vec1::<f32>());
        let values = values.map_err(|error| format!("tensor {name}: {error}"))?;
        let per_channel = (values.len() / out).max(1);
        let mut integers = Vec::with_capacity(values.len());
        for (row, scale) in values.chunks(per_channel).zip(&self.weight_scale) {
            for value in row {
                let steps = value / scale;
                let integer = steps.round();
                // Written so that NaN is refused.
                if !((steps - integer).abs() <= MOST_OFF && integer.abs() <= MOST) {
                    return Err(format!(
                        "tensor {name} holds {value}, which is {steps} steps of {scale}: not a whole number from −127 to 127"
                    ));
                }
                integers.push(integer as i8);
            }
        }
        Ok(integers)
    }
}
