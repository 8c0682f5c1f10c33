//! F(2x2, 3x3) of integers: 4 instead of 9 multiplications.
//!
//! The weights' transform is taken four times, so that it has no fractions; what comes out is four times the convolution, exactly.
//! Inputs are sums of four integers of 9 bits, weights of nine of 8: both are `i16`.

use super::gemm::Packed;
use super::winograd::{Form, PackedWinograd};
use crate::simd::pairs::pair;
use crate::simd::{Isa, Vector, Width};

/// Outputs of a tile along each axis.
const OUT: usize = 2;
/// Inputs of a tile along each axis.
const IN: usize = 4;
/// Most input channels, for which four times a sum stays in 32 bits.
pub(crate) const MAX_CHANNELS: usize = i32::MAX as usize / (4 * 9 * 255 * 127);

impl PackedWinograd {
    /// Transforms and packs `weight(out, in, tap)`, taps in row-major order, 0 for the channel behind an odd number, for [`WinogradInt8`].
    pub(crate) fn of_integers(
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
}

/// `2G g (2G)ᵀ`.
fn transform_weights(g: [i16; 9]) -> [i16; IN * IN] {
    let points = |[a, b, c]: [i16; 3]| [2 * a, a + b + c, a - b + c, 2 * c];
    let columns: [[i16; IN]; 3] = std::array::from_fn(|x| points([g[x], g[3 + x], g[6 + x]]));
    let rows: [[i16; IN]; IN] = std::array::from_fn(|y| points(columns.map(|column| column[y])));
    std::array::from_fn(|point| rows[point / IN][point % IN])
}

/// F(2x2, 3x3) of pairs of `i16`.
pub(crate) struct WinogradInt8;

impl Form<IN, OUT> for WinogradInt8 {
    const NAME: &'static str = "int8 winograd 2x2";
    const INTEGERS: bool = true;
    const TRANSFORMED: usize = 32 * 1024;

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

    /// The store adds the bias.
    #[inline(always)]
    unsafe fn finish<V: Vector>(output: V, _: V) -> V {
        // SAFETY: by the caller's contract.
        unsafe { output.int_quarter() }
    }
}
