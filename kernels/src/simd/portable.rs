//! Eight lanes in plain Rust, which the compiler maps to what the architecture always has.

use super::pairs::{self, Pairs, halves, pair, store_part};
use super::{Job, Vector};

/// Eight `f32`.
#[derive(Clone, Copy)]
pub(super) struct Eight([f32; 8]);

impl Eight {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

// SAFETY: no instruction set beyond the baseline is used.
unsafe impl Vector for Eight {
    const LANES: usize = 8;
    const MANY_REGISTERS: bool = false;

    #[inline(never)]
    unsafe fn outline<J: Job>(job: J) {
        // SAFETY: as above.
        unsafe { job.run::<Self>() }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Self([x; 8])
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller vouches for eight readable elements.
        Self(unsafe { p.cast::<[f32; 8]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn load_part(p: *const f32, n: usize) -> Self {
        // SAFETY: the caller vouches for `n` readable elements.
        Self(std::array::from_fn(|i| if i < n { unsafe { *p.add(i) } } else { 0. }))
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the caller vouches for eight writable elements.
        unsafe { p.cast::<[f32; 8]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, n: usize) {
        for (i, x) in self.0.iter().enumerate().take(n) {
            // SAFETY: the caller vouches for `n` writable elements.
            unsafe { *p.add(i) = *x }
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }

    #[inline(always)]
    unsafe fn recip(self) -> Self {
        Self(self.0.map(|x| 1. / x))
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    unsafe fn mul_add(self, b: Self, c: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] * b.0[i] + c.0[i]))
    }

    #[inline(always)]
    unsafe fn exp2_of_shifted(self) -> Self {
        Self(self.0.map(|x| f32::from_bits(x.to_bits().wrapping_add(127) << 23)))
    }
}

impl Eight {
    #[inline(always)]
    fn zip_pairs(self, other: Self, f: impl Fn(i16, i16) -> i16) -> Self {
        self.zip(other, |a, b| {
            let ([a, b], [c, d]) = (halves(a), halves(b));
            pair(f(a, c), f(b, d))
        })
    }

    #[inline(always)]
    fn zip_ints(self, other: Self, f: impl Fn(i32, i32) -> i32) -> Self {
        self.zip(other, |a, b| f32::from_bits(f(a.to_bits() as i32, b.to_bits() as i32) as u32))
    }
}

// SAFETY: no instruction set beyond the baseline is used.
unsafe impl Pairs for Eight {
    #[inline(always)]
    unsafe fn pair_dot(self, b: Self, c: Self) -> Self {
        let dot = |a: f32, b: f32| {
            let ([a, b], [c, d]) = (halves(a), halves(b));
            f32::from_bits((i32::from(a) * i32::from(c)).wrapping_add(i32::from(b) * i32::from(d)) as u32)
        };
        c.zip_ints(self.zip(b, dot), i32::wrapping_add)
    }

    #[inline(always)]
    unsafe fn pair_add(self, other: Self) -> Self {
        self.zip_pairs(other, i16::wrapping_add)
    }

    #[inline(always)]
    unsafe fn pair_sub(self, other: Self) -> Self {
        self.zip_pairs(other, i16::wrapping_sub)
    }

    #[inline(always)]
    unsafe fn int_add(self, other: Self) -> Self {
        self.zip_ints(other, i32::wrapping_add)
    }

    #[inline(always)]
    unsafe fn int_sub(self, other: Self) -> Self {
        self.zip_ints(other, i32::wrapping_sub)
    }

    #[inline(always)]
    unsafe fn int_mul(self, other: Self) -> Self {
        self.zip_ints(other, i32::wrapping_mul)
    }

    #[inline(always)]
    unsafe fn int_shift(self, by: i32) -> Self {
        self.zip_ints(self, |a, _| a >> by)
    }

    #[inline(always)]
    unsafe fn int_to_float(self) -> Self {
        Self(self.0.map(|x| x.to_bits() as i32 as f32))
    }

    #[inline(always)]
    unsafe fn store_pairs(self, p: *mut f32, n: usize) {
        // SAFETY: the caller vouches for `n.div_ceil(2)` writable elements.
        unsafe { store_part(self.0.map(|x| x.round_ties_even() as i16), p, n.min(8)) }
    }

    #[inline(always)]
    unsafe fn store_bytes(self, offset: i32, p: *mut f32, n: usize) {
        // SAFETY: by the caller's contract.
        unsafe { pairs::store_bytes(self.0, offset, p, n.min(8)) }
    }

    #[inline(always)]
    unsafe fn store_bf16(self, p: *mut f32, n: usize) {
        // SAFETY: as above.
        unsafe { pairs::store_bf16(self.0, p, n.min(8)) }
    }

    #[inline(always)]
    unsafe fn load_bf16(p: *const f32, n: usize) -> Self {
        // SAFETY: as above.
        unsafe { Self(pairs::load_bf16(p, n.min(8))) }
    }
}
