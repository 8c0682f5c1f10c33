//! The operations of training on a GPU: forward and backward, in `f32`, maps channels last in memory.
//!
//! Each takes checked operands that [`takes`] accepts, at any strides.

mod conv;
mod elementwise;
mod norm;
mod update;
mod windows;

pub(crate) use super::run::takes;
pub(crate) use conv::conv2d;
pub(crate) use elementwise::{accumulate, activate, add, concat, multiply, sum};
pub(crate) use norm::batch_norm;
pub(crate) use update::update;
pub(crate) use windows::{Kind, global_mean, pool, resample};

use candle_core::{Result, Tensor};

use super::run::{Memories, Run, result_map};
use super::{ARENA, Launch, Map, QUAD, Step, word};
use crate::autograd::KernelOutput;

/// Positions that a part of a sum has at least.
const PART: usize = 512;
/// Blocks that fill a GPU several times over.
const BLOCKS: usize = 1056;

/// Parts into which sums over `positions` are divided when each needs `blocks` blocks.
fn parts(positions: usize, blocks: usize) -> usize {
    BLOCKS.div_ceil(blocks.max(1)).min(positions.div_ceil(PART)).max(1)
}

fn fours(channels: usize) -> usize {
    channels.next_multiple_of(QUAD)
}

/// A launch of four channels a thread that makes maps (n, c, h, w) of `xs` and, if there is one, of `second`.
fn map(
    name: &'static str,
    xs: &Tensor,
    second: Option<&Tensor>,
    dims: [usize; 4],
    vectors: [Option<&Tensor>; 2],
    step: Step,
) -> Result<KernelOutput> {
    let mut run = Run::new();
    let (arena, input) = run.map(xs)?;
    let second = second.map(|second| run.map(second)).transpose()?;
    let [weights, biases] = vectors.map(|vector| vector.map(|vector| run.input(vector)));
    let output = run.own(dims.iter().product());
    let (image, second) = second.unzip();
    let step = Step {
        input: Map { memory: ARENA, ..input },
        second: second.unwrap_or_default(),
        has_second: u32::from(second.is_some()),
        out: result_map(dims)?,
        images: word(dims[0])?,
        ..step
    };
    let threads = dims[0] * dims[2] * dims[3] * dims[1].div_ceil(QUAD);
    let memories = Memories { arena: Some(arena), image, weights, biases, output };
    run.launch(Launch::elements(name, threads, step)?, memories);
    Ok(KernelOutput::channels_last(run.run()?.remove(0), dims))
}

/// The dimensions of maps.
fn dims(xs: &Tensor) -> Result<[usize; 4]> {
    let (n, c, h, w) = xs.dims4()?;
    Ok([n, c, h, w])
}
