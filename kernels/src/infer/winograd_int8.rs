//! 3x3 convolutions of stride 1 in 8 bits with 4 instead of 9 multiplications: F(2x2, 3x3) of Lavin and Gray,
//! <https://arxiv.org/abs/1509.09308>, in integers.
//!
//! The weights' transform is taken four times, so that it has no fractions; what comes out is four times the convolution, exactly.
//! Inputs are sums of four integers of 9 bits, weights of nine of 8: both are `i16`.

use std::sync::Arc;

use super::aligned::LINE;
use super::epilogue::{self, Bias, Epilogue};
use super::gemm::{InOrder, Packed, Rows, Sink, multiply};
use super::{Body, Call, Invoke, Kernel, View, part};
use crate::simd::pairs::pair;
use crate::simd::{Isa, Vector, Width};

/// Outputs of a tile along each axis.
const OUT: usize = 2;
/// Inputs of a tile along each axis.
const IN: usize = 4;
/// Elements of transformed input that a chunk may take: a quarter of a core's second-level cache.
const TRANSFORMED: usize = 32 * 1024;
/// Fewest tiles for which reading the weights pays.
const FEWEST: usize = 12;
/// Most input channels, for which four times a sum stays in 32 bits.
pub(crate) const MAX_CHANNELS: usize = i32::MAX as usize / (4 * 9 * 255 * 127);

/// Transformed weights of pairs of channels, one matrix per point.
pub(crate) struct PackedWinogradInt8 {
    points: Vec<Packed>,
}

impl PackedWinogradInt8 {
    /// Transforms and packs `weight(out, in, tap)`, taps in row-major order, 0 for the channel behind an odd number.
    pub(crate) fn new(
        [out_c, in_c]: [usize; 2],
        isa: Isa,
        width: Width,
        weight: impl Fn(usize, usize, usize) -> i16,
    ) -> Self {
        let pairs = in_c.div_ceil(2);
        let points =
            |out: usize, channel: usize| transform_weights(std::array::from_fn(|tap| weight(out, channel, tap)));
        let mut packed: Vec<Packed> =
            (0..IN * IN).map(|_| Packed::zeroed([out_c, pairs], isa, width, isa.max_vectors())).collect();
        for panel in 0..packed[0].panels() {
            let first = packed[0].channel(panel);
            for column in 0..packed[0].columns(panel).min(out_c - first) {
                for depth in 0..pairs {
                    let (low, high) = (points(first + column, 2 * depth), points(first + column, 2 * depth + 1));
                    for (packed, (low, high)) in packed.iter_mut().zip(low.into_iter().zip(high)) {
                        packed.row(panel, depth)[column] = pair(low, high);
                    }
                }
            }
        }
        Self { points: packed }
    }

    fn first(&self) -> &Packed {
        &self.points[0]
    }
}

/// `2G g (2G)ᵀ`.
fn transform_weights(g: [i16; 9]) -> [i16; IN * IN] {
    let points = |[a, b, c]: [i16; 3]| [2 * a, a + b + c, a - b + c, 2 * c];
    let columns: [[i16; IN]; 3] = std::array::from_fn(|x| points([g[x], g[3 + x], g[6 + x]]));
    let rows: [[i16; IN]; IN] = std::array::from_fn(|y| points(columns.map(|column| column[y])));
    std::array::from_fn(|point| rows[point / IN][point % IN])
}

/// A 3x3 convolution of stride 1 and dilation 1 with one group, of integers.
pub(crate) struct WinogradInt8 {
    config: WinogradInt8Config,
    /// Tiles along each axis.
    tiles: [usize; 2],
    /// How many parts of the tiles, and of the weights' panels.
    grid: [usize; 2],
}

/// What a [`WinogradInt8`] computes.
pub(crate) struct WinogradInt8Config {
    /// Pairs of channels.
    pub(crate) input: View,
    pub(crate) padding: [usize; 2],
    pub(crate) weights: Arc<PackedWinogradInt8>,
    pub(crate) bias: Bias,
    pub(crate) epilogue: Epilogue,
    /// What an integer sum of each channel counts, in padded channels.
    pub(crate) scales: Bias,
}

impl WinogradInt8 {
    /// Cuts the work into at least a chunk per thread where it can.
    pub(crate) fn new(config: WinogradInt8Config, threads: usize) -> Self {
        let out = &config.epilogue.out;
        let tiles = [out.height.div_ceil(OUT), out.width.div_ceil(OUT)];
        let count = tiles[0] * tiles[1];
        let most = (TRANSFORMED / (IN * IN * config.input.channels.max(1))).max(FEWEST);
        let rows = count.div_ceil(most).next_multiple_of(threads).min(count.div_ceil(FEWEST)).max(1);
        let columns = (threads / rows).clamp(1, config.weights.first().panels());
        Self { config, tiles, grid: [rows, columns] }
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
        let weights = self.config.weights.first();
        self.most_tiles() * weights.isa.lanes(weights.width) * weights.isa.max_vectors() + LINE
    }
}

impl Kernel for WinogradInt8 {
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
        let weights = self.config.weights.first();
        format!("int8 winograd 2x2 {}x{}", weights.isa.lanes(weights.width), self.chunks())
    }

    fn weight_bytes(&self) -> usize {
        self.config.weights.points.iter().map(Packed::bytes).sum()
    }

    unsafe fn run(&self, call: Call) {
        let weights = self.config.weights.first();
        // SAFETY: plans are built for an available instruction set; the rest is the caller's contract.
        unsafe { weights.isa.run(weights.width, Invoke(self, call)) }
    }
}

/// One panel of sums, as plain rows.
#[derive(Clone, Copy)]
struct Sums {
    start: *mut f32,
    stride: usize,
    first_channel: usize,
}

impl Sink for Sums {
    #[inline(always)]
    unsafe fn add_product<V: Vector>(x: V, weight: V, sum: V) -> V {
        // SAFETY: by the caller's contract.
        unsafe { x.pair_dot(weight, sum) }
    }

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
                // SAFETY: the sums have room for whole vectors of each tile.
                unsafe { sum.store(self.start.add(at)) }
            }
        }
    }
}

impl Body for WinogradInt8 {
    #[inline(always)]
    unsafe fn body<V: Vector>(&self, call: Call) {
        let points = &self.config.weights.points;
        let tiles = part(self.tiles[0] * self.tiles[1], self.grid[0], call.chunk / self.grid[1]);
        let panels = part(points[0].panels(), self.grid[1], call.chunk % self.grid[1]);
        let stride = self.config.input.channels.next_multiple_of(LINE);
        let (inputs, sums) = (call.scratch, call.scratch.wrapping_add(IN * IN * self.input_step()));
        for (row, tile) in tiles.clone().enumerate() {
            // SAFETY: the scratch memory holds every tile's row of each point.
            unsafe { self.transform_input::<V>(call.arena, tile, inputs.add(row * stride)) };
        }
        for panel in panels {
            let (first_channel, columns) = (points[0].channel(panel), points[0].columns(panel));
            for (point, weights) in points.iter().enumerate() {
                let start = inputs.wrapping_add(point * self.input_step());
                let rows = Rows { start, stride, count: tiles.len(), first: 0 };
                let start = sums.wrapping_add(point * self.product_step());
                // SAFETY: the scratch memory holds the rows read and the rows written.
                unsafe {
                    let sink = Sums { start, stride: columns, first_channel };
                    multiply::<V, _, _>(rows, InOrder, weights, panel..panel + 1, sink);
                }
            }
            for (row, tile) in tiles.clone().enumerate() {
                let from = sums.wrapping_add(row * columns);
                // SAFETY: the scratch memory holds every tile's row of each point.
                unsafe { self.transform_output::<V>(call.arena, tile, from, first_channel, columns) };
            }
        }
    }
}

impl WinogradInt8 {
    /// `Bᵀ d B` of one tile, a vector of pairs at a time; point `i` goes to `to + i · input_step`.
    #[inline(always)]
    unsafe fn transform_input<V: Vector>(&self, arena: *const f32, tile: usize, to: *mut f32) {
        let (input, step) = (&self.config.input, self.input_step());
        let y = (tile / self.tiles[1] * OUT) as isize - self.config.padding[0] as isize;
        let x = (tile % self.tiles[1] * OUT) as isize - self.config.padding[1] as isize;
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
                        if (0..input.height as isize).contains(&y) && (0..input.width as isize).contains(&x) {
                            *d = epilogue::load(arena.add(input.at(y as usize, x as usize) + channel), n);
                        }
                    }
                    *half = input_points(d);
                }
                for row in 0..IN {
                    let points = input_points(across(&half, row));
                    for (column, point) in points.into_iter().enumerate() {
                        point.store(to.add((row * IN + column) * step + channel));
                    }
                }
            }
        }
    }

    /// `Aᵀ m A` of one tile, a quarter of it, then the epilogue; point `i` comes from `from + i · product_step`.
    #[inline(always)]
    unsafe fn transform_output<V: Vector>(
        &self,
        arena: *mut f32,
        tile: usize,
        from: *const f32,
        first_channel: usize,
        columns: usize,
    ) {
        let WinogradInt8Config { epilogue, bias, scales, .. } = &self.config;
        let (out, step) = (&epilogue.out, self.product_step());
        let (y, x) = (tile / self.tiles[1] * OUT, tile % self.tiles[1] * OUT);
        // SAFETY: the views end in the arena; the sums have whole vectors.
        unsafe {
            let store = epilogue.bind(arena, bias).of_integers(scales);
            for offset in (0..columns).step_by(V::LANES) {
                let channel = first_channel + offset;
                if channel >= epilogue.channels() {
                    break;
                }
                let mut half = [[V::zero(); OUT]; IN];
                for (column, half) in half.iter_mut().enumerate() {
                    let point = |row: usize| V::load(from.add((row * IN + column) * step + offset));
                    *half = output_points([point(0), point(1), point(2), point(3)]);
                }
                for row in 0..OUT.min(out.height - y) {
                    let [left, right] = output_points(across(&half, row));
                    let position = (y + row) * out.width + x;
                    if x + OUT <= out.width {
                        store.put(position, channel, [[left.int_quarter()], [right.int_quarter()]]);
                    } else {
                        store.put(position, channel, [[left.int_quarter()]]);
                    }
                }
            }
        }
    }
}

/// One row of columns.
#[inline(always)]
fn across<V: Vector, const N: usize>(columns: &[[V; N]; IN], row: usize) -> [V; IN] {
    let mut found = [columns[0][row]; IN];
    found.iter_mut().zip(columns).for_each(|(found, column)| *found = column[row]);
    found
}

/// `Bᵀ d`.
///
/// # Safety
/// The vector's instruction set is there.
#[inline(always)]
unsafe fn input_points<V: Vector>(d: [V; IN]) -> [V; IN] {
    // SAFETY: by the caller's contract.
    unsafe { [d[0].pair_sub(d[2]), d[1].pair_add(d[2]), d[2].pair_sub(d[1]), d[1].pair_sub(d[3])] }
}

/// `Aᵀ m`.
///
/// # Safety
/// The vector's instruction set is there.
#[inline(always)]
unsafe fn output_points<V: Vector>(m: [V; IN]) -> [V; OUT] {
    // SAFETY: by the caller's contract.
    unsafe { [m[0].int_add(m[1]).int_add(m[2]), m[1].int_sub(m[2]).int_sub(m[3])] }
}
