//! Arm's 128-bit vectors.

use std::arch::aarch64::*;

use super::{Job, Vector};

/// # Safety
/// NEON is there; and the job's own contract.
#[target_feature(enable = "neon")]
pub(super) unsafe fn neon<J: Job>(job: J) {
    // SAFETY: the caller vouches for both.
    unsafe { job.run::<Quad>() }
}

/// 4 `f32` in a register.
#[derive(Clone, Copy)]
pub(super) struct Quad(pub(super) float32x4_t);

// SAFETY: every intrinsic is covered by the trait's contract: the instruction set is there, pointers are as it says.
unsafe impl Vector for Quad {
    const LANES: usize = 4;
    const MANY_REGISTERS: bool = true;

    #[inline(always)]
    unsafe fn outline<J: Job>(job: J) {
        // SAFETY: as above.
        unsafe { neon(job) }
    }

    #[inline(always)]
    unsafe fn load_part(p: *const f32, n: usize) -> Self {
        let mut lanes = [0f32; 4];
        // SAFETY: as above; `n` elements are copied.
        unsafe {
            std::ptr::copy_nonoverlapping(p, lanes.as_mut_ptr(), n.min(4));
            Self(vld1q_f32(lanes.as_ptr()))
        }
    }

    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, n: usize) {
        let mut lanes = [0f32; 4];
        // SAFETY: as above; `n` elements are copied.
        unsafe {
            vst1q_f32(lanes.as_mut_ptr(), self.0);
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), p, n.min(4));
        }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: as above.
        unsafe { vst1q_f32(p, self.0) }
    }

    #[inline(always)]
    unsafe fn exp2_of_shifted(self) -> Self {
        // SAFETY: as above.
        unsafe {
            let bits = vaddq_s32(vreinterpretq_s32_f32(self.0), vdupq_n_s32(127));
            Self(vreinterpretq_f32_s32(vshlq_n_s32::<23>(bits)))
        }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: as above.
        Self(unsafe { vdupq_n_f32(x) })
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: as above.
        Self(unsafe { vld1q_f32(p) })
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vaddq_f32(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vsubq_f32(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vmulq_f32(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vdivq_f32(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn recip(self) -> Self {
        // SAFETY: as above.
        unsafe {
            let first = vrecpeq_f32(self.0);
            let second = vmulq_f32(first, vrecpsq_f32(self.0, first));
            Self(vmulq_f32(second, vrecpsq_f32(self.0, second)))
        }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vbslq_f32(vcgtq_f32(self.0, other.0), self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vbslq_f32(vcltq_f32(self.0, other.0), self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vfmaq_f32(c.0, self.0, b.0) })
    }
}
