//! Products in vector registers: a block in parts of a few rows by one or two vectors of columns, summed over the whole depth.

use std::arch::x86_64::*;

use super::Block;

/// An instruction on a vector type.
///
/// # Safety
/// Every method needs the instruction; pointers are to a vector.
unsafe trait Unit {
    type Vector: Copy;
    const LANES: usize;
    /// Rows whose sums, two vectors each, fit the registers beside the columns and a row's element.
    const ROWS: usize;

    unsafe fn zero() -> Self::Vector;
    unsafe fn load(p: *const f32) -> Self::Vector;
    /// An element in every lane.
    unsafe fn splat(element: f32) -> Self::Vector;
    unsafe fn store(p: *mut f32, sums: Self::Vector);
    unsafe fn dot(sums: Self::Vector, a: Self::Vector, b: Self::Vector) -> Self::Vector;
}

/// # Safety
/// The unit's instruction is there; the block's pointers are as its fields say.
#[inline(always)]
unsafe fn product<U: Unit, const ROWS: usize>(block: &Block) {
    const { assert!(ROWS == U::ROWS && 16 % ROWS == 0) };
    let mut column = 0;
    while column < block.columns {
        let is_pair = block.columns - column >= 2 * U::LANES;
        for row in (0..block.rows).step_by(ROWS) {
            // SAFETY: the rows and the columns are in the block.
            unsafe {
                if is_pair {
                    part::<U, ROWS, 2>(block, row, column);
                } else {
                    part::<U, ROWS, 1>(block, row, column);
                }
            }
        }
        column += if is_pair { 2 * U::LANES } else { U::LANES };
    }
}

/// # Safety
/// As [`product`]; `ROWS` rows from `row` and `NV` vectors from `column` are in the block.
#[inline(always)]
unsafe fn part<U: Unit, const ROWS: usize, const NV: usize>(block: &Block, row: usize, column: usize) {
    let Block { a, a_stride, segments, pitch, depth, b, columns, sums, .. } = *block;
    // SAFETY: by the caller's contract.
    unsafe {
        let mut totals = [[U::zero(); NV]; ROWS];
        for segment in 0..segments {
            let (a, b) = (a.add(segment * pitch), b.add(segment * depth * columns + column));
            for k in 0..depth {
                let right: [U::Vector; NV] = std::array::from_fn(|j| U::load(b.add(k * columns + j * U::LANES)));
                for (i, totals) in totals.iter_mut().enumerate() {
                    let left = U::splat(*a.add((row + i) * a_stride + k));
                    for (total, right) in totals.iter_mut().zip(right) {
                        *total = U::dot(*total, left, right);
                    }
                }
            }
        }
        for (i, totals) in totals.iter().enumerate() {
            for (j, total) in totals.iter().enumerate() {
                U::store(sums.add((row + i) * columns + column + j * U::LANES), *total);
            }
        }
    }
}

macro_rules! unit {
    ($entry:ident, $unit:ident: $features:literal, $vector:ty, $lanes:literal, $rows:literal,
     $zero:ident, $load:ident, $splat:ident, $store:ident, |$sums:ident, $a:ident, $b:ident| $dot:expr) => {
        struct $unit;

        // SAFETY: every intrinsic is covered by the trait's contract: the instruction is there, pointers are as it says.
        unsafe impl Unit for $unit {
            type Vector = $vector;
            const LANES: usize = $lanes;
            const ROWS: usize = $rows;

            #[inline(always)]
            unsafe fn zero() -> Self::Vector {
                // SAFETY: as above.
                unsafe { $zero() }
            }

            #[inline(always)]
            unsafe fn load(p: *const f32) -> Self::Vector {
                // SAFETY: as above.
                unsafe { $load(p.cast()) }
            }

            #[inline(always)]
            unsafe fn splat(element: f32) -> Self::Vector {
                // SAFETY: as above.
                unsafe { $splat(element.to_bits() as i32) }
            }

            #[inline(always)]
            unsafe fn store(p: *mut f32, sums: Self::Vector) {
                // SAFETY: as above.
                unsafe { $store(p.cast(), sums) }
            }

            #[inline(always)]
            unsafe fn dot($sums: Self::Vector, $a: Self::Vector, $b: Self::Vector) -> Self::Vector {
                // SAFETY: as above.
                unsafe { $dot }
            }
        }

        /// # Safety
        /// The instruction is there; the block's pointers are as its fields say.
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $entry(block: &Block) {
            // SAFETY: by the caller's contract.
            unsafe { product::<$unit, $rows>(block) }
        }
    };
}

unit!(
    avx_vnni, AvxVnni: "avx2,avxvnni", __m256i, 8, 4,
    _mm256_setzero_si256, _mm256_loadu_si256, _mm256_set1_epi32, _mm256_storeu_si256,
    |sums, a, b| _mm256_dpbusd_avx_epi32(sums, a, b)
);
unit!(
    avx512_vnni, Avx512Vnni: "avx512f,avx512vnni", __m512i, 16, 8,
    _mm512_setzero_si512, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_storeu_si512,
    |sums, a, b| _mm512_dpbusd_epi32(sums, a, b)
);
unit!(
    avx512_bf16, Avx512Bf16: "avx512f,avx512bf16", __m512i, 16, 8,
    _mm512_setzero_si512, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_storeu_si512,
    |sums, a, b| {
        let [a, b] = [a, b].map(|pairs| std::mem::transmute::<__m512i, __m512bh>(pairs));
        _mm512_castps_si512(_mm512_dpbf16_ps(_mm512_castsi512_ps(sums), a, b))
    }
);
