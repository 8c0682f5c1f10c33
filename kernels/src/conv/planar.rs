//! Convolution and the gradient of its input in `f32` on the CPU, of every geometry: products over planes in scratch memory.
//!
//! Tasks and the order of their sums depend on the extents only, never on the number of threads.

use std::ops::Range;

use rayon::prelude::*;

use super::Extents;
use super::planes::{Axis, Layout, TASK_ELEMENTS};
use super::product::{Panels, Product, SLACK, share};
use crate::maps::{Maps, unwritten, zeros};
use crate::shared::DisjointSliceMut;
use crate::simd::Isa;
use crate::{Activation, ConvGeometry};

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
        let widest = Layout::new(&self.rows, &self.columns, rows);
        let per_row = self.group_source * widest.channel / rows + self.group_out * widest.pitch;
        let band = (TASK_ELEMENTS / per_row.max(1)).clamp(1, rows);
        let bands = rows.div_ceil(band);
        let layout = Layout::new(&self.rows, &self.columns, rows.div_ceil(bands));
        let per_image = (self.group_source + self.group_out) * layout.channel;
        let layout = match bands {
            1 => layout.stacked(rows * columns, per_image, source.batch(), self.groups),
            _ => layout,
        };
        let direct = layout.stack == 1 && self.is_direct();
        let source_plane = self.rows.source * self.columns.source;
        let offsets = if direct {
            (0..self.group_source).map(|channel| channel * source_plane).collect()
        } else {
            layout.offsets(self.group_source, &self.rows, &self.columns)
        };
        let scatter = DisjointSliceMut::new(out);
        let tasks = source.batch().div_ceil(layout.stack) * self.groups * bands;
        (0..tasks).into_par_iter().for_each_init(
            || (Vec::new(), Vec::new()),
            |(planes, product), task| {
                let (stack, group, band) = (task / bands / self.groups, task / bands % self.groups, task % bands);
                let images = stack * layout.stack..((stack + 1) * layout.stack).min(source.batch());
                let band = share(rows, bands, band);
                let band = self.rows.positions.start + band.start..self.rows.positions.start + band.end;
                let source = |image: usize| &source.image(image)[group * self.group_source * source_plane..];
                let first = |image: usize| (image * self.groups + group) * self.group_out;
                if direct {
                    self.direct(
                        group,
                        &source(images.start)[band.start * columns..],
                        &offsets,
                        band.len() * columns,
                        &scatter,
                        |row| (first(images.start) + row) * rows * columns + band.start * columns,
                    );
                } else {
                    planes.resize(layout.len(self.group_source), 0.);
                    for (place, image) in images.clone().enumerate() {
                        let source = &source(image)[..self.group_source * source_plane];
                        layout.fill(&self.rows, &self.columns, band.clone(), source, place, planes);
                    }
                    let positions = layout.positions(images.len(), band.len(), &self.columns);
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
                        for (place, image) in images.clone().enumerate() {
                            let product = &product[place * layout.channel..];
                            self.place(first(image) + row, band.clone(), layout.pitch, product, &scatter);
                        }
                    }
                }
                if self.rows.step == 1 && self.columns.step == 1 {
                    for (image, row) in images.flat_map(|image| (0..self.group_out).map(move |row| (image, row))) {
                        let start = (first(image) + row) * self.out_hw[0] * self.out_hw[1]
                            + self.rows.output(band.start) * self.out_hw[1];
                        // SAFETY: the rows of this band of these planes belong to this task alone.
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
        out: &DisjointSliceMut<'_, f32>,
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
    fn place(&self, plane: usize, band: Range<usize>, pitch: usize, product: &[f32], out: &DisjointSliceMut<'_, f32>) {
        let [height, width] = self.out_hw;
        let columns = self.columns.positions.clone();
        let steps = [self.rows.step, self.columns.step];
        if steps == [1, 1] && pitch == columns.len() && pitch == width {
            let start = (plane * height + self.rows.output(band.start)) * width;
            // SAFETY: the rows of this band of this plane belong to this task alone.
            unsafe { out.slice_mut(start, band.len() * width) }.copy_from_slice(&product[..band.len() * width]);
            return;
        }
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
    let (isa, geometry) = (Isa::best(), &extents.geometry);
    let len = extents.batch * extents.in_c * extents.in_plane();
    let mut out = if has_taps_for_all(geometry) {
        // SAFETY: each input element is of a residue class, of which each has a tap and so a pass that writes it.
        unsafe { unwritten(len) }
    } else {
        zeros(len)
    };
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

/// Whether there is a tap for each residue of the input's elements modulo the stride.
fn has_taps_for_all(geometry: &ConvGeometry) -> bool {
    (0..2).all(|axis| {
        let (kernel, stride, dilation) = (geometry.kernel[axis], geometry.stride[axis], geometry.dilation[axis]);
        (0..stride).all(|class| (0..kernel).any(|tap| tap * dilation % stride == class))
    })
}
