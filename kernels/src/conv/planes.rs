//! Planes cut into the residue classes of their rows and columns modulo a stride, with the border written out.
//!
//! Element (t, q) of the phase (a, b) of a plane is its element (t · s + a − pad, q · s + b − pad), zero outside. A window
//! tap reads one phase at a fixed distance from the position of its output, whatever the stride.

use std::ops::Range;

use super::product::SLACK;
use crate::ConvGeometry;

/// Elements of scratch memory and output that one task works on: what stays in a core's second-level cache.
pub(super) const TASK_ELEMENTS: usize = 128 * 1024;
/// Positions that a product should have: images with fewer than half of them go into one product together.
const STACK_POSITIONS: usize = 256;
/// Parts of a batch that are stacked apart, so that there is work for several threads.
const STACKS: usize = 8;

/// One axis of a correlation: position `t` and tap `k` read element `t + shift(k)` of the phase `phase(k)`.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    /// Elements of the source.
    pub(super) source: usize,
    /// Residue classes.
    pub(super) phases: usize,
    /// Elements before the source's first.
    pub(super) pad: usize,
    /// Phase and shift of each tap.
    pub(super) taps: Vec<[usize; 2]>,
    /// Output positions.
    pub(super) positions: Range<usize>,
    /// Output element of position `t`: `t · step + first`, which may only lie outside for positions past the range.
    pub(super) step: usize,
    pub(super) first: isize,
}

impl Axis {
    /// An axis of a convolution.
    pub(super) fn forward(geometry: &ConvGeometry, axis: usize, source: usize, out: usize) -> Self {
        let (stride, dilation) = (geometry.stride[axis], geometry.dilation[axis]);
        let tap = |k: usize| [k * dilation % stride, k * dilation / stride];
        Self {
            source,
            phases: stride,
            pad: geometry.padding[axis],
            taps: (0..geometry.kernel[axis]).map(tap).collect(),
            positions: 0..out,
            step: 1,
            first: 0,
        }
    }

    /// The gradient of the input elements whose window position has the residue `class` modulo the stride, from the
    /// output's gradient; with the taps that reach them.
    pub(super) fn backward(
        geometry: &ConvGeometry,
        axis: usize,
        [input, out]: [usize; 2],
        class: usize,
    ) -> (Self, Vec<usize>) {
        let (stride, dilation, pad) = (geometry.stride[axis], geometry.dilation[axis], geometry.padding[axis]);
        let reach = (geometry.kernel[axis] - 1) * dilation / stride;
        let used: Vec<usize> = (0..geometry.kernel[axis]).filter(|k| k * dilation % stride == class).collect();
        let taps = used.iter().map(|k| [0, reach - k * dilation / stride]).collect();
        // Input element t · stride + class − pad, for those that exist.
        let start = pad.saturating_sub(class).div_ceil(stride);
        let end = (input + pad).saturating_sub(class).div_ceil(stride).max(start);
        let axis = Self {
            source: out,
            phases: 1,
            pad: reach,
            taps,
            positions: start..end,
            step: stride,
            first: class as isize - pad as isize,
        };
        (axis, used)
    }

    /// Elements of a phase that the positions and their taps read, from the first position on.
    fn extent(&self, positions: usize) -> usize {
        positions + self.taps.iter().map(|[_, shift]| *shift).max().unwrap_or(0)
    }

    /// Source elements of phase `phase` among its elements `range`: (first of the range, first of the source, count).
    fn overlap(&self, phase: usize, range: Range<usize>) -> (usize, usize, usize) {
        let start = self.pad.saturating_sub(phase).div_ceil(self.phases).clamp(range.start, range.end);
        let end = (self.source + self.pad).saturating_sub(phase).div_ceil(self.phases).clamp(start, range.end);
        let source = (start * self.phases + phase).saturating_sub(self.pad);
        (start - range.start, source, end - start)
    }

    /// The output element of a position of the range.
    pub(super) fn output(&self, position: usize) -> usize {
        (position as isize * self.step as isize + self.first) as usize
    }
}

/// Layout of the phases of a channel, for a band of output rows; behind an image's channel comes the same channel of the
/// others of its stack.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Elements per row of a phase.
    pub(super) pitch: usize,
    rows: usize,
    /// Elements per channel of one image.
    pub(super) channel: usize,
    /// Images.
    pub(super) stack: usize,
}

impl Layout {
    /// For bands of at most `band` rows, of one image.
    pub(super) fn new(rows: &Axis, columns: &Axis, band: usize) -> Self {
        let (pitch, rows_of_phase) = (columns.extent(columns.positions.len()), rows.extent(band));
        Self { pitch, rows: rows_of_phase, channel: rows.phases * columns.phases * rows_of_phase * pitch, stack: 1 }
    }

    /// For as many images of a batch as share a product; each has `positions` output elements and takes `elements` of
    /// scratch memory.
    pub(super) fn stacked(self, positions: usize, elements: usize, batch: usize, groups: usize) -> Self {
        if 2 * positions > STACK_POSITIONS {
            return self;
        }
        let most = if groups < STACKS { batch.div_ceil(STACKS) } else { batch };
        Self { stack: STACK_POSITIONS.div_ceil(self.channel).min(TASK_ELEMENTS / elements).clamp(1, most), ..self }
    }

    /// Offset of each tap, of each channel in turn.
    pub(super) fn offsets(&self, channels: usize, rows: &Axis, columns: &Axis) -> Vec<usize> {
        let mut offsets = Vec::with_capacity(channels * rows.taps.len() * columns.taps.len());
        for channel in 0..channels {
            for [row_phase, row_shift] in &rows.taps {
                for [phase, shift] in &columns.taps {
                    let phase = row_phase * columns.phases + phase;
                    let start = channel * self.stack * self.channel;
                    offsets.push(start + (phase * self.rows + row_shift) * self.pitch + shift);
                }
            }
        }
        offsets
    }

    /// Positions of a band of rows of so many images, from its first to its last.
    pub(super) fn positions(&self, images: usize, band: usize, columns: &Axis) -> usize {
        (images - 1) * self.channel + (band - 1) * self.pitch + columns.positions.len()
    }

    /// Elements of scratch memory for `channels`.
    pub(super) fn len(&self, channels: usize) -> usize {
        channels * self.stack * self.channel + SLACK
    }

    /// Writes the phases of the planes of the stack's image `image` from which the output rows of `band` are computed.
    pub(super) fn fill(
        &self,
        rows: &Axis,
        columns: &Axis,
        band: Range<usize>,
        planes: &[f32],
        image: usize,
        out: &mut [f32],
    ) {
        let source_plane = rows.source * columns.source;
        let (outs, slack) = out.split_at_mut(planes.len() / source_plane * self.stack * self.channel);
        slack.fill(0.);
        for phase in 0..rows.phases * columns.phases {
            let (row_phase, column_phase) = (phase / columns.phases, phase % columns.phases);
            let (skip, source_row, count) = rows.overlap(row_phase, band.start..band.start + self.rows);
            let first = columns.positions.start;
            let (left, source, width) = columns.overlap(column_phase, first..first + self.pitch);
            let is_whole = rows.phases == 1 && columns.phases == 1 && width == self.pitch && width == columns.source;
            let outs = outs.chunks_exact_mut(self.channel).skip(image).step_by(self.stack);
            for (out, plane) in outs.zip(planes.chunks_exact(source_plane)) {
                let out = &mut out[phase * self.rows * self.pitch..][..self.rows * self.pitch];
                out[..skip * self.pitch].fill(0.);
                out[(skip + count) * self.pitch..].fill(0.);
                let out = &mut out[skip * self.pitch..(skip + count) * self.pitch];
                if is_whole {
                    out.copy_from_slice(&plane[source_row * width..][..count * width]);
                    continue;
                }
                for (i, out) in out.chunks_exact_mut(self.pitch).enumerate() {
                    let row = &plane[(source_row + i * rows.phases) * columns.source..][..columns.source];
                    out[..left].fill(0.);
                    out[left + width..].fill(0.);
                    let out = &mut out[left..left + width];
                    if width == 0 {
                    } else if columns.phases == 1 {
                        out.copy_from_slice(&row[source..source + width]);
                    } else {
                        out.iter_mut().zip(row[source..].iter().step_by(columns.phases)).for_each(|(y, x)| *y = *x);
                    }
                }
            }
        }
    }
}

/// Writes planes with their rows at the distance of `pitch` and zeros between them, as image `image` of a stack of
/// `stack` images that take `span` elements each of a plane.
pub(super) fn spread(
    planes: &[f32],
    [height, width]: [usize; 2],
    pitch: usize,
    [stack, span]: [usize; 2],
    image: usize,
    out: &mut [f32],
) {
    debug_assert_eq!(planes.len() % (height * width), 0, "whole planes");
    let outs = out.chunks_exact_mut(span).skip(image).step_by(stack);
    for (out, plane) in outs.zip(planes.chunks_exact(height * width)) {
        let (rows, rest) = out.split_at_mut(height * pitch);
        for (out, row) in rows.chunks_exact_mut(pitch).zip(plane.chunks_exact(width)) {
            out[..width].copy_from_slice(row);
            out[width..].fill(0.);
        }
        rest.fill(0.);
    }
}
