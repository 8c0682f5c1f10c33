//! Batch normalisation in training, with its activation, as one operation.
//!
//! `y = act((x − mean) / √(var + eps) · weight + bias)` per channel of (n, c, h, w), `mean` and the biased `var` over the
//! batch and its positions. Only `x` and two numbers per channel are kept for the gradient, which computes the activation
//! anew. A channel passes through the cache in parts; sums run in `f64`, in an order that does not depend on the number of
//! threads.
//! Source: Ioffe and Szegedy, <https://arxiv.org/abs/1502.03167>.

use std::sync::Arc;

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::autograd::{Gradient, differentiable};
use super::maps::{Maps, dispatch_dtype, read, tensor, unwritten, with_dense_images};
use super::real::{Real, Sums, widest};
use super::shared::{DisjointSliceMut, with_compute_dtype};
use super::sync::{self, AllGather};
use super::{Activation, gpu, is_stock};

pub(crate) mod together;

/// Elements that pass through the first-level cache at a time.
const PART: usize = 1024;

/// Mean and biased variance of a batch, each (c), and the number of elements per channel.
#[derive(Debug)]
pub struct BatchStats {
    /// Mean over batch and positions.
    pub mean: Tensor,
    /// Mean squared distance from the mean.
    pub var: Tensor,
    /// Elements of each channel, of all processes.
    pub count: usize,
}

/// Normalises `xs` (n, c, h, w) by its own moments; `weight` and `bias` are (c). Fails where a channel has one element.
///
/// In [`crate::with_sync_batch_norm`] the moments are those of all processes' maps; candle's own operations have no such form.
pub fn batch_norm(
    xs: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
    activation: Activation,
) -> Result<(Tensor, BatchStats)> {
    let (batch, channels, h, w) = xs.dims4()?;
    if weight.dims() != [channels] || bias.dims() != [channels] {
        bail!("batch norm weight {:?} and bias {:?} do not fit {:?}", weight.dims(), bias.dims(), xs.dims())
    }
    let (count, group) = (batch * h * w, sync::group());
    if count <= 1 && group.is_none() {
        bail!("batch norm in training needs more than one value per channel, got {:?}", xs.dims())
    }
    let on_gpu = gpu::train::takes(xs);
    if (!xs.device().is_cpu() && !on_gpu) || is_stock() {
        if group.is_some() {
            bail!("batch norms of several processes are not synchronised by candle's own operations")
        }
        return compose(xs, weight, bias, eps, activation, count);
    }
    let mut found = None;
    let ys = with_compute_dtype("batch_norm", xs, |xs| {
        let operand = |t: &Tensor| t.to_dtype(xs.dtype());
        let (weight, bias) = (operand(weight)?, operand(bias)?);
        let by = if on_gpu { gpu::train::batch_norm } else { fused };
        let (ys, moments, count) = by(xs, &weight, &bias, eps, activation, group)?;
        found = Some((moments, count));
        Ok(ys)
    })?;
    let Some(([mean, var], count)) = found else { bail!("batch norm without moments") };
    Ok((ys, BatchStats { mean, var, count }))
}

/// [`batch_norm`] composed of candle's own operations.
fn compose(
    xs: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
    activation: Activation,
    count: usize,
) -> Result<(Tensor, BatchStats)> {
    let mean_over = |xs: &Tensor| xs.mean_keepdim(0)?.mean_keepdim(2)?.mean_keepdim(3);
    let mean = mean_over(xs)?;
    let centred = xs.broadcast_sub(&mean)?;
    let var = mean_over(&centred.sqr()?)?;
    let scale = (&var + eps)?.sqrt()?.recip()?.broadcast_mul(&weight.reshape((1, (), 1, 1))?)?;
    let ys = centred.broadcast_mul(&scale)?.broadcast_add(&bias.reshape((1, (), 1, 1))?)?;
    let moments = BatchStats { mean: mean.detach().flatten_all()?, var: var.detach().flatten_all()?, count };
    Ok((activation.apply(&ys)?, moments))
}

fn fused(
    xs: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
    activation: Activation,
    group: Option<Arc<dyn AllGather>>,
) -> Result<(Tensor, [Tensor; 2], usize)> {
    let kept = with_dense_images(&xs.detach())?;
    let (batch, channels, h, w) = xs.dims4()?;
    let mut norm = Norm { channels, plane: h * w, count: (batch * h * w) as f64, eps, activation };
    dispatch_dtype!("batch_norm", xs.dtype(), T => {
        let (scale, shift) = (weight.to_vec1::<T>()?, bias.to_vec1::<T>()?);
        let (ys, moments) = match &group {
            None => read::<T, _>(&kept, |xs| Ok(norm.forward(xs, &scale, &shift)))?,
            Some(group) => read::<T, _>(&kept, |xs| norm.forward_together(xs, &scale, &shift, &**group))?,
        };
        let count = norm.count as usize;
        let column = |of: fn(&Moment) -> f64| {
            tensor(moments.iter().map(|moment| T::nearest(of(moment))).collect::<Vec<T>>(), channels)
        };
        let found = [column(|moment| moment.mean)?, column(|moment| moment.var)?];
        let ys = differentiable(ys, xs.shape(), &[xs, weight, bias], move |grad, _| {
            let (of_xs, of_weight, of_bias) = read::<T, _>(&kept, |xs| {
                read(grad, |grad| match &group {
                    None => Ok(norm.backward(xs, grad, &moments, &scale, &shift)),
                    Some(group) => norm.backward_together(xs, grad, &moments, &scale, &shift, &**group),
                })
            })?;
            let of_xs = tensor(of_xs, kept.shape())?;
            let grads = [of_xs, tensor(of_weight, channels)?, tensor(of_bias, channels)?];
            Ok(grads.into_iter().map(|grad| Some(Gradient::Own(grad))).collect())
        })?;
        Ok((ys, found, count))
    })
}

/// A channel's mean and biased variance.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) mean: f64,
    pub(crate) var: f64,
}

#[derive(Debug, Clone, Copy)]
struct Norm {
    channels: usize,
    plane: usize,
    /// Elements per channel.
    count: f64,
    eps: f64,
    activation: Activation,
}

/// Elements `start..start + len` of a channel's planes in some images.
#[derive(Debug, Clone, Copy)]
struct Part {
    image: usize,
    images: usize,
    start: usize,
    len: usize,
}

impl Norm {
    /// Parts of at most [`PART`] elements that make up a channel: runs of a plane, or several small planes.
    fn parts(self, batch: usize) -> impl Iterator<Item = Part> {
        let together = (PART / self.plane).max(1);
        (0..batch).step_by(together).flat_map(move |image| {
            let images = together.min(batch - image);
            let part = move |start| Part { image, images, start, len: PART.min(self.plane - start) };
            (0..self.plane).step_by(PART).map(part)
        })
    }

    /// The elements of a part, which are copied to `buffer` where they lie in several planes.
    fn read<'a, T: Real>(&self, xs: Maps<'a, T>, channel: usize, part: Part, buffer: &'a mut [T]) -> &'a [T] {
        let of = |image: usize| &xs.image(image)[channel * self.plane + part.start..][..part.len];
        if part.images == 1 {
            return of(part.image);
        }
        let buffer = &mut buffer[..part.images * part.len];
        for (index, buffer) in buffer.chunks_exact_mut(part.len).enumerate() {
            buffer.copy_from_slice(of(part.image + index));
        }
        buffer
    }

    /// Writes the elements of a part.
    ///
    /// # Safety
    /// Nothing else writes this channel's planes at the same time.
    unsafe fn write<T: Real>(&self, ys: &[T], channel: usize, part: Part, out: &DisjointSliceMut<'_, T>) {
        for (index, ys) in ys.chunks_exact(part.len).enumerate() {
            let start = ((part.image + index) * self.channels + channel) * self.plane + part.start;
            // SAFETY: by the caller's contract.
            unsafe { out.slice_mut(start, part.len) }.copy_from_slice(ys);
        }
    }

    fn moment<T: Real>(&self, xs: Maps<'_, T>, channel: usize, buffer: &mut [T]) -> Moment {
        // About a value of the channel, so that a large mean does not cancel the variance.
        let (about, mut sums) = (xs.image(0)[channel * self.plane].to_wide(), Sums::default());
        for part in self.parts(xs.batch()) {
            let xs = self.read(xs, channel, part, buffer);
            widest(|| sums.add(xs, xs, move |x, _| [x - about, (x - about) * (x - about)]));
        }
        let [mean, squares] = sums.totals().map(|total| total / self.count);
        Moment { mean: about + mean, var: (squares - mean * mean).max(0.) }
    }

    /// Factor and summand that normalise a channel.
    fn affine<T: Real>(&self, moment: Moment, weight: T, bias: T) -> [T; 2] {
        let scale = weight.to_wide() / (moment.var + self.eps).sqrt();
        [T::nearest(scale), T::nearest(bias.to_wide() - moment.mean * scale)]
    }

    fn forward<T: Real>(&self, xs: Maps<'_, T>, weight: &[T], bias: &[T]) -> (Vec<T>, Vec<Moment>) {
        // SAFETY: the parts of all channels make up the buffer, and each is written.
        let mut out = unsafe { unwritten(xs.batch() * xs.image_len()) };
        let scatter = DisjointSliceMut::new(&mut out);
        let channel = |channel: usize| {
            let mut buffer = [T::zero(); PART];
            let moment = self.moment(xs, channel, &mut buffer);
            let affine = self.affine(moment, weight[channel], bias[channel]);
            // SAFETY: the planes of this channel belong to this task alone.
            unsafe { self.write_normalised(xs, channel, affine, &mut buffer, &scatter) };
            moment
        };
        let moments = (0..self.channels).into_par_iter().map(channel).collect();
        (out, moments)
    }

    /// Writes a channel's result.
    ///
    /// # Safety
    /// Nothing else writes this channel's planes at the same time.
    unsafe fn write_normalised<T: Real>(
        &self,
        xs: Maps<'_, T>,
        channel: usize,
        affine: [T; 2],
        buffer: &mut [T; PART],
        out: &DisjointSliceMut<'_, T>,
    ) {
        let mut ys = [T::zero(); PART];
        for part in self.parts(xs.batch()) {
            let xs = self.read(xs, channel, part, buffer);
            let ys = &mut ys[..xs.len()];
            widest(|| normalise(xs, affine, ys));
            self.activation.apply_slice(ys);
            // SAFETY: by the caller's contract.
            unsafe { self.write(ys, channel, part, out) };
        }
    }

    /// Gradients of the input, the weight and the bias.
    fn backward<T: Real>(
        &self,
        xs: Maps<'_, T>,
        grad: Maps<'_, T>,
        moments: &[Moment],
        weight: &[T],
        bias: &[T],
    ) -> (Vec<T>, Vec<T>, Vec<T>) {
        // SAFETY: the parts of all channels make up the buffer, and each is written.
        let mut out = unsafe { unwritten(xs.batch() * xs.image_len()) };
        let scatter = DisjointSliceMut::new(&mut out);
        let channel = |channel: usize| {
            let mut pass = Pass::new(self, [xs, grad], channel, moments[channel], [weight[channel], bias[channel]]);
            let sums = pass.sums();
            // SAFETY: the planes of this channel belong to this task alone.
            unsafe { pass.write(sums, &scatter) };
            pass.of_affine(sums)
        };
        let (of_weight, of_bias) = (0..self.channels).into_par_iter().map(channel).unzip();
        (out, of_weight, of_bias)
    }
}

/// The way back through a channel. The gradient behind the activation is computed in both of its passes: that takes less than
/// to store it.
struct Pass<'a, T> {
    norm: &'a Norm,
    xs: Maps<'a, T>,
    grad: Maps<'a, T>,
    channel: usize,
    moment: Moment,
    weight: T,
    affine: [T; 2],
    buffers: [[T; PART]; 4],
}

impl<'a, T: Real> Pass<'a, T> {
    fn new(
        norm: &'a Norm,
        [xs, grad]: [Maps<'a, T>; 2],
        channel: usize,
        moment: Moment,
        [weight, bias]: [T; 2],
    ) -> Self {
        let affine = norm.affine(moment, weight, bias);
        Self { norm, xs, grad, channel, moment, weight, affine, buffers: [[T::zero(); PART]; 4] }
    }

    /// Calls `f` with the elements of each part and their gradients behind the activation.
    fn each(&mut self, mut f: impl FnMut(Part, &[T], &mut [T])) {
        let Self { norm, channel, affine, buffers: [of_xs, of_grad, normalised, passed], .. } = self;
        for part in norm.parts(self.xs.batch()) {
            let xs = norm.read(self.xs, *channel, part, of_xs);
            let passed = &mut passed[..xs.len()];
            passed.copy_from_slice(norm.read(self.grad, *channel, part, of_grad));
            if norm.activation != Activation::Identity {
                let normalised = &mut normalised[..xs.len()];
                widest(|| normalise(xs, *affine, normalised));
                norm.activation.times_derivative(normalised, passed);
            }
            f(part, xs, passed);
        }
    }

    /// Sums of the gradients, and of their products with the distances from the mean.
    fn sums(&mut self) -> [f64; 2] {
        let (mean, mut sums) = (self.moment.mean, Sums::default());
        self.each(|_, xs, passed| widest(|| sums.add(passed, xs, move |grad, x| [grad, grad * (x - mean)])));
        sums.totals()
    }

    fn invstd(&self) -> f64 {
        1. / (self.moment.var + self.norm.eps).sqrt()
    }

    /// Writes the gradient of the input, which the sums over all that decided the moments enter.
    ///
    /// # Safety
    /// Nothing else writes this channel's planes at the same time.
    unsafe fn write(&mut self, [sum, product]: [f64; 2], out: &DisjointSliceMut<'_, T>) {
        let (Self { norm, channel, moment, .. }, invstd, weight) = (&*self, self.invstd(), self.weight.to_wide());
        let (norm, channel) = (*norm, *channel);
        let of_x = -weight * invstd * invstd * invstd * product / norm.count;
        let constant = -weight * invstd * sum / norm.count - of_x * moment.mean;
        let factors = [self.affine[0], T::nearest(of_x), T::nearest(constant)];
        self.each(|part, xs, passed| {
            widest(|| combine(xs, factors, passed));
            // SAFETY: by the caller's contract.
            unsafe { norm.write(passed, channel, part, out) };
        });
    }

    /// Gradients of weight and bias.
    fn of_affine(&self, [sum, product]: [f64; 2]) -> (T, T) {
        (T::nearest(product * self.invstd()), T::nearest(sum))
    }
}

#[inline(always)]
fn normalise<T: Real>(xs: &[T], [scale, shift]: [T; 2], out: &mut [T]) {
    out.iter_mut().zip(xs).for_each(|(y, x)| *y = *x * scale + shift);
}

#[inline(always)]
fn combine<T: Real>(xs: &[T], [scale, of_x, constant]: [T; 3], grads: &mut [T]) {
    grads.iter_mut().zip(xs).for_each(|(grad, x)| *grad = scale * *grad + (of_x * *x + constant));
}

#[cfg(test)]
#[path = "norm_tests.rs"]
mod tests;
