//! AVX2 and AVX-512.

use std::arch::x86_64::*;

use super::{Job, Vector};

/// # Safety
/// AVX2 and FMA are there; and the job's own contract.
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn avx2<J: Job>(job: J) {
    // SAFETY: the caller vouches for both.
    unsafe { job.run::<Ymm>() }
}

/// # Safety
/// AVX-512 F, VL, DQ and BW are there; and the job's own contract.
#[inline(never)]
#[target_feature(enable = "avx2,fma,avx512f,avx512vl,avx512dq,avx512bw")]
pub(super) unsafe fn avx512<J: Job, V: Vector>(job: J) {
    // SAFETY: the caller vouches for both.
    unsafe { job.run::<V>() }
}

/// 8 `f32` in a register.
#[derive(Clone, Copy)]
pub(super) struct Ymm(pub(super) __m256);

// SAFETY: every intrinsic is covered by the trait's contract: the instruction set is there, pointers are as it says.
unsafe impl Vector for Ymm {
    const LANES: usize = 8;
    const MANY_REGISTERS: bool = false;

    #[inline(always)]
    unsafe fn outline<J: Job>(job: J) {
        // SAFETY: as above.
        unsafe { avx2(job) }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_set1_ps(x) })
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_loadu_ps(p) })
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: as above.
        unsafe { _mm256_storeu_ps(p, self.0) }
    }

    #[inline(always)]
    unsafe fn load_part(p: *const f32, n: usize) -> Self {
        // SAFETY: as above; the mask keeps lanes past `n` from being read.
        unsafe {
            let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            Self(_mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), lane)))
        }
    }

    /// In pieces of four and one: masked stores of AVX2 are slow on AMD's cores.
    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, n: usize) {
        // SAFETY: as above; the pieces end at `n`.
        unsafe {
            if n == Self::LANES {
                return _mm256_storeu_ps(p, self.0);
            }
            let (mut piece, mut p, mut n) = (_mm256_castps256_ps128(self.0), p, n);
            if n >= 4 {
                _mm_storeu_ps(p, piece);
                (piece, p, n) = (_mm256_extractf128_ps::<1>(self.0), p.add(4), n - 4);
            }
            if n >= 2 {
                _mm_storel_pd(p.cast(), _mm_castps_pd(piece));
                (piece, p, n) = (_mm_movehl_ps(piece, piece), p.add(2), n - 2);
            }
            if n == 1 {
                _mm_store_ss(p, piece);
            }
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_sub_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_mul_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_div_ps(self.0, other.0) })
    }

    /// One Newton step from the hardware's estimate.
    #[inline(always)]
    unsafe fn recip(self) -> Self {
        // SAFETY: as above.
        unsafe {
            let estimate = _mm256_rcp_ps(self.0);
            let correction = _mm256_fnmadd_ps(self.0, estimate, _mm256_set1_ps(2.));
            Self(_mm256_mul_ps(estimate, correction))
        }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_max_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_min_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_fmadd_ps(self.0, b.0, c.0) })
    }

    #[inline(always)]
    unsafe fn exp2_of_shifted(self) -> Self {
        // SAFETY: as above.
        unsafe {
            let bits = _mm256_add_epi32(_mm256_castps_si256(self.0), _mm256_set1_epi32(127));
            Self(_mm256_castsi256_ps(_mm256_slli_epi32::<23>(bits)))
        }
    }
}

/// 8 `f32` in a register; partial loads and stores by mask.
#[derive(Clone, Copy)]
pub(super) struct YmmMasked(pub(super) __m256);

// SAFETY: every intrinsic is covered by the trait's contract: the instruction set is there, pointers are as it says.
unsafe impl Vector for YmmMasked {
    const LANES: usize = 8;
    const MANY_REGISTERS: bool = true;

    #[inline(always)]
    unsafe fn outline<J: Job>(job: J) {
        // SAFETY: as above.
        unsafe { avx512::<J, Self>(job) }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_set1_ps(x) })
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_loadu_ps(p) })
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: as above.
        unsafe { _mm256_storeu_ps(p, self.0) }
    }

    #[inline(always)]
    unsafe fn load_part(p: *const f32, n: usize) -> Self {
        // SAFETY: as above; lanes past `n` are masked out and not read.
        Self(unsafe { _mm256_maskz_loadu_ps(((1u32 << n) - 1) as __mmask8, p) })
    }

    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, n: usize) {
        // SAFETY: as above; lanes past `n` are masked out and not written.
        unsafe { _mm256_mask_storeu_ps(p, ((1u32 << n) - 1) as __mmask8, self.0) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_sub_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_mul_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_div_ps(self.0, other.0) })
    }

    /// One Newton step from the hardware's estimate.
    #[inline(always)]
    unsafe fn recip(self) -> Self {
        // SAFETY: as above.
        unsafe {
            let estimate = _mm256_rcp14_ps(self.0);
            let correction = _mm256_fnmadd_ps(self.0, estimate, _mm256_set1_ps(2.));
            Self(_mm256_mul_ps(estimate, correction))
        }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_max_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_min_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_fmadd_ps(self.0, b.0, c.0) })
    }

    #[inline(always)]
    unsafe fn exp2_of_shifted(self) -> Self {
        // SAFETY: as above.
        unsafe {
            let bits = _mm256_add_epi32(_mm256_castps_si256(self.0), _mm256_set1_epi32(127));
            Self(_mm256_castsi256_ps(_mm256_slli_epi32::<23>(bits)))
        }
    }
}

/// 16 `f32` in a register; partial loads and stores by mask.
#[derive(Clone, Copy)]
pub(super) struct Zmm(pub(super) __m512);

// SAFETY: every intrinsic is covered by the trait's contract: the instruction set is there, pointers are as it says.
unsafe impl Vector for Zmm {
    const LANES: usize = 16;
    const MANY_REGISTERS: bool = true;

    #[inline(always)]
    unsafe fn outline<J: Job>(job: J) {
        // SAFETY: as above.
        unsafe { avx512::<J, Self>(job) }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_set1_ps(x) })
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_loadu_ps(p) })
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: as above.
        unsafe { _mm512_storeu_ps(p, self.0) }
    }

    #[inline(always)]
    unsafe fn load_part(p: *const f32, n: usize) -> Self {
        // SAFETY: as above; lanes past `n` are masked out and not read.
        Self(unsafe { _mm512_maskz_loadu_ps(((1u32 << n) - 1) as __mmask16, p) })
    }

    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, n: usize) {
        // SAFETY: as above; lanes past `n` are masked out and not written.
        unsafe { _mm512_mask_storeu_ps(p, ((1u32 << n) - 1) as __mmask16, self.0) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_sub_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_mul_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_div_ps(self.0, other.0) })
    }

    /// One Newton step from the hardware's estimate.
    #[inline(always)]
    unsafe fn recip(self) -> Self {
        // SAFETY: as above.
        unsafe {
            let estimate = _mm512_rcp14_ps(self.0);
            let correction = _mm512_fnmadd_ps(self.0, estimate, _mm512_set1_ps(2.));
            Self(_mm512_mul_ps(estimate, correction))
        }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_max_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_min_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_fmadd_ps(self.0, b.0, c.0) })
    }

    #[inline(always)]
    unsafe fn exp2_of_shifted(self) -> Self {
        // SAFETY: as above.
        unsafe {
            let bits = _mm512_add_epi32(_mm512_castps_si512(self.0), _mm512_set1_epi32(127));
            Self(_mm512_castsi512_ps(_mm512_slli_epi32::<23>(bits)))
        }
    }
}
