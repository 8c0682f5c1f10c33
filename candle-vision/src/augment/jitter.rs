//! Colour jitter: torchvision's `ColorJitter`.

use image::RgbImage;
use rand::Rng;
use rand::seq::SliceRandom;

use super::color;
use super::random::uniform;

/// The ranges that [`ColorJitter`] is drawn from; an absent one leaves its quality alone.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct JitterRanges {
    /// Of the factor of brightness.
    pub brightness: Option<[f64; 2]>,
    /// Of the factor of contrast.
    pub contrast: Option<[f64; 2]>,
    /// Of the factor of saturation.
    pub saturation: Option<[f64; 2]>,
    /// Of the turn of hue, within [-0.5, 0.5] of a circle.
    pub hue: Option<[f64; 2]>,
}

impl JitterRanges {
    /// Factors of brightness, contrast and saturation in [max(0, 1 - strength), 1 + strength], turns of hue in
    /// [-hue, hue]; 0 leaves out.
    #[must_use]
    pub fn new(strength: f64, hue: f64) -> Self {
        let factor = (strength > 0.).then(|| [(1. - strength).max(0.), 1. + strength]);
        let hue = (hue > 0.).then_some([-hue, hue]);
        Self { brightness: factor, contrast: factor, saturation: factor, hue }
    }
}

/// One change of colour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum JitterOp {
    /// [`color::brightness`] by this factor.
    Brightness(f32),
    /// [`color::contrast`] by this factor.
    Contrast(f32),
    /// [`color::saturation`] by this factor.
    Saturation(f32),
    /// [`color::hue`] by this turn.
    Hue(f64),
}

impl JitterOp {
    /// Changes the image.
    pub fn apply(&self, image: &mut RgbImage) {
        match *self {
            Self::Brightness(factor) => color::brightness(image, factor),
            Self::Contrast(factor) => color::contrast(image, factor),
            Self::Saturation(factor) => color::saturation(image, factor),
            Self::Hue(shift) => color::hue(image, shift),
        }
    }
}

/// Changes of colour in their order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ColorJitter(pub Vec<JitterOp>);

impl ColorJitter {
    /// Draws a value from each range, and an order.
    pub fn draw(rng: &mut impl Rng, ranges: &JitterRanges) -> Self {
        let mut draw = |range: Option<[f64; 2]>| range.map(|range| uniform(rng, range));
        let factors = [draw(ranges.brightness), draw(ranges.contrast), draw(ranges.saturation)];
        let [brightness, contrast, saturation] = factors.map(|factor| factor.map(|factor| factor as f32));
        let changes = [
            brightness.map(JitterOp::Brightness),
            contrast.map(JitterOp::Contrast),
            saturation.map(JitterOp::Saturation),
            draw(ranges.hue).map(JitterOp::Hue),
        ];
        let mut changes: Vec<JitterOp> = changes.into_iter().flatten().collect();
        changes.shuffle(rng);
        Self(changes)
    }

    /// Changes the image.
    pub fn apply(&self, image: &mut RgbImage) {
        self.0.iter().for_each(|change| change.apply(image));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::fixtures::{check_images, image, value};
    use crate::train::stream;

    #[test]
    fn jitter_is_bit_equal_with_torchvision() {
        check_images("jitter", |case| {
            let changes: Vec<(String, f64)> = value(case, "changes");
            let changes = changes.iter().map(|(name, value)| match name.as_str() {
                "brightness" => JitterOp::Brightness(*value as f32),
                "contrast" => JitterOp::Contrast(*value as f32),
                "saturation" => JitterOp::Saturation(*value as f32),
                "hue" => JitterOp::Hue(*value),
                _ => panic!("the change {name}"),
            });
            let mut image = image(case);
            ColorJitter(changes.collect()).apply(&mut image);
            image
        });
    }

    #[test]
    fn draws_fill_their_ranges_in_every_order() {
        let mut rng = stream(10, &[]);
        let ranges = JitterRanges::new(0.4, 0.1);
        let draws: Vec<ColorJitter> = (0..24_000).map(|_| ColorJitter::draw(&mut rng, &ranges)).collect();
        let mut orders = std::collections::BTreeMap::<Vec<u8>, usize>::new();
        let mut values: [Vec<f64>; 4] = Default::default();
        for ColorJitter(changes) in &draws {
            let order: Vec<u8> = changes
                .iter()
                .map(|change| {
                    let (at, value) = match *change {
                        JitterOp::Brightness(factor) => (0, f64::from(factor)),
                        JitterOp::Contrast(factor) => (1, f64::from(factor)),
                        JitterOp::Saturation(factor) => (2, f64::from(factor)),
                        JitterOp::Hue(shift) => (3, shift),
                    };
                    values[usize::from(at)].push(value);
                    at
                })
                .collect();
            *orders.entry(order).or_default() += 1;
        }
        // 1,000 of each order; five standard deviations are 155.
        assert!(orders.len() == 24 && orders.values().all(|count| (845..1155).contains(count)), "{orders:?}");
        for (at, values) in values.iter().enumerate() {
            let (low, high) = if at == 3 { (-0.1, 0.1) } else { (0.6, 1.4) };
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            assert!(values.iter().all(|value| (low..=high).contains(value)), "{at}");
            assert!((mean - (low + high) / 2.).abs() < 0.01 * (high - low), "{at}: {mean}");
        }
    }

    #[test]
    fn strength_0_changes_nothing_and_strong_factors_stay_above_0() {
        let mut rng = stream(11, &[]);
        assert_eq!(ColorJitter::draw(&mut rng, &JitterRanges::new(0., 0.)), ColorJitter::default());
        assert_eq!(JitterRanges::new(1.5, 0.).brightness, Some([0., 2.5]));
        assert_eq!(ColorJitter::draw(&mut rng, &JitterRanges::new(0.4, 0.)).0.len(), 3);
    }
}
