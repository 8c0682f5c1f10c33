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
    /// `i32`, which wrap.
    unsafe fn int_mul(self, other: Self) -> Self;
    /// `i32` shifted right by up to 31 bits, with its sign.
    unsafe fn int_shift(self, by: i32) -> Self;
    /// `i32` to the nearest `f32`.
    unsafe fn int_to_float(self) -> Self;
    /// Writes the first `n` lanes, `f32` of magnitudes up to 32767, as `i16`, rounded to nearest with ties to even; behind an odd
    /// number of them a 0. `n.div_ceil(2)` elements at `p` are written.
    unsafe fn store_pairs(self, p: *mut f32, n: usize);
    /// Writes the first `n` lanes, `f32` of magnitudes up to 2^24, as bytes: rounded to nearest with ties to even, plus `offset`, which
    /// fits. Behind a number that is no multiple of four are 0; `n.div_ceil(4)` elements at `p` are written.
    unsafe fn store_bytes(self, offset: i32, p: *mut f32, n: usize);
    /// Writes the first `n` lanes, `f32`, as `bf16`, rounded to nearest with ties to even; a NaN stays one. Behind an odd number of
    /// them is a 0; `n.div_ceil(2)` elements at `p` are written.
    unsafe fn store_bf16(self, p: *mut f32, n: usize);
    /// The first `n` lanes from `bf16`, zeros behind; `n.div_ceil(2)` elements at `p` are read.
    unsafe fn load_bf16(p: *const f32, n: usize) -> Self;
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

/// The `bf16` halves of an element, the lower first.
#[inline(always)]
pub(crate) fn bf16_halves(pair: f32) -> [f32; 2] {
    let bits = pair.to_bits();
    [f32::from_bits(bits << 16), f32::from_bits(bits & 0xffff_0000)]
}

/// A pair of `bf16`, each rounded to nearest with ties to even.
pub(crate) fn bf16_pair(low: f32, high: f32) -> f32 {
    let [low, high] = [low, high].map(|x| half::bf16::from_f32(x).to_bits() as i16);
    pair(low, high)
}

/// Four bytes as the bits of an `f32`, the first the lowest.
pub(crate) fn quad(bytes: [u8; 4]) -> f32 {
    f32::from_bits(u32::from_le_bytes(bytes))
}

/// Writes the first `n` of some numbers as [`Pairs::store_bytes`] does.
///
/// # Safety
/// `n.div_ceil(4)` elements at `p` are writable.
#[inline(always)]
pub(super) unsafe fn store_bytes<const N: usize>(values: [f32; N], offset: i32, p: *mut f32, n: usize) {
    let byte = |i: usize| if i < n { (values[i].round_ties_even() as i32 + offset) as u8 } else { 0 };
    for i in 0..n.div_ceil(4) {
        // SAFETY: by the caller's contract.
        unsafe { *p.add(i) = quad(std::array::from_fn(|j| byte(4 * i + j))) };
    }
}

/// Writes the first `n` of some numbers as [`Pairs::store_bf16`] does.
///
/// # Safety
/// `n.div_ceil(2)` elements at `p` are writable.
#[inline(always)]
pub(super) unsafe fn store_bf16<const N: usize>(values: [f32; N], p: *mut f32, n: usize) {
    for i in 0..n.div_ceil(2) {
        let high = if 2 * i + 1 < n { values[2 * i + 1] } else { 0. };
        // SAFETY: by the caller's contract.
        unsafe { *p.add(i) = bf16_pair(values[2 * i], high) };
    }
}

/// Reads `n` numbers as [`Pairs::load_bf16`] does.
///
/// # Safety
/// `n.div_ceil(2)` elements at `p` are readable.
#[inline(always)]
pub(super) unsafe fn load_bf16<const N: usize>(p: *const f32, n: usize) -> [f32; N] {
    // SAFETY: by the caller's contract.
    std::array::from_fn(|i| if i < n { unsafe { bf16_halves(*p.add(i / 2))[i % 2] } } else { 0. })
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
