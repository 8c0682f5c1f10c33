//! The matrix products of a planar convolution in `f32`, over planes that are read where they lie.
//!
//! Both run along positions: neighbouring elements of a plane are the lanes of a vector, so no operand is transposed.

use std::ops::Range;

use rayon::prelude::*;

use crate::simd::{Isa, Job, Vector, Width};

/// Elements that may be read past the last position of a plane in scratch memory, and written past that of a row: with
/// them the last vector is whole.
pub(super) const SLACK: usize = 16;
/// Partial sums of a correlation, whatever the vectors' width: position `p` goes to the sum `p mod 16`, so that every
/// instruction set with fused products gives the same.
const SUMS: usize = 16;
/// Vectors per row of the widest tile.
const MOST_VECTORS: usize = 8;

/// Left operands: a (rows, depth) matrix for each group, cut into panels of a few rows, each stored (depth, rows).
pub(super) struct Panels {
    data: Vec<f32>,
    panels: Vec<Panel>,
    /// Elements per group.
    group: usize,
    rows: usize,
    depth: usize,
}

#[derive(Debug, Clone, Copy)]
struct Panel {
    start: usize,
    row: usize,
    height: usize,
}

impl Panels {
    /// Packs `weight(group, row, step)`.
    pub(super) fn new(
        groups: usize,
        [rows, depth]: [usize; 2],
        isa: Isa,
        weight: impl Fn(usize, usize, usize) -> f32 + Sync,
    ) -> Self {
        let most = if isa.has_32_registers() { 8 } else { 4 };
        let (mut panels, mut row, mut start) = (Vec::new(), 0, 0);
        while row < rows {
            let height = match rows - row {
                1 => 1,
                2..=4 => 4,
                _ => most,
            };
            panels.push(Panel { start, row, height });
            (row, start) = (row + height, start + height * depth);
        }
        let mut data = vec![0.; groups * start];
        data.par_chunks_exact_mut(start.max(1)).enumerate().for_each(|(group, data)| {
            // Only the last panel may be lower than the others.
            let parts = data.par_chunks_mut((most * depth).max(1)).zip(&panels);
            parts.for_each(|(data, panel)| {
                for (step, column) in data.chunks_exact_mut(panel.height).enumerate() {
                    for (i, slot) in column.iter_mut().enumerate().take(rows - panel.row) {
                        *slot = weight(group, panel.row + i, step);
                    }
                }
            });
        });
        Self { data, panels, group: start, rows, depth }
    }
}

/// `out[row, p] = Σ_step weights[row, step] · source[offsets[step] + p]`, for the positions `p` of a run.
pub(super) struct Product<'a> {
    pub(super) panels: &'a Panels,
    pub(super) group: usize,
    pub(super) source: &'a [f32],
    pub(super) offsets: &'a [usize],
    pub(super) positions: usize,
    /// Whether source and output reach `SLACK` elements past the last position, which need not be masked then.
    pub(super) slack: bool,
    pub(super) out: *mut f32,
    pub(super) out_stride: usize,
}

impl Product<'_> {
    /// Runs with the vectors of an instruction set of this machine.
    ///
    /// # Safety
    /// `out` is writable at `row · out_stride + p` for each row and position, with the slack where there is any, and
    /// no other thread touches those elements.
    pub(super) unsafe fn run(self, isa: Isa) {
        assert_eq!(self.offsets.len(), self.panels.depth, "an offset per step");
        let reach = self.offsets.iter().max().map_or(0, |last| last + self.positions);
        assert!(reach + if self.slack { SLACK } else { 0 } <= self.source.len(), "positions end past their plane");
        // SAFETY: `isa` is available by its type's contract; reads were checked above, writes are the caller's.
        unsafe { isa.run(Width::Full, self) }
    }
}

impl Job for Product<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let single = self.panels.panels.iter().all(|panel| panel.height == 1);
        // SAFETY: by the caller's contract.
        unsafe { if single { V::outline(Single(&self)) } else { V::outline(Several(&self)) } }
    }
}

/// A product of one row.
struct Single<'a>(&'a Product<'a>);

impl Job for Single<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let (product, panel) = (self.0, self.0.panels.panels[0]);
        let mut position = 0;
        while position < product.positions {
            let (vectors, last) = product.block::<V>(position, MOST_VECTORS);
            // SAFETY: by the caller's contract.
            unsafe {
                match vectors {
                    1 => product.tile::<V, 1, 1>(panel, position, last),
                    2 => product.tile::<V, 1, 2>(panel, position, last),
                    3 | 4 => product.tile::<V, 1, 4>(panel, position, last.padded(4 - vectors)),
                    _ => product.tile::<V, 1, 8>(panel, position, last.padded(8 - vectors)),
                }
            }
            position += vectors * V::LANES;
        }
    }
}

/// A product of several rows: panels inside blocks of positions, whose elements stay in the first-level cache.
struct Several<'a>(&'a Product<'a>);

impl Job for Several<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let product = self.0;
        let mut position = 0;
        while position < product.positions {
            let (vectors, last) = product.block::<V>(position, 3);
            for panel in &product.panels.panels {
                // SAFETY: by the caller's contract.
                unsafe {
                    match (panel.height, vectors) {
                        (8, 1) => product.tile::<V, 8, 1>(*panel, position, last),
                        (8, 2) => product.tile::<V, 8, 2>(*panel, position, last),
                        (8, _) => product.tile::<V, 8, 3>(*panel, position, last),
                        (4, 1) => product.tile::<V, 4, 1>(*panel, position, last),
                        (4, 2) => product.tile::<V, 4, 2>(*panel, position, last),
                        (4, _) => product.tile::<V, 4, 3>(*panel, position, last),
                        (_, 1) => product.tile::<V, 1, 1>(*panel, position, last),
                        (_, 2) => product.tile::<V, 1, 2>(*panel, position, last),
                        _ => product.tile::<V, 1, 4>(*panel, position, last.padded(1)),
                    }
                }
            }
            position += vectors * V::LANES;
        }
    }
}

/// How much of a block of vectors exists: whole vectors, then elements of one more.
#[derive(Clone, Copy)]
struct Extent {
    /// Vectors of the tile that lie wholly past the block.
    missing: usize,
    /// Elements of the last vector of the block; all of them where it is whole.
    elements: usize,
}

impl Extent {
    fn padded(self, missing: usize) -> Self {
        Self { missing, ..self }
    }
}

impl Product<'_> {
    /// Vectors of the block from `position`, at most `most`, and how much of the last exists.
    #[inline(always)]
    fn block<V: Vector>(&self, position: usize, most: usize) -> (usize, Extent) {
        let left = self.positions - position;
        let vectors = left.div_ceil(V::LANES).min(most);
        let elements = if self.slack { V::LANES } else { (left - (vectors - 1) * V::LANES).min(V::LANES) };
        (vectors, Extent { missing: 0, elements })
    }

    /// A panel of `MR` rows by `NV` vectors of positions, in registers over the whole depth.
    #[inline(always)]
    unsafe fn tile<V: Vector, const MR: usize, const NV: usize>(&self, panel: Panel, position: usize, extent: Extent) {
        // SAFETY: by the caller's contract.
        unsafe {
            if extent.missing == 0 && extent.elements == V::LANES {
                self.tile_of::<V, MR, NV, true>(panel, position, extent);
            } else {
                self.tile_of::<V, MR, NV, false>(panel, position, extent);
            }
        }
    }

    #[inline(always)]
    unsafe fn tile_of<V: Vector, const MR: usize, const NV: usize, const WHOLE: bool>(
        &self,
        panel: Panel,
        position: usize,
        extent: Extent,
    ) {
        let last = NV - 1 - extent.missing;
        let rows = (self.panels.rows - panel.row).min(MR);
        // SAFETY: the panel holds `MR` elements per step; the rest by the caller's contract and the extent.
        unsafe {
            let weights = self.panels.data.as_ptr().add(self.group * self.panels.group + panel.start);
            let mut sums = [[V::zero(); NV]; MR];
            for (step, offset) in self.offsets.iter().enumerate() {
                let from = self.source.as_ptr().add(offset + position);
                let mut xs = [V::zero(); NV];
                for (j, x) in xs.iter_mut().enumerate() {
                    if WHOLE || j < last {
                        *x = V::load(from.add(j * V::LANES));
                    } else if j == last {
                        *x = V::load_part(from.add(j * V::LANES), extent.elements);
                    }
                }
                let column = weights.add(step * MR);
                for (i, sums) in sums.iter_mut().enumerate() {
                    let weight = V::splat(*column.add(i));
                    for (sum, x) in sums.iter_mut().zip(xs) {
                        *sum = weight.mul_add(x, *sum);
                    }
                }
            }
            for (i, sums) in sums.into_iter().enumerate() {
                if i >= rows {
                    break;
                }
                let out = self.out.add((panel.row + i) * self.out_stride + position);
                for (j, sum) in sums.into_iter().enumerate() {
                    if WHOLE || j < last {
                        sum.store(out.add(j * V::LANES));
                    } else if j == last {
                        sum.store_part(out.add(j * V::LANES), extent.elements);
                    }
                }
            }
        }
    }
}

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
        for row in Self::blocks(self.rows, height) {
            for column in Self::blocks(columns, width) {
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
                    for position in (0..whole).step_by(SUMS) {
                        let mut xs = [V::zero(); NR];
                        for (x, right) in xs.iter_mut().zip(rights) {
                            *x = V::load(right.add(position));
                        }
                        for (sums, left) in sums.iter_mut().zip(lefts) {
                            let left = V::load(left.add(position));
                            for (sum, x) in sums.iter_mut().zip(xs) {
                                *sum = left.mul_add(x, *sum);
                            }
                        }
                    }
                    if whole + part < pair.positions {
                        let rest = (pair.positions - whole - part).min(V::LANES);
                        let mut xs = [V::zero(); NR];
                        for (x, right) in xs.iter_mut().zip(rights) {
                            *x = V::load_part(right.add(whole), rest);
                        }
                        for (sums, left) in sums.iter_mut().zip(lefts) {
                            let left = V::load_part(left.add(whole), rest);
                            for (sum, x) in sums.iter_mut().zip(xs) {
                                *sum = left.mul_add(x, *sum);
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
fn sum_of(mut sums: [f32; SUMS]) -> f32 {
    for half in [8, 4, 2, 1] {
        let (low, high) = sums.split_at_mut(half);
        low.iter_mut().zip(high).for_each(|(low, high)| *low += *high);
    }
    sums[0]
}

/// The range `index` of `count` ranges of nearly equal length that make up `0..len`.
pub(super) fn share(len: usize, count: usize, index: usize) -> Range<usize> {
    len * index / count..len * (index + 1) / count
}
