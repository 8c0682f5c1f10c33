//! Hue, saturation and value changed.

use candle_vision::image::HsvLut;
use candle_vision::train::Stream;
use serde::{Deserialize, Serialize};

use super::options::AugmentOptions;
use super::uniform;

/// How colours change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HsvPlan {
    /// Turn of the hue as a fraction of the circle; growth of saturation and value as fractions of themselves.
    pub gains: [f64; 3],
}

impl HsvPlan {
    /// Draws each gain evenly from its range; nothing where all ranges are empty.
    pub fn draw(options: &AugmentOptions, stream: &mut Stream) -> Option<Self> {
        let ranges = [options.hsv_h, options.hsv_s, options.hsv_v];
        ranges.iter().any(|&most| most != 0.).then(|| Self { gains: ranges.map(|most| uniform(stream, 0., 1.) * most) })
    }

    /// The new levels by the old ones. Grey stays grey.
    #[must_use]
    pub fn tables(&self) -> HsvLut {
        let [hue, saturation, value] = self.gains;
        let table = |change: &dyn Fn(f64) -> f64| std::array::from_fn(|level| change(level as f64) as u8);
        let scaled = |gain: f64| table(&|level| (level * (gain + 1.)).clamp(0., 255.));
        let mut saturation = scaled(saturation);
        saturation[0] = 0;
        HsvLut { hue: table(&|level| (level + hue * 180.).rem_euclid(180.)), saturation, value: scaled(value) }
    }
}

#[cfg(test)]
mod tests {
    use candle_vision::train::stream;

    use super::*;

    #[test]
    fn gains_are_drawn_evenly_from_their_ranges() {
        let mut stream = stream(0, &[]);
        let options = AugmentOptions::default();
        let plans: Vec<HsvPlan> =
            (0..4000).map(|_| HsvPlan::draw(&options, &mut stream).expect("there are ranges")).collect();
        for (channel, most) in [0.015, 0.7, 0.4].into_iter().enumerate() {
            let gains: Vec<f64> = plans.iter().map(|plan| plan.gains[channel] / most).collect();
            let (low, high) = gains.iter().fold((0f64, 0f64), |(low, high), &x| (low.min(x), high.max(x)));
            assert!((-1. ..-0.99).contains(&low) && high > 0.99 && high <= 1., "{channel}: {low} {high}");
            // Five standard errors.
            assert!((gains.iter().sum::<f64>() / 4000.).abs() < 5. / 12000f64.sqrt(), "{channel}");
        }
        let none = AugmentOptions { hsv_h: 0., hsv_s: 0., hsv_v: 0., ..options };
        assert_eq!(HsvPlan::draw(&none, &mut stream), None);
    }

    #[test]
    fn hues_wrap_and_levels_saturate() {
        let tables = HsvPlan { gains: [-0.25, 0.5, -0.5] }.tables();
        assert_eq!([0, 44, 45, 179].map(|hue: usize| tables.hue[hue]), [135, 179, 0, 134]);
        assert_eq!([0, 1, 100, 200, 255].map(|level: usize| tables.saturation[level]), [0, 1, 150, 255, 255]);
        assert_eq!([0, 1, 100, 255].map(|level: usize| tables.value[level]), [0, 0, 50, 127]);
    }
}
