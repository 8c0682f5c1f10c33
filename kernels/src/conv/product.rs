//! The matrix product of a planar convolution in `f32`, over planes that are read where they lie: neighbouring positions of a
//! plane are the lanes of a vector, so no operand is transposed.

use std::ops::Range;

use rayon::prelude::*;

use crate::simd::{Isa, Job, Vector, Width};

/// Elements that may be read past the last position of a plane in scratch memory, and written past that of a row: with
/// them the last vector is whole.
pub(super) const SLACK: usize = 16;
/// Vectors per row of the widest tile.
const MOST_VECTORS: usize = 8;
/// Elements of a block of positions and steps that the panels of a product read in turn: half of a first-level cache.
const BLOCK: usize = 4096;
/// Rows of the highest tile of two vectors whose sums, vectors and weights 16 registers hold.
const MOST_ROWS: usize = 6;
/// Rows of the highest tile of three vectors that 32 registers hold.
const MOST_ROWS_32_REGISTERS: usize = 8;

/// Left operands: a (rows, depth) matrix for each group, cut into panels of a few rows, each stored (depth, rows).
pub(super) struct Panels {
    data: Vec<f32>,
    panels: Vec<Panel>,
    rows: usize,
    depth: usize,
}

#[derive(Debug, Clone, Copy)]
struct Panel {
    row: usize,
    height: usize,
}

impl Panels {
    /// Packs `weight(group, row, step)` into as few panels as the registers allow, of nearly equal height.
    pub(super) fn new(
        groups: usize,
        [rows, depth]: [usize; 2],
        isa: Isa,
        weight: impl Fn(usize, usize, usize) -> f32 + Sync,
    ) -> Self {
        let most = if isa.has_32_registers() { MOST_ROWS_32_REGISTERS } else { MOST_ROWS };
        let count = rows.div_ceil(most);
        let panel = |range: Range<usize>| Panel { row: range.start, height: range.len() };
        let panels: Vec<_> = (0..count).map(|index| panel(share(rows, count, index))).collect();
        let mut data = vec![0.; groups * rows * depth];
        let (mut parts, mut rest) = (Vec::with_capacity(groups * count), &mut data[..]);
        for group in 0..groups {
            for panel in &panels {
                let part = rest.split_off_mut(..panel.height * depth).expect("the data hold every panel of each group");
                parts.push((group, panel, part));
            }
        }
        parts.into_par_iter().for_each(|(group, panel, part)| {
            for (step, column) in part.chunks_exact_mut(panel.height).enumerate() {
                for (row, slot) in (panel.row..).zip(column) {
                    *slot = weight(group, row, step);
                }
            }
        });
        Self { data, panels, rows, depth }
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
        // SAFETY: by the caller's contract.
        unsafe { if self.panels.rows == 1 { V::outline(Single(&self)) } else { V::outline(Several(&self)) } }
    }
}

/// A product of one row.
struct Single<'a>(&'a Product<'a>);

impl Job for Single<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let product = self.0;
        let mut position = 0;
        while position < product.positions {
            let (vectors, elements) = product.vectors::<V>(position, MOST_VECTORS);
            // SAFETY: by the caller's contract.
            unsafe {
                match vectors {
                    1 => product.row::<V, 1>(position, vectors, elements),
                    2 => product.row::<V, 2>(position, vectors, elements),
                    3 | 4 => product.row::<V, 4>(position, vectors, elements),
                    _ => product.row::<V, 8>(position, vectors, elements),
                }
            }
            position += vectors * V::LANES;
        }
    }
}

/// A product of several rows: panels inside blocks of positions inside blocks of steps.
struct Several<'a>(&'a Product<'a>);

impl Job for Several<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let (product, depth) = (self.0, self.0.panels.depth);
        let most = if V::MANY_REGISTERS { 3 } else { 2 };
        let blocks = depth.div_ceil(BLOCK / (most * V::LANES)).max(1);
        let mut xs = Block([0.; BLOCK]);
        for steps in (0..blocks).map(|block| share(depth, blocks, block)) {
            let mut position = 0;
            while position < product.positions {
                let (vectors, elements) = product.vectors::<V>(position, most);
                // SAFETY: by the caller's contract; the block has room for the steps, by their number.
                unsafe {
                    match vectors {
                        1 => product.panels_of::<V, 1>(steps.clone(), position, elements, &mut xs),
                        2 => product.panels_of::<V, 2>(steps.clone(), position, elements, &mut xs),
                        _ if V::MANY_REGISTERS => product.panels_of::<V, 3>(steps.clone(), position, elements, &mut xs),
                        _ => unreachable!("16 registers hold tiles of two vectors"),
                    }
                }
                position += vectors * V::LANES;
            }
        }
    }
}

/// The vectors of a few positions, step after step. Where they lie in their planes, the lines of many channels fall into few
/// sets of the cache, and half of the vectors cross from a line to the next.
#[repr(align(64))]
struct Block([f32; BLOCK]);

impl Product<'_> {
    /// Vectors from `position`, at most `most`, and how many elements of the last exist.
    #[inline(always)]
    fn vectors<V: Vector>(&self, position: usize, most: usize) -> (usize, usize) {
        let left = self.positions - position;
        let vectors = left.div_ceil(V::LANES).min(most);
        (vectors, if self.slack { V::LANES } else { (left - (vectors - 1) * V::LANES).min(V::LANES) })
    }

    /// One row by the first `vectors` of `NV` vectors of positions, in registers over all steps.
    #[inline(always)]
    unsafe fn row<V: Vector, const NV: usize>(&self, position: usize, vectors: usize, elements: usize) {
        let is_whole = |j: usize| j + 1 < vectors || j + 1 == vectors && elements == V::LANES;
        // SAFETY: `vectors` and `elements` end at the last position, or in the slack; the rest by the caller's contract.
        unsafe {
            let weights = &self.panels.data[self.group * self.panels.depth..][..self.panels.depth];
            let mut sums = [V::zero(); NV];
            for (weight, offset) in weights.iter().zip(self.offsets) {
                let from = self.source.as_ptr().add(offset + position);
                let weight = V::splat(*weight);
                for (j, sum) in sums.iter_mut().enumerate() {
                    if is_whole(j) {
                        *sum = weight.mul_add(V::load(from.add(j * V::LANES)), *sum);
                    } else if j < vectors {
                        *sum = weight.mul_add(V::load_part(from.add(j * V::LANES), elements), *sum);
                    }
                }
            }
            let out = self.out.add(position);
            for (j, sum) in sums.into_iter().enumerate() {
                if is_whole(j) {
                    sum.store(out.add(j * V::LANES));
                } else if j < vectors {
                    sum.store_part(out.add(j * V::LANES), elements);
                }
            }
        }
    }

    /// All panels by `NV` vectors of positions over a range of steps; the last vector has so many elements.
    #[inline(always)]
    unsafe fn panels_of<V: Vector, const NV: usize>(
        &self,
        steps: Range<usize>,
        position: usize,
        elements: usize,
        xs: &mut Block,
    ) {
        // SAFETY: `NV` vectors, of which the last has `elements`, end at the last position, or in the slack; the rest by the
        // caller's contract.
        unsafe {
            for (offset, xs) in self.offsets[steps.clone()].iter().zip(xs.0.chunks_exact_mut(NV * V::LANES)) {
                let from = self.source.as_ptr().add(offset + position);
                for (j, xs) in xs.chunks_exact_mut(V::LANES).enumerate() {
                    let from = from.add(j * V::LANES);
                    let is_whole = j + 1 < NV || elements == V::LANES;
                    (if is_whole { V::load(from) } else { V::load_part(from, elements) }).store(xs.as_mut_ptr());
                }
            }
            let xs = xs.0.as_ptr();
            for panel in &self.panels.panels {
                match panel.height {
                    2 => self.tile::<V, 2, NV>(*panel, &steps, position, elements, xs),
                    3 => self.tile::<V, 3, NV>(*panel, &steps, position, elements, xs),
                    4 => self.tile::<V, 4, NV>(*panel, &steps, position, elements, xs),
                    5 => self.tile::<V, 5, NV>(*panel, &steps, position, elements, xs),
                    6 => self.tile::<V, 6, NV>(*panel, &steps, position, elements, xs),
                    7 if V::MANY_REGISTERS => self.tile::<V, 7, NV>(*panel, &steps, position, elements, xs),
                    8 if V::MANY_REGISTERS => self.tile::<V, 8, NV>(*panel, &steps, position, elements, xs),
                    _ => unreachable!("panels of two and more rows are packed for the instruction set's registers"),
                }
            }
        }
    }

    /// A panel of `MR` rows by `NV` vectors, in registers over the steps; the first steps begin with zeros, others with what
    /// those before them wrote.
    #[inline(always)]
    unsafe fn tile<V: Vector, const MR: usize, const NV: usize>(
        &self,
        panel: Panel,
        steps: &Range<usize>,
        position: usize,
        elements: usize,
        xs: *const f32,
    ) {
        let is_whole = |j: usize| j + 1 < NV || elements == V::LANES;
        // SAFETY: the panel holds `MR` elements per step, and `xs` `NV` vectors; the rest as in `panels_of`.
        unsafe {
            let start = (self.group * self.panels.rows + panel.row) * self.panels.depth + steps.start * MR;
            let weights = self.panels.data.as_ptr().add(start);
            let out = self.out.add(panel.row * self.out_stride + position);
            let mut sums = [[V::zero(); NV]; MR];
            if steps.start > 0 {
                for (i, sums) in sums.iter_mut().enumerate() {
                    for (j, sum) in sums.iter_mut().enumerate() {
                        let out = out.add(i * self.out_stride + j * V::LANES);
                        *sum = if is_whole(j) { V::load(out) } else { V::load_part(out, elements) };
                    }
                }
            }
            for step in 0..steps.len() {
                let (column, xs) = (weights.add(step * MR), xs.add(step * NV * V::LANES));
                let xs: [V; NV] = std::array::from_fn(|j| V::load(xs.add(j * V::LANES)));
                for (i, sums) in sums.iter_mut().enumerate() {
                    let weight = V::splat(*column.add(i));
                    for (sum, x) in sums.iter_mut().zip(xs) {
                        *sum = weight.mul_add(x, *sum);
                    }
                }
            }
            for (i, sums) in sums.into_iter().enumerate() {
                for (j, sum) in sums.into_iter().enumerate() {
                    let out = out.add(i * self.out_stride + j * V::LANES);
                    if is_whole(j) { sum.store(out) } else { sum.store_part(out, elements) }
                }
            }
        }
    }
}

/// The range `index` of `count` ranges of nearly equal length that make up `0..len`.
pub(super) fn share(len: usize, count: usize, index: usize) -> Range<usize> {
    len * index / count..len * (index + 1) / count
}
