//! The definition of the convolution and its gradients as plain loops in `f64`: the oracle of the fast paths.

use super::Extents;

/// Calls `f(input, weight, output)` with flat indices for every multiplication of the convolution.
fn each_product(extents: &Extents, mut f: impl FnMut(usize, usize, usize)) {
    let geometry = &extents.geometry;
    let ([in_h, in_w], [out_h, out_w], [kernel_h, kernel_w]) = (extents.in_hw, extents.out_hw, geometry.kernel);
    for image in 0..extents.batch {
        for out_c in 0..extents.out_c {
            for c in 0..extents.group_in() {
                let in_c = out_c / extents.group_out() * extents.group_in() + c;
                for (i, j) in (0..out_h).flat_map(|i| (0..out_w).map(move |j| (i, j))) {
                    for (u, v) in (0..kernel_h).flat_map(|u| (0..kernel_w).map(move |v| (u, v))) {
                        let row = (i * geometry.stride[0] + u * geometry.dilation[0]).checked_sub(geometry.padding[0]);
                        let col = (j * geometry.stride[1] + v * geometry.dilation[1]).checked_sub(geometry.padding[1]);
                        if let (Some(row), Some(col)) = (row, col)
                            && row < in_h
                            && col < in_w
                        {
                            f(
                                ((image * extents.in_c + in_c) * in_h + row) * in_w + col,
                                ((out_c * extents.group_in() + c) * kernel_h + u) * kernel_w + v,
                                ((image * extents.out_c + out_c) * out_h + i) * out_w + j,
                            );
                        }
                    }
                }
            }
        }
    }
}

pub(super) fn forward(extents: &Extents, xs: &[f64], weight: &[f64]) -> Vec<f64> {
    let mut out = vec![0.; extents.out_shape().elem_count()];
    each_product(extents, |x, w, y| out[y] += xs[x] * weight[w]);
    out
}

pub(super) fn grad_input(extents: &Extents, weight: &[f64], grad: &[f64]) -> Vec<f64> {
    let mut grad_xs = vec![0.; extents.batch * extents.in_c * extents.in_plane()];
    each_product(extents, |x, w, y| grad_xs[x] += weight[w] * grad[y]);
    grad_xs
}

pub(super) fn grad_weight(extents: &Extents, xs: &[f64], grad: &[f64]) -> Vec<f64> {
    let mut grad_weight = vec![0.; extents.out_c * extents.group_in() * extents.taps()];
    each_product(extents, |x, w, y| grad_weight[w] += xs[x] * grad[y]);
    grad_weight
}
