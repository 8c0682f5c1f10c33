//! The matrix product under every dense convolution: rows of activations times packed weights, accumulated in registers.

use super::aligned::Aligned;
use crate::simd::{Isa, Job, Vector, Width};

/// Most rows of a register tile, by its vectors per row.
const MAX_ROWS: [usize; 5] = [0, 8, 8, 8, 6];
const MAX_ROWS_16_REGISTERS: [usize; 5] = [0, 8, 6, 0, 0];

/// A (n, k) weight matrix cut into panels of a few vectors of output channels, each stored (k, vectors · lanes).
pub(crate) struct Packed {
    data: Aligned,
    panels: Vec<Panel>,
    /// Depth of the product.
    pub(crate) k: usize,
    /// Output channels, without the padding of the last panel.
    pub(crate) n: usize,
    pub(crate) isa: Isa,
    pub(crate) width: Width,
}

#[derive(Debug, Clone, Copy)]
struct Panel {
    /// First element in `data`.
    start: usize,
    /// First output channel.
    channel: usize,
    vectors: usize,
}

impl Packed {
    /// Packs `weight(n, k)`, into as few panels as `most` vectors per row allow, of equal size where possible.
    pub(crate) fn new(
        [n, k]: [usize; 2],
        isa: Isa,
        width: Width,
        most: usize,
        weight: impl Fn(usize, usize) -> f32,
    ) -> Self {
        let mut packed = Self::zeroed([n, k], isa, width, most);
        let lanes = isa.lanes(width);
        for panel in &packed.panels {
            let columns = panel.vectors * lanes;
            for (i, row) in packed.data[panel.start..][..columns * k].chunks_exact_mut(columns.max(1)).enumerate() {
                for (column, slot) in row.iter_mut().enumerate().take(n - panel.channel) {
                    *slot = weight(panel.channel + column, i);
                }
            }
        }
        packed
    }

    /// A matrix of zeros, packed.
    pub(crate) fn zeroed([n, k]: [usize; 2], isa: Isa, width: Width, most: usize) -> Self {
        let lanes = isa.lanes(width);
        let vectors = n.div_ceil(lanes);
        let count = vectors.div_ceil(most);
        let mut panels = Vec::with_capacity(count);
        let (mut start, mut first) = (0, 0);
        for index in 0..count {
            let last = vectors * (index + 1) / count;
            panels.push(Panel { start, channel: first * lanes, vectors: last - first });
            start += (last - first) * lanes * k;
            first = last;
        }
        Self { data: Aligned::zeroed(start), panels, k, n, isa, width }
    }

    /// The weights of a panel's channels at depth `k`.
    pub(crate) fn row(&mut self, panel: usize, k: usize) -> &mut [f32] {
        let columns = self.columns(panel);
        &mut self.data[self.panels[panel].start + k * columns..][..columns]
    }

    /// Vectors per row that suit the product: as many as the registers allow.
    pub(crate) fn best_width(n: usize, isa: Isa) -> Width {
        let padded = |width| n.next_multiple_of(isa.lanes(width));
        if padded(Width::Half) * 10 < padded(Width::Full) * 9 { Width::Half } else { Width::Full }
    }

    pub(crate) fn panels(&self) -> usize {
        self.panels.len()
    }

    /// First output channel of a panel.
    pub(crate) fn channel(&self, panel: usize) -> usize {
        self.panels[panel].channel
    }

    /// Output channels of a panel, with its padding.
    pub(crate) fn columns(&self, panel: usize) -> usize {
        self.panels[panel].vectors * self.isa.lanes(self.width)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.data.len() * size_of::<f32>()
    }
}

/// What becomes of a tile of sums.
pub(crate) trait Sink: Copy {
    /// Whether the products are of pairs of integers.
    const INTEGERS: bool = false;

    /// What a sum starts from, for the `LANES` channels from `channel`.
    ///
    /// # Safety
    /// The vector's instruction set is there and the channels are below the packed weights' padded count.
    unsafe fn start<V: Vector>(self, channel: usize) -> V;

    /// Takes rows `row..row + MR` of the channels from `channel`.
    ///
    /// # Safety
    /// As above; the rows exist, and no other thread writes them.
    unsafe fn put<V: Vector, const MR: usize, const NV: usize>(self, row: usize, channel: usize, sums: [[V; NV]; MR]);
}

/// Where row `i` of the left matrix starts: `start + i · stride`.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    pub(crate) start: *const f32,
    pub(crate) stride: usize,
    pub(crate) count: usize,
    /// The sink's number of the first row.
    pub(crate) first: usize,
}

/// Where step `i` of the depth lies in a row.
pub(crate) trait Depth: Copy {
    fn at(self, step: usize) -> usize;
}

/// Row elements in order.
#[derive(Clone, Copy)]
pub(crate) struct InOrder;

impl Depth for InOrder {
    #[inline(always)]
    fn at(self, step: usize) -> usize {
        step
    }
}

/// Multiplies rows by a range of panels of the weights into the sink.
///
/// # Safety
/// `V` is the vector of the weights' instruction set and width; each row is readable at all `k` steps; the sink's contract.
#[inline(always)]
pub(crate) unsafe fn multiply<V: Vector, D: Depth, S: Sink>(
    rows: Rows,
    depth: D,
    weights: &Packed,
    panels: std::ops::Range<usize>,
    sink: S,
) {
    for panel in &weights.panels[panels] {
        // SAFETY: `start` lies in `data`, and the panel's elements follow it.
        let b = unsafe { weights.data.as_ptr().add(panel.start) };
        let (k, channel) = (weights.k, panel.channel);
        // SAFETY: by the caller's contract.
        unsafe {
            match panel.vectors {
                1 => V::outline(PanelRows::<D, S, 1> { rows, depth, b, k, channel, sink }),
                2 => V::outline(PanelRows::<D, S, 2> { rows, depth, b, k, channel, sink }),
                3 => V::outline(PanelRows::<D, S, 3> { rows, depth, b, k, channel, sink }),
                _ => V::outline(PanelRows::<D, S, 4> { rows, depth, b, k, channel, sink }),
            }
        }
    }
}

/// The product with one panel of `NV` vectors, as a job.
struct PanelRows<D, S, const NV: usize> {
    rows: Rows,
    depth: D,
    b: *const f32,
    k: usize,
    channel: usize,
    sink: S,
}

impl<D: Depth, S: Sink, const NV: usize> Job for PanelRows<D, S, NV> {
    /// Rows in blocks of nearly equal height.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let most = if V::MANY_REGISTERS { MAX_ROWS[NV] } else { MAX_ROWS_16_REGISTERS[NV] };
        if most == 0 {
            unreachable!("panels are packed for their instruction set's registers")
        }
        let blocks = self.rows.count.div_ceil(most);
        let mut row = 0;
        for block in 0..blocks {
            let height = (self.rows.count - row).div_ceil(blocks - block);
            // SAFETY: by the caller's contract; the block's rows are below `rows.count`.
            unsafe {
                match height {
                    1 => self.tile::<V, 1>(row),
                    2 => self.tile::<V, 2>(row),
                    3 => self.tile::<V, 3>(row),
                    4 => self.tile::<V, 4>(row),
                    5 => self.tile::<V, 5>(row),
                    6 => self.tile::<V, 6>(row),
                    7 if most >= 7 => self.tile::<V, 7>(row),
                    _ if most >= 8 => self.tile::<V, 8>(row),
                    _ => unreachable!("a block is at most as high as its tile"),
                }
            }
            row += height;
        }
    }
}

impl<D: Depth, S: Sink, const NV: usize> PanelRows<D, S, NV> {
    /// `MR` rows from `row`, in registers over the whole depth.
    ///
    /// # Safety
    /// As [`multiply`]; the rows exist.
    #[inline(always)]
    unsafe fn tile<V: Vector, const MR: usize>(&self, row: usize) {
        let Self { rows, depth, b, k, channel, sink } = *self;
        // SAFETY: by the caller's contract: `MR` rows of `k` elements, a panel of `k` times `NV` vectors.
        unsafe {
            let start: [V; NV] = std::array::from_fn(|j| sink.start(channel + j * V::LANES));
            let mut sums = [start; MR];
            let starts: [*const f32; MR] = std::array::from_fn(|i| rows.start.add((row + i) * rows.stride));
            for step in 0..k {
                let panel = b.add(step * NV * V::LANES);
                let weights: [V; NV] = std::array::from_fn(|j| V::load(panel.add(j * V::LANES)));
                let at = depth.at(step);
                for (sums, start) in sums.iter_mut().zip(starts) {
                    let x = V::splat(*start.add(at));
                    for (sum, weight) in sums.iter_mut().zip(weights) {
                        *sum = if S::INTEGERS { x.pair_dot(weight, *sum) } else { x.mul_add(weight, *sum) };
                    }
                }
            }
            sink.put(rows.first + row, channel, sums);
        }
    }
}
