//! [`Pairs`] of AVX2 and AVX-512.

use std::arch::x86_64::*;

use super::pairs::{self, Pairs, store_part};
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
            unsafe fn int_mul(self, other: Self) -> Self {
                // SAFETY: as above.
                unsafe {
                    let products = _mm256_mullo_epi32(_mm256_castps_si256(self.0), _mm256_castps_si256(other.0));
                    Self(_mm256_castsi256_ps(products))
                }
            }

            #[inline(always)]
            unsafe fn int_shift(self, by: i32) -> Self {
                // SAFETY: as above.
                unsafe {
                    let shifted = _mm256_sra_epi32(_mm256_castps_si256(self.0), _mm_cvtsi32_si128(by));
                    Self(_mm256_castsi256_ps(shifted))
                }
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

            #[inline(always)]
            unsafe fn store_bytes(self, offset: i32, p: *mut f32, n: usize) {
                // SAFETY: as above; a whole vector is two elements.
                unsafe {
                    let wide = _mm256_add_epi32(_mm256_cvtps_epi32(self.0), _mm256_set1_epi32(offset));
                    let narrow = _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256::<1>(wide));
                    let bytes = _mm_packus_epi16(narrow, narrow);
                    if n >= 8 {
                        _mm_storel_epi64(p.cast(), bytes);
                    } else {
                        let mut values = [0u8; 16];
                        _mm_storeu_si128(values.as_mut_ptr().cast(), bytes);
                        values[n..].fill(0);
                        store_elements(&values, p, n.div_ceil(4));
                    }
                }
            }

            #[inline(always)]
            unsafe fn store_bf16(self, p: *mut f32, n: usize) {
                // SAFETY: as above; a whole vector is four elements.
                unsafe {
                    let bits = _mm256_castps_si256(self.0);
                    let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
                    let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
                    let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(1 << 22));
                    let is_nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(self.0, self.0));
                    let high = _mm256_srli_epi32::<16>(_mm256_blendv_epi8(rounded, quiet, is_nan));
                    let narrow = _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256::<1>(high));
                    if n >= 8 {
                        _mm_storeu_si128(p.cast(), narrow);
                    } else {
                        let mut values = [0i16; 8];
                        _mm_storeu_si128(values.as_mut_ptr().cast(), narrow);
                        store_part(values, p, n);
                    }
                }
            }

            #[inline(always)]
            unsafe fn load_bf16(p: *const f32, n: usize) -> Self {
                // SAFETY: as above; a whole vector is four elements.
                unsafe {
                    if n < 8 {
                        return Self(_mm256_loadu_ps(pairs::load_bf16::<8>(p, n).as_ptr()));
                    }
                    let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()));
                    Self(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide)))
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
    unsafe fn int_mul(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe {
            Self(_mm512_castsi512_ps(_mm512_mullo_epi32(_mm512_castps_si512(self.0), _mm512_castps_si512(other.0))))
        }
    }

    #[inline(always)]
    unsafe fn int_shift(self, by: i32) -> Self {
        // SAFETY: as above.
        unsafe { Self(_mm512_castsi512_ps(_mm512_sra_epi32(_mm512_castps_si512(self.0), _mm_cvtsi32_si128(by)))) }
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

    #[inline(always)]
    unsafe fn store_bytes(self, offset: i32, p: *mut f32, n: usize) {
        // SAFETY: as above; a whole vector is four elements.
        unsafe {
            let wide = _mm512_add_epi32(_mm512_cvtps_epi32(self.0), _mm512_set1_epi32(offset));
            let bytes = _mm512_cvtepi32_epi8(wide);
            if n >= 16 {
                _mm_storeu_si128(p.cast(), bytes);
            } else {
                let mut values = [0u8; 16];
                _mm_storeu_si128(values.as_mut_ptr().cast(), bytes);
                values[n..].fill(0);
                store_elements(&values, p, n.div_ceil(4));
            }
        }
    }

    #[inline(always)]
    unsafe fn store_bf16(self, p: *mut f32, n: usize) {
        // SAFETY: as above; a whole vector is eight elements.
        unsafe {
            let bits = _mm512_castps_si512(self.0);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
            let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(1 << 22));
            let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0);
            let high = _mm512_srli_epi32::<16>(_mm512_mask_blend_epi32(is_nan, rounded, quiet));
            let narrow = _mm512_cvtepi32_epi16(high);
            if n >= 16 {
                _mm256_storeu_si256(p.cast(), narrow);
            } else {
                let mut values = [0i16; 16];
                _mm256_storeu_si256(values.as_mut_ptr().cast(), narrow);
                store_part(values, p, n);
            }
        }
    }

    #[inline(always)]
    unsafe fn load_bf16(p: *const f32, n: usize) -> Self {
        // SAFETY: as above; a whole vector is eight elements.
        unsafe {
            if n < 16 {
                return Self(_mm512_loadu_ps(pairs::load_bf16::<16>(p, n).as_ptr()));
            }
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
            Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide)))
        }
    }
}

/// Writes the first `n` elements of some bytes.
///
/// # Safety
/// They are writable.
#[inline(always)]
unsafe fn store_elements(bytes: &[u8; 16], p: *mut f32, n: usize) {
    for (i, element) in bytes.chunks_exact(4).enumerate().take(n) {
        // SAFETY: by the caller's contract.
        unsafe { *p.add(i) = pairs::quad([element[0], element[1], element[2], element[3]]) };
    }
}
