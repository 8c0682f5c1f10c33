//! Two-dimensional convolution (cross-correlation, as in PyTorch) with fused bias and activation.
//!
//! `y[n, o, i, j] = act(b[o] + Σ_{c, u, v} x[n, c, i·s + u·d − p, j·s + v·d − p] · w[o, c, u, v])`, the sum running
//! over the input channels of `o`'s group. Layouts: `xs` (n, c, h, w), `weight` (o, c / groups, kh, kw), `bias` (o).
//! Differentiable in all three operands. The `f32` result is within 1e-5 of the scalar reference, relative to the
//! largest magnitude of the output.

mod backward;
mod compose;
mod dense;
mod depthwise;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, Var, bail};

use super::is_stock;
use super::real::Real;
use super::shared::{dispatch_real, slice, with_compute_dtype};
use super::{Activation, Geometry};

/// Convolves `xs` (n, c, h, w) with `weight` (o, c / groups, kh, kw), adds `bias` (o) and applies `activation`.
///
/// Returns (n, o, oh, ow). Fails with the offending shapes when the operands do not fit each other.
pub fn conv2d(
    xs: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    geometry: &Geometry,
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
    crate::cost::record_conv(xs, weight, geometry)?;
    if !xs.device().is_cpu() || is_stock() {
        return compose::conv2d(xs, weight, bias, geometry, activation);
    }
    with_compute_dtype("conv2d", xs, |xs| {
        let op = Conv2d { geometry: *geometry, activation };
        let operand = |t: &Tensor| t.to_dtype(xs.dtype())?.contiguous();
        match bias {
            Some(bias) => xs.apply_op3(&operand(weight)?, &operand(bias)?, op),
            None => xs.apply_op2(&operand(weight)?, op),
        }
    })
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
    geometry: Geometry,
}

impl Extents {
    fn new(xs: &Shape, weight: &Shape, geometry: &Geometry) -> Result<Self> {
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

    fn is_depthwise(&self) -> bool {
        self.group_in() == 1 && self.geometry.groups > 1
    }

    fn out_shape(&self) -> Shape {
        (self.batch, self.out_c, self.out_hw[0], self.out_hw[1]).into()
    }
}

struct Conv2d {
    geometry: Geometry,
    activation: Activation,
}

impl Conv2d {
    fn forward<T: Real>(
        &self,
        (xs, xs_layout): (&CpuStorage, &Layout),
        (weight, weight_layout): (&CpuStorage, &Layout),
        bias: Option<(&CpuStorage, &Layout)>,
    ) -> Result<(CpuStorage, Shape)> {
        let extents = Extents::new(xs_layout.shape(), weight_layout.shape(), &self.geometry)?;
        let (xs, weight) = (slice::<T>(xs, xs_layout)?, slice::<T>(weight, weight_layout)?);
        let bias = bias.map(|(storage, layout)| slice::<T>(storage, layout)).transpose()?;
        let mut out = vec![T::zero(); extents.out_shape().elem_count()];
        if extents.is_depthwise() {
            depthwise::forward(&extents, xs, weight, bias, self.activation, &mut out);
        } else {
            dense::forward(&extents, xs, weight, bias, self.activation, &mut out);
        }
        Ok((T::to_cpu_storage_owned(out), extents.out_shape()))
    }

    /// The gradient that reaches the output before the activation.
    fn grad_before_activation(
        &self,
        xs: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        grad: &Tensor,
    ) -> Result<Tensor> {
        if self.activation == Activation::Identity {
            return grad.contiguous();
        }
        let bias = bias.map(Tensor::detach);
        let linear = conv2d(&xs.detach(), &weight.detach(), bias.as_ref(), &self.geometry, Activation::Identity)?;
        let linear = Var::from_tensor(&linear)?;
        let grads = (self.activation.apply(&linear)? * grad)?.sum_all()?.backward()?;
        match grads.get(&linear) {
            Some(grad) => grad.contiguous(),
            None => linear.zeros_like(),
        }
    }
}

impl CustomOp2 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        dispatch_real!("conv2d", s1, T => self.forward::<T>((s1, l1), (s2, l2), None))
    }

    fn bwd(&self, xs: &Tensor, weight: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = self.grad_before_activation(xs, weight, None, grad)?;
        let (grad_xs, grad_weight) = backward::gradients(xs, weight, &grad, &self.geometry)?;
        Ok((Some(grad_xs), Some(grad_weight)))
    }
}

impl CustomOp3 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        dispatch_real!("conv2d", s1, T => self.forward::<T>((s1, l1), (s2, l2), Some((s3, l3))))
    }

    fn bwd(
        &self,
        xs: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = self.grad_before_activation(xs, weight, Some(bias), grad)?;
        let (grad_xs, grad_weight) = backward::gradients(xs, weight, &grad, &self.geometry)?;
        let grad_bias = grad.sum((0, 2, 3))?;
        Ok((Some(grad_xs), Some(grad_weight), Some(grad_bias)))
    }
}
