//! Two-dimensional convolution (cross-correlation, as in PyTorch) with fused bias and activation.
//!
//! `y[n, o, i, j] = act(b[o] + Σ_{c, u, v} x[n, c, i·s + u·d − p, j·s + v·d − p] · w[o, c, u, v])`, the sum running
//! over the input channels of `o`'s group. Layouts: `xs` (n, c, h, w), `weight` (o, c / groups, kh, kw), `bias` (o).
//! Differentiable in all three operands. The `f32` result is within 1e-5 of the scalar reference, relative to the
//! largest magnitude of the output.

mod backward;
mod compose;
mod correlation;
mod dense;
mod planar;
mod planes;
mod product;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
mod weight;

use candle_core::{DType, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::autograd::{Gradient, differentiable};
use super::maps::{Maps, read, tensor, unwritten, with_dense_images};
use super::real::{Real, sums_of, widest};
use super::shared::with_compute_dtype;
use super::{Activation, ConvGeometry};
use super::{gpu, is_stock};

/// Convolves `xs` (n, c, h, w) with `weight` (o, c / groups, kh, kw), adds `bias` (o) and applies `activation`.
///
/// Returns (n, o, oh, ow). Fails with the offending shapes when the operands do not fit each other.
pub fn conv2d(
    xs: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    geometry: &ConvGeometry,
    activation: Activation,
) -> Result<Tensor> {
    Extents::new(xs.shape(), weight.shape(), geometry)?;
    if let Some(bias) = bias
        && bias.dims() != &weight.dims()[..1]
    {
        bail!("conv2d bias {:?} does not fit weight {:?}", bias.dims(), weight.dims())
    }
    if xs.dtype() != weight.dtype() || bias.is_some_and(|bias| bias.dtype() != xs.dtype()) {
        bail!("conv2d operands differ in dtype: input {:?}, weight {:?}", xs.dtype(), weight.dtype())
    }
    if let Some(uncomputed) = crate::flops::record_conv(xs, weight, geometry)? {
        return Ok(uncomputed);
    }
    let on_gpu = gpu::train::takes(xs);
    if (!xs.device().is_cpu() && !on_gpu) || is_stock() {
        return compose::conv2d(xs, weight, bias, geometry, activation);
    }
    with_compute_dtype("conv2d", xs, |xs| {
        let operand = |t: &Tensor| t.to_dtype(xs.dtype());
        let (weight, bias) = (operand(weight)?, bias.map(operand).transpose()?);
        let convolve = if on_gpu { self::on_gpu } else { on_cpu };
        let tracked = xs.track_op() || weight.track_op() || bias.as_ref().is_some_and(Tensor::track_op);
        if tracked && activation != Activation::Identity {
            return activation.apply(&convolve(xs, &weight, bias.as_ref(), geometry, Activation::Identity)?);
        }
        convolve(xs, &weight, bias.as_ref(), geometry, activation)
    })
}

/// [`conv2d`] of checked operands on a GPU; with gradients where the activation is the identity.
fn on_gpu(
    xs: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    geometry: &ConvGeometry,
    activation: Activation,
) -> Result<Tensor> {
    match gpu::train::conv2d(xs, weight, bias, geometry, activation)? {
        Some(ys) => Ok(ys),
        None => compose::conv2d(xs, weight, bias, geometry, activation),
    }
}

/// [`conv2d`] of checked operands on the CPU; with gradients where the activation is the identity.
fn on_cpu(
    xs: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    geometry: &ConvGeometry,
    activation: Activation,
) -> Result<Tensor> {
    let extents = Extents::new(xs.shape(), weight.shape(), geometry)?;
    let kept = with_dense_images(&xs.detach())?;
    let kept_weight = weight.detach().contiguous()?;
    let (weight_shape, xs_shape) = (weight.shape().clone(), xs.shape().clone());
    let mut operands = vec![xs, weight];
    operands.extend(bias);
    if xs.dtype() == DType::F64 {
        let ys = with_elements::<f64, _>(&kept, &kept_weight, |xs, weight| {
            let mut ys = vec![0.; extents.out_shape().elem_count()];
            with_bias(bias, |bias| dense::forward(&extents, &contiguous(xs), weight, bias, activation, &mut ys))?;
            Ok(ys)
        })?;
        return differentiable(ys, extents.out_shape(), &operands, move |grad, needs| {
            let grads = with_elements::<f64, _>(&kept, &kept_weight, |xs, weight| {
                read::<f64, _>(grad, |grad| {
                    let (grad_elements, xs) = (contiguous(grad), contiguous(xs));
                    Ok([
                        needs[0].then(|| backward::grad_input(&extents, &grad_elements, weight)),
                        needs[1].then(|| backward::grad_weight(&extents, &xs, &grad_elements)),
                        needs.get(2).map(|_| channel_sums(grad, extents.out_c)),
                    ])
                })
            })?;
            gradients(grads, [xs_shape, weight_shape, extents.out_c.into()])
        });
    }
    let ys = with_elements::<f32, _>(&kept, &kept_weight, |xs, weight| {
        // SAFETY: a convolution writes each of its outputs.
        let mut ys = unsafe { unwritten(extents.out_shape().elem_count()) };
        with_bias(bias, |bias| planar::forward(&extents, xs, weight, bias, activation, &mut ys))?;
        Ok(ys)
    })?;
    differentiable(ys, extents.out_shape(), &operands, move |grad, needs| {
        let grads = with_elements::<f32, _>(&kept, &kept_weight, |xs, weight| {
            read::<f32, _>(grad, |grad| {
                Ok([
                    needs[0].then(|| planar::grad_input(&extents, weight, grad)),
                    needs[1].then(|| weight::grad_weight(&extents, xs, grad)),
                    needs.get(2).map(|_| channel_sums(grad, extents.out_c)),
                ])
            })
        })?;
        gradients(grads, [xs_shape, weight_shape, extents.out_c.into()])
    })
}

/// Runs `f` on the maps of one tensor and all elements of another.
fn with_elements<T: Real, R>(
    xs: &Tensor,
    weight: &Tensor,
    f: impl FnOnce(Maps<'_, T>, &[T]) -> Result<R>,
) -> Result<R> {
    read::<T, _>(xs, |xs| read::<T, _>(weight, |weight| f(xs, weight.elements())))
}

fn with_bias<T: Real>(bias: Option<&Tensor>, f: impl FnOnce(Option<&[T]>)) -> Result<()> {
    match bias {
        Some(bias) => read::<T, _>(&bias.contiguous()?, |bias| {
            f(Some(bias.elements()));
            Ok(())
        }),
        None => {
            f(None);
            Ok(())
        }
    }
}

fn gradients<T: Real>(grads: [Option<Vec<T>>; 3], shapes: [Shape; 3]) -> Result<Vec<Option<Gradient>>> {
    let of =
        |(grad, shape): (Option<Vec<T>>, Shape)| grad.map(|grad| Ok(Gradient::Own(tensor(grad, shape)?))).transpose();
    grads.into_iter().zip(shapes).map(of).collect()
}

fn contiguous<T: Real>(xs: Maps<'_, T>) -> Vec<T> {
    (0..xs.batch()).flat_map(|image| xs.image(image)).copied().collect()
}

/// The sum of each channel over images and positions.
fn channel_sums<T: Real>(xs: Maps<'_, T>, channels: usize) -> Vec<T> {
    let plane = xs.image_len() / channels;
    let sum = |channel: usize| {
        let planes = (0..xs.batch()).map(|image| &xs.image(image)[channel * plane..][..plane]);
        let sum = planes.map(|xs| widest(|| sums_of(xs, xs, |x, _| [x, 0.]))[0]);
        T::nearest(sum.sum())
    };
    (0..channels).into_par_iter().map(sum).collect()
}

/// The checked extents of one convolution.
#[derive(Debug, Clone, Copy)]
struct Extents {
    batch: usize,
    /// Input channels of all groups.
    in_c: usize,
    out_c: usize,
    in_hw: [usize; 2],
    out_hw: [usize; 2],
    geometry: ConvGeometry,
}

impl Extents {
    fn new(xs: &Shape, weight: &Shape, geometry: &ConvGeometry) -> Result<Self> {
        let ((batch, in_c, in_h, in_w), (out_c, group_c, kernel_h, kernel_w)) = (xs.dims4()?, weight.dims4()?);
        let groups = geometry.groups;
        let out_hw = geometry.out_hw([in_h, in_w])?;
        if [kernel_h, kernel_w] != geometry.kernel {
            bail!("conv2d weight {:?} does not have the kernel {:?}", weight.dims(), geometry.kernel)
        }
        if in_c % groups != 0 || out_c % groups != 0 || in_c / groups != group_c {
            bail!("conv2d weight {:?} in {groups} groups does not fit input {:?}", weight.dims(), xs.dims())
        }
        if in_c * out_c * in_h * in_w == 0 {
            bail!("conv2d of an empty input {:?} or weight {:?}", xs.dims(), weight.dims())
        }
        Ok(Self { batch, in_c, out_c, in_hw: [in_h, in_w], out_hw, geometry: *geometry })
    }

    fn group_in(&self) -> usize {
        self.in_c / self.geometry.groups
    }

    fn group_out(&self) -> usize {
        self.out_c / self.geometry.groups
    }

    fn in_plane(&self) -> usize {
        self.in_hw[0] * self.in_hw[1]
    }

    fn out_plane(&self) -> usize {
        self.out_hw[0] * self.out_hw[1]
    }

    fn taps(&self) -> usize {
        self.geometry.kernel[0] * self.geometry.kernel[1]
    }

    fn out_shape(&self) -> Shape {
        (self.batch, self.out_c, self.out_hw[0], self.out_hw[1]).into()
    }
}
