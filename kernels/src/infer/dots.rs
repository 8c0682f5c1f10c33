//! Dense convolutions of low-precision numbers as products of blocks, by the instructions that processors have for them.

use std::sync::Arc;

use super::aligned::Aligned;
use super::epilogue::{Bias, Epilogue, load};
use super::gemm::Sink;
use super::quantize::LowPrecision;
use super::windows::Windows;
use super::{Body, Call, Invoke, Kernel, View, grid, part};
use crate::ConvGeometry;
use crate::simd::dot::{Block, MAX_STEP, SIDE};
use crate::simd::{Dot, Isa, Job, Vector, Width};

/// Rows of a tile: what blocks are multiples of.
const TILE: usize = 16;
/// Rows that are stored at once.
const STORED: usize = 8;
/// How many times as many multiply-accumulates as in `f32` take as long, roughly: a step is cut by the time it takes.
const FASTER: usize = 8;

/// A weight matrix of elements of two `bf16` or four bytes, cut into panels of [`SIDE`] output channels, each stored (depth,
/// channels); the last may be of [`TILE`].
pub(crate) struct PackedDots {
    data: Aligned,
    /// Output channels, without the padding of the last panel.
    n: usize,
    /// Elements of a window, and with zeros to whole steps.
    k: usize,
    depth: usize,
    /// Elements that are multiplied at once.
    step: usize,
}

impl PackedDots {
    /// Packs `weight(n, k)` for windows whose rows of `segment` elements lie apart: steps divide those if they can.
    pub(crate) fn new([n, k]: [usize; 2], segment: usize, weight: impl Fn(usize, usize) -> f32) -> Self {
        let step = (MAX_STEP / 2..=MAX_STEP).rev().find(|step| segment.is_multiple_of(*step)).unwrap_or(MAX_STEP);
        let depth = k.next_multiple_of(step).max(step);
        let mut packed = Self { data: Aligned::zeroed(n.next_multiple_of(TILE) * depth), n, k, depth, step };
        for panel in 0..packed.panels() {
            let (first, columns) = (panel * SIDE, packed.columns(panel));
            let rows = packed.data[first * depth..][..columns * depth].chunks_exact_mut(columns);
            for (i, row) in rows.enumerate().take(k) {
                for (column, slot) in row.iter_mut().enumerate().take(n - first) {
                    *slot = weight(first + column, i);
                }
            }
        }
        packed
    }

    fn panels(&self) -> usize {
        self.n.div_ceil(SIDE)
    }

    /// Output channels of a panel, with its padding.
    fn columns(&self, panel: usize) -> usize {
        (self.n - panel * SIDE).next_multiple_of(TILE).min(SIDE)
    }
}

/// Where rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The map.
    Map,
    /// The map's rows that a row of the output reads, copied between their borders: neighbouring windows share them.
    Strips,
    /// Windows that are copied one by one, or converted, and padded to whole steps.
    Windows,
}

/// A dense convolution of `input`, with one group.
pub(crate) struct DotConv {
    config: DotConfig,
    vectors: (Isa, Width),
    /// How many parts of the output's rows or positions, and of the weights' panels.
    grid: [usize; 2],
    source: Source,
}

/// What a [`DotConv`] computes.
pub(crate) struct DotConfig {
    pub(crate) dot: Dot,
    pub(crate) input: View,
    /// The numbers that are multiplied.
    pub(crate) precision: LowPrecision,
    /// Whether the input is a map of `f32`, of which windows of one position are converted where they are read.
    pub(crate) converts_input: bool,
    pub(crate) geometry: ConvGeometry,
    /// Depth ordered by window row, window column, channel.
    pub(crate) weights: Arc<PackedDots>,
    pub(crate) bias: Bias,
    pub(crate) epilogue: Epilogue,
    /// Of bytes: what an integer sum of each channel counts, and the integers, as bits, by which it is too large because the input's
    /// zeros are not.
    pub(crate) integers: Option<[Bias; 2]>,
}

impl DotConv {
    /// Cuts the work for `threads`: by positions, which each read all weights, or, where there are few, by panels of weights.
    /// Vectors of `isa` store the sums.
    pub(crate) fn new(config: DotConfig, isa: Isa, threads: usize) -> Self {
        assert_ne!(config.dot.is_bf16(), config.integers.is_some(), "bytes alone are integers");
        let DotConfig { input, converts_input, geometry, weights, epilogue, .. } = &config;
        assert!(!converts_input || geometry.is_pointwise(), "windows of one position");
        let is_whole = |elements: usize| elements.is_multiple_of(weights.step);
        let source = if geometry.is_pointwise() && !converts_input && is_whole(weights.k) {
            Source::Map
        } else if !converts_input && geometry.dilation[1] == 1 && is_whole(geometry.kernel[1] * input.channels) {
            Source::Strips
        } else {
            Source::Windows
        };
        let (positions, macs) = (epilogue.out.positions(), epilogue.out.positions() * weights.k * weights.n);
        let most = if source == Source::Strips { epilogue.out.height } else { positions.div_ceil(SIDE) };
        let (parts, is_few) = ([most, weights.panels()], positions < SIDE * threads);
        let grid = grid(threads, macs / FASTER, parts, is_few);
        let width = if weights.n <= isa.lanes(Width::Half) { Width::Half } else { Width::Full };
        Self { config, vectors: (isa, width), grid, source }
    }

    /// Elements of a strip: the windows of an output row, and of as many positions behind as make its last tile whole.
    fn strip(&self) -> usize {
        let DotConfig { input, geometry, epilogue, .. } = &self.config;
        let positions = epilogue.out.width.next_multiple_of(TILE);
        ((positions - 1) * geometry.stride[1] + geometry.kernel[1]) * input.channels
    }
}

impl Kernel for DotConv {
    fn views(&self) -> (Vec<View>, Vec<View>) {
        let (mut read, written) = self.config.epilogue.views();
        read.push(self.config.input);
        (read, written)
    }

    fn chunks(&self) -> usize {
        self.grid[0] * self.grid[1]
    }

    fn scratch(&self) -> usize {
        let rows = match self.source {
            Source::Strips => self.config.geometry.kernel[0] * self.strip(),
            Source::Map | Source::Windows => SIDE * self.config.weights.depth,
        };
        SIDE * SIDE + rows
    }

    fn describe(&self) -> String {
        format!("{} x{}", self.config.dot.name(), self.chunks())
    }

    fn weight_bytes(&self) -> usize {
        self.config.weights.data.len() * size_of::<f32>()
    }

    unsafe fn run(&self, call: Call) {
        let ((isa, width), dot) = (self.vectors, self.config.dot);
        // SAFETY: plans are built for an available instruction set; the rest is the caller's contract.
        unsafe {
            dot.begin(self.config.weights.step);
            isa.run(width, Invoke(self, call));
            dot.end();
        }
    }
}

impl Body for DotConv {
    #[inline(always)]
    unsafe fn body<V: Vector>(&self, call: Call) {
        let DotConfig { bias, epilogue, integers, .. } = &self.config;
        // SAFETY: the views end in the arena, and biases, scales and offsets are padded to whole tiles; the rest is the caller's
        // contract.
        unsafe {
            let sink = epilogue.bind(call.arena, bias);
            match integers {
                None => self.multiply::<V, _>(call, Shifted::<_, false> { sink, by: bias.as_ptr() }),
                Some([scales, offsets]) => {
                    let sink = sink.of_integers(scales);
                    self.multiply::<V, _>(call, Shifted::<_, true> { sink, by: offsets.as_ptr() });
                }
            }
        }
    }
}

impl DotConv {
    /// A chunk's products into its sink.
    ///
    /// # Safety
    /// As [`Kernel::run`]; the sink's contract.
    #[inline(always)]
    unsafe fn multiply<V: Vector, S: Sink>(&self, call: Call, sink: S) {
        let DotConfig { input, precision, geometry, weights, epilogue, .. } = &self.config;
        let (part_of, panels) = (call.chunk / self.grid[1], call.chunk % self.grid[1]);
        let panels = part(weights.panels(), self.grid[1], panels);
        let (out, rows) = (epilogue.out, call.scratch.wrapping_add(SIDE * SIDE));
        let windows = Windows { input: *input, geometry: *geometry, out_width: out.width, padding: precision.zero() };
        if self.source == Source::Strips {
            let (strip, along) = (self.strip(), geometry.stride[1] * input.channels);
            let segments = Segments { count: geometry.kernel[0], pitch: strip };
            for y in part(out.height, self.grid[0], part_of) {
                // SAFETY: the scratch memory holds a strip for each row of the window.
                unsafe { windows.strips::<V>(call.arena, y, rows, strip) };
                for x in (0..out.width).step_by(SIDE) {
                    let a = rows.wrapping_add(x * along);
                    let count = (out.width - x).min(SIDE);
                    // SAFETY: the strips go on to the end of the last tile.
                    unsafe { self.block::<V, _>((a, along), segments, y * out.width + x, count, &panels, call, sink) };
                }
            }
            return;
        }
        let PackedDots { depth, k, .. } = **weights;
        if self.source == Source::Windows {
            for row in 0..SIDE {
                // SAFETY: the scratch memory holds a block of rows; what is behind a window stays 0.
                unsafe { std::slice::from_raw_parts_mut(rows.add(row * depth + k), depth - k).fill(0.) };
            }
        }
        let segments = Segments { count: 1, pitch: 0 };
        for block in part(out.positions().div_ceil(SIDE), self.grid[0], part_of) {
            let positions = block * SIDE..(block * SIDE + SIDE).min(out.positions());
            let (first, count) = (positions.start, positions.len());
            // Tiles read whole rows, which the map may not have behind its last.
            let (a, stride) = if self.source == Source::Map && count.is_multiple_of(TILE) {
                (call.arena.wrapping_add(input.offset + first * input.stride), input.stride)
            } else {
                // SAFETY: as above; a row has room for a window.
                unsafe {
                    if self.config.converts_input {
                        self.convert::<V>(call.arena, positions, rows);
                    } else {
                        windows.gather::<V>(call.arena, positions, rows, depth);
                    }
                }
                (rows, depth)
            };
            // SAFETY: each row has `depth` elements.
            unsafe { self.block::<V, _>((a, stride), segments, first, count, &panels, call, sink) };
        }
    }

    /// `count` positions from `first`, whose rows are at `a`, times some panels.
    ///
    /// # Safety
    /// As [`Kernel::run`]; rows up to the next multiple of [`TILE`] are readable; the sink's contract.
    #[inline(always)]
    #[allow(clippy::too_many_arguments, reason = "a block's place on both sides")]
    unsafe fn block<V: Vector, S: Sink>(
        &self,
        (a, a_stride): (*const f32, usize),
        Segments { count: segments, pitch }: Segments,
        first: usize,
        count: usize,
        panels: &std::ops::Range<usize>,
        call: Call,
        sink: S,
    ) {
        let DotConfig { dot, weights, .. } = &self.config;
        let (rows, depth, step, sums) = (count.next_multiple_of(TILE), weights.depth, weights.step, call.scratch);
        for panel in panels.clone() {
            let (channel, columns) = (panel * SIDE, weights.columns(panel));
            let b = weights.data[channel * depth..].as_ptr();
            let depth = depth / segments;
            // SAFETY: the rows and the panel have the depth of all segments, and the sums have room.
            unsafe {
                dot.multiply(&Block { a, a_stride, rows, segments, pitch, depth, step, b, columns, sums });
                V::outline(StoreSums { sums, count, columns, first, channel, sink });
            }
        }
    }
}

/// The parts of a row that lie apart.
#[derive(Clone, Copy)]
struct Segments {
    count: usize,
    pitch: usize,
}

impl DotConv {
    /// Writes positions of the input as low-precision numbers into rows.
    ///
    /// # Safety
    /// As [`Kernel::run`]; each row has room for all channels.
    #[inline(always)]
    unsafe fn convert<V: Vector>(&self, arena: *const f32, positions: std::ops::Range<usize>, rows: *mut f32) {
        let DotConfig { input, precision, weights, .. } = &self.config;
        for (row, position) in positions.enumerate() {
            for channel in (0..input.channels).step_by(V::LANES) {
                let n = input.channels - channel;
                // SAFETY: the position is in the map, which ends in the arena.
                unsafe {
                    let xs = load::<V>(arena.add(input.offset + position * input.stride + channel), n);
                    precision.store(rows.add(row * weights.depth), channel, n, xs);
                }
            }
        }
    }
}

/// Sums plus a value of each channel, or integers minus one, into a sink.
#[derive(Clone, Copy)]
struct Shifted<S, const INTEGERS: bool> {
    sink: S,
    by: *const f32,
}

impl<S: Sink, const INTEGERS: bool> Sink for Shifted<S, INTEGERS> {
    #[inline(always)]
    unsafe fn start<V: Vector>(self, _: usize) -> V {
        // SAFETY: by the caller's contract.
        unsafe { V::zero() }
    }

    #[inline(always)]
    unsafe fn put<V: Vector, const MR: usize, const NV: usize>(self, row: usize, channel: usize, sums: [[V; NV]; MR]) {
        let mut sums = sums;
        // SAFETY: the values are padded to whole vectors of a panel; the rest is the caller's contract.
        unsafe {
            for j in 0..NV {
                let by = V::load(self.by.add(channel + j * V::LANES));
                for sums in &mut sums {
                    sums[j] = if INTEGERS { sums[j].int_sub(by) } else { sums[j].add(by) };
                }
            }
            self.sink.put(row, channel, sums);
        }
    }
}

/// Gives the first rows of some sums to a sink, as a job: as rows from `first` and channels from `channel`.
struct StoreSums<S> {
    sums: *const f32,
    count: usize,
    columns: usize,
    first: usize,
    channel: usize,
    sink: S,
}

impl<S: Sink> Job for StoreSums<S> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { sums, count, columns, first, channel, sink } = self;
        let whole = count / STORED * STORED;
        for column in (0..columns).step_by(V::LANES) {
            // SAFETY: the sums are there; the rest is the sink's contract, which is the caller's.
            unsafe {
                for i in (0..whole).step_by(STORED) {
                    let rows = std::array::from_fn(|j| [V::load(sums.add((i + j) * columns + column))]);
                    sink.put::<V, STORED, 1>(first + i, channel + column, rows);
                }
                for i in whole..count {
                    sink.put::<V, 1, 1>(first + i, channel + column, [[V::load(sums.add(i * columns + column))]]);
                }
            }
        }
    }
}
