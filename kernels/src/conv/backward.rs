//! Gradients of a convolution by products of unfolded tiles, in any floating-point type.

use rayon::prelude::*;

use super::{Extents, dense};
use crate::matrix::{Transposed, product};
use crate::real::Real;

/// The gradient of the input (n, c, h, w) from the output's `grad` (n, o, oh, ow).
pub(super) fn grad_input<T: Real>(extents: &Extents, grad: &[T], weight: &[T]) -> Vec<T> {
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
            unfolded.resize(depth * extents.out_plane(), T::zero());
            let sizes = [depth, extents.out_plane(), group_out];
            product(weight, grad, unfolded, sizes, Transposed::Left, [T::zero(), T::one()]);
            fold(extents, unfolded, grad_xs);
        },
    );
    grad_xs
}

/// The gradient of the weight (o, c / groups, kh, kw).
pub(super) fn grad_weight<T: Real>(extents: &Extents, xs: &[T], grad: &[T]) -> Vec<T> {
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
                unfolded.resize(depth * extents.out_plane(), T::zero());
                partial.resize(group_out * depth, T::zero());
                dense::unfold(extents, xs, 0..extents.out_hw[0], unfolded);
                let sizes = [group_out, depth, extents.out_plane()];
                product(grad, unfolded, partial, sizes, Transposed::Right, [T::zero(), T::one()]);
                grad_weight.iter_mut().zip(partial.iter()).for_each(|(sum, part)| *sum += *part);
            }
        },
    );
    grad_weight
}

/// Adds unfolded gradients (group_in · kh · kw, oh · ow) back onto the input elements they were read from.
fn fold<T: Real>(extents: &Extents, unfolded: &[T], grad_xs: &mut [T]) {
    let taps = extents.taps();
    for (row, grads) in unfolded.chunks_exact(extents.out_plane().max(1)).enumerate() {
        let grad_xs = &mut grad_xs[row / taps * extents.in_plane()..][..extents.in_plane()];
        each_pair(extents, row % taps, |input, output| grad_xs[input] += grads[output]);
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
