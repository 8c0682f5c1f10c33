//! 3x3 convolutions of stride 1 with a quarter of the multiplications: F(4x4, 3x3) of Lavin and Gray,
//! <https://arxiv.org/abs/1509.09308>.
//!
//! A chunk takes some tiles of the output from the input's transform to the output's, so that all between stays in cache:
//! 36 matrix products of (tiles, in_c) by (in_c, out_c), one panel of output channels after the other.

use std::sync::Arc;

use super::aligned::LINE;
use super::epilogue::{self, Bias, Epilogue};
use super::gemm::{InOrder, Packed, Rows, Sink, multiply};
use super::{Body, Call, Invoke, Kernel, View, part};
use crate::simd::{Isa, Vector, Width};

/// Outputs of a tile along each axis.
const OUT: usize = 4;
/// Inputs of a tile along each axis.
const IN: usize = 6;
/// Elements of transformed input that a chunk may take: a quarter of a core's second-level cache.
const TRANSFORMED: usize = 64 * 1024;
/// Fewest tiles for which reading the weights pays.
const FEWEST: usize = 12;

/// Output channels whose weights are transformed together.
const TOGETHER: usize = 8;

/// Transformed weights, one matrix (in_c, out_c) per point.
pub(crate) struct PackedWinograd {
    points: Vec<Packed>,
}

impl PackedWinograd {
    /// Transforms and packs `weight(out, in, tap)`, taps in row-major order.
    pub(crate) fn new(
        [out_c, in_c]: [usize; 2],
        isa: Isa,
        width: Width,
        weight: impl Fn(usize, usize, usize) -> f32,
    ) -> Self {
        let mut points: Vec<Packed> =
            (0..IN * IN).map(|_| Packed::zeroed([out_c, in_c], isa, width, isa.max_vectors())).collect();
        pulp::Arch::new().dispatch(Transform { points: &mut points, out_c, in_c, weight });
        Self { points }
    }

    fn first(&self) -> &Packed {
        &self.points[0]
    }
}

/// The weights of all points, as a job for the vectors that there are.
struct Transform<'a, F> {
    points: &'a mut [Packed],
    out_c: usize,
    in_c: usize,
    weight: F,
}

impl<F: Fn(usize, usize, usize) -> f32> pulp::NullaryFnOnce for Transform<'_, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { points, out_c, in_c, weight } = self;
        for panel in 0..points[0].panels() {
            let first = points[0].channel(panel);
            let columns = points[0].columns(panel).min(out_c - first);
            for channel in 0..in_c {
                for start in (0..columns).step_by(TOGETHER) {
                    let count = TOGETHER.min(columns - start);
                    let mut taps = [[0f64; TOGETHER]; 9];
                    for column in 0..count {
                        for (tap, taps) in taps.iter_mut().enumerate() {
                            taps[column] = f64::from(weight(first + start + column, channel, tap));
                        }
                    }
                    for (packed, values) in points.iter_mut().zip(transform_weights(&taps)) {
                        let row = &mut packed.row(panel, channel)[start..][..count];
                        row.iter_mut().zip(values).for_each(|(slot, value)| *slot = value as f32);
                    }
                }
            }
        }
    }
}

/// `G g Gᵀ` of some output channels.
#[inline(always)]
fn transform_weights(g: &[[f64; TOGETHER]; 9]) -> [[f64; TOGETHER]; IN * IN] {
    let mut half = [[[0.; TOGETHER]; 3]; IN];
    for x in 0..3 {
        for (half, point) in half.iter_mut().zip(weight_points(&[g[x], g[3 + x], g[6 + x]])) {
            half[x] = point;
        }
    }
    let mut points = [[0.; TOGETHER]; IN * IN];
    for (row, half) in points.chunks_exact_mut(IN).zip(&half) {
        row.copy_from_slice(&weight_points(half));
    }
    points
}

/// `G g` of some output channels.
#[inline(always)]
fn weight_points(g: &[[f64; TOGETHER]; 3]) -> [[f64; TOGETHER]; IN] {
    let mut points = [[0.; TOGETHER]; IN];
    for i in 0..TOGETHER {
        let [a, b, c] = [g[0][i], g[1][i], g[2][i]];
        let (sum, far) = ((a + c) / -6., a / 24. + c / 6.);
        let values = [a / 4., sum - b / 6., sum + b / 6., far + b / 12., far - b / 12., c];
        points.iter_mut().zip(values).for_each(|(point, value)| point[i] = value);
    }
    points
}

/// A 3x3 convolution of stride 1 and dilation 1 with one group.
pub(crate) struct Winograd {
    input: View,
    padding: [usize; 2],
    weights: Arc<PackedWinograd>,
    bias: Bias,
    epilogue: Epilogue,
    /// Tiles along each axis.
    tiles: [usize; 2],
    /// How many parts of the tiles, and of the weights' panels.
    grid: [usize; 2],
}

impl Winograd {
    /// Cuts the work into at least a chunk per thread where it can.
    pub(crate) fn new(
        input: View,
        padding: [usize; 2],
        weights: Arc<PackedWinograd>,
        bias: Bias,
        epilogue: Epilogue,
        threads: usize,
    ) -> Self {
        let tiles = [epilogue.out.height.div_ceil(OUT), epilogue.out.width.div_ceil(OUT)];
        let count = tiles[0] * tiles[1];
        let most = (TRANSFORMED / (IN * IN * input.channels.max(1))).max(FEWEST);
        let rows = count.div_ceil(most).next_multiple_of(threads).min(count.div_ceil(FEWEST)).max(1);
        let columns = (threads / rows).clamp(1, weights.first().panels());
        Self { input, padding, weights, bias, epilogue, tiles, grid: [rows, columns] }
    }

    fn most_tiles(&self) -> usize {
        (self.tiles[0] * self.tiles[1]).div_ceil(self.grid[0])
    }

    /// Elements from one point's transformed input to the next: a line more than the matrix, lest the points' matrices
    /// fall into the same cache sets.
    fn input_step(&self) -> usize {
        self.most_tiles() * self.input.channels.next_multiple_of(LINE) + LINE
    }

    /// The same for one panel of a point's products.
    fn product_step(&self) -> usize {
        self.most_tiles() * self.panel_channels() + LINE
    }

    fn panel_channels(&self) -> usize {
        let weights = self.weights.first();
        weights.isa.lanes(weights.width) * weights.isa.max_vectors()
    }
}

impl Kernel for Winograd {
    fn views(&self) -> (Vec<View>, Vec<View>) {
        let (mut read, written) = self.epilogue.views();
        read.push(self.input);
        (read, written)
    }

    fn chunks(&self) -> usize {
        self.grid[0] * self.grid[1]
    }

    fn scratch(&self) -> usize {
        IN * IN * (self.input_step() + self.product_step())
    }

    fn describe(&self) -> String {
        let weights = self.weights.first();
        format!("winograd 4x4 {}x{}", weights.isa.lanes(weights.width), self.chunks())
    }

    fn weight_bytes(&self) -> usize {
        self.weights.points.iter().map(Packed::bytes).sum()
    }

    unsafe fn run(&self, call: Call) {
        let weights = self.weights.first();
        // SAFETY: plans are built for an available instruction set; the rest is the caller's contract.
        unsafe { weights.isa.run(weights.width, Invoke(self, call)) }
    }
}

/// One panel of products, as plain rows.
#[derive(Clone, Copy)]
struct Products {
    start: *mut f32,
    stride: usize,
    first_channel: usize,
}

impl Sink for Products {
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

impl Body for Winograd {
    #[inline(always)]
    unsafe fn body<V: Vector>(&self, call: Call) {
        let tiles = part(self.tiles[0] * self.tiles[1], self.grid[0], call.chunk / self.grid[1]);
        let panels = part(self.weights.first().panels(), self.grid[1], call.chunk % self.grid[1]);
        let stride = self.input.channels.next_multiple_of(LINE);
        let (inputs, products) = (call.scratch, call.scratch.wrapping_add(IN * IN * self.input_step()));
        for (row, tile) in tiles.clone().enumerate() {
            // SAFETY: the scratch memory holds every tile's row of each point.
            unsafe { self.transform_input::<V>(call.arena, tile, inputs.add(row * stride)) };
        }
        for panel in panels {
            let first_channel = self.weights.first().channel(panel);
            let columns = self.weights.first().columns(panel);
            for (point, weights) in self.weights.points.iter().enumerate() {
                let start = inputs.wrapping_add(point * self.input_step());
                let rows = Rows { start, stride, count: tiles.len(), first: 0 };
                let start = products.wrapping_add(point * self.product_step());
                // SAFETY: the scratch memory holds the rows read and the rows written.
                unsafe {
                    let sink = Products { start, stride: columns, first_channel };
                    multiply::<V, _, _>(rows, InOrder, weights, panel..panel + 1, sink);
                }
            }
            for (row, tile) in tiles.clone().enumerate() {
                let from = products.wrapping_add(row * columns);
                // SAFETY: the scratch memory holds every tile's row of each point.
                unsafe { self.transform_output::<V>(call.arena, tile, from, first_channel, columns) };
            }
        }
    }
}

impl Winograd {
    /// `Bᵀ d B` of one tile, a vector of channels at a time; point `i` goes to `to + i · input_step`.
    #[inline(always)]
    unsafe fn transform_input<V: Vector>(&self, arena: *const f32, tile: usize, to: *mut f32) {
        let (input, step) = (&self.input, self.input_step());
        let y = (tile / self.tiles[1] * OUT) as isize - self.padding[0] as isize;
        let x = (tile % self.tiles[1] * OUT) as isize - self.padding[1] as isize;
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
                    *half = input_points(d);
                }
                for row in 0..IN {
                    let mut d = [V::zero(); IN];
                    for (d, half) in d.iter_mut().zip(&half) {
                        *d = half[row];
                    }
                    let points = input_points(d);
                    for (column, point) in points.into_iter().enumerate() {
                        point.store(to.add((row * IN + column) * step + channel));
                    }
                }
            }
        }
    }

    /// `Aᵀ m A` of one tile, then the epilogue; point `i` comes from `from + i · product_step`.
    #[inline(always)]
    unsafe fn transform_output<V: Vector>(
        &self,
        arena: *mut f32,
        tile: usize,
        from: *const f32,
        first_channel: usize,
        columns: usize,
    ) {
        let (out, step) = (&self.epilogue.out, self.product_step());
        let (y, x) = (tile / self.tiles[1] * OUT, tile % self.tiles[1] * OUT);
        // SAFETY: the views end in the arena; the products have whole vectors.
        unsafe {
            let store = self.epilogue.bind(arena, &self.bias);
            for offset in (0..columns).step_by(V::LANES) {
                let channel = first_channel + offset;
                if channel >= self.epilogue.channels() {
                    break;
                }
                let mut half = [[V::zero(); OUT]; IN];
                for (column, half) in half.iter_mut().enumerate() {
                    let point = |row: usize| V::load(from.add((row * IN + column) * step + offset));
                    *half = output_points(std::array::from_fn(point));
                }
                let bias = store.start::<V>(channel);
                for row in 0..OUT.min(out.height - y) {
                    let mut m = [V::zero(); IN];
                    for (m, half) in m.iter_mut().zip(&half) {
                        *m = half[row];
                    }
                    let outputs = output_points(m);
                    let mut outputs = outputs.map(|output| [output.add(bias)]);
                    let position = (y + row) * out.width + x;
                    if x + OUT <= out.width {
                        store.put(position, channel, outputs);
                    } else {
                        for (column, output) in outputs.iter_mut().enumerate().take(out.width - x) {
                            store.put(position + column, channel, [*output]);
                        }
                    }
                }
            }
        }
    }
}

/// `Bᵀ d`.
///
/// # Safety
/// The vector's instruction set is there.
#[inline(always)]
unsafe fn input_points<V: Vector>(d: [V; IN]) -> [V; IN] {
    // SAFETY: by the caller's contract.
    unsafe {
        let (minus_four, minus_five, two) = (V::splat(-4.), V::splat(-5.), V::splat(2.));
        let four = V::splat(4.);
        let (even, odd) = (d[2].mul_add(minus_four, d[4]), d[1].mul_add(minus_four, d[3]));
        let (near, far) = (d[4].sub(d[2]), d[3].sub(d[1]));
        [
            d[0].mul_add(four, d[2].mul_add(minus_five, d[4])),
            even.add(odd),
            even.sub(odd),
            far.mul_add(two, near),
            far.mul_add(V::splat(-2.), near),
            d[1].mul_add(four, d[3].mul_add(minus_five, d[5])),
        ]
    }
}

/// `Aᵀ m`.
///
/// # Safety
/// The vector's instruction set is there.
#[inline(always)]
unsafe fn output_points<V: Vector>(m: [V; IN]) -> [V; OUT] {
    // SAFETY: by the caller's contract.
    unsafe {
        let (near, near_odd) = (m[1].add(m[2]), m[1].sub(m[2]));
        let (far, far_odd) = (m[3].add(m[4]), m[3].sub(m[4]));
        [
            m[0].add(near).add(far),
            far_odd.mul_add(V::splat(2.), near_odd),
            far.mul_add(V::splat(4.), near),
            far_odd.mul_add(V::splat(8.), near_odd).add(m[5]),
        ]
    }
}
