//! Checkpoints of a training that diverged.

use candle_core::{CpuStorage, Storage, Tensor};
use rayon::prelude::*;

use crate::checkpoint::Checkpoint;

/// Elements that are looked at before the next decision to go on.
const CHUNK: usize = 1024;

impl Checkpoint {
    /// Names of the tensors that hold a NaN or an infinity, in their order.
    ///
    /// An infinite variance of a batch norm is none of them: it turns a channel into a constant, and is what becomes of a
    /// large one in `f16`.
    pub fn not_finite(&self) -> Vec<&str> {
        let tensors: Vec<_> = self.tensors.iter().collect();
        let bad = tensors.into_par_iter().filter(|(name, tensor)| !is_sound(tensor, name.ends_with("running_var")));
        bad.map(|(name, _)| name.as_str()).collect()
    }
}

/// Whether all elements are numbers. `is_variance`: positive infinity counts as one.
fn is_sound(tensor: &Tensor, is_variance: bool) -> bool {
    fn all<T: Copy>(values: &[T], is_sound: impl Fn(T) -> bool) -> bool {
        // Without an early exit inside of a chunk, which is one of vectors.
        values.chunks(CHUNK).all(|chunk| chunk.iter().fold(true, |sound, value| sound & is_sound(*value)))
    }
    let of_bits = |infinity: u16| move |bits: u16| (bits & infinity != infinity) | (is_variance & (bits == infinity));
    let Ok(tensor) = tensor.contiguous() else { return true };
    let (storage, layout) = tensor.storage_and_layout();
    let (Storage::Cpu(storage), Some((start, end))) = (&*storage, layout.contiguous_offsets()) else { return true };
    match storage {
        CpuStorage::F32(values) => all(&values[start..end], |v| v.is_finite() | (is_variance & (v > 0.))),
        CpuStorage::F64(values) => all(&values[start..end], |v| v.is_finite() | (is_variance & (v > 0.))),
        CpuStorage::F16(values) => {
            let is_sound = of_bits(half::f16::INFINITY.to_bits());
            all(&values[start..end], |v| is_sound(v.to_bits()))
        }
        CpuStorage::BF16(values) => {
            let is_sound = of_bits(half::bf16::INFINITY.to_bits());
            all(&values[start..end], |v| is_sound(v.to_bits()))
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Result};

    #[test]
    fn nan_and_infinity_are_found_in_every_type_at_every_place() -> Result<()> {
        for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
            for (bad, at) in [(f32::NAN, 0), (f32::INFINITY, 1499), (f32::NEG_INFINITY, 2999), (-f32::NAN, 1024)] {
                let mut values = vec![60_000f32; 3000];
                values[at] = bad;
                let bad = Tensor::from_vec(values, (30, 100), &Device::Cpu)?.to_dtype(dtype)?;
                let good = Tensor::full(-60_000f32, 3000, &Device::Cpu)?.to_dtype(dtype)?;
                let mut checkpoint = Checkpoint::default();
                let names = ["a.weight", "b.weight", "c.bias", "d.running_var"];
                for (name, tensor) in names.iter().zip([&good, &bad, &bad.t()?, &good]) {
                    checkpoint.tensors.insert((*name).to_owned(), tensor.clone());
                }
                assert_eq!(checkpoint.not_finite(), ["b.weight", "c.bias"], "{dtype:?} at {at}");
            }
            let variance = |value: f32| Tensor::full(value, 3, &Device::Cpu)?.to_dtype(dtype);
            for (value, is_bad) in [(f32::INFINITY, false), (f32::NEG_INFINITY, true), (f32::NAN, true)] {
                let tensors = [("bn.running_var".to_owned(), variance(value)?)].into();
                let checkpoint = Checkpoint { tensors, ..Default::default() };
                assert_eq!(checkpoint.not_finite().len(), usize::from(is_bad), "{dtype:?}: {value}");
            }
        }
        let whole = [("ids".to_owned(), Tensor::zeros(3, DType::I64, &Device::Cpu)?)].into();
        assert!(Checkpoint { tensors: whole, ..Default::default() }.not_finite().is_empty());
        Ok(())
    }
}
