//! The gradient of a convolution's weight in `f32` on the CPU, of every geometry: correlations over planes.
//!
//! Tasks and the order of their sums depend on the extents only, never on the number of threads.

use std::ops::Range;

use rayon::prelude::*;

use super::Extents;
use super::correlation::{Correlation, Pair};
use super::planes::{Axis, Layout, TASK_ELEMENTS, spread};
use super::product::share;
use crate::maps::{Maps, unwritten};
use crate::simd::Isa;
use crate::widest;

/// Parts of a batch whose gradients are summed apart.
const BATCH_PARTS: usize = 8;
/// Elements of a sum that one task adds up.
const SUM_ELEMENTS: usize = 8 * 1024;

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
    add_up(&sums, parts, size)
}

/// The sums of `parts` runs of `size` elements, group by group.
fn add_up(runs: &[f32], parts: usize, size: usize) -> Vec<f32> {
    // SAFETY: each run of the buffer is written.
    let mut total = unsafe { unwritten(runs.len() / parts) };
    total.par_chunks_exact_mut(size).zip(runs.par_chunks_exact(parts * size)).for_each(|(total, runs)| {
        total.par_chunks_mut(SUM_ELEMENTS).enumerate().for_each(|(index, total)| {
            let len = total.len();
            for (part, run) in runs.chunks_exact(size).enumerate() {
                let run = &run[index * SUM_ELEMENTS..][..len];
                if part == 0 { total.copy_from_slice(run) } else { add_to(total, run) }
            }
        });
    });
    total
}

/// Adds each element of `xs` to that of `sum`.
fn add_to(sum: &mut [f32], xs: &[f32]) {
    widest(move || sum.iter_mut().zip(xs).for_each(|(sum, x)| *sum += *x));
}

/// What the tasks of [`grad_weight`] share.
struct WeightWork<'a> {
    extents: &'a Extents,
    isa: Isa,
    /// Whether positions are the operands' own elements, image by image.
    direct: bool,
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
        let elements = (extents.group_in() + extents.group_out()) * layout.channel;
        let layout = layout.stacked(extents.out_plane(), elements, extents.batch, extents.geometry.groups);
        let direct = layout.stack == 1 && extents.geometry.is_pointwise();
        let offsets = if direct {
            (0..extents.group_in()).map(|channel| channel * extents.in_plane()).collect()
        } else {
            layout.offsets(extents.group_in(), &rows, &columns)
        };
        Self { extents, isa: Isa::best(), direct, rows, columns, layout, offsets }
    }

    /// Adds what the images of a group give to `sum`.
    fn run(
        &self,
        xs: Maps<'_, f32>,
        grad: Maps<'_, f32>,
        group: usize,
        images: Range<usize>,
        scratch: &mut Vec<f32>,
        sum: &mut [f32],
    ) {
        let extents = self.extents;
        let (group_in, group_out) = (extents.group_in(), extents.group_out());
        let source = |image: usize| &xs.image(image)[group * group_in * extents.in_plane()..];
        let grad = |image: usize| &grad.image(image)[group * group_out * extents.out_plane()..];
        let mut part = vec![0.; sum.len()];
        let mut correlate = |pairs: &[Pair<'_>], left_stride: usize| {
            let (rows, offsets) = (group_out, &self.offsets);
            Correlation { pairs, rows, left_stride, offsets, out: &mut part }.run(self.isa);
            add_to(sum, &part);
        };
        if self.direct {
            let plane = extents.out_plane();
            let most = (TASK_ELEMENTS / (group_in + group_out)).max(256).min(plane);
            let (runs, together) = (plane.div_ceil(most), (TASK_ELEMENTS / (group_in + group_out) / plane).max(1));
            let mut pairs = Vec::new();
            for first in images.clone().step_by(together) {
                for run in 0..runs {
                    let range = share(plane, runs, run);
                    pairs.extend((first..(first + together).min(images.end)).map(|image| Pair {
                        left: &grad(image)[range.start..],
                        right: &source(image)[range.start..],
                        positions: range.len(),
                    }));
                    correlate(&pairs, plane);
                    pairs.clear();
                }
            }
            return;
        }
        let Layout { pitch, channel, stack, .. } = self.layout;
        let height = extents.out_hw[0];
        let span = if stack == 1 { height * pitch } else { channel };
        let (lefts, rights) = (group_out * stack * span, self.layout.len(group_in));
        let together = (TASK_ELEMENTS / (lefts + rights)).clamp(1, images.len().max(1).div_ceil(stack));
        scratch.resize(together * (lefts + rights), 0.);
        for first in images.clone().step_by(together * stack) {
            let images = first..(first + together * stack).min(images.end);
            let starts = images.clone().step_by(stack);
            let stacks = starts.map(|start| start..(start + stack).min(images.end));
            for (images, scratch) in stacks.clone().zip(scratch.chunks_exact_mut(lefts + rights)) {
                let (left, right) = scratch.split_at_mut(lefts);
                for (place, image) in images.enumerate() {
                    let planes = &grad(image)[..group_out * extents.out_plane()];
                    spread(planes, extents.out_hw, pitch, [stack, span], place, left);
                    let planes = &source(image)[..group_in * extents.in_plane()];
                    self.layout.fill(&self.rows, &self.columns, 0..height, planes, place, right);
                }
            }
            let pairs: Vec<Pair<'_>> = stacks
                .zip(scratch.chunks_exact(lefts + rights))
                .map(|(images, scratch)| Pair {
                    left: &scratch[..lefts],
                    right: &scratch[lefts..],
                    positions: self.layout.positions(images.len(), height, &self.columns),
                })
                .collect();
            correlate(&pairs, stack * span);
        }
    }
}
