//! F(2x2, 3x3) and F(4x4, 3x3) of integers: 4 and 2.25 instead of 9 multiplications per output.
//!
//! The weights' transform is taken a whole number of times, so that it has no fractions. What comes out is as many times the
//! convolution, exactly: sums wrap in 32 bits, and the multiple of the convolution is what fits there.

use super::gemm::Packed;
use super::winograd::{Form, PackedWinograd};
use crate::simd::pairs::pair;
use crate::simd::{Isa, Vector, Width};

/// Most input channels, for which four times a sum stays in 32 bits: those that [`Winograd2Int8`] takes.
pub(crate) const MAX_CHANNELS: usize = i32::MAX as usize / (4 * 9 * 255 * 127);
/// Largest sum of magnitudes of an output channel's weights, for which 64 times a sum stays in 32 bits: what [`Winograd4Int8`] takes.
pub(crate) const MAX_WEIGHTS: usize = i32::MAX as usize / (64 * 255);

impl PackedWinograd {
    /// Transforms each axis by `points` and packs `weight(out, in, tap)`, taps in row-major order, 0 for the channel behind an odd
    /// number.
    pub(crate) fn of_integers<const IN: usize>(
        [out_c, in_c]: [usize; 2],
        isa: Isa,
        width: Width,
        points: fn([i16; 3]) -> [i16; IN],
        weight: impl Fn(usize, usize, usize) -> i16,
    ) -> Self {
        let pairs = in_c.div_ceil(2);
        let transform = |out: usize, channel: usize| {
            transform_weights(points, std::array::from_fn(|tap| weight(out, channel, tap)))
        };
        let mut packed: Vec<Packed> =
            (0..IN * IN).map(|_| Packed::zeroed([out_c, pairs], isa, width, isa.max_vectors())).collect();
        for panel in 0..packed[0].panels() {
            let first = packed[0].channel(panel);
            for column in 0..packed[0].columns(panel).min(out_c - first) {
                for depth in 0..pairs {
                    let [low, high] = [2 * depth, 2 * depth + 1].map(|channel| transform(first + column, channel));
                    for (point, packed) in packed.iter_mut().enumerate() {
                        let at = |points: &[[i16; IN]; IN]| points[point / IN][point % IN];
                        packed.row(panel, depth)[column] = pair(at(&low), at(&high));
                    }
                }
            }
        }
        Self { points: packed }
    }
}

/// `G g Gᵀ`, of `G` as `points`.
fn transform_weights<const IN: usize>(points: fn([i16; 3]) -> [i16; IN], g: [i16; 9]) -> [[i16; IN]; IN] {
    let columns: [[i16; IN]; 3] = std::array::from_fn(|x| points([g[x], g[3 + x], g[6 + x]]));
    std::array::from_fn(|y| points(columns.map(|column| column[y])))
}

/// F(2x2, 3x3) of pairs of `i16`: inputs are sums of four integers of 9 bits, weights of nine of 8.
pub(crate) struct Winograd2Int8;

impl Winograd2Int8 {
    /// `2G g`.
    pub(crate) fn weight_points([a, b, c]: [i16; 3]) -> [i16; 4] {
        [2 * a, a + b + c, a - b + c, 2 * c]
    }
}

impl Form<4, 2> for Winograd2Int8 {
    const NAME: &'static str = "int8 winograd 2x2";
    const INTEGERS: bool = true;
    const TRANSFORMED: usize = 32 * 1024;

    /// `Bᵀ d`.
    ///
    /// # Safety
    /// The vector's instruction set is there.
    #[inline(always)]
    unsafe fn input_points<V: Vector>(d: [V; 4]) -> [V; 4] {
        // SAFETY: by the caller's contract.
        unsafe { [d[0].pair_sub(d[2]), d[1].pair_add(d[2]), d[2].pair_sub(d[1]), d[1].pair_sub(d[3])] }
    }

    /// `Aᵀ m`.
    ///
    /// # Safety
    /// The vector's instruction set is there.
    #[inline(always)]
    unsafe fn output_points<V: Vector>(m: [V; 4]) -> [V; 2] {
        // SAFETY: by the caller's contract.
        unsafe { [m[0].int_add(m[1]).int_add(m[2]), m[1].int_sub(m[2]).int_sub(m[3])] }
    }

    /// A quarter; the store adds the bias.
    #[inline(always)]
    unsafe fn finish<V: Vector>(output: V, _: V) -> V {
        // SAFETY: by the caller's contract.
        unsafe { output.int_shift(2) }
    }
}

/// F(4x4, 3x3) of pairs of `i16`: inputs are sums of up to 100 integers of 9 bits, weights of up to 144 of 8. Sums of their products may
/// wrap; 576 times the convolution comes out modulo 2³², which is 9 · 64 times.
pub(crate) struct Winograd4Int8;

impl Winograd4Int8 {
    /// `24G g`, the last point by half, lest its square leave 16 bits. The signs are [`Winograd4`](super::Winograd4)'s.
    pub(crate) fn weight_points([a, b, c]: [i16; 3]) -> [i16; 6] {
        let (sum, far) = (-4 * (a + c), a + 4 * c);
        [6 * a, sum - 4 * b, sum + 4 * b, far + 2 * b, far - 2 * b, 12 * c]
    }
}

impl Form<6, 4> for Winograd4Int8 {
    const NAME: &'static str = "int8 winograd 4x4";
    const INTEGERS: bool = true;
    const TRANSFORMED: usize = 32 * 1024;

    /// `Bᵀ d`.
    ///
    /// # Safety
    /// The vector's instruction set is there.
    #[inline(always)]
    unsafe fn input_points<V: Vector>(d: [V; 6]) -> [V; 6] {
        // SAFETY: by the caller's contract.
        unsafe {
            let double = |x: V| x.pair_add(x);
            let (even, odd) = (d[4].pair_sub(double(double(d[2]))), d[3].pair_sub(double(double(d[1]))));
            let (near, far) = (d[4].pair_sub(d[2]), double(d[3].pair_sub(d[1])));
            [
                double(double(d[0].pair_sub(d[2]))).pair_add(near),
                even.pair_add(odd),
                even.pair_sub(odd),
                near.pair_add(far),
                near.pair_sub(far),
                d[5].pair_sub(d[3]).pair_sub(double(far)),
            ]
        }
    }

    /// `Aᵀ m`, of the last point twice.
    ///
    /// # Safety
    /// The vector's instruction set is there.
    #[inline(always)]
    unsafe fn output_points<V: Vector>(m: [V; 6]) -> [V; 4] {
        // SAFETY: by the caller's contract.
        unsafe {
            let double = |x: V| x.int_add(x);
            let (near, near_odd) = (m[1].int_add(m[2]), m[1].int_sub(m[2]));
            let (far, far_odd) = (m[3].int_add(m[4]), double(m[3].int_sub(m[4])));
            let last = double(double(far_odd).int_add(m[5]));
            [
                m[0].int_add(near).int_add(far),
                far_odd.int_add(near_odd),
                double(double(far)).int_add(near),
                last.int_add(near_odd),
            ]
        }
    }

    /// The 576th part, without a remainder; the store adds the bias.
    #[inline(always)]
    unsafe fn finish<V: Vector>(output: V, _: V) -> V {
        /// `1 / 9` modulo 2³².
        const NINTH: u32 = 0x38e3_8e39;
        // SAFETY: by the caller's contract.
        unsafe { output.int_mul(V::splat(f32::from_bits(NINTH))).int_shift(6) }
    }
}
