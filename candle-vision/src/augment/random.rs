//! Distributions that augmentations draw from.

use std::f64::consts::TAU;

use rand::Rng;

/// A number in [low, high), or `low` where they are equal.
pub(super) fn uniform(rng: &mut impl Rng, [low, high]: [f64; 2]) -> f64 {
    low + (high - low) * rng.random::<f64>()
}

/// Whether an event of this probability happens.
pub(super) fn happens(rng: &mut impl Rng, probability: f64) -> bool {
    rng.random::<f64>() < probability
}

/// Two independent numbers of the standard normal distribution: Box and Muller's method.
pub(super) fn normal_pair(rng: &mut impl Rng) -> [f64; 2] {
    // 1 - u lies in (0, 1], so the logarithm is finite.
    let radius = (-2. * (1. - rng.random::<f64>()).ln()).sqrt();
    let (sin, cos) = (TAU * rng.random::<f64>()).sin_cos();
    [radius * cos, radius * sin]
}

/// A number of the normal distribution.
pub(super) fn normal(rng: &mut impl Rng, mean: f64, std: f64) -> f64 {
    mean + std * normal_pair(rng)[0]
}

/// A number of Beta(alpha, alpha), in [0, 1]; `alpha` > 0. Mixing weights are drawn from it.
///
/// The share of one of two gamma variates in their sum, of which the logarithms are drawn: those of a small `alpha`
/// would underflow.
pub fn beta(rng: &mut impl Rng, alpha: f64) -> f64 {
    let [a, b] = [ln_gamma_variate(rng, alpha), ln_gamma_variate(rng, alpha)];
    1. / (1. + (b - a).exp())
}

/// The logarithm of a variate of Gamma(shape, 1): Marsaglia and Tsang, *A simple method for generating gamma variables*.
fn ln_gamma_variate(rng: &mut impl Rng, shape: f64) -> f64 {
    if shape < 1. {
        let boost = (1. - rng.random::<f64>()).ln() / shape;
        return ln_gamma_variate(rng, shape + 1.) + boost;
    }
    let d = shape - 1. / 3.;
    let c = (9. * d).sqrt().recip();
    loop {
        let x = normal(rng, 0., 1.);
        let v = (1. + c * x).powi(3);
        if v > 0. && (1. - rng.random::<f64>()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return (d * v).ln();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::stream;

    const DRAWS: usize = 40_000;
    /// Five standard errors of a mean of [`DRAWS`] values of variance 1.
    const ERROR: f64 = 5. / 200.;

    fn moments(values: &[f64]) -> [f64; 2] {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        [mean, values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64]
    }

    #[test]
    fn normal_numbers_have_their_moments_and_tails() {
        let mut rng = stream(1, &[]);
        let values: Vec<f64> = (0..DRAWS).map(|_| (normal(&mut rng, 3., 2.) - 3.) / 2.).collect();
        let [mean, variance] = moments(&values);
        assert!(mean.abs() < ERROR && (variance - 1.).abs() < 2. * ERROR, "{mean} {variance}");
        let beyond = values.iter().filter(|value| value.abs() > 1.959_964).count() as f64 / DRAWS as f64;
        assert!((beyond - 0.05).abs() < ERROR / 4., "{beyond} beyond the 95 % interval");
        let pairs: Vec<f64> = (0..DRAWS).map(|_| normal_pair(&mut rng)).map(|[a, b]| a * b).collect();
        assert!(moments(&pairs)[0].abs() < ERROR, "the two of a pair depend on each other");
    }

    /// Beta(a, a) has mean 1/2 and variance 1 / (4 (2a + 1)); a = 1 is uniform, and a = 1/2 the arcsine law.
    #[test]
    fn beta_numbers_have_their_moments_and_quantiles() {
        for alpha in [0.05, 0.2, 0.5, 0.8, 1., 2., 32.] {
            let mut rng = stream(2, &[]);
            let values: Vec<f64> = (0..DRAWS).map(|_| beta(&mut rng, alpha)).collect();
            assert!(values.iter().all(|value| (0. ..=1.).contains(value)), "{alpha}");
            let [mean, variance] = moments(&values);
            let expected = 1. / (4. * (2. * alpha + 1.));
            assert!((mean - 0.5).abs() < ERROR * expected.sqrt(), "{alpha}: mean {mean}");
            assert!((variance / expected - 1.).abs() < 2. * ERROR, "{alpha}: variance {variance}, not {expected}");
            let below = |level: f64| values.iter().filter(|&&value| value < level).count() as f64 / DRAWS as f64;
            for level in [0.1_f64, 0.25, 0.75] {
                let share = match alpha {
                    0.5 => 2. / std::f64::consts::PI * f64::asin(level.sqrt()),
                    1. => level,
                    _ => continue,
                };
                assert!((below(level) - share).abs() < ERROR / 2., "{alpha}: {} below {level}", below(level));
            }
        }
    }

    #[test]
    fn uniform_numbers_fill_their_range_and_events_their_probability() {
        let mut rng = stream(3, &[]);
        let values: Vec<f64> = (0..DRAWS).map(|_| uniform(&mut rng, [-2., 6.])).collect();
        assert!(values.iter().all(|value| (-2. ..6.).contains(value)));
        let [mean, variance] = moments(&values);
        assert!((mean - 2.).abs() < 3. * ERROR && (variance - 64. / 12.).abs() < 6. * ERROR, "{mean} {variance}");
        assert_eq!(uniform(&mut rng, [4., 4.]), 4.);
        for probability in [0., 0.1, 0.5, 1.] {
            let share = (0..DRAWS).filter(|_| happens(&mut rng, probability)).count() as f64 / DRAWS as f64;
            assert!((share - probability).abs() < ERROR / 2., "{share} for {probability}");
            assert!(probability % 1. != 0. || share == probability, "{probability} is certain");
        }
    }
}
