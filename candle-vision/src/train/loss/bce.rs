//! Binary cross entropy with logits, as one operation.

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Storage, Tensor, WithDType, bail};
use num_traits::Float;
use rayon::prelude::*;

use ghostzoo_kernels::is_stock;

/// Elements of one partial sum.
const CHUNK: usize = 1 << 14;

/// `Σ weight·(max(x, 0) − x·t + log(1 + e^−|x|))`, a scalar, of logits `x`, targets `t` in 0..1 and weights of one shape.
///
/// That is the negative logarithm of `σ(x)^t·(1 − σ(x))^(1−t)`, and its gradient `weight·(σ(x) − t)`, without the
/// logarithm of a rounded 0. Targets and weights get no gradient. On the CPU in `f32` and `f64` nothing but the operands
/// is kept for the backward pass, and sums are in `f64` and do not depend on the number of threads.
pub fn bce_with_logits(logits: &Tensor, targets: &Tensor, weights: Option<&Tensor>) -> Result<Tensor> {
    let (targets, weights) = (targets.detach(), weights.map(Tensor::detach));
    if [Some(&targets), weights.as_ref()].into_iter().flatten().any(|other| other.shape() != logits.shape()) {
        let weights = weights.map(|weights| weights.shape().clone());
        bail!("logits {:?}, targets {:?} and weights {weights:?} differ in shape", logits.shape(), targets.shape())
    }
    let is_real = matches!(logits.dtype(), DType::F32 | DType::F64);
    if !logits.device().is_cpu() || !is_real || is_stock() {
        return compose(logits, &targets, weights.as_ref());
    }
    let dtype = logits.dtype();
    let weights = weights.map(|weights| weights.to_dtype(dtype)?.contiguous()).transpose()?;
    logits.contiguous()?.apply_op1(Bce { targets: targets.to_dtype(dtype)?.contiguous()?, weights })
}

/// The same value and gradient by candle's operations.
fn compose(logits: &Tensor, targets: &Tensor, weights: Option<&Tensor>) -> Result<Tensor> {
    let xs = logits.detach();
    let weigh = |ys: Tensor| match weights {
        Some(weights) => ys * weights,
        None => Ok(ys),
    };
    let losses = ((xs.relu()? - (&xs * targets)?)? + (xs.abs()?.neg()?.exp()? + 1.)?.log()?)?;
    let grad = weigh((candle_nn::ops::sigmoid(&xs)? - targets)?)?;
    // Zero, with this gradient: that of the formula is wrong where its branches meet.
    let carrier = ((logits - &xs)? * grad)?;
    (weigh(losses)? + carrier)?.sum_all()
}

/// Holds constants of the logits' dtype and shape, all contiguous.
#[derive(Clone)]
struct Bce {
    targets: Tensor,
    weights: Option<Tensor>,
}

/// The gradient of a [`Bce`], times `scale`.
struct BceGrad {
    of: Bce,
    scale: f64,
}

impl Bce {
    /// `f(x, target)·weight` of a chunk's elements, collected by `collect`; chunks run in parallel and stay in order.
    fn chunks<T: Float + WithDType, R: Send>(
        &self,
        xs: &[T],
        f: impl Fn(T, T) -> T + Sync,
        collect: impl Fn(&mut dyn Iterator<Item = T>) -> R + Sync,
    ) -> Result<Vec<R>> {
        let (targets, targets_layout) = self.targets.storage_and_layout();
        let weights = self.weights.as_ref().map(Tensor::storage_and_layout);
        let targets: &[T] = part(&targets, targets_layout)?;
        let weights: Option<&[T]> = match &weights {
            Some((weights, layout)) => Some(part(weights, layout)?),
            None => None,
        };
        let chunk = |(index, (xs, targets)): (usize, (&[T], &[T]))| {
            let mut values = xs.iter().zip(targets).map(|(x, t)| f(*x, *t));
            match weights {
                Some(weights) => collect(&mut values.zip(&weights[index * CHUNK..]).map(|(value, w)| value * *w)),
                None => collect(&mut values),
            }
        };
        Ok(xs.par_chunks(CHUNK).zip(targets.par_chunks(CHUNK)).enumerate().map(chunk).collect())
    }

    fn sum<T: Float + WithDType>(&self, xs: &[T]) -> Result<T> {
        let loss = |x: T, t: T| Float::max(x, T::zero()) - x * t + (-x.abs()).exp().ln_1p();
        let sums = self.chunks(xs, loss, |losses| losses.map(WithDType::to_f64).sum::<f64>())?;
        Ok(T::from_f64(sums.into_iter().sum()))
    }
}

impl BceGrad {
    fn grads<T: Float + WithDType>(&self, xs: &[T]) -> Result<Vec<T>> {
        let (one, scale) = (T::one(), T::from_f64(self.scale));
        let grad = |x: T, t: T| scale * (one / (one + (-x).exp()) - t);
        Ok(self.of.chunks(xs, grad, |grads| grads.collect::<Vec<T>>())?.concat())
    }
}

fn part<'a, T: WithDType>(storage: &'a Storage, layout: &Layout) -> Result<&'a [T]> {
    match (storage, layout.contiguous_offsets()) {
        (Storage::Cpu(storage), Some((start, end))) => Ok(&storage.as_slice::<T>()?[start..end]),
        _ => bail!("an operand of the cross entropy is not contiguous on the CPU: {layout:?}"),
    }
}

fn contiguous(layout: &Layout) -> Result<std::ops::Range<usize>> {
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("the logits are strided: {layout:?}") };
    Ok(start..end)
}

impl CustomOp1 for Bce {
    fn name(&self) -> &'static str {
        "bce-with-logits"
    }

    fn cpu_fwd(&self, xs: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let range = contiguous(layout)?;
        let sum = match xs {
            CpuStorage::F32(xs) => CpuStorage::F32(vec![self.sum(&xs[range])?]),
            CpuStorage::F64(xs) => CpuStorage::F64(vec![self.sum(&xs[range])?]),
            _ => bail!("{} computes in f32 and f64", self.name()),
        };
        Ok((sum, Shape::from(())))
    }

    fn bwd(&self, xs: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let scale = grad.to_dtype(DType::F64)?.to_scalar()?;
        xs.detach().apply_op1_no_bwd(&BceGrad { of: self.clone(), scale }).map(Some)
    }
}

impl CustomOp1 for BceGrad {
    fn name(&self) -> &'static str {
        "bce-with-logits-grad"
    }

    fn cpu_fwd(&self, xs: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let range = contiguous(layout)?;
        let grads = match xs {
            CpuStorage::F32(xs) => CpuStorage::F32(self.grads(&xs[range])?),
            CpuStorage::F64(xs) => CpuStorage::F64(self.grads(&xs[range])?),
            _ => bail!("{} computes in f32 and f64", self.name()),
        };
        Ok((grads, layout.shape().clone()))
    }
}
