//! Nearest-neighbour resampling to any size, with its gradient.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::is_stock;
use super::real::Real;
use super::shared::{dispatch_real, slice, with_compute_dtype};

/// Resamples (n, c, h, w) to (n, c, out_h, out_w); each output takes input `floor(i · in / out)`, as PyTorch's
/// `interpolate(mode="nearest")` computes it (in `f32`).
pub fn upsample_nearest2d(xs: &Tensor, out_hw: [usize; 2]) -> Result<Tensor> {
    let (_, _, in_h, in_w) = xs.dims4()?;
    if in_h * in_w == 0 || out_hw[0] * out_hw[1] == 0 {
        bail!("nearest resampling from {:?} to {out_hw:?} has an empty side", xs.dims())
    }
    if [in_h, in_w] == out_hw {
        return Ok(xs.clone());
    }
    if !xs.device().is_cpu() || is_stock() {
        let take = |xs: &Tensor, dim: usize, indices: Vec<usize>| {
            let indices: Vec<u32> = indices.into_iter().map(|i| i as u32).collect();
            xs.contiguous()?.index_select(&Tensor::new(indices, xs.device())?, dim)
        };
        return take(&take(xs, 2, sources(in_h, out_hw[0]))?, 3, sources(in_w, out_hw[1]));
    }
    with_compute_dtype("upsample_nearest2d", xs, |xs| {
        xs.apply_op1(Nearest { in_hw: [in_h, in_w], out_hw, direction: Direction::Gather })
    })
}

/// The input position that each output position takes.
pub(crate) fn sources(in_len: usize, out_len: usize) -> Vec<usize> {
    let scale = in_len as f32 / out_len as f32;
    (0..out_len).map(|i| ((i as f32 * scale) as usize).min(in_len - 1)).collect()
}

#[derive(Debug, Clone, Copy)]
enum Direction {
    /// From `in_hw` to `out_hw`.
    Gather,
    /// The transpose: sums from `out_hw` to `in_hw`.
    ScatterAdd,
}

#[derive(Debug, Clone, Copy)]
struct Nearest {
    in_hw: [usize; 2],
    out_hw: [usize; 2],
    direction: Direction,
}

impl Nearest {
    fn run<T: Real>(&self, xs: &[T], planes: usize) -> Vec<T> {
        let ([in_h, in_w], [out_h, out_w]) = (self.in_hw, self.out_hw);
        let (rows, columns) = (sources(in_h, out_h), sources(in_w, out_w));
        let (small, large) = (in_h * in_w, out_h * out_w);
        match self.direction {
            Direction::Gather => {
                let mut out = vec![T::zero(); planes * large];
                out.par_chunks_exact_mut(large).zip(xs.par_chunks_exact(small)).for_each(|(out, xs)| {
                    for (out, row) in out.chunks_exact_mut(out_w).zip(&rows) {
                        let xs = &xs[row * in_w..][..in_w];
                        out.iter_mut().zip(&columns).for_each(|(y, column)| *y = xs[*column]);
                    }
                });
                out
            }
            Direction::ScatterAdd => {
                let mut out = vec![T::zero(); planes * small];
                out.par_chunks_exact_mut(small).zip(xs.par_chunks_exact(large)).for_each(|(out, xs)| {
                    for (xs, row) in xs.chunks_exact(out_w).zip(&rows) {
                        let out = &mut out[row * in_w..][..in_w];
                        xs.iter().zip(&columns).for_each(|(x, column)| out[*column] += *x);
                    }
                });
                out
            }
        }
    }
}

impl CustomOp1 for Nearest {
    fn name(&self) -> &'static str {
        "upsample_nearest2d"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, ..) = layout.shape().dims4()?;
        let [h, w] = match self.direction {
            Direction::Gather => self.out_hw,
            Direction::ScatterAdd => self.in_hw,
        };
        dispatch_real!("upsample_nearest2d", storage, T => {
            let out = self.run::<T>(slice(storage, layout)?, batch * channels);
            Ok((candle_core::WithDType::to_cpu_storage_owned(out), (batch, channels, h, w).into()))
        })
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        grad.contiguous()?.apply_op1_no_bwd(&Nearest { direction: Direction::ScatterAdd, ..*self }).map(Some)
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
