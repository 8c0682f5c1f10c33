//! Tensors from the bytes of a file, copied once.

use candle_core::{DType, Device, Result, Tensor, WithDType};
use half::{bf16, f16};

/// A tensor of the little-endian elements `raw`, which are as many as `shape` says, as stored.
///
/// candle copies bytes that are not aligned twice, so that a tensor would take three times its bytes beside its file.
pub(crate) fn tensor(raw: &[u8], dtype: DType, shape: &[usize]) -> Result<Tensor> {
    if raw.as_ptr().cast::<u64>().is_aligned() {
        return Tensor::from_raw_buffer(raw, dtype, shape, &Device::Cpu);
    }
    match dtype {
        DType::F64 => of(raw, f64::from_le_bytes, shape),
        DType::F32 => of(raw, f32::from_le_bytes, shape),
        DType::F16 => of(raw, f16::from_le_bytes, shape),
        DType::BF16 => of(raw, bf16::from_le_bytes, shape),
        DType::I64 => of(raw, i64::from_le_bytes, shape),
        DType::I32 => of(raw, i32::from_le_bytes, shape),
        DType::I16 => of(raw, i16::from_le_bytes, shape),
        DType::U32 => of(raw, u32::from_le_bytes, shape),
        _ => Tensor::from_raw_buffer(raw, dtype, shape, &Device::Cpu),
    }
}

/// A tensor of elements of `N` bytes each.
pub(crate) fn of<T: WithDType, const N: usize>(
    raw: &[u8],
    from_bytes: fn([u8; N]) -> T,
    shape: &[usize],
) -> Result<Tensor> {
    let (elements, _) = raw.as_chunks::<N>();
    let values: Vec<T> = elements.iter().map(|element| from_bytes(*element)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_at_any_place_give_the_same_tensor() -> Result<()> {
        let content: Vec<u8> = (0..96u8).map(|i| i.wrapping_mul(37)).collect();
        for dtype in crate::checkpoint::DTYPES {
            let shape = [2, 48 / dtype.size_in_bytes()];
            let aligned = Tensor::from_raw_buffer(&content, dtype, &shape, &Device::Cpu)?;
            for shift in 0..8 {
                let moved = [vec![0; shift], content.clone()].concat();
                let tensor = tensor(&moved[shift..], dtype, &shape)?;
                assert_eq!((tensor.dtype(), tensor.dims()), (dtype, aligned.dims()));
                let bytes = |tensor: &Tensor| safetensors::View::data(tensor).into_owned();
                assert_eq!(bytes(&tensor), bytes(&aligned), "{dtype:?} shifted by {shift}");
            }
        }
        Ok(())
    }
}
