//! Integers in the lanes of vectors: pairs of `i16`, and the `i32` that their products sum to.

/// Lanes that hold a pair of `i16` (the lower half first in memory) or an `i32` each, in the same registers as `f32`.
///
/// # Safety
/// Every method needs the instruction set of the implementing type.
pub(crate) unsafe trait Pairs: Copy {
    /// `c + self.low · b.low + self.high · b.high` per lane: pairs, and sums in `i32`, which wrap.
    unsafe fn pair_dot(self, b: Self, c: Self) -> Self;
    /// Pairs, which wrap.
    unsafe fn pair_add(self, other: Self) -> Self;
    /// Pairs, which wrap.
    unsafe fn pair_sub(self, other: Self) -> Self;
    /// `i32`, which wrap.
    unsafe fn int_add(self, other: Self) -> Self;
    /// `i32`, which wrap.
    unsafe fn int_sub(self, other: Self) -> Self;
    /// `i32` shifted right by two bits, with its sign.
    unsafe fn int_quarter(self) -> Self;
    /// `i32` to the nearest `f32`.
    unsafe fn int_to_float(self) -> Self;
    /// Writes the first `n` lanes, `f32` of magnitudes up to 32767, as `i16`, rounded to nearest with ties to even; behind an odd
    /// number of them a 0. `n.div_ceil(2)` elements at `p` are written.
    unsafe fn store_pairs(self, p: *mut f32, n: usize);
}

/// A pair as the bits of an `f32`.
pub(crate) fn pair(low: i16, high: i16) -> f32 {
    f32::from_bits(u32::from(low as u16) | u32::from(high as u16) << 16)
}

/// [`pair`], undone.
pub(super) fn halves(pair: f32) -> [i16; 2] {
    let bits = pair.to_bits();
    [bits as u16 as i16, (bits >> 16) as u16 as i16]
}

/// Writes the first `n` of some `i16` as [`Pairs::store_pairs`] does.
///
/// # Safety
/// `n.div_ceil(2)` elements at `p` are writable.
#[inline(always)]
pub(super) unsafe fn store_part<const N: usize>(values: [i16; N], p: *mut f32, n: usize) {
    for i in 0..n.div_ceil(2) {
        let high = if 2 * i + 1 < n { values[2 * i + 1] } else { 0 };
        // SAFETY: by the caller's contract.
        unsafe { *p.add(i) = pair(values[2 * i], high) };
    }
}
