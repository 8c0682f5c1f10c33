//! Gradients of a convolution with respect to its input and its weight, on the CPU.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use gemm::Parallelism;
use rayon::prelude::*;

use super::{Extents, dense};
use crate::kernels::Geometry;
use crate::kernels::real::Real;
use crate::kernels::shared::{dispatch_real, slice};

/// Gradients of `xs` (n, c, h, w) and `weight` (o, c / groups, kh, kw) from the output's `grad` (n, o, oh, ow).
pub(super) fn gradients(xs: &Tensor, weight: &Tensor, grad: &Tensor, geometry: &Geometry) -> Result<(Tensor, Tensor)> {
    let extents = Extents::new(xs.shape(), weight.shape(), geometry)?;
    let grad = grad.contiguous()?;
    let grad_xs = grad.apply_op2_no_bwd(&weight.contiguous()?, &GradInput(extents))?;
    let grad_weight = xs.contiguous()?.apply_op2_no_bwd(&grad, &GradWeight(extents))?;
    Ok((grad_xs, grad_weight))
}

struct GradInput(Extents);

impl GradInput {
    fn run<T: Real>(&self, grad: &[T], weight: &[T]) -> Vec<T> {
        let extents = &self.0;
        let (group_in, group_out) = (extents.group_in(), extents.group_out());
        let depth = group_in * extents.taps();
        let mut grad_xs = vec![T::zero(); extents.batch * extents.in_c * extents.in_plane()];
        grad_xs.par_chunks_exact_mut((group_in * extents.in_plane()).max(1)).enumerate().for_each_init(
            Vec::new,
            |unfolded, (part, grad_xs)| {
                let (image, group) = (part / extents.geometry.groups, part % extents.geometry.groups);
                let grad = &grad[(image * extents.out_c + group * group_out) * extents.out_plane()..]
                    [..group_out * extents.out_plane()];
                let weight = &weight[group * group_out * depth..][..group_out * depth];
                if extents.is_depthwise() {
                    for (grad, weight) in grad.chunks_exact(extents.out_plane()).zip(weight.chunks_exact(depth)) {
                        scatter_plane(extents, grad, weight, grad_xs);
                    }
                } else {
                    unfolded.resize(depth * extents.out_plane(), T::zero());
                    product(weight, grad, unfolded, [depth, extents.out_plane(), group_out], Transposed::Left);
                    fold(extents, unfolded, grad_xs);
                }
            },
        );
        grad_xs
    }
}

impl CustomOp2 for GradInput {
    fn name(&self) -> &'static str {
        "conv2d gradient of the input"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let Extents { batch, in_c, in_hw: [h, w], .. } = self.0;
        dispatch_real!("conv2d gradient of the input", s1, T => {
            let grad_xs = self.run::<T>(slice(s1, l1)?, slice(s2, l2)?);
            Ok((candle_core::WithDType::to_cpu_storage_owned(grad_xs), (batch, in_c, h, w).into()))
        })
    }
}

struct GradWeight(Extents);

impl GradWeight {
    fn run<T: Real>(&self, xs: &[T], grad: &[T]) -> Vec<T> {
        let extents = &self.0;
        let (group_in, group_out) = (extents.group_in(), extents.group_out());
        let depth = group_in * extents.taps();
        let mut grad_weight = vec![T::zero(); extents.out_c * depth];
        grad_weight.par_chunks_exact_mut((group_out * depth).max(1)).enumerate().for_each_init(
            || (Vec::new(), Vec::new()),
            |(unfolded, partial), (group, grad_weight)| {
                for image in 0..extents.batch {
                    let xs = &xs[(image * extents.in_c + group * group_in) * extents.in_plane()..]
                        [..group_in * extents.in_plane()];
                    let grad = &grad[(image * extents.out_c + group * group_out) * extents.out_plane()..]
                        [..group_out * extents.out_plane()];
                    if extents.is_depthwise() {
                        let planes = grad.chunks_exact(extents.out_plane()).zip(grad_weight.chunks_exact_mut(depth));
                        planes.for_each(|(grad, grad_weight)| correlate_plane(extents, xs, grad, grad_weight));
                    } else {
                        unfolded.resize(depth * extents.out_plane(), T::zero());
                        partial.resize(group_out * depth, T::zero());
                        dense::unfold(extents, xs, 0..extents.out_hw[0], unfolded);
                        product(grad, unfolded, partial, [group_out, depth, extents.out_plane()], Transposed::Right);
                        grad_weight.iter_mut().zip(partial.iter()).for_each(|(sum, part)| *sum += *part);
                    }
                }
            },
        );
        grad_weight
    }
}

impl CustomOp2 for GradWeight {
    fn name(&self) -> &'static str {
        "conv2d gradient of the weight"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let [kernel_h, kernel_w] = self.0.geometry.kernel;
        dispatch_real!("conv2d gradient of the weight", s1, T => {
            let grad_weight = self.run::<T>(slice(s1, l1)?, slice(s2, l2)?);
            let shape = (self.0.out_c, self.0.group_in(), kernel_h, kernel_w).into();
            Ok((candle_core::WithDType::to_cpu_storage_owned(grad_weight), shape))
        })
    }
}

/// Which operand of [`product`] is stored transposed.
#[derive(Clone, Copy)]
enum Transposed {
    Left,
    Right,
}

/// `out` (m, n) = `lhs` (m, k) · `rhs` (k, n), one of the two stored transposed; all dense and row-major.
fn product<T: Real>(lhs: &[T], rhs: &[T], out: &mut [T], [m, n, k]: [usize; 3], transposed: Transposed) {
    assert!(lhs.len() == m * k && rhs.len() == k * n && out.len() == m * n, "matrix product operands fit");
    let ((lhs_cs, lhs_rs), (rhs_cs, rhs_rs)) = match transposed {
        Transposed::Left => ((m, 1), (1, n)),
        Transposed::Right => ((1, k), (k, 1)),
    };
    // SAFETY: the three slices hold exactly the elements that the sizes and strides above address.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            false,
            lhs.as_ptr(),
            lhs_cs as isize,
            lhs_rs as isize,
            rhs.as_ptr(),
            rhs_cs as isize,
            rhs_rs as isize,
            T::zero(),
            T::one(),
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// Adds unfolded gradients (group_in · kh · kw, oh · ow) back onto the input elements they were read from.
fn fold<T: Real>(extents: &Extents, unfolded: &[T], grad_xs: &mut [T]) {
    let taps = extents.taps();
    for (row, grads) in unfolded.chunks_exact(extents.out_plane().max(1)).enumerate() {
        let grad_xs = &mut grad_xs[row / taps * extents.in_plane()..][..extents.in_plane()];
        each_pair(extents, row % taps, |input, output| grad_xs[input] += grads[output]);
    }
}

fn scatter_plane<T: Real>(extents: &Extents, grad: &[T], weight: &[T], grad_xs: &mut [T]) {
    for (tap, w) in weight.iter().enumerate() {
        each_pair(extents, tap, |input, output| grad_xs[input] += *w * grad[output]);
    }
}

fn correlate_plane<T: Real>(extents: &Extents, xs: &[T], grad: &[T], grad_weight: &mut [T]) {
    for (tap, sum) in grad_weight.iter_mut().enumerate() {
        let mut partial = T::zero();
        each_pair(extents, tap, |input, output| partial += xs[input] * grad[output]);
        *sum += partial;
    }
}

/// Calls `f(input, output)` for each pair of positions in their planes that `tap` connects.
#[inline(always)]
fn each_pair(extents: &Extents, tap: usize, mut f: impl FnMut(usize, usize)) {
    let geometry = &extents.geometry;
    let ([in_h, in_w], [out_h, out_w]) = (extents.in_hw, extents.out_hw);
    let (tap_h, tap_w) = (tap / geometry.kernel[1], tap % geometry.kernel[1]);
    for row in geometry.valid_outputs(0, tap_h, in_h, out_h) {
        let in_row = row * geometry.stride[0] + tap_h * geometry.dilation[0] - geometry.padding[0];
        for column in geometry.valid_outputs(1, tap_w, in_w, out_w) {
            let in_col = column * geometry.stride[1] + tap_w * geometry.dilation[1] - geometry.padding[1];
            f(in_row * in_w + in_col, row * out_w + column);
        }
    }
}
