//! Depthwise convolution on the CPU: one input channel per group, computed plane by plane without unfolding.

use rayon::prelude::*;

use super::Extents;
use crate::kernels::Activation;
use crate::kernels::real::Real;

/// Computes every output plane from a zero-padded copy of its input plane whose columns are sorted by their residue
/// modulo the horizontal stride, so that each tap reads a contiguous run for any stride.
pub(super) fn forward<T: Real>(
    extents: &Extents,
    xs: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    activation: Activation,
    out: &mut [T],
) {
    let taps = extents.taps();
    out.par_chunks_exact_mut(extents.out_plane()).enumerate().for_each_init(Vec::new, |padded, (plane, out)| {
        let (image, channel) = (plane / extents.out_c, plane % extents.out_c);
        let in_channel = channel / extents.group_out();
        let input = &xs[(image * extents.in_c + in_channel) * extents.in_plane()..][..extents.in_plane()];
        pad_and_deinterleave(extents, input, padded);
        let weight = &weight[channel * taps..][..taps];
        let bias = bias.map_or(T::zero(), |bias| bias[channel]);
        pulp::Arch::new().dispatch(|| correlate(extents, padded, weight, bias, out));
        activation.apply_slice(out);
    });
}

/// Columns of one residue class in a padded row.
fn phase_width(extents: &Extents) -> usize {
    (extents.in_hw[1] + 2 * extents.geometry.padding[1]).div_ceil(extents.geometry.stride[1])
}

fn pad_and_deinterleave<T: Real>(extents: &Extents, input: &[T], padded: &mut Vec<T>) {
    let ([pad_h, pad_w], [_, stride]) = (extents.geometry.padding, extents.geometry.stride);
    let [in_h, in_w] = extents.in_hw;
    let width = phase_width(extents);
    padded.clear();
    padded.resize((in_h + 2 * pad_h) * stride * width, T::zero());
    let rows = padded[pad_h * stride * width..].chunks_exact_mut(stride * width);
    for (row, source) in rows.zip(input.chunks_exact(in_w)) {
        if stride == 1 {
            row[pad_w..pad_w + in_w].copy_from_slice(source);
        } else {
            for (column, x) in source.iter().enumerate() {
                let column = column + pad_w;
                row[column % stride * width + column / stride] = *x;
            }
        }
    }
}

#[inline(always)]
fn correlate<T: Real>(extents: &Extents, padded: &[T], weight: &[T], bias: T, out: &mut [T]) {
    let geometry = &extents.geometry;
    let ([_, kernel_w], [stride_h, stride_w], [dilation_h, dilation_w]) =
        (geometry.kernel, geometry.stride, geometry.dilation);
    let width = phase_width(extents);
    for (row, out) in out.chunks_exact_mut(extents.out_hw[1]).enumerate() {
        out.fill(bias);
        for (tap, w) in weight.iter().enumerate() {
            let (tap_h, tap_w) = (tap / kernel_w, tap % kernel_w);
            let (in_row, in_col) = (row * stride_h + tap_h * dilation_h, tap_w * dilation_w);
            let start = (in_row * stride_w + in_col % stride_w) * width + in_col / stride_w;
            for (y, x) in out.iter_mut().zip(&padded[start..]) {
                *y += *w * *x;
            }
        }
    }
}
