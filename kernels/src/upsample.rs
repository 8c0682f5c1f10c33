//! Nearest-neighbour resampling to any size, with its gradient.

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::autograd::{Gradient, differentiable};
use super::gpu::train;
use super::is_stock;
use super::maps::{Maps, dispatch_dtype, read, tensor, with_dense_images, zeros};
use super::real::Real;
use super::shared::with_compute_dtype;

/// Resamples (n, c, h, w) to (n, c, out_h, out_w); each output takes input `floor(i · in / out)`, as PyTorch's
/// `interpolate(mode="nearest")` computes it (in `f32`).
pub fn upsample_nearest2d(xs: &Tensor, out_hw: [usize; 2]) -> Result<Tensor> {
    let (batch, channels, in_h, in_w) = xs.dims4()?;
    if in_h * in_w == 0 || out_hw[0] * out_hw[1] == 0 {
        bail!("nearest resampling from {:?} to {out_hw:?} has an empty side", xs.dims())
    }
    if [in_h, in_w] == out_hw {
        return Ok(xs.clone());
    }
    let on_gpu = train::takes(xs);
    if (!xs.device().is_cpu() && !on_gpu) || is_stock() {
        let take = |xs: &Tensor, dim: usize, indices: Vec<usize>| {
            let indices: Vec<u32> = indices.into_iter().map(|i| i as u32).collect();
            xs.contiguous()?.index_select(&Tensor::new(indices, xs.device())?, dim)
        };
        return take(&take(xs, 2, sources(in_h, out_hw[0]))?, 3, sources(in_w, out_hw[1]));
    }
    let nearest = Nearest { in_hw: [in_h, in_w], out_hw };
    with_compute_dtype("upsample_nearest2d", xs, |xs| {
        if on_gpu {
            return train::resample(xs, out_hw);
        }
        let (dense, in_shape) = (with_dense_images(&xs.detach())?, xs.shape().clone());
        dispatch_dtype!("upsample_nearest2d", xs.dtype(), T => {
            let ys = read::<T, _>(&dense, |xs| Ok(nearest.gather(xs)))?;
            differentiable(ys, (batch, channels, out_hw[0], out_hw[1]), &[xs], move |grad, _| {
                let of_xs = read::<T, _>(grad, |grad| Ok(nearest.scatter_add(grad)))?;
                Ok(vec![Some(Gradient::Own(tensor(of_xs, in_shape)?))])
            })
        })
    })
}

/// The input position that each output position takes.
pub(crate) fn sources(in_len: usize, out_len: usize) -> Vec<usize> {
    let scale = in_len as f32 / out_len as f32;
    (0..out_len).map(|i| ((i as f32 * scale) as usize).min(in_len - 1)).collect()
}

#[derive(Debug, Clone, Copy)]
struct Nearest {
    in_hw: [usize; 2],
    out_hw: [usize; 2],
}

impl Nearest {
    /// From `in_hw` to `out_hw`.
    fn gather<T: Real>(&self, xs: Maps<'_, T>) -> Vec<T> {
        let (rows, columns, in_w) = (self.rows(), self.columns(), self.in_hw[1]);
        self.each_plane(xs, self.in_hw, self.out_hw, |xs, out| {
            for (out, row) in out.chunks_exact_mut(self.out_hw[1]).zip(&rows) {
                let xs = &xs[row * in_w..][..in_w];
                out.iter_mut().zip(&columns).for_each(|(y, column)| *y = xs[*column]);
            }
        })
    }

    /// The transpose: sums from `out_hw` to `in_hw`.
    fn scatter_add<T: Real>(&self, grad: Maps<'_, T>) -> Vec<T> {
        let (rows, columns, in_w) = (self.rows(), self.columns(), self.in_hw[1]);
        self.each_plane(grad, self.out_hw, self.in_hw, |grad, out| {
            for (grad, row) in grad.chunks_exact(self.out_hw[1]).zip(&rows) {
                let out = &mut out[row * in_w..][..in_w];
                grad.iter().zip(&columns).for_each(|(x, column)| out[*column] += *x);
            }
        })
    }

    fn rows(&self) -> Vec<usize> {
        sources(self.in_hw[0], self.out_hw[0])
    }

    fn columns(&self) -> Vec<usize> {
        sources(self.in_hw[1], self.out_hw[1])
    }

    /// Zeros that `f(plane of xs, plane of the result)` changes, plane by plane.
    fn each_plane<T: Real>(
        &self,
        xs: Maps<'_, T>,
        from: [usize; 2],
        to: [usize; 2],
        f: impl Fn(&[T], &mut [T]) + Sync,
    ) -> Vec<T> {
        let ([from, to], batch) = ([from[0] * from[1], to[0] * to[1]], xs.batch());
        let channels = xs.image_len() / from;
        let mut out = zeros(batch * channels * to);
        out.par_chunks_exact_mut(to).enumerate().for_each(|(plane, out)| {
            f(&xs.image(plane / channels)[plane % channels * from..][..from], out);
        });
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn any_ratio_takes_pytorchs_sources() {
        // torch.nn.functional.interpolate(torch.arange(n.), size=m, mode="nearest") of torch 2.15
        assert_eq!(sources(3, 7), [0, 0, 0, 1, 1, 2, 2]);
        assert_eq!(sources(7, 3), [0, 2, 4]);
        assert_eq!(sources(2, 4), [0, 0, 1, 1]);
        assert_eq!(sources(1, 3), [0, 0, 0]);
        assert_eq!(sources(5, 5), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn the_gradient_sums_over_every_use() -> Result<()> {
        let xs = Var::from_tensor(&Tensor::arange(0f64, 6., &Device::Cpu)?.reshape((1, 1, 2, 3))?)?;
        let ys = upsample_nearest2d(&xs, [5, 7])?;
        let expected: Vec<f64> =
            sources(2, 5).iter().flat_map(|i| sources(3, 7).into_iter().map(move |j| (i * 3 + j) as f64)).collect();
        assert_eq!(ys.flatten_all()?.to_vec1::<f64>()?, expected);
        // The input is used twice, once through the upsampling and once directly: both parts must arrive.
        let grads = (ys.sum_all()? + (xs.as_tensor() * 10.)?.sum_all()?)?.backward()?;
        let grad = grads.get(&xs).expect("xs takes part").flatten_all()?.to_vec1::<f64>()?;
        let uses = |len, out, i| sources(len, out).into_iter().filter(|s| *s == i).count() as f64;
        for (position, grad) in grad.iter().enumerate() {
            assert_eq!(*grad, 10. + uses(2, 5, position / 3) * uses(3, 7, position % 3), "position {position}");
        }
        Ok(())
    }

    #[test]
    fn stock_candle_loses_the_gradient_that_ours_keeps() -> Result<()> {
        let gradient = |upsample: &dyn Fn(&Tensor) -> Result<Tensor>| -> Result<Vec<f64>> {
            let xs = Var::zeros((1, 1, 1, 1), candle_core::DType::F64, &Device::Cpu)?;
            let twice = upsample(&xs)?.sum_all()? + (xs.as_tensor() * 10.)?.sum_all()?;
            let grads = twice?.backward()?;
            grads.get(&xs).expect("xs takes part").flatten_all()?.to_vec1::<f64>()
        };
        assert_eq!(gradient(&|xs| upsample_nearest2d(xs, [2, 2]))?, [14.]);
        assert_ne!(gradient(&|xs| xs.upsample_nearest2d(2, 2))?, [14.], "candle is mended: use its operation");
        Ok(())
    }
}
