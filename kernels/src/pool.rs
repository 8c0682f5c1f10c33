//! Max and average pooling over (n, c, h, w), with gradients.
//!
//! Padding never takes part: a maximum ignores it (as if it were −∞) and a mean divides by the taps inside the input.

use candle_core::{D, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::ConvGeometry;
use super::autograd::{Gradient, differentiable};
use super::gpu::train::{self, Kind};
use super::is_stock;
use super::maps::{Maps, dispatch_dtype, read, tensor, unwritten, with_dense_images, zeros};
use super::real::{Real, sums_of, widest};
use super::shared::with_compute_dtype;

/// The largest element of each window. Windows that lie in the padding alone are refused.
///
/// The gradient goes to the first largest element of a window in row-major order, as in PyTorch.
pub fn max_pool2d(xs: &Tensor, geometry: &ConvGeometry) -> Result<Tensor> {
    pool2d(xs, geometry, Kind::Max)
}

/// The mean of each window over its elements inside the input (PyTorch's `count_include_pad=False`).
pub fn avg_pool2d(xs: &Tensor, geometry: &ConvGeometry) -> Result<Tensor> {
    pool2d(xs, geometry, Kind::Average)
}

fn pool2d(xs: &Tensor, geometry: &ConvGeometry, kind: Kind) -> Result<Tensor> {
    let shape = check(xs.shape(), geometry)?;
    let on_gpu = train::takes(xs);
    if (!xs.device().is_cpu() && !on_gpu) || is_stock() {
        return compose(xs, geometry, kind);
    }
    let name = if kind == Kind::Max { "max_pool2d" } else { "avg_pool2d" };
    with_compute_dtype(name, xs, |xs| {
        if on_gpu {
            return train::pool(xs, geometry, kind);
        }
        let (_, _, in_h, in_w) = xs.dims4()?;
        let (kept, pool) = (with_dense_images(&xs.detach())?, Pool { geometry: *geometry, kind });
        let (in_hw, out_hw) = ([in_h, in_w], geometry.out_hw([in_h, in_w])?);
        dispatch_dtype!(name, xs.dtype(), T => {
            let ys = read::<T, _>(&kept, |xs| Ok(pool.forward(xs, in_hw, out_hw)))?;
            differentiable(ys, shape, &[xs], move |grad, _| {
                let of_xs = read::<T, _>(&kept, |xs| read(grad, |grad| Ok(pool.backward(xs, grad, in_hw, out_hw))))?;
                Ok(vec![Some(Gradient::Own(tensor(of_xs, kept.shape())?))])
            })
        })
    })
}

/// Output shape, once every window is known to touch the input.
fn check(xs: &Shape, geometry: &ConvGeometry) -> Result<Shape> {
    let (batch, channels, in_h, in_w) = xs.dims4()?;
    let [out_h, out_w] = geometry.out_hw([in_h, in_w])?;
    if geometry.groups != 1 {
        bail!("pooling has no groups: {geometry:?}")
    }
    for axis in 0..2 {
        if geometry.padding[axis] * 2 > geometry.kernel[axis] {
            bail!("pooling pads by at most half its kernel: {geometry:?}")
        }
    }
    Ok((batch, channels, out_h, out_w).into())
}

#[derive(Debug, Clone, Copy)]
struct Pool {
    geometry: ConvGeometry,
    kind: Kind,
}

/// The rows (or columns) of the input under window `position`.
fn window(geometry: &ConvGeometry, axis: usize, position: usize, len: usize) -> impl Iterator<Item = usize> + Clone {
    let (start, pad, dilation) = (position * geometry.stride[axis], geometry.padding[axis], geometry.dilation[axis]);
    (0..geometry.kernel[axis]).filter_map(move |tap| (start + tap * dilation).checked_sub(pad).filter(|i| *i < len))
}

impl Pool {
    /// Calls `f(output, rows, columns)` for each window of a plane: the input's rows and columns under it.
    fn each_window(
        &self,
        [in_h, in_w]: [usize; 2],
        [out_h, out_w]: [usize; 2],
        mut f: impl FnMut(usize, &[usize], &[usize]),
    ) {
        let columns: Vec<Vec<usize>> = (0..out_w).map(|i| window(&self.geometry, 1, i, in_w).collect()).collect();
        for row in 0..out_h {
            let rows: Vec<usize> = window(&self.geometry, 0, row, in_h).collect();
            for (column, columns) in columns.iter().enumerate() {
                f(row * out_w + column, &rows, columns);
            }
        }
    }

    /// A maximum is separable: rows first, then columns.
    fn max_plane<T: Real>(&self, xs: &[T], in_hw: [usize; 2], out_hw: [usize; 2], rows: &mut Vec<T>, out: &mut [T]) {
        let ([in_h, in_w], [out_h, out_w]) = (in_hw, out_hw);
        rows.clear();
        rows.resize(in_h * out_w, T::neg_infinity());
        let stride = self.geometry.stride;
        for tap in 0..self.geometry.kernel[1] {
            let valid = self.geometry.valid_outputs(1, tap, in_w, out_w);
            if valid.is_empty() {
                continue;
            }
            let first = valid.start * stride[1] + tap * self.geometry.dilation[1] - self.geometry.padding[1];
            for (row, xs) in rows.chunks_exact_mut(out_w).zip(xs.chunks_exact(in_w)) {
                let row = &mut row[valid.clone()];
                if stride[1] == 1 {
                    row.iter_mut().zip(&xs[first..]).for_each(|(m, x)| *m = maximum(*m, *x));
                } else {
                    row.iter_mut().zip(xs[first..].iter().step_by(stride[1])).for_each(|(m, x)| *m = maximum(*m, *x));
                }
            }
        }
        out.fill(T::neg_infinity());
        for (row, out) in out.chunks_exact_mut(out_w).enumerate().take(out_h) {
            for in_row in window(&self.geometry, 0, row, in_h) {
                let rows = &rows[in_row * out_w..][..out_w];
                out.iter_mut().zip(rows).for_each(|(m, x)| *m = maximum(*m, *x));
            }
        }
    }

    fn forward<T: Real>(&self, xs: Maps<'_, T>, in_hw: [usize; 2], out_hw: [usize; 2]) -> Vec<T> {
        let (in_plane, out_plane) = (in_hw[0] * in_hw[1], out_hw[0] * out_hw[1]);
        let channels = xs.image_len() / in_plane;
        // SAFETY: each plane is written.
        let mut out = unsafe { unwritten(xs.batch() * channels * out_plane) };
        out.par_chunks_exact_mut(out_plane).enumerate().for_each_init(Vec::new, |rows, (plane, out)| {
            let xs = &xs.image(plane / channels)[plane % channels * in_plane..][..in_plane];
            match self.kind {
                Kind::Max => widest(|| self.max_plane(xs, in_hw, out_hw, rows, out)),
                Kind::Average => self.each_window(in_hw, out_hw, |output, rows, columns| {
                    let row = |row: &usize| columns.iter().map(|column| xs[row * in_hw[1] + column]).sum::<T>();
                    out[output] = rows.iter().map(row).sum::<T>() / T::from_f32((rows.len() * columns.len()) as f32);
                }),
            }
        });
        out
    }

    fn backward<T: Real>(&self, xs: Maps<'_, T>, grad: Maps<'_, T>, in_hw: [usize; 2], out_hw: [usize; 2]) -> Vec<T> {
        let (in_plane, out_plane) = (in_hw[0] * in_hw[1], out_hw[0] * out_hw[1]);
        let channels = xs.image_len() / in_plane;
        let mut grad_xs = zeros(xs.batch() * channels * in_plane);
        grad_xs.par_chunks_exact_mut(in_plane).enumerate().for_each(|(plane, grad_xs)| {
            let (image, channel) = (plane / channels, plane % channels);
            let xs = &xs.image(image)[channel * in_plane..][..in_plane];
            let grad = &grad.image(image)[channel * out_plane..][..out_plane];
            let in_w = in_hw[1];
            self.each_window(in_hw, out_hw, |output, rows, columns| match self.kind {
                Kind::Max => {
                    let (Some(row), Some(column)) = (rows.first(), columns.first()) else { return };
                    let mut largest = row * in_w + column;
                    for row in rows {
                        for column in columns {
                            let i = row * in_w + column;
                            if maximum(xs[largest], xs[i]) != xs[largest] {
                                largest = i;
                            }
                        }
                    }
                    grad_xs[largest] += grad[output];
                }
                Kind::Average => {
                    let share = grad[output] / T::from_f32((rows.len() * columns.len()) as f32);
                    for row in rows {
                        columns.iter().for_each(|column| grad_xs[row * in_w + column] += share);
                    }
                }
            });
        });
        grad_xs
    }
}

/// The larger operand, NaN if either is.
#[inline(always)]
fn maximum<T: Real>(a: T, b: T) -> T {
    if b > a || b.is_nan() { b } else { a }
}

/// Pooling composed of candle's own differentiable operations, for devices without a kernel of ours.
fn compose(xs: &Tensor, geometry: &ConvGeometry, kind: Kind) -> Result<Tensor> {
    let (_, _, in_h, in_w) = xs.dims4()?;
    let [out_h, out_w] = geometry.out_hw([in_h, in_w])?;
    let reduce = |xs: &Tensor, axis: usize, in_len: usize, out_len: usize| -> Result<Tensor> {
        let dim = axis + 2;
        let mut result: Option<Tensor> = None;
        for tap in 0..geometry.kernel[axis] {
            let indices: Vec<i64> = (0..out_len)
                .map(|i| {
                    (i * geometry.stride[axis] + tap * geometry.dilation[axis]) as i64 - geometry.padding[axis] as i64
                })
                .collect();
            let inside: Vec<u8> = indices.iter().map(|i| u8::from((0..in_len as i64).contains(i))).collect();
            let clamped: Vec<u32> = indices.iter().map(|i| (*i).clamp(0, in_len as i64 - 1) as u32).collect();
            let taken = xs.index_select(&Tensor::new(clamped, xs.device())?, dim)?;
            let shape = if axis == 0 { (1, 1, out_len, 1) } else { (1, 1, 1, out_len) };
            let inside = Tensor::new(inside, xs.device())?.reshape(shape)?.broadcast_as(taken.shape())?;
            let outside = Tensor::new(if kind == Kind::Max { f32::NEG_INFINITY } else { 0. }, xs.device())?;
            let taken = inside.where_cond(&taken, &outside.to_dtype(xs.dtype())?.broadcast_as(taken.shape())?)?;
            result = Some(match (result, kind) {
                (None, _) => taken,
                (Some(best), Kind::Max) => best.maximum(&taken)?,
                (Some(sum), Kind::Average) => (sum + taken)?,
            });
        }
        result.ok_or_else(|| candle_core::Error::msg("pooling window is empty"))
    };
    let pooled = reduce(&reduce(xs, 1, in_w, out_w)?, 0, in_h, out_h)?;
    if kind == Kind::Max {
        return Ok(pooled);
    }
    let ones = Tensor::ones((1, 1, in_h, in_w), xs.dtype(), xs.device())?;
    let counts = reduce(&reduce(&ones, 1, in_w, out_w)?, 0, in_h, out_h)?;
    pooled.broadcast_div(&counts)
}

/// Mean over height and width: (n, c, h, w) to (n, c, 1, 1).
pub fn global_avg_pool2d(xs: &Tensor) -> Result<Tensor> {
    let (batch, channels, h, w) = xs.dims4()?;
    let on_gpu = train::takes(xs);
    if (!xs.device().is_cpu() && !on_gpu) || is_stock() {
        return xs.mean_keepdim((D::Minus2, D::Minus1));
    }
    with_compute_dtype("global_avg_pool2d", xs, |xs| {
        if on_gpu {
            return train::global_mean(xs);
        }
        let (plane, kept, dims) = (h * w, with_dense_images(&xs.detach())?, xs.shape().clone());
        dispatch_dtype!("global_avg_pool2d", xs.dtype(), T => {
            let mean = |xs: &[T]| {
                let [sum, _] = widest(|| sums_of(xs, xs, |x, _| [x, 0.]));
                T::nearest(sum / plane as f64)
            };
            let means = read::<T, _>(&kept, |xs| {
                let image = |image: usize| xs.image(image).chunks_exact(plane).map(mean).collect::<Vec<T>>();
                Ok((0..batch).into_par_iter().flat_map_iter(image).collect())
            })?;
            differentiable(means, (batch, channels, 1, 1), &[xs], move |grad, _| {
                // SAFETY: each plane is written.
                let mut of_xs = unsafe { unwritten::<T>(dims.elem_count()) };
                read::<T, _>(grad, |grad| {
                    of_xs.par_chunks_exact_mut(channels * plane).enumerate().for_each(|(image, of_xs)| {
                        for (of_xs, grad) in of_xs.chunks_exact_mut(plane).zip(grad.image(image)) {
                            of_xs.fill(T::nearest(grad.to_wide() / plane as f64));
                        }
                    });
                    Ok(())
                })?;
                Ok(vec![Some(Gradient::Own(tensor(of_xs, dims)?))])
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};
    use proptest::prelude::*;

    fn problems() -> impl Strategy<Value = (ConvGeometry, [usize; 2])> {
        let axis =
            (1..=5usize, 1..=3usize, 1..=2usize, 1..=11usize).prop_flat_map(|(kernel, stride, dilation, len)| {
                (Just(kernel), Just(stride), 0..=kernel / 2, Just(dilation), Just(len))
            });
        (axis.clone(), axis)
            .prop_map(|(rows, columns)| {
                let geometry = ConvGeometry {
                    kernel: [rows.0, columns.0],
                    stride: [rows.1, columns.1],
                    padding: [rows.2, columns.2],
                    dilation: [rows.3, columns.3],
                    groups: 1,
                };
                (geometry, [rows.4, columns.4])
            })
            .prop_filter("every window touches the input", |(geometry, in_hw)| {
                geometry.out_hw(*in_hw).is_ok_and(|out_hw| {
                    (0..2).all(|axis| (0..out_hw[axis]).all(|i| window(geometry, axis, i, in_hw[axis]).count() > 0))
                })
            })
    }

    fn values(xs: &Tensor) -> Result<Vec<f64>> {
        xs.flatten_all()?.to_vec1()
    }

    /// Values with ties, so that "the first largest" is tested too.
    fn input(in_hw: [usize; 2]) -> Result<Tensor> {
        let (count, mut state) = (2 * in_hw[0] * in_hw[1], 7);
        let values: Vec<f64> = (0..count).map(|_| (crate::seeded::splitmix(&mut state) * 4.).round() - 9.).collect();
        Tensor::from_vec(values, (1, 2, in_hw[0], in_hw[1]), &Device::Cpu)
    }

    fn check_problem(geometry: &ConvGeometry, in_hw: [usize; 2]) -> Result<()> {
        let xs = Var::from_tensor(&input(in_hw)?)?;
        let [out_h, out_w] = geometry.out_hw(in_hw)?;
        let plane = in_hw[0] * in_hw[1];
        for kind in [Kind::Max, Kind::Average] {
            let (mut expected, mut expected_grad) = (Vec::new(), vec![0.; 2 * plane]);
            let xs_values = values(&xs)?;
            for (channel, row, column) in
                (0..2).flat_map(|c| (0..out_h).flat_map(move |i| (0..out_w).map(move |j| (c, i, j))))
            {
                let mut inside = Vec::new();
                for (u, v) in (0..geometry.kernel[0]).flat_map(|u| (0..geometry.kernel[1]).map(move |v| (u, v))) {
                    let i =
                        (row * geometry.stride[0] + u * geometry.dilation[0]) as isize - geometry.padding[0] as isize;
                    let j = (column * geometry.stride[1] + v * geometry.dilation[1]) as isize
                        - geometry.padding[1] as isize;
                    if (0..in_hw[0] as isize).contains(&i) && (0..in_hw[1] as isize).contains(&j) {
                        inside.push(channel * plane + i as usize * in_hw[1] + j as usize);
                    }
                }
                let grad = 1. + expected.len() as f64;
                match kind {
                    Kind::Max => {
                        let mut best = inside[0];
                        inside.iter().for_each(|i| best = if xs_values[*i] > xs_values[best] { *i } else { best });
                        expected.push(xs_values[best]);
                        expected_grad[best] += grad;
                    }
                    Kind::Average => {
                        expected.push(inside.iter().map(|i| xs_values[*i]).sum::<f64>() / inside.len() as f64);
                        inside.iter().for_each(|i| expected_grad[*i] += grad / inside.len() as f64);
                    }
                }
            }
            let close = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9);
            let ys = pool2d(&xs, geometry, kind)?;
            assert!(close(&values(&ys)?, &expected), "{kind:?} {geometry:?} on {in_hw:?}");
            assert!(
                close(&values(&compose(&xs, geometry, kind)?)?, &expected),
                "composed {kind:?} {geometry:?} on {in_hw:?}"
            );
            let weights: Vec<f64> = (1..=expected.len()).map(|i| i as f64).collect();
            let grads = (&ys * Tensor::from_vec(weights, ys.shape(), &Device::Cpu)?)?.sum_all()?.backward()?;
            let grad = grads.get(&xs).expect("xs takes part");
            assert!(close(&values(grad)?, &expected_grad), "gradient of {kind:?} {geometry:?} on {in_hw:?}");
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn forward_and_gradients_equal_the_definition((geometry, in_hw) in problems()) {
            check_problem(&geometry, in_hw).map_err(|error| TestCaseError::fail(error.to_string()))?;
        }
    }

    #[test]
    fn padding_is_never_the_maximum_and_nan_is() -> Result<()> {
        let xs = (Tensor::ones((1, 1, 3, 3), candle_core::DType::F32, &Device::Cpu)? * -2.)?;
        let ys = max_pool2d(&xs, &ConvGeometry::square(5).same())?;
        assert_eq!(ys.flatten_all()?.to_vec1::<f32>()?, [-2.; 9], "all windows reach into the padding");
        let xs = Tensor::new(&[[[[1f32, f32::NAN, 3.]]]], &Device::Cpu)?;
        let ys = max_pool2d(&xs, &ConvGeometry::new([1, 3]).same())?.flatten_all()?.to_vec1::<f32>()?;
        assert!(ys.iter().all(|y| y.is_nan()), "{ys:?}");
        Ok(())
    }

    #[test]
    fn stock_candle_has_no_gradient_of_overlapping_windows_that_ours_have() -> Result<()> {
        let xs = Var::from_tensor(&input([4, 4])?)?;
        let grads = max_pool2d(&xs, &ConvGeometry::square(3))?.sum_all()?.backward()?;
        assert_eq!(values(grads.get(&xs).expect("xs takes part"))?.iter().sum::<f64>(), 8.);
        let stock = xs.max_pool2d_with_stride(3, 1)?.sum_all()?.backward();
        let error = stock.expect_err("candle is mended: use its operation").to_string();
        assert!(error.contains("maxpool2d"), "{error}");
        Ok(())
    }

    #[test]
    fn impossible_pooling_is_refused() -> Result<()> {
        let xs = Tensor::zeros((1, 1, 4, 4), candle_core::DType::F32, &Device::Cpu)?;
        assert!(
            max_pool2d(&xs, &ConvGeometry::square(2).padding([2, 2])).is_err(),
            "more padding than half the kernel"
        );
        assert!(max_pool2d(&xs, &ConvGeometry::square(6)).is_err(), "larger than the input");
        assert!(avg_pool2d(&xs, &ConvGeometry::square(2).groups(2)).is_err(), "groups");
        Ok(())
    }
}
