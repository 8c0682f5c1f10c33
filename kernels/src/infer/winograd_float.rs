//! F(4x4, 3x3) of `f32`: a quarter of the multiplications.

use super::gemm::Packed;
use super::winograd::{Form, PackedWinograd};
use crate::simd::{Isa, Vector, Width};

/// Outputs of a tile along each axis.
const OUT: usize = 4;
/// Inputs of a tile along each axis.
const IN: usize = 6;

/// Output channels whose weights are transformed together.
const TOGETHER: usize = 8;

impl PackedWinograd {
    /// Transforms and packs `weight(out, in, tap)`, taps in row-major order, for [`Winograd4`].
    pub(crate) fn of_floats(
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

/// F(4x4, 3x3).
pub(crate) struct Winograd4;

impl Form<IN, OUT> for Winograd4 {
    const NAME: &'static str = "winograd 4x4";
    const INTEGERS: bool = false;
    const TRANSFORMED: usize = 64 * 1024;

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

    /// The sum begins with the bias.
    #[inline(always)]
    unsafe fn finish<V: Vector>(output: V, start: V) -> V {
        // SAFETY: by the caller's contract.
        unsafe { output.add(start) }
    }
}
