//! Deterministic numbers: inputs of tests and benchmarks.

use candle_core::{Device, Result, Shape, Tensor};

/// The next value of a SplitMix64 sequence, mapped to [−1, 1) with 24 bits.
pub fn splitmix(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    (z >> 40) as f64 / f64::from(1u32 << 23) - 1.
}

/// The 64-bit FNV-1a hash of a name.
#[must_use]
pub fn fnv1a(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

/// The SplitMix64 sequence that starts at the hash of `name`, in [−1, 1), as `f32` of `shape`.
///
/// # Errors
/// If the device has no memory left.
pub fn uniform(name: &str, shape: &Shape, device: &Device) -> Result<Tensor> {
    let mut state = fnv1a(name);
    let values: Vec<f32> = (0..shape.elem_count()).map(|_| splitmix(&mut state) as f32).collect();
    Tensor::from_vec(values, shape, device)
}
