//! Planes cut into the residue classes of their rows and columns modulo a stride, with the border written out.
//!
//! Element (t, q) of the phase (a, b) of a plane is its element (t · s + a − pad, q · s + b − pad), zero outside. A window
//! tap reads one phase at a fixed distance from the position of its output, whatever the stride.

use std::ops::Range;

use super::product::SLACK;
use crate::kernels::Geometry;

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
    pub(super) fn forward(geometry: &Geometry, axis: usize, source: usize, out: usize) -> Self {
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
        geometry: &Geometry,
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

/// Layout of the phases of one channel, for a band of output rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Elements per row of a phase.
    pub(super) pitch: usize,
    rows: usize,
    /// Elements per channel.
    pub(super) channel: usize,
}

impl Layout {
    /// For bands of at most `band` rows.
    pub(super) fn new(rows: &Axis, columns: &Axis, band: usize) -> Self {
        let (pitch, rows_of_phase) = (columns.extent(columns.positions.len()), rows.extent(band));
        Self { pitch, rows: rows_of_phase, channel: rows.phases * columns.phases * rows_of_phase * pitch }
    }

    /// Offset of each tap, of each channel in turn.
    pub(super) fn offsets(&self, channels: usize, rows: &Axis, columns: &Axis) -> Vec<usize> {
        let mut offsets = Vec::with_capacity(channels * rows.taps.len() * columns.taps.len());
        for channel in 0..channels {
            for [row_phase, row_shift] in &rows.taps {
                for [phase, shift] in &columns.taps {
                    let phase = row_phase * columns.phases + phase;
                    offsets.push(channel * self.channel + (phase * self.rows + row_shift) * self.pitch + shift);
                }
            }
        }
        offsets
    }

    /// Positions of a band of rows, from its first to its last.
    pub(super) fn positions(&self, band: usize, columns: &Axis) -> usize {
        (band - 1) * self.pitch + columns.positions.len()
    }

    /// Elements of scratch memory for `channels`.
    pub(super) fn len(&self, channels: usize) -> usize {
        channels * self.channel + SLACK
    }

    /// Writes the phases of `channels` planes from which the output rows of `band` are computed.
    pub(super) fn fill(
        &self,
        rows: &Axis,
        columns: &Axis,
        band: Range<usize>,
        planes: &[f32],
        channels: usize,
        out: &mut [f32],
    ) {
        out[channels * self.channel..].fill(0.);
        let source_plane = rows.source * columns.source;
        let first_column = columns.positions.start;
        for (out, plane) in out.chunks_exact_mut(self.channel).zip(planes.chunks_exact(source_plane)).take(channels) {
            let phases = out.chunks_exact_mut(self.rows * self.pitch).enumerate();
            for (phase, out) in phases {
                let (row_phase, column_phase) = (phase / columns.phases, phase % columns.phases);
                let (skip, source_row, count) = rows.overlap(row_phase, band.start..band.start + self.rows);
                let (left, source, width) = columns.overlap(column_phase, first_column..first_column + self.pitch);
                out[..skip * self.pitch].fill(0.);
                out[(skip + count) * self.pitch..].fill(0.);
                for (i, out) in out[skip * self.pitch..].chunks_exact_mut(self.pitch).enumerate().take(count) {
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

/// Writes planes with their rows at the distance of `pitch`, zeros between them.
pub(super) fn spread(planes: &[f32], [height, width]: [usize; 2], pitch: usize, out: &mut [f32]) {
    let rows = planes.chunks_exact(width);
    debug_assert_eq!(planes.len() % (height * width), 0, "whole planes");
    for (out, row) in out.chunks_exact_mut(pitch).zip(rows) {
        out[..width].copy_from_slice(row);
        out[width..].fill(0.);
    }
}
