//! What a GPU can compute in.

use candle_core::{DType, Device, Result, bail};

/// Compute capability from which on an NVIDIA GPU has `bf16`.
const BF16: (i32, i32) = (8, 0);

/// Refuses a type that a device cannot compute in.
pub fn check_dtype(device: &Device, dtype: DType) -> Result<()> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(cuda) => {
            let capability = cuda.cuda_stream().context().compute_capability().map_err(candle_core::Error::wrap)?;
            check(dtype, capability)
        }
        _ => check(dtype, BF16),
    }
}

fn check(dtype: DType, capability: (i32, i32)) -> Result<()> {
    if dtype == DType::BF16 && capability < BF16 {
        let (major, minor) = capability;
        bail!("this GPU has compute capability {major}.{minor}, and bf16 needs 8.0: use f16 or f32")
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_gpus_have_no_bf16() {
        for (dtype, capability, is_able) in [
            (DType::BF16, (7, 5), false),
            (DType::BF16, (8, 0), true),
            (DType::BF16, (12, 0), true),
            (DType::F16, (7, 5), true),
            (DType::F32, (6, 1), true),
        ] {
            assert_eq!(check(dtype, capability).is_ok(), is_able, "{dtype:?} on {capability:?}");
        }
    }
}
