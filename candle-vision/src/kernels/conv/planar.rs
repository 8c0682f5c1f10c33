//! Convolution and its gradients in `f32` on the CPU, of every geometry: products over planes in scratch memory.
//!
//! Tasks and the order of their sums depend on the extents only, never on the number of threads.

use std::ops::Range;

use rayon::prelude::*;

use super::Extents;
use super::planes::{Axis, Layout, spread};
use super::product::{Correlation, Pair, Panels, Product, SLACK, share};
use crate::kernels::Activation;
use crate::kernels::maps::Maps;
use crate::kernels::shared::Scatter;
use crate::kernels::simd::Isa;

/// Elements of scratch memory and output that one task works on: what stays in a core's second-level cache.
const TASK_ELEMENTS: usize = 128 * 1024;
/// Parts of a batch whose gradients of the weight are summed apart.
const BATCH_PARTS: usize = 8;

/// One product per group: planes of the source, times weights, to positions of the output.
struct Pass {
    isa: Isa,
    groups: usize,
    group_source: usize,
    group_out: usize,
    rows: Axis,
    columns: Axis,
    panels: Panels,
    out_hw: [usize; 2],
}

impl Pass {
    /// Whether positions are the source's own elements.
    fn is_direct(&self) -> bool {
        let direct = |axis: &Axis| {
            axis.phases == 1
                && axis.taps == [[0, 0]]
                && axis.step == 1
                && axis.first == 0
                && axis.positions == (0..axis.source)
        };
        direct(&self.rows) && direct(&self.columns)
    }

    /// Writes the positions of `out` (n, groups · group_out, h, w); `finish(channel, elements)` then sees each run of them
    /// where all of a row's elements are written.
    fn run(&self, source: Maps<'_, f32>, out: &mut [f32], finish: impl Fn(usize, &mut [f32]) + Sync) {
        let (rows, columns) = (self.rows.positions.len(), self.columns.positions.len());
        if rows * columns == 0 || self.rows.taps.is_empty() || self.columns.taps.is_empty() {
            return;
        }
        let direct = self.is_direct();
        let widest = Layout::new(&self.rows, &self.columns, rows);
        let per_row = self.group_source * widest.channel / rows + self.group_out * widest.pitch;
        let band = (TASK_ELEMENTS / per_row.max(1)).clamp(1, rows);
        let bands = rows.div_ceil(band);
        let layout = Layout::new(&self.rows, &self.columns, rows.div_ceil(bands));
        let source_plane = self.rows.source * self.columns.source;
        let offsets = if direct {
            (0..self.group_source).map(|channel| channel * source_plane).collect()
        } else {
            layout.offsets(self.group_source, &self.rows, &self.columns)
        };
        let scatter = Scatter::new(out);
        let tasks = source.batch() * self.groups * bands;
        (0..tasks).into_par_iter().for_each_init(
            || (Vec::new(), Vec::new()),
            |(planes, product), task| {
                let (image, group, band) = (task / bands / self.groups, task / bands % self.groups, task % bands);
                let band = share(rows, bands, band);
                let band = self.rows.positions.start + band.start..self.rows.positions.start + band.end;
                let source = &source.picture(image)[group * self.group_source * source_plane..];
                let first = (image * self.groups + group) * self.group_out;
                if direct {
                    self.direct(
                        group,
                        &source[band.start * columns..],
                        &offsets,
                        band.len() * columns,
                        &scatter,
                        |row| (first + row) * rows * columns + band.start * columns,
                    );
                } else {
                    planes.resize(layout.len(self.group_source), 0.);
                    layout.fill(&self.rows, &self.columns, band.clone(), source, self.group_source, planes);
                    let positions = layout.positions(band.len(), &self.columns);
                    let stride = positions.next_multiple_of(SLACK);
                    product.resize(self.group_out * stride, 0.);
                    let job = Product {
                        panels: &self.panels,
                        group,
                        source: planes,
                        offsets: &offsets,
                        positions,
                        slack: true,
                        out: product.as_mut_ptr(),
                        out_stride: stride,
                    };
                    // SAFETY: `product` has a row for each output row, long enough for whole vectors.
                    unsafe { job.run(self.isa) };
                    for (row, product) in product.chunks_exact(stride).enumerate().take(self.group_out) {
                        self.place(first + row, band.clone(), layout.pitch, product, &scatter);
                    }
                }
                if self.rows.step == 1 && self.columns.step == 1 {
                    for row in 0..self.group_out {
                        let start = (first + row) * self.out_hw[0] * self.out_hw[1]
                            + self.rows.output(band.start) * self.out_hw[1];
                        // SAFETY: the rows of this band of this plane belong to this task alone.
                        let elements = unsafe { scatter.slice_mut(start, band.len() * self.out_hw[1]) };
                        finish(group * self.group_out + row, elements);
                    }
                }
            },
        );
    }

    /// The product of a band straight from the source to the output, whose row `row` of the band begins at `start(row)`.
    fn direct(
        &self,
        group: usize,
        source: &[f32],
        offsets: &[usize],
        positions: usize,
        out: &Scatter<'_, f32>,
        start: impl Fn(usize) -> usize,
    ) {
        let plane = self.rows.source * self.columns.source;
        let _last = out.at(start(self.group_out - 1) + positions - 1);
        let job = Product {
            panels: &self.panels,
            group,
            source,
            offsets,
            positions,
            slack: false,
            out: out.at(start(0)),
            out_stride: plane,
        };
        // SAFETY: the last element of the last row lies in the buffer, and the rows of this band belong to this task alone.
        unsafe { job.run(self.isa) }
    }

    /// Copies the positions of a band of rows to a plane of the output.
    fn place(&self, plane: usize, band: Range<usize>, pitch: usize, product: &[f32], out: &Scatter<'_, f32>) {
        let [height, width] = self.out_hw;
        let columns = self.columns.positions.clone();
        for (row, product) in band.zip(product.chunks(pitch)) {
            let start = (plane * height + self.rows.output(row)) * width + self.columns.output(columns.start);
            if self.columns.step == 1 {
                // SAFETY: this row of this plane belongs to this task alone.
                unsafe { out.slice_mut(start, columns.len()) }.copy_from_slice(&product[..columns.len()]);
            } else {
                let length = (columns.len() - 1) * self.columns.step + 1;
                // SAFETY: passes of other residues run before or after this one, and this row belongs to this task alone.
                let row = unsafe { out.slice_mut(start, length) };
                row.iter_mut().step_by(self.columns.step).zip(product).for_each(|(y, x)| *y = *x);
            }
        }
    }
}

/// `act(conv(xs) + bias)` into `out` (n, o, oh, ow).
pub(super) fn forward(
    extents: &Extents,
    xs: Maps<'_, f32>,
    weight: &[f32],
    bias: Option<&[f32]>,
    activation: Activation,
    out: &mut [f32],
) {
    let (isa, groups) = (Isa::best(), extents.geometry.groups);
    let (group_in, group_out) = (extents.group_in(), extents.group_out());
    let depth = group_in * extents.taps();
    let pass = Pass {
        isa,
        groups,
        group_source: group_in,
        group_out,
        rows: Axis::forward(&extents.geometry, 0, extents.in_hw[0], extents.out_hw[0]),
        columns: Axis::forward(&extents.geometry, 1, extents.in_hw[1], extents.out_hw[1]),
        panels: Panels::new(groups, [group_out, depth], isa, |group, row, step| {
            weight[(group * group_out + row) * depth + step]
        }),
        out_hw: extents.out_hw,
    };
    pass.run(xs, out, |channel, ys| {
        if let Some(bias) = bias {
            ys.iter_mut().for_each(|y| *y += bias[channel]);
        }
        activation.apply_slice(ys);
    });
}

/// The gradient of the input, (n, c, h, w).
pub(super) fn grad_input(extents: &Extents, weight: &[f32], grad: Maps<'_, f32>) -> Vec<f32> {
    let mut out = vec![0.; extents.batch * extents.in_c * extents.in_plane()];
    let (isa, geometry) = (Isa::best(), &extents.geometry);
    let (group_in, group_out) = (extents.group_in(), extents.group_out());
    let [[_, kernel_w], [stride_h, stride_w]] = [geometry.kernel, geometry.stride];
    for class_h in 0..stride_h {
        for class_w in 0..stride_w {
            let (rows, taps_h) = Axis::backward(geometry, 0, [extents.in_hw[0], extents.out_hw[0]], class_h);
            let (columns, taps_w) = Axis::backward(geometry, 1, [extents.in_hw[1], extents.out_hw[1]], class_w);
            let taps = taps_h.len() * taps_w.len();
            let panels = Panels::new(geometry.groups, [group_in, group_out * taps], isa, |group, row, step| {
                let (channel, tap) = (group * group_out + step / taps, step % taps);
                let tap = taps_h[tap / taps_w.len()] * kernel_w + taps_w[tap % taps_w.len()];
                weight[(channel * group_in + row) * extents.taps() + tap]
            });
            let pass = Pass {
                isa,
                groups: geometry.groups,
                group_source: group_out,
                group_out: group_in,
                rows,
                columns,
                panels,
                out_hw: extents.in_hw,
            };
            pass.run(grad, &mut out, |_, _| {});
        }
    }
    out
}

/// The gradient of the weight, (o, c / groups, kh, kw).
pub(super) fn grad_weight(extents: &Extents, xs: Maps<'_, f32>, grad: Maps<'_, f32>) -> Vec<f32> {
    let (group_out, depth) = (extents.group_out(), extents.group_in() * extents.taps());
    let groups = extents.geometry.groups;
    let parts = if groups >= BATCH_PARTS { 1 } else { extents.batch.min(BATCH_PARTS) };
    let size = group_out * depth;
    let mut sums = vec![0.; groups * parts * size];
    let work = WeightWork::new(extents);
    sums.par_chunks_exact_mut(size).enumerate().for_each_init(Vec::new, |scratch, (task, sum)| {
        let (group, part) = (task / parts, task % parts);
        work.run(xs, grad, group, share(extents.batch, parts, part), scratch, sum);
    });
    if parts == 1 {
        return sums;
    }
    let mut total = Vec::with_capacity(groups * size);
    for sums in sums.chunks_exact(parts * size) {
        let (first, others) = sums.split_at(size);
        let start = total.len();
        total.extend_from_slice(first);
        for other in others.chunks_exact(size) {
            total[start..].iter_mut().zip(other).for_each(|(sum, x)| *sum += *x);
        }
    }
    total
}

/// What the tasks of [`grad_weight`] share.
struct WeightWork<'a> {
    extents: &'a Extents,
    isa: Isa,
    rows: Axis,
    columns: Axis,
    layout: Layout,
    offsets: Vec<usize>,
}

impl<'a> WeightWork<'a> {
    fn new(extents: &'a Extents) -> Self {
        let rows = Axis::forward(&extents.geometry, 0, extents.in_hw[0], extents.out_hw[0]);
        let columns = Axis::forward(&extents.geometry, 1, extents.in_hw[1], extents.out_hw[1]);
        let layout = Layout::new(&rows, &columns, extents.out_hw[0]);
        let offsets = if extents.geometry.is_pointwise() {
            (0..extents.group_in()).map(|channel| channel * extents.in_plane()).collect()
        } else {
            layout.offsets(extents.group_in(), &rows, &columns)
        };
        Self { extents, isa: Isa::best(), rows, columns, layout, offsets }
    }

    /// Adds what the pictures of a group give to `sum`.
    fn run(
        &self,
        xs: Maps<'_, f32>,
        grad: Maps<'_, f32>,
        group: usize,
        pictures: Range<usize>,
        scratch: &mut Vec<f32>,
        sum: &mut [f32],
    ) {
        let extents = self.extents;
        let (group_in, group_out) = (extents.group_in(), extents.group_out());
        let source = |picture: usize| &xs.picture(picture)[group * group_in * extents.in_plane()..];
        let grad = |picture: usize| &grad.picture(picture)[group * group_out * extents.out_plane()..];
        let mut part = vec![0.; sum.len()];
        let mut correlate = |pairs: &[Pair<'_>], left_stride: usize| {
            let (rows, offsets) = (group_out, &self.offsets);
            Correlation { pairs, rows, left_stride, offsets, out: &mut part }.run(self.isa);
            sum.iter_mut().zip(&part).for_each(|(sum, x)| *sum += *x);
        };
        if extents.geometry.is_pointwise() {
            let plane = extents.out_plane();
            let most = (TASK_ELEMENTS / (group_in + group_out)).max(256).min(plane);
            let (runs, together) = (plane.div_ceil(most), (most / plane).max(1));
            let mut pairs = Vec::new();
            for first in pictures.clone().step_by(together) {
                for run in 0..runs {
                    let range = share(plane, runs, run);
                    pairs.extend((first..(first + together).min(pictures.end)).map(|picture| Pair {
                        left: &grad(picture)[range.start..],
                        right: &source(picture)[range.start..],
                        positions: range.len(),
                    }));
                    correlate(&pairs, plane);
                    pairs.clear();
                }
            }
            return;
        }
        let (height, pitch) = (extents.out_hw[0], self.layout.pitch);
        let (lefts, rights) = (group_out * height * pitch, self.layout.len(group_in));
        let together = (TASK_ELEMENTS / (lefts + rights)).clamp(1, pictures.len().max(1));
        scratch.resize(together * (lefts + rights), 0.);
        for first in pictures.clone().step_by(together) {
            let pictures = first..(first + together).min(pictures.end);
            for (picture, scratch) in pictures.clone().zip(scratch.chunks_exact_mut(lefts + rights)) {
                let (left, right) = scratch.split_at_mut(lefts);
                let planes = &grad(picture)[..group_out * extents.out_plane()];
                spread(planes, extents.out_hw, pitch, left);
                self.layout.fill(&self.rows, &self.columns, 0..height, source(picture), group_in, right);
            }
            let positions = self.layout.positions(height, &self.columns);
            let pairs: Vec<Pair<'_>> = scratch
                .chunks_exact(lefts + rights)
                .take(pictures.len())
                .map(|scratch| Pair { left: &scratch[..lefts], right: &scratch[lefts..], positions })
                .collect();
            correlate(&pairs, height * pitch);
        }
    }
}
