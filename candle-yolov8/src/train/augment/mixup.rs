//! Two images as one.

use candle_vision::image::RgbImage;
use candle_vision::train::Stream;
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::sample::GeometryParams;

/// Both parameters of the beta distribution that the ratio is drawn from.
const CONCENTRATION: usize = 32;

/// What an image is mixed with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MixupPlan {
    /// Number of the other image.
    pub partner: usize,
    /// How that is laid into the input.
    pub view: GeometryParams,
    /// Share of the sample's own image.
    pub ratio: f64,
}

/// A ratio of the distribution beta(32, 32): the 32nd smallest of 63 even numbers.
pub(super) fn draw_ratio(stream: &mut Stream) -> f64 {
    let mut numbers: [f64; 2 * CONCENTRATION - 1] = std::array::from_fn(|_| stream.random());
    numbers.sort_unstable_by(f64::total_cmp);
    numbers[CONCENTRATION - 1]
}

/// Weighted means of the levels, fractions cut off.
pub(super) fn mix(image: &mut RgbImage, other: &RgbImage, ratio: f64) {
    for (level, other) in image.iter_mut().zip(other.iter()) {
        *level = (f64::from(*level) * ratio + f64::from(*other) * (1. - ratio)) as u8;
    }
}

#[cfg(test)]
mod tests {
    use candle_vision::train::stream;

    use super::*;

    #[test]
    fn ratios_are_of_the_beta_distribution() {
        const DRAWS: f64 = 4000.;
        let mut stream = stream(0, &[]);
        let ratios: Vec<f64> = (0..DRAWS as usize).map(|_| draw_ratio(&mut stream)).collect();
        let mean = ratios.iter().sum::<f64>() / DRAWS;
        let variance = ratios.iter().map(|ratio| (ratio - 0.5).powi(2)).sum::<f64>() / DRAWS;
        // a b / ((a + b)^2 (a + b + 1)); five standard errors.
        let expected = 1. / (4. * 65.);
        assert!((mean - 0.5).abs() < 5. * (expected / DRAWS).sqrt(), "{mean}");
        assert!((variance / expected - 1.).abs() < 5. * (2. / DRAWS).sqrt(), "{variance}");
        let beyond = ratios.iter().filter(|&&ratio| ratio < 0.397_885).count() as f64 / DRAWS;
        // The distribution's 5th percentile, by scipy.stats.beta(32, 32).ppf(0.05).
        assert!((beyond - 0.05).abs() < 0.017, "{beyond}");
    }

    #[test]
    fn levels_are_cut_off() {
        let image = |levels: [u8; 3]| RgbImage::from_raw(1, 1, levels.to_vec()).expect("one pixel");
        let mut own = image([200, 0, 255]);
        mix(&mut own, &image([100, 255, 255]), 0.255);
        assert_eq!(own.get_pixel(0, 0).0, [125, 189, 255]);
    }
}
