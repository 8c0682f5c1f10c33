//! [`Pairs`] of Arm's 128-bit vectors.

use std::arch::aarch64::*;

use super::neon::Quad;
use super::pairs::{self, Pairs, store_part};

impl Quad {
    #[inline(always)]
    unsafe fn ints(self) -> int32x4_t {
        // SAFETY: by the caller's contract NEON is there.
        unsafe { vreinterpretq_s32_f32(self.0) }
    }

    #[inline(always)]
    unsafe fn of_ints(ints: int32x4_t) -> Self {
        // SAFETY: as above.
        Self(unsafe { vreinterpretq_f32_s32(ints) })
    }

    #[inline(always)]
    unsafe fn array(self) -> [f32; 4] {
        let mut values = [0.; 4];
        // SAFETY: as above.
        unsafe { vst1q_f32(values.as_mut_ptr(), self.0) };
        values
    }

    #[inline(always)]
    unsafe fn shorts(self) -> int16x8_t {
        // SAFETY: as above.
        unsafe { vreinterpretq_s16_f32(self.0) }
    }

    #[inline(always)]
    unsafe fn of_shorts(shorts: int16x8_t) -> Self {
        // SAFETY: as above.
        Self(unsafe { vreinterpretq_f32_s16(shorts) })
    }
}

// SAFETY: every intrinsic is covered by the trait's contract: NEON is there, pointers are as it says.
unsafe impl Pairs for Quad {
    #[inline(always)]
    unsafe fn pair_dot(self, b: Self, c: Self) -> Self {
        // SAFETY: as above.
        unsafe {
            let (x, w) = (self.shorts(), b.shorts());
            let low = vmull_s16(vget_low_s16(x), vget_low_s16(w));
            let high = vmull_high_s16(x, w);
            Self::of_ints(vaddq_s32(c.ints(), vpaddq_s32(low, high)))
        }
    }

    #[inline(always)]
    unsafe fn pair_add(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { Self::of_shorts(vaddq_s16(self.shorts(), other.shorts())) }
    }

    #[inline(always)]
    unsafe fn pair_sub(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { Self::of_shorts(vsubq_s16(self.shorts(), other.shorts())) }
    }

    #[inline(always)]
    unsafe fn int_add(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { Self::of_ints(vaddq_s32(self.ints(), other.ints())) }
    }

    #[inline(always)]
    unsafe fn int_sub(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { Self::of_ints(vsubq_s32(self.ints(), other.ints())) }
    }

    #[inline(always)]
    unsafe fn int_mul(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { Self::of_ints(vmulq_s32(self.ints(), other.ints())) }
    }

    #[inline(always)]
    unsafe fn int_shift(self, by: i32) -> Self {
        // SAFETY: as above.
        unsafe { Self::of_ints(vshlq_s32(self.ints(), vdupq_n_s32(-by))) }
    }

    #[inline(always)]
    unsafe fn int_to_float(self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vcvtq_f32_s32(self.ints()) })
    }

    #[inline(always)]
    unsafe fn store_pairs(self, p: *mut f32, n: usize) {
        // SAFETY: as above; a whole vector is two elements.
        unsafe {
            let narrow = vmovn_s32(vcvtnq_s32_f32(self.0));
            if n >= 4 {
                vst1_s16(p.cast(), narrow);
            } else {
                let mut values = [0i16; 4];
                vst1_s16(values.as_mut_ptr(), narrow);
                store_part(values, p, n);
            }
        }
    }

    #[inline(always)]
    unsafe fn store_bytes(self, offset: i32, p: *mut f32, n: usize) {
        // SAFETY: as above.
        unsafe { pairs::store_bytes(self.array(), offset, p, n.min(4)) }
    }

    #[inline(always)]
    unsafe fn store_bf16(self, p: *mut f32, n: usize) {
        // SAFETY: as above.
        unsafe { pairs::store_bf16(self.array(), p, n.min(4)) }
    }

    #[inline(always)]
    unsafe fn load_bf16(p: *const f32, n: usize) -> Self {
        // SAFETY: as above.
        unsafe { Self(vld1q_f32(pairs::load_bf16::<4>(p, n.min(4)).as_ptr())) }
    }
}
