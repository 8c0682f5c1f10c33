//! Batch normalisation with its activation, and sums of channels.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::super::run::{Memories, Run, plain, readable};
use super::super::{ARENA, IMAGE, Launch, Map, QUAD, Step, THREADS, activation, word};
use super::{dims, fours, map, parts};
use crate::Activation;
use crate::autograd::{Gradient, differentiate};
use crate::norm::Moment;
use crate::norm::together::{added, joined};
use crate::sync::AllGather;

/// `Statistic` of `norm.h`.
const SUM: u32 = 0;
const MOMENTS: u32 = 1;
const PRODUCTS: u32 = 2;
/// Any operation but a copy: `normalise` and its gradient take their factors.
const SCALED: u32 = 1;
/// Channels of a block that sums them in parts.
const SUMMED: usize = 32;

/// [`crate::batch_norm`], with mean and biased variance, and the elements that they are of.
pub(crate) fn batch_norm(
    xs: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
    kind: Activation,
    group: Option<Arc<dyn AllGather>>,
) -> Result<(Tensor, [Tensor; 2], usize)> {
    let (kept, shape) = (readable(xs)?, dims(xs)?);
    let (kept_weight, kept_bias) = (weight.detach().contiguous()?, bias.detach().contiguous()?);
    let (activation, slope) = activation(kind);
    let step = Step { activation, slope, eps: eps as f32, ..Step::default() };
    let moments = statistics(&kept, None, MOMENTS, [Some(&kept_weight), Some(&kept_bias), None], step)?;
    let count = shape[0] * shape[2] * shape[3];
    let (moments, count) = match &group {
        None => (moments, count),
        Some(group) => moments_together(&moments, &kept_weight, &kept_bias, eps, count, &**group)?,
    };
    let scaled = Step { operation: SCALED, ..step };
    let ys = map("normalise", &kept, None, shape, [Some(&moments), None], scaled)?;
    let row = |row: usize| moments.narrow(0, row, 1)?.flatten_all()?.narrow(0, 0, shape[1]);
    let found = [row(0)?, row(1)?];
    let ys = differentiate(ys, &[xs, weight, bias], move |grad, _| {
        let grad = readable(grad)?;
        let operands = [Some(&kept_weight), None, Some(&moments)];
        let mut rows = statistics(&kept, Some(&grad), PRODUCTS, operands, step)?;
        if let Some(group) = &group {
            rows = gradients_together(&rows, &moments, &kept_weight, eps, count, &**group)?;
        }
        let of_xs =
            map("normalise_back", &kept, Some(&grad), shape, [Some(&moments), Some(&rows)], scaled)?.tensor()?;
        let row = |row: usize| rows.narrow(0, row, 1)?.flatten_all()?.narrow(0, 0, shape[1]);
        Ok([of_xs, row(0)?, row(1)?].into_iter().map(|grad| Some(Gradient::Own(grad))).collect())
    })?;
    Ok((ys, found, count))
}

/// The rows of `Row` of all processes' maps, from those of one's own, which are of `count` elements; and how many all are.
fn moments_together(
    own: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
    count: usize,
    group: &dyn AllGather,
) -> Result<(Tensor, usize)> {
    let (rows, weight, bias) = (own.to_vec2::<f32>()?, weight.to_vec1::<f32>()?, bias.to_vec1::<f32>()?);
    let moment = |channel: usize| Moment {
        mean: f64::from(rows[0][channel]) + f64::from(rows[4][channel]),
        var: rows[1][channel].into(),
    };
    let own_moments: Vec<Moment> = (0..weight.len()).map(moment).collect();
    let (moments, count) = joined(&own_moments, count as f64, group)?;
    let mut rows = vec![vec![0f32; rows[0].len()]; 5];
    for (channel, Moment { mean, var }) in moments.into_iter().enumerate() {
        let scale = f64::from(weight[channel]) / (var + eps).sqrt();
        let (mean_row, shift) = (mean as f32, f64::from(bias[channel]) - mean * scale);
        let column = [mean_row, var as f32, scale as f32, shift as f32, (mean - f64::from(mean_row)) as f32];
        rows.iter_mut().zip(column).for_each(|(row, value)| row[channel] = value);
    }
    Ok((Tensor::new(rows, own.device())?, count as usize))
}

/// The rows of `GradientRow` where all processes' maps decided the moments. Those of weight and bias are of one's own maps.
fn gradients_together(
    own: &Tensor,
    moments: &Tensor,
    weight: &Tensor,
    eps: f64,
    count: usize,
    group: &dyn AllGather,
) -> Result<Tensor> {
    let (mut rows, weight) = (own.to_vec2::<f32>()?, weight.to_vec1::<f32>()?);
    let variances = moments.narrow(0, 1, 1)?.flatten_all()?.to_vec1::<f32>()?;
    let own_sums: Vec<[f64; 2]> =
        (0..weight.len()).map(|channel| [0, 1].map(|row| rows[row][channel].into())).collect();
    for (channel, [of_weight, of_bias]) in added(&own_sums, group)?.into_iter().enumerate() {
        let inverse = 1. / (f64::from(variances[channel]) + eps).sqrt();
        let factor = -f64::from(weight[channel]) * inverse / count as f64;
        rows[2][channel] = (factor * inverse * of_weight) as f32;
        rows[3][channel] = (factor * of_bias) as f32;
    }
    Tensor::new(rows, own.device())
}

/// The sum of each channel over images and positions.
pub(super) fn channel_sums(xs: &Tensor) -> Result<Tensor> {
    statistics(xs, None, SUM, [None; 3], Step::default())
}

/// What follows from sums over the channels of `xs`, as `settle` of `norm.h` has it, with the weight, the bias and what the
/// channels were normalised by.
fn statistics(
    xs: &Tensor,
    grad: Option<&Tensor>,
    statistic: u32,
    [weight, bias, moments]: [Option<&Tensor>; 3],
    step: Step,
) -> Result<Tensor> {
    let [n, c, h, w] = dims(xs)?;
    let mut run = Run::new();
    let (arena, input) = run.map(xs)?;
    let second = grad.map(|grad| run.map(grad)).transpose()?;
    let blocks = c.div_ceil(SUMMED);
    let parts = parts(n * h * w, blocks);
    let (image, second) = second.unzip();
    let step = Step {
        input: Map { memory: ARENA, ..input },
        second: second.unwrap_or_default(),
        operation: statistic,
        images: word(n)?,
        parts: word(parts)?,
        ..step
    };
    let moments = moments.map(|moments| run.input(moments));
    let summed = run.own(parts * 2 * fours(c));
    let launch = Launch::blocks("channels", [blocks, parts], THREADS, step)?;
    run.launch(launch, Memories { arena: Some(arena), image, weights: moments, ..Memories::to(summed) });

    let mut offset = |tensor: Option<&Tensor>| match tensor {
        Some(tensor) => Ok::<_, candle_core::Error>((Some(run.input(tensor)), word(tensor.layout().start_offset())?)),
        None => Ok((None, 0)),
    };
    let ((weights, weight), (biases, bias)) = (offset(weight)?, offset(bias)?);
    // The rows of `Row` and `GradientRow` in `norm.h`.
    let rows = if statistic == MOMENTS { 5 } else { 4 };
    let len = if statistic == SUM { c } else { rows * fours(c) };
    let output = run.own(len);
    let step = Step { input: Map { memory: IMAGE, ..input }, weight, bias, ..step };
    let launch = Launch::elements("settle", fours(c).div_ceil(QUAD) * QUAD, step)?;
    let image = if statistic == PRODUCTS { moments } else { Some(arena) };
    run.launch(launch, Memories { arena: Some(summed), image, weights, biases, output });
    let storage = run.run()?.remove(1);
    Ok(if statistic == SUM { plain(storage, c) } else { plain(storage, (rows, fours(c))) })
}
