//! Weights as 8-bit integers with a step per output channel.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::range::decibels;
use crate::error::Result;

/// Highest magnitude of an integer.
const TOP: f32 = 127.;
/// Steps that are tried for a channel, from that of its largest weight down to half of it.
const TRIED: u8 = 50;

/// Weights (out, …) in 8 bits.
pub(super) struct Quantized {
    /// Multiples of the steps, of the shape of the weights.
    pub(super) weight: Tensor,
    /// By output channel.
    pub(super) scales: Vec<f32>,
    /// What each output's mean lacks: the sum of (weight − quantized weight) · mean of its input.
    pub(super) shift: Vec<f32>,
    /// Decibels of the weights' squares over their squared errors.
    pub(super) sqnr: f64,
}

/// Chooses for each output channel the step of the least squared error. `means` are those of the input's channels.
pub(super) fn quantize(weight: &Tensor, means: &[f64]) -> Result<Quantized> {
    let values = weight.flatten_all()?.to_vec1::<f32>()?;
    let out = weight.dims().first().copied().unwrap_or(1).max(1);
    let row_len = (values.len() / out).max(1);
    let window = (row_len / means.len().max(1)).max(1);
    let rows: Vec<_> = values
        .par_chunks(row_len)
        .map(|row| {
            let scale = best_scale(row);
            let near: Vec<f32> = row.iter().map(|value| nearest(*value, scale)).collect();
            let differences = row.iter().zip(&near).map(|(value, near)| f64::from(*value) - f64::from(*near));
            let shift: f64 = differences.enumerate().map(|(at, by)| by * means[at / window]).sum();
            (scale, shift as f32, near)
        })
        .collect();
    let near: Vec<f32> = rows.iter().flat_map(|(_, _, row)| row.iter().copied()).collect();
    let power: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
    let error: f64 = values.iter().zip(&near).map(|(value, near)| (f64::from(*value) - f64::from(*near)).powi(2)).sum();
    Ok(Quantized {
        weight: Tensor::from_vec(near, weight.shape(), &Device::Cpu)?,
        scales: rows.iter().map(|(scale, ..)| *scale).collect(),
        shift: rows.iter().map(|(_, shift, _)| *shift).collect(),
        sqnr: decibels(power, error),
    })
}

fn nearest(value: f32, scale: f32) -> f32 {
    (value / scale).round_ties_even().clamp(-TOP, TOP) * scale
}

fn best_scale(row: &[f32]) -> f32 {
    let largest = row.iter().fold(0_f32, |most, value| most.max(value.abs()));
    if largest == 0. {
        return 1.;
    }
    let error = |scale: f32| row.iter().map(|value| f64::from(value - nearest(*value, scale)).powi(2)).sum::<f64>();
    let whole = (largest / TOP).max(f32::MIN_POSITIVE);
    let scales =
        (0..=TRIED).map(|step| (whole * (1. - f32::from(step) / (2. * f32::from(TRIED)))).max(f32::MIN_POSITIVE));
    let scored = scales.map(|scale| (error(scale), scale));
    scored.min_by(|a, b| a.0.total_cmp(&b.0)).map_or(whole, |(_, scale)| scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_multiples_of_positive_steps_and_the_shift_is_what_their_mean_lacks() -> Result<()> {
        let values = [0.9_f32, -0.3, 0.11, 0.02, 0., 0., 0., 0., 1e-41, 0., 0., 0.];
        let weight = Tensor::from_slice(&values, (3, 2, 1, 2), &Device::Cpu)?;
        let found = quantize(&weight, &[2., -1.])?;
        assert!(found.scales.iter().all(|scale| scale.is_normal() && *scale > 0.), "{:?}", found.scales);
        let near = found.weight.flatten_all()?.to_vec1::<f32>()?;
        for (at, near) in near.iter().enumerate() {
            let steps = near / found.scales[at / 4];
            assert!((steps - steps.round()).abs() < 1e-3 && steps.abs() < 127.5, "{steps}");
        }
        let lacks: f32 = (0..4).map(|at| (values[at] - near[at]) * [2., -1.][at / 2]).sum();
        assert!((found.shift[0] - lacks).abs() < 1e-6 && found.shift[1] == 0., "{:?} {lacks}", found.shift);
        assert!(found.sqnr > 40., "{}", found.sqnr);
        Ok(())
    }
}
