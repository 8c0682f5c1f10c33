//! The range of a map's values that 256 levels stand for.

use candle_vision::data::ItemError;
use serde::{Deserialize, Serialize};

use crate::error::{Result, invalid};

/// Parts of a range that are counted apart.
const BINS: usize = 2048;
/// Parts of a range's ends that [`RangeMethod::Mse`] tries.
const STEPS: usize = 100;
/// Highest level.
const TOP: f64 = 255.;

/// How the range of a convolution's input is chosen. It always holds 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RangeMethod {
    /// From the least value that was seen to the greatest.
    MinMax,
    /// So that this many per cent of the values lie within, as many of the rest below it as above.
    Percentile(f64),
    /// So that the squared error of all values is least.
    Mse,
}

impl RangeMethod {
    /// Its name: `minmax`, `percentile` or `mse`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::MinMax => "minmax",
            Self::Percentile(_) => "percentile",
            Self::Mse => "mse",
        }
    }
}

/// What a first pass saw of a map: extremes, and sums per channel.
#[derive(Debug, Clone)]
pub(super) struct Extremes {
    pub(super) least: f32,
    pub(super) greatest: f32,
    sums: Vec<f64>,
    pixels: usize,
}

impl Extremes {
    /// Of a map of so many channels. Its range holds 0.
    pub(super) fn new(channels: usize) -> Self {
        Self { least: 0., greatest: 0., sums: vec![0.; channels], pixels: 0 }
    }

    /// Adds a map (height, width, channels).
    ///
    /// # Errors
    /// A value that is no number.
    pub(super) fn add(&mut self, map: &[f32]) -> Result<(), ItemError> {
        for pixel in map.chunks_exact(self.sums.len()) {
            for (value, sum) in pixel.iter().zip(&mut self.sums) {
                self.least = self.least.min(*value);
                self.greatest = self.greatest.max(*value);
                *sum += f64::from(*value);
            }
            self.pixels += 1;
        }
        match self.sums.iter().all(|sum| sum.is_finite()) {
            true => Ok(()),
            false => Err(ItemError::other("the network computes NaN or infinity from it")),
        }
    }

    /// Mean of each channel.
    pub(super) fn means(&self) -> Vec<f64> {
        self.sums.iter().map(|sum| sum / self.pixels.max(1) as f64).collect()
    }
}

/// How often values occur in a map. Zeros are counted apart: they are exact in every range.
#[derive(Debug, Clone)]
pub(super) struct Histogram {
    least: f64,
    width: f64,
    counts: Vec<u64>,
    zeros: u64,
}

impl Histogram {
    pub(super) fn new(seen: &Extremes) -> Self {
        let (least, greatest) = (f64::from(seen.least), f64::from(seen.greatest));
        Self { least, width: (greatest - least) / BINS as f64, counts: vec![0; BINS], zeros: 0 }
    }

    pub(super) fn add(&mut self, map: &[f32]) {
        let per_value = if self.width > 0. { 1. / self.width } else { 0. };
        for &value in map {
            if value == 0. {
                self.zeros += 1;
            } else {
                // Saturates at both ends.
                let bin = ((f64::from(value) - self.least) * per_value) as usize;
                self.counts[bin.min(BINS - 1)] += 1;
            }
        }
    }

    /// Middle and count of each part that has values.
    fn bins(&self) -> impl Iterator<Item = (f64, f64)> {
        let middle = |bin: usize| self.least + (bin as f64 + 0.5) * self.width;
        self.counts.iter().enumerate().filter(|(_, n)| **n > 0).map(move |(bin, n)| (middle(bin), *n as f64))
    }

    /// Sum of the squared errors of the values at the levels of a range.
    fn error(&self, levels: Levels) -> f64 {
        self.bins().map(|(value, count)| count * (value - levels.nearest(value)).powi(2)).sum()
    }

    /// Decibels of the values' squares over their squared errors.
    pub(super) fn sqnr(&self, levels: Levels) -> f64 {
        let power: f64 = self.bins().map(|(value, count)| count * value * value).sum();
        decibels(power, self.error(levels))
    }

    /// The levels that a method chooses.
    ///
    /// # Errors
    /// A share that is none.
    pub(super) fn levels(&self, method: RangeMethod) -> Result<Levels> {
        let (least, greatest) = (self.least, self.least + self.width * BINS as f64);
        let (low, high) = match method {
            RangeMethod::MinMax => (least, greatest),
            RangeMethod::Percentile(share) => {
                if !(share > 50. && share <= 100.) {
                    invalid!("`options.percentile` is {share}, and is above 50 and at most 100");
                }
                self.quantiles((100. - share) / 200.)
            }
            RangeMethod::Mse => self.least_error(least, greatest),
        };
        Ok(Levels::new(low.min(0.), high.max(0.)))
    }

    /// The values that leave `tail` of all values beyond them, below and above.
    fn quantiles(&self, tail: f64) -> (f64, f64) {
        let total = self.counts.iter().sum::<u64>() + self.zeros;
        let most = tail * total as f64;
        let end = |bins: &mut dyn Iterator<Item = usize>| {
            let mut left_out = 0_u64;
            bins.take_while(|bin| {
                left_out += self.counts[*bin];
                left_out as f64 <= most
            })
            .count()
        };
        let (low, high) = (end(&mut (0..BINS)), end(&mut (0..BINS).rev()));
        (self.least + low as f64 * self.width, self.least + (BINS - high) as f64 * self.width)
    }

    /// The ends of the range with the least squared error: each end in turn, while the other stays.
    fn least_error(&self, least: f64, greatest: f64) -> (f64, f64) {
        let mut best = (least, greatest);
        let mut least_error = self.error(Levels::new(least, greatest));
        for _ in 0..2 {
            for is_low in [false, true] {
                let other = best;
                for step in 1..STEPS {
                    let share = step as f64 / STEPS as f64;
                    let tried = if is_low { (least * share, other.1) } else { (other.0, greatest * share) };
                    let error = self.error(Levels::new(tried.0, tried.1));
                    if error < least_error {
                        (best, least_error) = (tried, error);
                    }
                }
            }
        }
        best
    }
}

/// 256 levels, one of them 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Levels {
    /// Distance of two.
    pub(super) scale: f32,
    /// The number of the level of 0.
    pub(super) zero_point: u8,
}

impl Levels {
    /// From `low`, at most 0, to `high`, at least 0.
    fn new(low: f64, high: f64) -> Self {
        let scale = ((high - low) / TOP) as f32;
        // A map of zeros has any scale.
        if scale == 0. {
            return Self { scale: 1., zero_point: 0 };
        }
        let scale = scale.max(f32::MIN_POSITIVE);
        Self { scale, zero_point: (-low / f64::from(scale)).round().clamp(0., TOP) as u8 }
    }

    /// The least and the greatest value that a level stands for.
    pub(super) fn range(self) -> [f32; 2] {
        let zero = f32::from(self.zero_point);
        [-zero * self.scale, (TOP as f32 - zero) * self.scale]
    }

    fn nearest(self, value: f64) -> f64 {
        let (scale, zero) = (f64::from(self.scale), f64::from(self.zero_point));
        ((value / scale).round_ties_even() + zero).clamp(0., TOP).mul_add(scale, -zero * scale)
    }
}

/// Most decibels, where there is no error.
const MOST_DECIBELS: f64 = 150.;

/// `power` over `error` in decibels.
pub(super) fn decibels(power: f64, error: f64) -> f64 {
    if error <= 0. { MOST_DECIBELS } else { (10. * (power / error).log10()).clamp(-MOST_DECIBELS, MOST_DECIBELS) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f32]) -> Histogram {
        let mut seen = Extremes::new(1);
        seen.add(values).expect("numbers");
        let mut histogram = Histogram::new(&seen);
        histogram.add(values);
        histogram
    }

    #[test]
    fn ranges_hold_zero_and_all_values_unless_they_are_clipped() {
        let histogram = of(&[-1., 0., 4.1]);
        let levels = histogram.levels(RangeMethod::MinMax).expect("levels");
        assert_eq!(levels.zero_point, 50);
        assert!((levels.scale - 0.02).abs() < 1e-6, "{levels:?}");
        assert_eq!(of(&[2., 5.1]).levels(RangeMethod::MinMax).expect("levels").zero_point, 0);
        assert_eq!(of(&[-2., -5.1]).levels(RangeMethod::MinMax).expect("levels").zero_point, 255);
        for method in [RangeMethod::MinMax, RangeMethod::Percentile(99.99), RangeMethod::Mse] {
            let levels = of(&[0.; 4]).levels(method).expect("levels");
            assert_eq!(levels, Levels { scale: 1., zero_point: 0 }, "{method:?}");
            let levels = of(&[1e-42; 4]).levels(method).expect("levels");
            assert!(levels.scale.is_normal(), "{method:?}");
        }
    }

    #[test]
    fn a_lonely_value_far_off_is_clipped_where_that_is_better() {
        let mut values: Vec<f32> = (0..100_000).map(|i| (i % 1000) as f32 / 1000.).collect();
        values.push(5.);
        let histogram = of(&values);
        let top = |method| histogram.levels(method).expect("levels").range()[1];
        assert!((top(RangeMethod::MinMax) - 5.).abs() < 1e-3);
        assert!(top(RangeMethod::Percentile(99.9)) < 1.1);
        let [clipped, whole] = [RangeMethod::Mse, RangeMethod::MinMax].map(|m| histogram.levels(m).expect("levels"));
        assert!(histogram.error(clipped) <= histogram.error(whole));
        assert!(histogram.sqnr(clipped) >= histogram.sqnr(whole) && histogram.sqnr(whole) > 20.);
        assert!(histogram.levels(RangeMethod::Percentile(40.)).is_err());
    }

    #[test]
    fn what_is_no_number_is_refused() {
        assert!(Extremes::new(1).add(&[f32::NAN]).is_err() && Extremes::new(1).add(&[f32::INFINITY]).is_err());
    }
}
