//! Depthwise convolutions: a vector of channels of several neighbouring outputs at a time.

use std::sync::Arc;

use super::epilogue::{self, Bias, Epilogue, Store};
use super::gemm::Sink as _;
use super::{Aligned, Body, Call, Invoke, Kernel, View, chunks, part};
use crate::ConvGeometry;
use crate::simd::{Isa, Job, Vector, Width};

/// Weights (channels, window) cut into vectors of channels, each stored (window, lanes).
pub(crate) struct PackedDepthwise {
    data: Aligned,
    isa: Isa,
    width: Width,
}

impl PackedDepthwise {
    /// Packs `weight(channel, tap)`, taps in row-major order.
    pub(crate) fn new(
        [channels, taps]: [usize; 2],
        isa: Isa,
        width: Width,
        weight: impl Fn(usize, usize) -> f32,
    ) -> Self {
        let lanes = isa.lanes(width);
        let mut data = Aligned::zeroed(channels.next_multiple_of(lanes) * taps);
        for channel in 0..channels {
            for tap in 0..taps {
                data[(channel / lanes * taps + tap) * lanes + channel % lanes] = weight(channel, tap);
            }
        }
        Self { data, isa, width }
    }
}

/// A convolution in which each output channel reads the input channel of its number.
pub(crate) struct Depthwise {
    pub(crate) input: View,
    pub(crate) geometry: ConvGeometry,
    pub(crate) weights: Arc<PackedDepthwise>,
    pub(crate) bias: Bias,
    pub(crate) epilogue: Epilogue,
    pub(crate) chunks: usize,
}

impl Depthwise {
    /// Cuts the work into rows for `threads`.
    pub(crate) fn new(
        input: View,
        geometry: ConvGeometry,
        weights: Arc<PackedDepthwise>,
        bias: Bias,
        epilogue: Epilogue,
        threads: usize,
    ) -> Self {
        let [kernel_h, kernel_w] = geometry.kernel;
        let macs = epilogue.out.positions() * input.channels * kernel_h * kernel_w;
        let chunks = chunks(threads, macs, epilogue.out.height);
        Self { input, geometry, weights, bias, epilogue, chunks }
    }
}

impl Kernel for Depthwise {
    fn views(&self) -> (Vec<View>, Vec<View>) {
        let (mut read, written) = self.epilogue.views();
        read.push(self.input);
        (read, written)
    }

    fn chunks(&self) -> usize {
        self.chunks
    }

    fn describe(&self) -> String {
        format!("depthwise {}x{}", self.weights.isa.lanes(self.weights.width), self.chunks)
    }

    fn weight_bytes(&self) -> usize {
        self.weights.data.len() * size_of::<f32>()
    }

    unsafe fn run(&self, call: Call) {
        // SAFETY: plans are built for an available instruction set; the rest is the caller's contract.
        unsafe { self.weights.isa.run(self.weights.width, Invoke(self, call)) }
    }
}

impl Body for Depthwise {
    #[inline(always)]
    unsafe fn body<V: Vector>(&self, call: Call) {
        let ConvGeometry { kernel: [_, kernel], stride: [_, stride], padding: [_, padding], dilation, .. } =
            self.geometry;
        // Blocks of more padding than a window's half may read outside the map by any column.
        let stride = if padding <= kernel / 2 { stride } else { 0 };
        // SAFETY: by the caller's contract.
        unsafe {
            match (kernel, stride, dilation[1]) {
                (1, 1, 1) => V::outline(RowsOf::<1, 1>(self, call)),
                (3, 1, 1) => V::outline(RowsOf::<3, 1>(self, call)),
                (3, 2, 1) => V::outline(RowsOf::<3, 2>(self, call)),
                (5, 1, 1) => V::outline(RowsOf::<5, 1>(self, call)),
                (5, 2, 1) => V::outline(RowsOf::<5, 2>(self, call)),
                _ => V::outline(RowsOf::<0, 0>(self, call)),
            }
        }
    }
}

/// A chunk for one window, as a job.
struct RowsOf<'a, const KW: usize, const S: usize>(&'a Depthwise, Call);

impl<const KW: usize, const S: usize> Job for RowsOf<'_, KW, S> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        // SAFETY: by the caller's contract.
        unsafe { self.0.rows::<V, KW, S>(self.1) }
    }
}

/// Outputs `x..` of row `y` and the channels from `channel`.
#[derive(Clone, Copy)]
struct Block {
    y: usize,
    x: usize,
    channel: usize,
}

impl Depthwise {
    /// The chunk's rows, in blocks of eight and four outputs; the last block of a row begins early enough to be whole, where
    /// the row allows. `KW` and `S` are the window's width and stride along x, or 0 where they are known at run time only.
    #[inline(always)]
    unsafe fn rows<V: Vector, const KW: usize, const S: usize>(&self, call: Call) {
        let out = self.epilogue.out;
        // SAFETY: the views end in the arena.
        let store = unsafe { self.epilogue.bind(call.arena, &self.bias) };
        for y in part(out.height, self.chunks, call.chunk) {
            let mut x = 0;
            while x < out.width {
                let block = |x| Block { y, x, channel: 0 };
                // SAFETY: by the caller's contract; the block's outputs are in the row.
                unsafe {
                    if KW > 0 && out.width >= 8 && out.width - x > 4 {
                        self.channels::<V, KW, S, 8>(call.arena, store, block(x.min(out.width - 8)));
                        x += 8;
                    } else if KW > 0 && out.width >= 4 {
                        self.channels::<V, KW, S, 4>(call.arena, store, block(x.min(out.width - 4)));
                        x += 4;
                    } else {
                        self.channels::<V, KW, S, 1>(call.arena, store, block(x));
                        x += 1;
                    }
                }
            }
        }
    }

    /// `XB` neighbouring outputs of all channels.
    #[inline(always)]
    unsafe fn channels<V: Vector, const KW: usize, const S: usize, const XB: usize>(
        &self,
        arena: *const f32,
        store: Store,
        block: Block,
    ) {
        let first = (block.x * S) as isize - self.geometry.padding[1] as isize;
        let last = first + ((XB - 1) * S + KW) as isize;
        let inside = KW > 0 && first >= 0 && last <= self.input.width as isize;
        let whole = self.input.channels / V::LANES * V::LANES;
        // SAFETY: by the caller's contract.
        unsafe {
            if inside {
                for channel in (0..whole).step_by(V::LANES) {
                    self.block::<V, KW, S, XB, true, false>(arena, store, Block { channel, ..block });
                }
            } else {
                for channel in (0..whole).step_by(V::LANES) {
                    self.block::<V, KW, S, XB, true, true>(arena, store, Block { channel, ..block });
                }
            }
            if whole < self.input.channels {
                self.block::<V, KW, S, XB, false, true>(arena, store, Block { channel: whole, ..block });
            }
        }
    }

    /// `XB` neighbouring outputs of a vector of channels. `FULL` blocks have all the vector's channels; `CHECKED` blocks may
    /// read outside the map, which is zero.
    #[inline(always)]
    unsafe fn block<
        V: Vector,
        const KW: usize,
        const S: usize,
        const XB: usize,
        const FULL: bool,
        const CHECKED: bool,
    >(
        &self,
        arena: *const f32,
        store: Store,
        Block { y, x, channel }: Block,
    ) {
        let (input, geometry) = (&self.input, &self.geometry);
        let (kernel_w, stride, dilation) = match KW {
            0 => (geometry.kernel[1], geometry.stride[1], geometry.dilation[1]),
            _ => (KW, S, 1),
        };
        let n = if FULL { V::LANES } else { input.channels - channel };
        let first = (x * stride) as isize - geometry.padding[1] as isize;
        let taps = geometry.kernel[0] * kernel_w;
        // SAFETY: the weights have a block per vector of channels; reads are inside the map, by the block's contract or by the
        // check; the outputs exist.
        unsafe {
            let weights = self.weights.data.as_ptr().add(channel * taps);
            let mut sums = [store.start::<V>(channel); XB];
            for tap_y in 0..geometry.kernel[0] {
                let row = (y * geometry.stride[0] + tap_y * geometry.dilation[0]).wrapping_sub(geometry.padding[0]);
                if row >= input.height {
                    continue;
                }
                let start = arena.add(input.at(row, 0) + channel);
                let weights = weights.add(tap_y * kernel_w * V::LANES);
                let start = start.wrapping_offset(first * input.stride as isize);
                let inside = |column: usize| (0..input.width as isize).contains(&(first + column as isize));
                if KW == 0 {
                    for tap_x in 0..kernel_w {
                        if inside(tap_x * dilation) {
                            let value = epilogue::load(start.wrapping_add(tap_x * dilation * input.stride), n);
                            sums[0] = V::load(weights.add(tap_x * V::LANES)).mul_add(value, sums[0]);
                        }
                    }
                    continue;
                }
                let mut taps = [V::zero(); KW];
                for (tap_x, tap) in taps.iter_mut().enumerate() {
                    *tap = V::load(weights.add(tap_x * V::LANES));
                }
                // Unrolled here: as a loop of 17 columns, it keeps the sums in memory.
                macro_rules! columns {
                    ($($column:literal)*) => {$(
                        if $column < (XB - 1) * S + KW {
                            // The padding is at most half a window: other columns are inside.
                            let is_edge = $column < KW / 2 || $column >= (XB - 1) * S + KW - KW / 2;
                            if !CHECKED || !is_edge || inside($column) {
                                let from = start.wrapping_add($column * input.stride);
                                let value = if FULL { V::load(from) } else { epilogue::load(from, n) };
                                // Each column is read once for all the windows that it lies in.
                                for (i, sum) in sums.iter_mut().enumerate() {
                                    if $column >= i * S && $column - i * S < KW {
                                        *sum = value.mul_add(taps[$column - i * S], *sum);
                                    }
                                }
                            }
                        }
                    )*};
                }
                columns!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18);
            }
            store.put(y * self.epilogue.out.width + x, channel, as_rows(sums));
        }
    }
}

/// A column of sums as rows of one vector each.
#[inline(always)]
fn as_rows<V: Vector, const XB: usize>(sums: [V; XB]) -> [[V; 1]; XB] {
    let mut rows = [[sums[0]]; XB];
    for (row, sum) in rows.iter_mut().zip(sums) {
        row[0] = sum;
    }
    rows
}
