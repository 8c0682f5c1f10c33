//! The arithmetic of the instructions in plain code, as Intel's manual defines it.

use super::Block;
use crate::simd::pairs::bf16_halves;

/// 0 in place of a subnormal number.
fn flushed(x: f32) -> f32 {
    if x.is_subnormal() { 0f32.copysign(x) } else { x }
}

/// `a · b + c` rounded once; what is subnormal counts as 0, before and after.
#[inline(always)]
fn fused(a: f32, b: f32, c: f32) -> f32 {
    let product = a * b;
    // A product of two `bf16` has 16 digits: it is exact, so that the sum alone rounds.
    let sum = if product.is_normal() || product == 0. && (a == 0. || b == 0.) { product + c } else { a.mul_add(b, c) };
    flushed(sum)
}

/// Calls `sum` for each element of the block's sums, with its row and column.
///
/// # Safety
/// The block's pointers are as its fields say.
unsafe fn each(block: &Block, sum: impl Fn(&dyn Fn(usize) -> [u32; 2]) -> u32) {
    for row in 0..block.rows {
        for column in 0..block.columns {
            // SAFETY: `k` is below the depth of all segments, and the row and the column are in the block.
            let at = |k: usize| unsafe {
                let a = *block.a.add(row * block.a_stride + k / block.depth * block.pitch + k % block.depth);
                let b = *block.b.add(k * block.columns + column);
                [a.to_bits(), b.to_bits()]
            };
            // SAFETY: as above.
            unsafe { *block.sums.add(row * block.columns + column) = f32::from_bits(sum(&at)) };
        }
    }
}

/// The halves of two elements, without subnormal numbers.
fn pairs([a, b]: [u32; 2]) -> [[f32; 2]; 2] {
    [a, b].map(|pair| bf16_halves(f32::from_bits(pair)).map(flushed))
}

/// `tdpbf16ps` over the depth: in each tile the lower and the upper halves are summed apart, then together, then to the tile.
///
/// # Safety
/// The block's pointers are as its fields say.
pub(super) unsafe fn amx_bf16(block: &Block) {
    let sum = |at: &dyn Fn(usize) -> [u32; 2]| {
        let mut total = 0f32;
        for first in (0..block.segments * block.depth).step_by(block.step) {
            let mut sums = [0f32; 2];
            for k in first..first + block.step {
                let [a, b] = pairs(at(k));
                sums = [0, 1].map(|half| fused(a[half], b[half], sums[half]));
            }
            total = flushed(total + flushed(sums[0] + sums[1]));
        }
        total.to_bits()
    };
    // SAFETY: by the caller's contract.
    unsafe { each(block, sum) };
}

/// `vdpbf16ps` over the depth: of each pair the upper halves first.
///
/// # Safety
/// The block's pointers are as its fields say.
pub(super) unsafe fn avx512_bf16(block: &Block) {
    let sum = |at: &dyn Fn(usize) -> [u32; 2]| {
        let mut total = 0f32;
        for k in 0..block.segments * block.depth {
            let [a, b] = pairs(at(k));
            total = fused(a[0], b[0], fused(a[1], b[1], total));
        }
        total.to_bits()
    };
    // SAFETY: by the caller's contract.
    unsafe { each(block, sum) };
}

/// `tdpbusd` and `vpdpbusd`: unsigned bytes of the rows times signed bytes of the columns.
///
/// # Safety
/// The block's pointers are as its fields say.
pub(super) unsafe fn int8(block: &Block) {
    let sum = |at: &dyn Fn(usize) -> [u32; 2]| {
        (0..block.segments * block.depth).fold(0i32, |total, k| {
            let [a, b] = at(k).map(u32::to_le_bytes);
            a.into_iter().zip(b).fold(total, |total, (a, b)| total.wrapping_add(i32::from(a) * i32::from(b as i8)))
        }) as u32
    };
    // SAFETY: by the caller's contract.
    unsafe { each(block, sum) };
}
