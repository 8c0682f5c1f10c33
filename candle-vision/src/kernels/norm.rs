//! Batch normalisation in training, with its activation, as one operation.
//!
//! `y = act((x − mean) / √(var + eps) · weight + bias)` per channel of (n, c, h, w), `mean` and the biased `var` over the
//! batch and its positions. Only `x` and two numbers per channel are kept for the gradient, which computes the activation
//! anew. Sums run in `f64`, channel by channel, in an order that does not depend on the number of threads.
//! Source: Ioffe and Szegedy, <https://arxiv.org/abs/1502.03167>.

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::autograd::{Gradient, differentiable};
use super::maps::{Maps, dispatch_dtype, read, tensor, with_dense_pictures, zeros};
use super::real::{Real, sums_of};
use super::shared::{Scatter, with_compute_dtype};
use super::{Activation, is_stock};

/// Elements that pass through the first-level cache at a time.
const RUN: usize = 2048;

/// Mean and biased variance of a batch, each (c), and the number of elements per channel.
pub struct Moments {
    /// Mean over batch and positions.
    pub mean: Tensor,
    /// Mean squared distance from the mean.
    pub var: Tensor,
    /// Elements of each channel.
    pub count: usize,
}

/// Normalises `xs` (n, c, h, w) by its own moments; `weight` and `bias` are (c). Fails where a channel has one element.
pub fn batch_norm(
    xs: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
    activation: Activation,
) -> Result<(Tensor, Moments)> {
    let (batch, channels, h, w) = xs.dims4()?;
    if weight.dims() != [channels] || bias.dims() != [channels] {
        bail!("batch norm weight {:?} and bias {:?} do not fit {:?}", weight.dims(), bias.dims(), xs.dims())
    }
    let count = batch * h * w;
    if count <= 1 {
        bail!("batch norm in training needs more than one value per channel, got {:?}", xs.dims())
    }
    if !xs.device().is_cpu() || is_stock() {
        return compose(xs, weight, bias, eps, activation, count);
    }
    let mut found = None;
    let ys = with_compute_dtype("batch_norm", xs, |xs| {
        let operand = |t: &Tensor| t.to_dtype(xs.dtype());
        let (ys, moments) = fused(xs, &operand(weight)?, &operand(bias)?, eps, activation)?;
        found = Some(moments);
        Ok(ys)
    })?;
    let Some([mean, var]) = found else { bail!("batch norm without moments") };
    Ok((ys, Moments { mean, var, count }))
}

/// [`batch_norm`] composed of candle's own operations.
fn compose(
    xs: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
    activation: Activation,
    count: usize,
) -> Result<(Tensor, Moments)> {
    let mean_over = |xs: &Tensor| xs.mean_keepdim(0)?.mean_keepdim(2)?.mean_keepdim(3);
    let mean = mean_over(xs)?;
    let centred = xs.broadcast_sub(&mean)?;
    let var = mean_over(&centred.sqr()?)?;
    let scale = (&var + eps)?.sqrt()?.recip()?.broadcast_mul(&weight.reshape((1, (), 1, 1))?)?;
    let ys = centred.broadcast_mul(&scale)?.broadcast_add(&bias.reshape((1, (), 1, 1))?)?;
    let moments = Moments { mean: mean.detach().flatten_all()?, var: var.detach().flatten_all()?, count };
    Ok((activation.apply(&ys)?, moments))
}

fn fused(
    xs: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
    activation: Activation,
) -> Result<(Tensor, [Tensor; 2])> {
    let kept = with_dense_pictures(&xs.detach())?;
    let (batch, channels, h, w) = xs.dims4()?;
    let norm = Norm { channels, plane: h * w, count: (batch * h * w) as f64, eps, activation };
    dispatch_dtype!("batch_norm", xs.dtype(), T => {
        let (scale, shift) = (weight.to_vec1::<T>()?, bias.to_vec1::<T>()?);
        let moments = read::<T, _>(&kept, |xs| Ok(norm.moments(xs)))?;
        let column = |of: fn(&Moment) -> f64| {
            tensor(moments.iter().map(|moment| T::nearest(of(moment))).collect::<Vec<T>>(), channels)
        };
        let found = [column(|moment| moment.mean)?, column(|moment| moment.var)?];
        let ys = read::<T, _>(&kept, |xs| Ok(norm.forward(xs, &moments, &scale, &shift)))?;
        let ys = differentiable(ys, xs.shape(), &[xs, weight, bias], move |grad, _| {
            let (of_xs, of_weight, of_bias) = read::<T, _>(&kept, |xs| {
                read(grad, |grad| Ok(norm.backward(xs, grad, &moments, &scale, &shift)))
            })?;
            let of_xs = tensor(of_xs, kept.shape())?;
            let grads = [of_xs, tensor(of_weight, channels)?, tensor(of_bias, channels)?];
            Ok(grads.into_iter().map(|grad| Some(Gradient::Own(grad))).collect())
        })?;
        Ok((ys, found))
    })
}

/// A channel's mean and biased variance.
#[derive(Debug, Clone, Copy)]
struct Moment {
    mean: f64,
    var: f64,
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

impl Norm {
    /// The planes of a channel, picture by picture.
    fn planes<'a, T>(&self, xs: Maps<'a, T>, channel: usize) -> impl Iterator<Item = &'a [T]> + use<'a, T> {
        let plane = self.plane;
        (0..xs.batch()).map(move |picture| &xs.picture(picture)[channel * plane..][..plane])
    }

    fn moments<T: Real>(&self, xs: Maps<'_, T>) -> Vec<Moment> {
        let moment = |channel: usize| {
            // About a value of the channel, so that a large mean does not cancel the variance.
            let about = xs.picture(0)[channel * self.plane].to_wide();
            let (mut sum, mut squares) = (0., 0.);
            for xs in self.planes(xs, channel) {
                let [s, q] =
                    pulp::Arch::new().dispatch(|| sums_of(xs, xs, |x, _| [x - about, (x - about) * (x - about)]));
                (sum, squares) = (sum + s, squares + q);
            }
            let mean = sum / self.count;
            Moment { mean: about + mean, var: (squares / self.count - mean * mean).max(0.) }
        };
        (0..self.channels).into_par_iter().map(moment).collect()
    }

    /// Factor and summand that normalise a channel.
    fn affine<T: Real>(&self, moment: Moment, weight: T, bias: T) -> [T; 2] {
        let scale = weight.to_wide() / (moment.var + self.eps).sqrt();
        [T::nearest(scale), T::nearest(bias.to_wide() - moment.mean * scale)]
    }

    fn forward<T: Real>(&self, xs: Maps<'_, T>, moments: &[Moment], weight: &[T], bias: &[T]) -> Vec<T> {
        let mut out = zeros(xs.batch() * xs.picture_len());
        let scatter = Scatter::new(&mut out);
        (0..self.channels).into_par_iter().for_each(|channel| {
            let [scale, shift] = self.affine(moments[channel], weight[channel], bias[channel]);
            for (picture, xs) in self.planes(xs, channel).enumerate() {
                let start = (picture * self.channels + channel) * self.plane;
                // SAFETY: the planes of this channel belong to this task alone.
                let out = unsafe { scatter.slice_mut(start, self.plane) };
                for (out, xs) in out.chunks_mut(RUN).zip(xs.chunks(RUN)) {
                    pulp::Arch::new().dispatch(|| normalise(xs, scale, shift, out));
                    self.activation.apply_slice(out);
                }
            }
        });
        out
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
        let mut out = zeros(xs.batch() * xs.picture_len());
        let scatter = Scatter::new(&mut out);
        let channel = |channel: usize| {
            let moment = moments[channel];
            let [scale, shift] = self.affine(moment, weight[channel], bias[channel]);
            let start = |picture: usize| (picture * self.channels + channel) * self.plane;
            let mut normalised = [T::zero(); RUN];
            let (mut sum, mut product) = (0., 0.);
            for (picture, (xs, grad)) in self.planes(xs, channel).zip(self.planes(grad, channel)).enumerate() {
                // SAFETY: the planes of this channel belong to this task alone.
                let out = unsafe { scatter.slice_mut(start(picture), self.plane) };
                for (out, (xs, grad)) in out.chunks_mut(RUN).zip(xs.chunks(RUN).zip(grad.chunks(RUN))) {
                    out.copy_from_slice(grad);
                    if self.activation != Activation::Identity {
                        let normalised = &mut normalised[..xs.len()];
                        pulp::Arch::new().dispatch(|| normalise(xs, scale, shift, normalised));
                        self.activation.times_derivative(normalised, out);
                    }
                    let (grad, mean) = (&*out, moment.mean);
                    let [s, p] = pulp::Arch::new().dispatch(|| sums_of(grad, xs, |grad, x| [grad, grad * (x - mean)]));
                    (sum, product) = (sum + s, product + p);
                }
            }
            let invstd = 1. / (moment.var + self.eps).sqrt();
            let of_x = -weight[channel].to_wide() * invstd * invstd * invstd * product / self.count;
            let constant = -weight[channel].to_wide() * invstd * sum / self.count - of_x * moment.mean;
            let (of_x, constant) = (T::nearest(of_x), T::nearest(constant));
            for (picture, xs) in self.planes(xs, channel).enumerate() {
                // SAFETY: the planes of this channel belong to this task alone.
                let out = unsafe { scatter.slice_mut(start(picture), self.plane) };
                pulp::Arch::new().dispatch(|| {
                    out.iter_mut().zip(xs).for_each(|(y, x)| *y = scale * *y + (of_x * *x + constant));
                });
            }
            (T::nearest(product * invstd), T::nearest(sum))
        };
        let (of_weight, of_bias) = (0..self.channels).into_par_iter().map(channel).unzip();
        (out, of_weight, of_bias)
    }
}

#[inline(always)]
fn normalise<T: Real>(xs: &[T], scale: T, shift: T, out: &mut [T]) {
    out.iter_mut().zip(xs).for_each(|(y, x)| *y = *x * scale + shift);
}

#[cfg(test)]
#[path = "norm_tests.rs"]
mod tests;
