//! 3x3 convolutions of stride 1 with fewer multiplications, by minimal filtering: Lavin and Gray, <https://arxiv.org/abs/1509.09308>.
//!
//! A chunk takes some tiles of the output from the input's transform to the output's, so that all between stays in cache:
//! a matrix product of (tiles, in_c) by (in_c, out_c) for each point, one panel of output channels after the other.

use std::marker::PhantomData;
use std::sync::Arc;

use super::aligned::LINE;
use super::epilogue::{self, Bias, Epilogue};
use super::gemm::{InOrder, Packed, Rows, Sink, multiply};
use super::{Body, Call, Invoke, Kernel, View, part};
use crate::simd::Vector;

/// Fewest tiles for which reading the weights pays.
const FEWEST: usize = 12;

/// Transformed weights, one matrix (in_c, out_c) per point.
pub(crate) struct PackedWinograd {
    pub(super) points: Vec<Packed>,
}

/// F(OUT x OUT, 3x3), whose tiles have IN x IN inputs.
pub(crate) trait Form<const IN: usize, const OUT: usize>: Send + Sync {
    /// What profiles call it.
    const NAME: &'static str;
    /// Whether it computes pairs of integers, whose sums have scales.
    const INTEGERS: bool;
    /// Elements of transformed input that a chunk may take: a part of a core's second-level cache.
    const TRANSFORMED: usize;

    /// `Bᵀ d`.
    ///
    /// # Safety
    /// The vector's instruction set is there.
    unsafe fn input_points<V: Vector>(d: [V; IN]) -> [V; IN];

    /// `Aᵀ m`.
    ///
    /// # Safety
    /// The vector's instruction set is there.
    unsafe fn output_points<V: Vector>(m: [V; IN]) -> [V; OUT];

    /// The output that the sink takes, which begins a sum with `start`.
    ///
    /// # Safety
    /// The vector's instruction set is there.
    unsafe fn finish<V: Vector>(output: V, start: V) -> V;
}

/// A 3x3 convolution of stride 1 and dilation 1 with one group.
pub(crate) struct Winograd<F, const IN: usize, const OUT: usize> {
    config: WinogradConfig,
    /// Tiles along each axis.
    tiles: [usize; 2],
    /// How many parts of the tiles, and of the weights' panels.
    grid: [usize; 2],
    form: PhantomData<F>,
}

/// What a [`Winograd`] computes.
pub(crate) struct WinogradConfig {
    pub(crate) input: View,
    pub(crate) padding: [usize; 2],
    /// Of the kernel's form.
    pub(crate) weights: Arc<PackedWinograd>,
    pub(crate) bias: Bias,
    pub(crate) epilogue: Epilogue,
    /// Where the form computes integers, what a sum of each channel counts.
    pub(crate) scales: Option<Bias>,
}

impl<F: Form<IN, OUT>, const IN: usize, const OUT: usize> Winograd<F, IN, OUT> {
    /// Cuts the work into at least a chunk per thread where it can.
    pub(crate) fn new(config: WinogradConfig, threads: usize) -> Self {
        assert_eq!(F::INTEGERS, config.scales.is_some(), "integers alone have scales");
        let out = &config.epilogue.out;
        let tiles = [out.height.div_ceil(OUT), out.width.div_ceil(OUT)];
        let count = tiles[0] * tiles[1];
        let most = (F::TRANSFORMED / (IN * IN * config.input.channels.max(1))).max(FEWEST);
        let rows = count.div_ceil(most).next_multiple_of(threads).min(count.div_ceil(FEWEST)).max(1);
        let columns = (threads / rows).clamp(1, config.weights.points[0].panels());
        Self { config, tiles, grid: [rows, columns], form: PhantomData }
    }

    fn first(&self) -> &Packed {
        &self.config.weights.points[0]
    }

    fn most_tiles(&self) -> usize {
        (self.tiles[0] * self.tiles[1]).div_ceil(self.grid[0])
    }

    /// Elements from one point's transformed input to the next: a line more than the matrix, lest the points' matrices
    /// fall into the same cache sets.
    fn input_step(&self) -> usize {
        self.most_tiles() * self.config.input.channels.next_multiple_of(LINE) + LINE
    }

    /// The same for one panel of a point's products.
    fn product_step(&self) -> usize {
        let weights = self.first();
        self.most_tiles() * weights.isa.lanes(weights.width) * weights.isa.max_vectors() + LINE
    }
}

impl<F: Form<IN, OUT>, const IN: usize, const OUT: usize> Kernel for Winograd<F, IN, OUT> {
    fn views(&self) -> (Vec<View>, Vec<View>) {
        let (mut read, written) = self.config.epilogue.views();
        read.push(self.config.input);
        (read, written)
    }

    fn chunks(&self) -> usize {
        self.grid[0] * self.grid[1]
    }

    fn scratch(&self) -> usize {
        IN * IN * (self.input_step() + self.product_step())
    }

    fn describe(&self) -> String {
        let weights = self.first();
        format!("{} {}x{}", F::NAME, weights.isa.lanes(weights.width), self.chunks())
    }

    fn weight_bytes(&self) -> usize {
        self.config.weights.points.iter().map(Packed::bytes).sum()
    }

    unsafe fn run(&self, call: Call) {
        let weights = self.first();
        // SAFETY: plans are built for an available instruction set; the rest is the caller's contract.
        unsafe { weights.isa.run(weights.width, Invoke(self, call)) }
    }
}

/// One panel of products, as plain rows.
#[derive(Clone, Copy)]
struct Products<const INTEGERS: bool> {
    start: *mut f32,
    stride: usize,
    first_channel: usize,
}

impl<const INTEGERS: bool> Sink for Products<INTEGERS> {
    const INTEGERS: bool = INTEGERS;

    #[inline(always)]
    unsafe fn start<V: Vector>(self, _: usize) -> V {
        // SAFETY: by the caller's contract.
        unsafe { V::zero() }
    }

    #[inline(always)]
    unsafe fn put<V: Vector, const MR: usize, const NV: usize>(self, row: usize, channel: usize, sums: [[V; NV]; MR]) {
        for (i, sums) in sums.into_iter().enumerate() {
            for (j, sum) in sums.into_iter().enumerate() {
                let at = (row + i) * self.stride + channel - self.first_channel + j * V::LANES;
                // SAFETY: the products have room for whole vectors of each tile.
                unsafe { sum.store(self.start.add(at)) }
            }
        }
    }
}

impl<F: Form<IN, OUT>, const IN: usize, const OUT: usize> Body for Winograd<F, IN, OUT> {
    #[inline(always)]
    unsafe fn body<V: Vector>(&self, call: Call) {
        let WinogradConfig { epilogue, bias, scales, .. } = &self.config;
        // SAFETY: the views end in the arena, and the scales are padded as the bias is; the rest is the caller's contract.
        unsafe {
            let store = epilogue.bind(call.arena, bias);
            if F::INTEGERS {
                let Some(scales) = scales else { unreachable!("integers have scales") };
                self.convolve::<V, _, true>(call, store.of_integers(scales));
            } else {
                self.convolve::<V, _, false>(call, store);
            }
        }
    }
}

impl<F: Form<IN, OUT>, const IN: usize, const OUT: usize> Winograd<F, IN, OUT> {
    /// A chunk's tiles into their sink.
    ///
    /// # Safety
    /// As [`Kernel::run`]; the sink's contract.
    #[inline(always)]
    unsafe fn convolve<V: Vector, S: Sink, const INTEGERS: bool>(&self, call: Call, sink: S) {
        let tiles = part(self.tiles[0] * self.tiles[1], self.grid[0], call.chunk / self.grid[1]);
        let panels = part(self.first().panels(), self.grid[1], call.chunk % self.grid[1]);
        let stride = self.config.input.channels.next_multiple_of(LINE);
        let (inputs, products) = (call.scratch, call.scratch.wrapping_add(IN * IN * self.input_step()));
        for (row, tile) in tiles.clone().enumerate() {
            // SAFETY: the scratch memory holds every tile's row of each point.
            unsafe { self.transform_input::<V>(call.arena, tile, inputs.add(row * stride)) };
        }
        for panel in panels {
            let first_channel = self.first().channel(panel);
            let columns = self.first().columns(panel);
            for (point, weights) in self.config.weights.points.iter().enumerate() {
                let start = inputs.wrapping_add(point * self.input_step());
                let rows = Rows { start, stride, count: tiles.len(), first: 0 };
                let start = products.wrapping_add(point * self.product_step());
                // SAFETY: the scratch memory holds the rows read and the rows written.
                unsafe {
                    let sink = Products::<INTEGERS> { start, stride: columns, first_channel };
                    multiply::<V, _, _>(rows, InOrder, weights, panel..panel + 1, sink);
                }
            }
            for (row, tile) in tiles.clone().enumerate() {
                let from = products.wrapping_add(row * columns);
                // SAFETY: the scratch memory holds every tile's row of each point.
                unsafe { self.transform_output::<V, _>(sink, tile, from, first_channel, columns) };
            }
        }
    }

    /// `Bᵀ d B` of one tile, a vector of channels at a time; point `i` goes to `to + i · input_step`.
    #[inline(always)]
    unsafe fn transform_input<V: Vector>(&self, arena: *const f32, tile: usize, to: *mut f32) {
        let (input, step) = (&self.config.input, self.input_step());
        let y = (tile / self.tiles[1] * OUT) as isize - self.config.padding[0] as isize;
        let x = (tile % self.tiles[1] * OUT) as isize - self.config.padding[1] as isize;
        let inside = y >= 0 && x >= 0 && y as usize + IN <= input.height && x as usize + IN <= input.width;
        for channel in (0..input.channels).step_by(V::LANES) {
            let n = input.channels - channel;
            // SAFETY: only positions inside the map are read; `to` has whole cache lines per tile.
            unsafe {
                let mut half = [[V::zero(); IN]; IN];
                for (column, half) in half.iter_mut().enumerate() {
                    let mut d = [V::zero(); IN];
                    let x = x + column as isize;
                    for (row, d) in d.iter_mut().enumerate() {
                        let y = y + row as isize;
                        let there = (0..input.height as isize).contains(&y) && (0..input.width as isize).contains(&x);
                        if inside || there {
                            let from = arena.add(input.at(y as usize, x as usize) + channel);
                            *d = epilogue::load(from, n);
                        }
                    }
                    *half = F::input_points(d);
                }
                for row in 0..IN {
                    let mut d = [V::zero(); IN];
                    for (d, half) in d.iter_mut().zip(&half) {
                        *d = half[row];
                    }
                    let points = F::input_points(d);
                    for (column, point) in points.into_iter().enumerate() {
                        point.store(to.add((row * IN + column) * step + channel));
                    }
                }
            }
        }
    }

    /// `Aᵀ m A` of one tile, then the epilogue; point `i` comes from `from + i · product_step`.
    #[inline(always)]
    unsafe fn transform_output<V: Vector, S: Sink>(
        &self,
        sink: S,
        tile: usize,
        from: *const f32,
        first_channel: usize,
        columns: usize,
    ) {
        let (out, step) = (&self.config.epilogue.out, self.product_step());
        let (y, x) = (tile / self.tiles[1] * OUT, tile % self.tiles[1] * OUT);
        // SAFETY: the views end in the arena; the products have whole vectors.
        unsafe {
            for offset in (0..columns).step_by(V::LANES) {
                let channel = first_channel + offset;
                if channel >= self.config.epilogue.channels() {
                    break;
                }
                let mut half = [[V::zero(); OUT]; IN];
                for (column, half) in half.iter_mut().enumerate() {
                    let point = |row: usize| V::load(from.add((row * IN + column) * step + offset));
                    *half = F::output_points(std::array::from_fn(point));
                }
                let start = sink.start::<V>(channel);
                for row in 0..OUT.min(out.height - y) {
                    let mut m = [V::zero(); IN];
                    for (m, half) in m.iter_mut().zip(&half) {
                        *m = half[row];
                    }
                    let mut outputs = [[start]; OUT];
                    for (sum, output) in outputs.iter_mut().zip(F::output_points(m)) {
                        sum[0] = F::finish(output, start);
                    }
                    let position = (y + row) * out.width + x;
                    if x + OUT <= out.width {
                        sink.put(position, channel, outputs);
                    } else {
                        for (column, output) in outputs.iter_mut().enumerate().take(out.width - x) {
                            sink.put(position + column, channel, [*output]);
                        }
                    }
                }
            }
        }
    }
}
