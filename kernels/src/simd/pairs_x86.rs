//! [`Pairs`] of AVX2 and AVX-512.

use std::arch::x86_64::*;

use super::pairs::{Pairs, store_part};
use super::x86::{Ymm, YmmMasked, Zmm};

macro_rules! pairs_of_ymm {
    ($type:ident) => {
        // SAFETY: every intrinsic is covered by the trait's contract: AVX2 is there, pointers are as it says.
        unsafe impl Pairs for $type {
            #[inline(always)]
            unsafe fn pair_dot(self, b: Self, c: Self) -> Self {
                // SAFETY: as above.
                unsafe {
                    let products = _mm256_madd_epi16(_mm256_castps_si256(self.0), _mm256_castps_si256(b.0));
                    Self(_mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(c.0), products)))
                }
            }

            #[inline(always)]
            unsafe fn pair_add(self, other: Self) -> Self {
                // SAFETY: as above.
                unsafe {
                    let sums = _mm256_add_epi16(_mm256_castps_si256(self.0), _mm256_castps_si256(other.0));
                    Self(_mm256_castsi256_ps(sums))
                }
            }

            #[inline(always)]
            unsafe fn pair_sub(self, other: Self) -> Self {
                // SAFETY: as above.
                unsafe {
                    let differences = _mm256_sub_epi16(_mm256_castps_si256(self.0), _mm256_castps_si256(other.0));
                    Self(_mm256_castsi256_ps(differences))
                }
            }

            #[inline(always)]
            unsafe fn int_add(self, other: Self) -> Self {
                // SAFETY: as above.
                unsafe {
                    let sums = _mm256_add_epi32(_mm256_castps_si256(self.0), _mm256_castps_si256(other.0));
                    Self(_mm256_castsi256_ps(sums))
                }
            }

            #[inline(always)]
            unsafe fn int_sub(self, other: Self) -> Self {
                // SAFETY: as above.
                unsafe {
                    let differences = _mm256_sub_epi32(_mm256_castps_si256(self.0), _mm256_castps_si256(other.0));
                    Self(_mm256_castsi256_ps(differences))
                }
            }

            #[inline(always)]
            unsafe fn int_quarter(self) -> Self {
                // SAFETY: as above.
                unsafe { Self(_mm256_castsi256_ps(_mm256_srai_epi32::<2>(_mm256_castps_si256(self.0)))) }
            }

            #[inline(always)]
            unsafe fn int_to_float(self) -> Self {
                // SAFETY: as above.
                Self(unsafe { _mm256_cvtepi32_ps(_mm256_castps_si256(self.0)) })
            }

            #[inline(always)]
            unsafe fn store_pairs(self, p: *mut f32, n: usize) {
                // SAFETY: as above; a whole vector is four elements.
                unsafe {
                    let wide = _mm256_cvtps_epi32(self.0);
                    let narrow = _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256::<1>(wide));
                    if n >= 8 {
                        _mm_storeu_si128(p.cast(), narrow);
                    } else {
                        let mut values = [0i16; 8];
                        _mm_storeu_si128(values.as_mut_ptr().cast(), narrow);
                        store_part(values, p, n);
                    }
                }
            }
        }
    };
}

pairs_of_ymm!(Ymm);
pairs_of_ymm!(YmmMasked);

// SAFETY: every intrinsic is covered by the trait's contract: AVX-512 F and BW are there, pointers are as it says.
unsafe impl Pairs for Zmm {
    #[inline(always)]
    unsafe fn pair_dot(self, b: Self, c: Self) -> Self {
        // SAFETY: as above.
        unsafe {
            let products = _mm512_madd_epi16(_mm512_castps_si512(self.0), _mm512_castps_si512(b.0));
            Self(_mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(c.0), products)))
        }
    }

    #[inline(always)]
    unsafe fn pair_add(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe {
            Self(_mm512_castsi512_ps(_mm512_add_epi16(_mm512_castps_si512(self.0), _mm512_castps_si512(other.0))))
        }
    }

    #[inline(always)]
    unsafe fn pair_sub(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe {
            Self(_mm512_castsi512_ps(_mm512_sub_epi16(_mm512_castps_si512(self.0), _mm512_castps_si512(other.0))))
        }
    }

    #[inline(always)]
    unsafe fn int_add(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe {
            Self(_mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(self.0), _mm512_castps_si512(other.0))))
        }
    }

    #[inline(always)]
    unsafe fn int_sub(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe {
            Self(_mm512_castsi512_ps(_mm512_sub_epi32(_mm512_castps_si512(self.0), _mm512_castps_si512(other.0))))
        }
    }

    #[inline(always)]
    unsafe fn int_quarter(self) -> Self {
        // SAFETY: as above.
        unsafe { Self(_mm512_castsi512_ps(_mm512_srai_epi32::<2>(_mm512_castps_si512(self.0)))) }
    }

    #[inline(always)]
    unsafe fn int_to_float(self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_cvtepi32_ps(_mm512_castps_si512(self.0)) })
    }

    #[inline(always)]
    unsafe fn store_pairs(self, p: *mut f32, n: usize) {
        // SAFETY: as above; a whole vector is eight elements.
        unsafe {
            let narrow = _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(self.0));
            if n >= 16 {
                _mm256_storeu_si256(p.cast(), narrow);
            } else {
                let mut values = [0i16; 16];
                _mm256_storeu_si256(values.as_mut_ptr().cast(), narrow);
                store_part(values, p, n);
            }
        }
    }
}
