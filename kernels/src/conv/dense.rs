//! Dense and grouped convolution on the CPU: a matrix product over tiles of unfolded input.

use gemm::Parallelism;
use rayon::prelude::*;

use super::Extents;
use crate::Activation;
use crate::real::Real;
use crate::shared::DisjointSliceMut;

/// Unfolded input held by one task, in elements: small enough to stay in a core's second-level cache.
const TILE_ELEMENTS: usize = 64 * 1024;
/// Fewer columns than this starve the matrix product.
const MIN_COLUMNS: usize = 64;

/// A run of output rows of one image and one group.
struct Tile {
    image: usize,
    group: usize,
    rows: std::ops::Range<usize>,
}

/// Splits a convolution into tiles whose bounds depend on its extents only, never on the number of threads.
fn tiles(extents: &Extents) -> Vec<Tile> {
    let [out_h, out_w] = extents.out_hw;
    let depth = extents.group_in() * extents.taps();
    let columns = (TILE_ELEMENTS / depth.max(1)).max(MIN_COLUMNS);
    let rows = (columns / out_w.max(1)).clamp(1, out_h.max(1));
    let mut tiles = Vec::new();
    for image in 0..extents.batch {
        for group in 0..extents.geometry.groups {
            for start in (0..out_h).step_by(rows) {
                tiles.push(Tile { image, group, rows: start..(start + rows).min(out_h) });
            }
        }
    }
    tiles
}

pub(super) fn forward<T: Real>(
    extents: &Extents,
    xs: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    activation: Activation,
    out: &mut [T],
) {
    let (group_in, group_out) = (extents.group_in(), extents.group_out());
    let (in_plane, out_plane) = (extents.in_plane(), extents.out_plane());
    let [_, out_w] = extents.out_hw;
    let depth = group_in * extents.taps();
    let scatter = DisjointSliceMut::new(out);
    tiles(extents).into_par_iter().for_each_init(Vec::new, |unfolded, Tile { image, group, rows }| {
        let (column, columns) = (rows.start * out_w, rows.len() * out_w);
        let input = &xs[(image * extents.in_c + group * group_in) * in_plane..][..group_in * in_plane];
        let weight = &weight[group * group_out * depth..][..group_out * depth];
        let first = image * extents.out_c + group * group_out;
        let (rhs, rhs_stride) = if extents.geometry.is_pointwise() {
            (&input[column..], in_plane)
        } else {
            unfolded.resize(depth * columns, T::zero());
            unfold(extents, input, rows, unfolded);
            (&unfolded[..], columns)
        };
        // SAFETY: `weight` holds group_out x depth elements, `rhs` depth rows of `columns` at distance `rhs_stride`
        // (the last one ends inside the slice), and the destination rows `first..first + group_out` at `column` are
        // inside `out` and belong to this tile alone.
        unsafe {
            gemm::gemm(
                group_out,
                columns,
                depth,
                scatter.at(first * out_plane + column),
                1,
                out_plane as isize,
                false,
                weight.as_ptr(),
                1,
                depth as isize,
                rhs.as_ptr(),
                1,
                rhs_stride as isize,
                T::zero(),
                T::one(),
                false,
                false,
                false,
                Parallelism::None,
            );
        }
        for channel in 0..group_out {
            // SAFETY: columns `column..column + columns` of this output plane belong to this tile alone.
            let row = unsafe { scatter.slice_mut((first + channel) * out_plane + column, columns) };
            if let Some(bias) = bias {
                let bias = bias[group * group_out + channel];
                row.iter_mut().for_each(|y| *y += bias);
            }
            activation.apply_slice(row);
        }
    });
}

/// Writes the input elements under each tap: `unfolded` (group_in · kh · kw, rows · out_w), zero outside the input.
pub(super) fn unfold<T: Real>(extents: &Extents, input: &[T], rows: std::ops::Range<usize>, unfolded: &mut [T]) {
    let geometry = &extents.geometry;
    let ([in_h, in_w], [_, out_w]) = (extents.in_hw, extents.out_hw);
    let columns = rows.len() * out_w;
    let [_, stride_w] = geometry.stride;
    for (tap, target) in unfolded.chunks_exact_mut(columns).enumerate() {
        let (channel, tap) = (tap / extents.taps(), tap % extents.taps());
        let (tap_h, tap_w) = (tap / geometry.kernel[1], tap % geometry.kernel[1]);
        let valid_h = geometry.valid_outputs(0, tap_h, in_h, extents.out_hw[0]);
        let valid_w = geometry.valid_outputs(1, tap_w, in_w, out_w);
        for (out_row, target) in rows.clone().zip(target.chunks_exact_mut(out_w)) {
            if !valid_h.contains(&out_row) || valid_w.is_empty() {
                target.fill(T::zero());
                continue;
            }
            let in_row = out_row * geometry.stride[0] + tap_h * geometry.dilation[0] - geometry.padding[0];
            let in_col = valid_w.start * stride_w + tap_w * geometry.dilation[1] - geometry.padding[1];
            let source = &input[(channel * in_h + in_row) * in_w + in_col..(channel * in_h + in_row + 1) * in_w];
            target[..valid_w.start].fill(T::zero());
            target[valid_w.end..].fill(T::zero());
            let target = &mut target[valid_w.clone()];
            if stride_w == 1 {
                target.copy_from_slice(&source[..target.len()]);
            } else {
                target.iter_mut().zip(source.iter().step_by(stride_w)).for_each(|(t, s)| *t = *s);
            }
        }
    }
}
