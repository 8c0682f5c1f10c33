//! The matrix product of the gradient of a convolution's weight in `f32`, over planes that are read where they lie:
//! neighbouring positions of a plane are the lanes of a vector, so no operand is transposed.

use crate::simd::{Isa, Job, Vector, Width};

/// Partial sums of a correlation, whatever the vectors' width: position `p` goes to the sum `p mod 16`, so that every
/// instruction set with fused products gives the same.
const SUMS: usize = 16;

/// Operands of a [`Correlation`].
#[derive(Clone, Copy)]
pub(super) struct Pair<'a> {
    pub(super) left: &'a [f32],
    pub(super) right: &'a [f32],
    pub(super) positions: usize,
}

/// `out[row, column] = Σ_pairs Σ_p left[row · left_stride + p] · right[offsets[column] + p]`.
pub(super) struct Correlation<'a> {
    pub(super) pairs: &'a [Pair<'a>],
    pub(super) rows: usize,
    pub(super) left_stride: usize,
    pub(super) offsets: &'a [usize],
    /// (rows, columns), row-major.
    pub(super) out: &'a mut [f32],
}

impl Correlation<'_> {
    /// Runs with the vectors of an instruction set of this machine.
    pub(super) fn run(self, isa: Isa) {
        for pair in self.pairs {
            let reach = self.offsets.iter().max().map_or(0, |last| last + pair.positions);
            let left = self.rows.saturating_sub(1) * self.left_stride + pair.positions;
            assert!(left <= pair.left.len() && reach <= pair.right.len(), "positions end past their plane");
        }
        assert_eq!(self.out.len(), self.rows * self.offsets.len(), "an output per row and column");
        // SAFETY: `isa` is available by its type's contract; all reads and writes were checked above.
        unsafe { isa.run(Width::Full, self) }
    }

    /// Blocks of `size` that cover `0..len`; the last begins early enough to be whole.
    fn blocks(len: usize, size: usize) -> impl Iterator<Item = usize> {
        (0..len).step_by(size).map(move |start| start.min(len - size))
    }
}

impl Job for Correlation<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(mut self) {
        let columns = self.offsets.len();
        let height = Self::fitting(self.rows, if V::MANY_REGISTERS { &[4, 2, 1] } else { &[2, 1] });
        let width = Self::fitting(columns, &[6, 3, 1]);
        // The columns of a tile, mostly more than its rows, stay in the first-level cache for all rows.
        for column in Self::blocks(columns, width) {
            for row in Self::blocks(self.rows, height) {
                // SAFETY: by the caller's contract; the tile lies inside the matrix.
                unsafe {
                    match (height, width) {
                        (4, 6) => V::outline(Tile::<4, 6>(&mut self, row, column)),
                        (4, 3) => V::outline(Tile::<4, 3>(&mut self, row, column)),
                        (4, _) => V::outline(Tile::<4, 1>(&mut self, row, column)),
                        (2, 6) => V::outline(Tile::<2, 6>(&mut self, row, column)),
                        (2, 3) => V::outline(Tile::<2, 3>(&mut self, row, column)),
                        (2, _) => V::outline(Tile::<2, 1>(&mut self, row, column)),
                        (_, 6) => V::outline(Tile::<1, 6>(&mut self, row, column)),
                        (_, 3) => V::outline(Tile::<1, 3>(&mut self, row, column)),
                        _ => V::outline(Tile::<1, 1>(&mut self, row, column)),
                    }
                }
            }
        }
    }
}

impl Correlation<'_> {
    /// The largest of the sizes that is not above `len`.
    fn fitting(len: usize, sizes: &[usize]) -> usize {
        sizes.iter().copied().find(|size| *size <= len).unwrap_or(1)
    }
}

/// A tile of sums of a correlation, as a job: first row, first column.
struct Tile<'a, 'b, const MR: usize, const NR: usize>(&'a mut Correlation<'b>, usize, usize);

impl<const MR: usize, const NR: usize> Job for Tile<'_, '_, MR, NR> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self(Correlation { pairs, left_stride, offsets, out, .. }, row, column) = self;
        // SAFETY: `Correlation::run` checked that every row and column is readable at all positions.
        unsafe {
            let mut lanes = [[[0f32; SUMS]; NR]; MR];
            // Each part of the sums on its own, so that they stay in registers.
            for part in (0..SUMS).step_by(V::LANES) {
                let mut sums = [[V::zero(); NR]; MR];
                for pair in *pairs {
                    let whole = pair.positions / SUMS * SUMS;
                    let left = |i: usize| pair.left.as_ptr().add((row + i) * *left_stride + part);
                    let right = |j: usize| pair.right.as_ptr().add(offsets[column + j] + part);
                    let lefts: [*const f32; MR] = std::array::from_fn(left);
                    let rights: [*const f32; NR] = std::array::from_fn(right);
                    // The few lefts stay in registers, and one right at a time beside the sums.
                    for position in (0..whole).step_by(SUMS) {
                        let lefts = lefts.map(|left| V::load(left.add(position)));
                        for (j, right) in rights.into_iter().enumerate() {
                            let right = V::load(right.add(position));
                            for (sums, left) in sums.iter_mut().zip(lefts) {
                                sums[j] = left.mul_add(right, sums[j]);
                            }
                        }
                    }
                    if whole + part < pair.positions {
                        let rest = (pair.positions - whole - part).min(V::LANES);
                        let lefts = lefts.map(|left| V::load_part(left.add(whole), rest));
                        for (j, right) in rights.into_iter().enumerate() {
                            let right = V::load_part(right.add(whole), rest);
                            for (sums, left) in sums.iter_mut().zip(lefts) {
                                sums[j] = left.mul_add(right, sums[j]);
                            }
                        }
                    }
                }
                for (sums, lanes) in sums.into_iter().zip(&mut lanes) {
                    for (sum, lanes) in sums.into_iter().zip(lanes) {
                        sum.store(lanes.as_mut_ptr().add(part));
                    }
                }
            }
            for (i, lanes) in lanes.into_iter().enumerate() {
                for (j, lanes) in lanes.into_iter().enumerate() {
                    out[(row + i) * offsets.len() + column + j] = sum_of(lanes);
                }
            }
        }
    }
}

/// The sum of partial sums, in pairs.
#[inline(always)]
fn sum_of(mut sums: [f32; SUMS]) -> f32 {
    for half in [8, 4, 2, 1] {
        let (low, high) = sums.split_at_mut(half);
        low.iter_mut().zip(high).for_each(|(low, high)| *low += *high);
    }
    sums[0]
}
