//! Dense convolutions of short numbers as products of blocks, by the instructions that processors have for them.

use std::sync::Arc;

use super::aligned::Aligned;
use super::epilogue::{Bias, Epilogue, load};
use super::gemm::Sink;
use super::quantize::Short;
use super::windows::Windows;
use super::{Body, Call, Invoke, Kernel, View, chunks, part};
use crate::ConvGeometry;
use crate::simd::dot::{Block, SIDE, STEP};
use crate::simd::{Dot, Isa, Vector, Width};

/// Rows of a tile: what blocks are multiples of.
const TILE: usize = 16;
/// Rows that are stored at once.
const STORED: usize = 8;
/// Multiply-accumulates on few positions that are not worth a second thread.
const FEW_MACS: usize = 200_000;

/// A (n, k) weight matrix of elements of two `bf16` or four bytes, cut into panels of [`SIDE`] output channels, each stored
/// (depth, channels); the last may be of [`TILE`].
pub(crate) struct PackedDots {
    data: Aligned,
    /// Output channels, without the padding of the last panel.
    n: usize,
    /// Elements of a window, and with zeros to whole steps of the instruction.
    k: usize,
    depth: usize,
}

impl PackedDots {
    /// Packs `weight(n, k)`.
    pub(crate) fn new([n, k]: [usize; 2], weight: impl Fn(usize, usize) -> f32) -> Self {
        let depth = k.next_multiple_of(STEP).max(STEP);
        let mut packed = Self { data: Aligned::zeroed(n.next_multiple_of(TILE) * depth), n, k, depth };
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

/// A dense convolution of `input`, with one group.
pub(crate) struct DotConv {
    config: DotConfig,
    vectors: (Isa, Width),
    /// How many parts of the output's positions, and of the weights' panels.
    grid: [usize; 2],
    /// Whether rows may be read in place.
    in_place: bool,
}

/// What a [`DotConv`] computes.
pub(crate) struct DotConfig {
    pub(crate) dot: Dot,
    pub(crate) input: View,
    /// The numbers that are multiplied.
    pub(crate) short: Short,
    /// Whether the input is a map of `f32`, of which windows of one position are made short where they are read.
    pub(crate) shortens: bool,
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
        let (positions, weights) = (config.epilogue.out.positions(), &config.weights);
        let macs = positions * weights.k * weights.n;
        let grid = if positions >= SIDE * threads {
            [chunks(threads, macs / 8, positions.div_ceil(SIDE)), 1]
        } else if macs >= FEW_MACS {
            [1, chunks(threads, 0, weights.panels())]
        } else {
            [1, 1]
        };
        assert!(!config.shortens || config.geometry.is_pointwise(), "windows of one position");
        let in_place = config.geometry.is_pointwise() && weights.k == weights.depth && !config.shortens;
        let width = if weights.n <= isa.lanes(Width::Half) { Width::Half } else { Width::Full };
        Self { config, vectors: (isa, width), grid, in_place }
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
        SIDE * (self.config.weights.depth + SIDE)
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
            dot.begin();
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
        let DotConfig { dot, input, short, shortens, geometry, weights, epilogue, .. } = &self.config;
        let PackedDots { depth, k, .. } = **weights;
        let all = epilogue.out.positions();
        let blocks = part(all.div_ceil(SIDE), self.grid[0], call.chunk / self.grid[1]);
        let panels = part(weights.panels(), self.grid[1], call.chunk % self.grid[1]);
        let (out_width, padding) = (epilogue.out.width, short.zero());
        let windows = Windows { input: *input, geometry: *geometry, out_width, padding };
        let (sums, gathered) = (call.scratch, call.scratch.wrapping_add(SIDE * SIDE));
        for row in 0..SIDE {
            // SAFETY: the scratch memory holds a block of sums and of rows; what is behind a window stays 0.
            unsafe { std::slice::from_raw_parts_mut(gathered.add(row * depth + k), depth - k).fill(0.) };
        }
        for block in blocks {
            let positions = block * SIDE..(block * SIDE + SIDE).min(all);
            let (start, count) = (positions.start, positions.len());
            let rows = count.next_multiple_of(TILE);
            let (a, a_stride) = if self.in_place && rows == count {
                (call.arena.wrapping_add(input.offset + start * input.stride), input.stride)
            } else {
                // SAFETY: as above; a row has room for a window.
                unsafe {
                    if *shortens {
                        self.shorten::<V>(call.arena, positions, gathered);
                    } else {
                        windows.gather::<V>(call.arena, positions, gathered, depth);
                    }
                }
                (gathered, depth)
            };
            for panel in panels.clone() {
                let (channel, columns) = (panel * SIDE, weights.columns(panel));
                let b = weights.data[channel * depth..].as_ptr();
                // SAFETY: the rows and the panel have `depth` elements, and the sums have room.
                unsafe {
                    dot.multiply(&Block { a, a_stride, rows, b, columns, depth, sums });
                    store::<V, _>(sums, [count, columns], [start, channel], sink);
                }
            }
        }
    }
}

impl DotConv {
    /// Writes positions of the input as short numbers into rows.
    ///
    /// # Safety
    /// As [`Kernel::run`]; each row has room for all channels.
    #[inline(always)]
    unsafe fn shorten<V: Vector>(&self, arena: *const f32, positions: std::ops::Range<usize>, rows: *mut f32) {
        let DotConfig { input, short, weights, .. } = &self.config;
        for (row, position) in positions.enumerate() {
            for channel in (0..input.channels).step_by(V::LANES) {
                let n = input.channels - channel;
                // SAFETY: the position is in the map, which ends in the arena.
                unsafe {
                    let xs = load::<V>(arena.add(input.offset + position * input.stride + channel), n);
                    short.store(rows.add(row * weights.depth), channel, n, xs);
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

/// Gives the first rows of some sums to a sink, as rows from `row` and channels from `channel`.
///
/// # Safety
/// The sums are there; the sink's contract.
#[inline(always)]
unsafe fn store<V: Vector, S: Sink>(
    sums: *const f32,
    [count, columns]: [usize; 2],
    [row, channel]: [usize; 2],
    sink: S,
) {
    for column in (0..columns).step_by(V::LANES) {
        let whole = count / STORED * STORED;
        // SAFETY: by the caller's contract.
        unsafe {
            for i in (0..whole).step_by(STORED) {
                let rows = std::array::from_fn(|j| [V::load(sums.add((i + j) * columns + column))]);
                sink.put::<V, STORED, 1>(row + i, channel + column, rows);
            }
            for i in whole..count {
                sink.put::<V, 1, 1>(row + i, channel + column, [[V::load(sums.add(i * columns + column))]]);
            }
        }
    }
}
