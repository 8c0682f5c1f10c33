//! The detector's end of the network: raw levels to boxes and probabilities.

use super::epilogue::{activate, exp, store};
use super::{Body, Call, Invoke, Kernel, View, part};
use crate::Activation;
use crate::simd::{Isa, Vector, Width};

/// Sides of a box.
pub(crate) const SIDES: usize = 4;
/// Distribution bins per box side.
const BINS: usize = 16;
/// Channels of a level before its classes: the bins of all sides.
pub(crate) const BOX_CHANNELS: usize = SIDES * BINS;

/// Levels (h, w, [`BOX_CHANNELS`] + nc) to an output tensor (4 + nc, anchors): centre x, centre y, width, height in pixels, then
/// probabilities.
pub(crate) struct DecodeBoxes {
    /// Each level with its pixels per cell.
    levels: Vec<(View, f32)>,
    output: usize,
    isa: Isa,
    anchors: usize,
}

impl DecodeBoxes {
    pub(crate) fn new(levels: Vec<(View, f32)>, output: usize, isa: Isa) -> Self {
        let anchors = levels.iter().map(|(view, _)| view.positions()).sum();
        Self { levels, output, isa, anchors }
    }
}

impl Kernel for DecodeBoxes {
    fn views(&self) -> (Vec<View>, Vec<View>) {
        (self.levels.iter().map(|(view, _)| *view).collect(), Vec::new())
    }

    fn chunks(&self) -> usize {
        self.anchors.div_ceil(512).max(1)
    }

    fn scratch(&self) -> usize {
        self.levels.iter().map(|(view, _)| view.channels).max().unwrap_or(0) * self.isa.lanes(Width::Full)
    }

    fn describe(&self) -> String {
        format!("decode x{}", self.chunks())
    }

    unsafe fn run(&self, call: Call) {
        // SAFETY: plans are built for an available instruction set; the rest is the caller's contract.
        unsafe { self.isa.run(Width::Full, Invoke(self, call)) }
    }
}

impl Body for DecodeBoxes {
    #[inline(always)]
    unsafe fn body<V: Vector>(&self, call: Call) {
        let chunk = part(self.anchors, self.chunks(), call.chunk);
        let mut before = 0;
        for (view, pixels) in &self.levels {
            let own = before..before + view.positions();
            let (start, end) = (chunk.start.max(own.start), chunk.end.min(own.end));
            let mut anchor = start;
            while anchor < end {
                let n = (end - anchor).min(V::LANES);
                // SAFETY: the anchors are positions of the level and columns of the output.
                unsafe { self.block::<V>(call, view, *pixels, anchor - before, anchor, n) };
                anchor += n;
            }
            before = own.end;
        }
    }
}

impl DecodeBoxes {
    /// `n` anchors from `position` of a level into columns from `anchor` of the output.
    #[inline(always)]
    unsafe fn block<V: Vector>(&self, call: Call, view: &View, pixels: f32, position: usize, anchor: usize, n: usize) {
        // SAFETY: by the caller's contract; the scratch memory holds a vector of anchors per channel.
        unsafe {
            let tile = call.scratch;
            for i in 0..n {
                let from = call.arena.add(view.offset + (position + i) * view.stride);
                for channel in 0..view.channels {
                    *tile.add(channel * V::LANES + i) = *from.add(channel);
                }
            }
            let out = (*call.outputs.add(self.output)).add(anchor);
            let mut centres = [[0f32; 16]; 2];
            let [columns, rows] = &mut centres;
            for (i, (x, y)) in columns.iter_mut().zip(rows).enumerate() {
                *x = ((position + i) % view.width) as f32 + 0.5;
                *y = ((position + i) / view.width) as f32 + 0.5;
            }
            let (half, pixels) = (V::splat(0.5), V::splat(pixels));
            for (axis, centre) in centres.iter().enumerate() {
                let centre = V::load(centre.as_ptr());
                let (low, high) = (centre.sub(mean_bin::<V>(tile, axis)), centre.add(mean_bin::<V>(tile, axis + 2)));
                store(out.add(axis * self.anchors), n, low.add(high).mul(half).mul(pixels));
                store(out.add((axis + 2) * self.anchors), n, high.sub(low).mul(pixels));
            }
            for channel in BOX_CHANNELS..view.channels {
                let mut score = [V::load(tile.add(channel * V::LANES))];
                activate(Activation::Sigmoid, &mut score);
                store(out.add((channel - BOX_CHANNELS + SIDES) * self.anchors), n, score[0]);
            }
        }
    }
}

/// The expected bin of one side of each anchor: the softmax over its bins is the distribution.
///
/// # Safety
/// `tile` holds a vector of anchors per channel; the vector's instruction set is there.
#[inline(always)]
unsafe fn mean_bin<V: Vector>(tile: *const f32, side: usize) -> V {
    // SAFETY: by the caller's contract.
    unsafe {
        let first = tile.add(side * BINS * V::LANES);
        let mut most = V::load(first);
        for bin in 1..BINS {
            most = most.max(V::load(first.add(bin * V::LANES)));
        }
        let (mut total, mut mean) = (V::zero(), V::zero());
        for bin in 0..BINS {
            let weight = exp(V::load(first.add(bin * V::LANES)).sub(most));
            total = total.add(weight);
            mean = weight.mul_add(V::splat(bin as f32), mean);
        }
        mean.div(total)
    }
}
