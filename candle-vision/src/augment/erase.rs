//! Random erasing of rectangles in normalised images: timm's `RandomErasing`.
//!
//! Zhong et al., *Random Erasing Data Augmentation*, <https://arxiv.org/abs/1708.04896>.

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::random::{happens, normal_pair, uniform};
use crate::train::stream;

/// Share of the image that the rectangles of one image cover.
const AREA: [f64; 2] = [0.02, 1. / 3.];

/// Height over width of a rectangle.
const RATIO: [f64; 2] = [0.3, 1. / 0.3];

/// What rectangles are filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EraseMode {
    /// Zeros: the mean colour.
    Const,
    /// One normally distributed colour for each rectangle.
    Rand,
    /// One normally distributed colour for each pixel.
    Pixel,
}

/// What one rectangle is filled with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum EraseFill {
    /// This value of each channel.
    Color([f32; 3]),
    /// Normally distributed values of the stream with this seed.
    Noise(u64),
}

/// A rectangle to erase, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EraseBox {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Number of rows.
    pub height: usize,
    /// Number of columns.
    pub width: usize,
    /// What it is filled with.
    pub fill: EraseFill,
}

impl EraseBox {
    /// Draws the rectangles for an image of `size` = [height, width]: with `probability`, from one to `count`, which
    /// share the area. One that does not fit in ten tries is left out.
    pub fn draw(rng: &mut impl Rng, probability: f64, mode: EraseMode, count: usize, size: [usize; 2]) -> Vec<Self> {
        if !happens(rng, probability) {
            return Vec::new();
        }
        let count = rng.random_range(1..=count.max(1));
        (0..count).filter_map(|_| Self::draw_one(rng, mode, count, size)).collect()
    }

    fn draw_one(rng: &mut impl Rng, mode: EraseMode, count: usize, size: [usize; 2]) -> Option<Self> {
        let [rows, columns] = size;
        for _ in 0..10 {
            let share = uniform(rng, AREA) / count as f64;
            let ratio = uniform(rng, RATIO.map(f64::ln)).exp();
            let [height, width] = sides(size, share, ratio);
            if height < rows && width < columns {
                let (top, left) = (rng.random_range(0..=rows - height), rng.random_range(0..=columns - width));
                let fill = match mode {
                    EraseMode::Const => EraseFill::Color([0.; 3]),
                    EraseMode::Rand => {
                        let ([red, green], [blue, _]) = (normal_pair(rng), normal_pair(rng));
                        EraseFill::Color([red, green, blue].map(|value| value as f32))
                    }
                    EraseMode::Pixel => EraseFill::Noise(rng.random()),
                };
                return Some(Self { top, left, height, width, fill });
            }
        }
        None
    }

    /// Fills the rectangle in an image of `size` = [height, width], given as three planes.
    ///
    /// # Panics
    /// If the rectangle does not lie in the image.
    pub fn apply(&self, planes: &mut [f32], [rows, columns]: [usize; 2]) {
        let mut noise = match self.fill {
            EraseFill::Color(_) => None,
            EraseFill::Noise(seed) => Some(stream(seed, &[])),
        };
        for (channel, plane) in planes.chunks_exact_mut((rows * columns).max(1)).enumerate() {
            for row in plane.chunks_exact_mut(columns.max(1)).skip(self.top).take(self.height) {
                let row = &mut row[self.left..self.left + self.width];
                match (self.fill, &mut noise) {
                    (EraseFill::Color(color), _) => row.fill(color[channel]),
                    (EraseFill::Noise(_), Some(rng)) => {
                        for values in row.chunks_mut(2) {
                            let drawn = normal_pair(rng).map(|value| value as f32);
                            values.copy_from_slice(&drawn[..values.len()]);
                        }
                    }
                    (EraseFill::Noise(_), None) => unreachable!("noise has a stream"),
                }
            }
        }
    }
}

/// [height, width] of a rectangle of a `share` of the area of `size`, with `ratio` height / width.
fn sides([rows, columns]: [usize; 2], share: f64, ratio: f64) -> [usize; 2] {
    let area = share * (rows * columns) as f64;
    [(area * ratio).sqrt(), (area / ratio).sqrt()].map(|side| side.round_ties_even() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::fixtures::{check, value};

    /// The oracle puts rectangles at the corner: the largest of those that fit is what is seen.
    #[test]
    fn rectangles_have_timm_s_sides() {
        check("erase", |case| {
            let size: [usize; 2] = value(case, "in");
            let [share, count]: [f64; 2] = [value(case, "share"), value(case, "count")];
            let found = sides(size, share / count, value(case, "ratio"));
            let found = (found[0] < size[0] && found[1] < size[1]).then_some(found);
            (found != value::<Option<[usize; 2]>>(case, "sides")).then_some(found)
        });
    }

    #[test]
    fn only_the_rectangle_changes() {
        let (size, before) = ([7, 5], vec![9.; 3 * 7 * 5]);
        let place = |fill| EraseBox { top: 2, left: 1, height: 4, width: 3, fill };
        for fill in [EraseFill::Color([0., 1., 2.]), EraseFill::Noise(3)] {
            let mut planes = before.clone();
            place(fill).apply(&mut planes, size);
            for (at, value) in planes.iter().enumerate() {
                let (plane, y, x) = (at / 35, at % 35 / 5, at % 5);
                let is_inside = (2..6).contains(&y) && (1..4).contains(&x);
                assert_eq!(*value != 9., is_inside, "{fill:?} at {plane} {y} {x}");
                if let (EraseFill::Color(color), true) = (fill, is_inside) {
                    assert_eq!(*value, color[plane]);
                }
            }
        }
        let mut planes = before.clone();
        EraseBox { height: 0, ..place(EraseFill::Noise(3)) }.apply(&mut planes, size);
        assert_eq!(planes, before, "a rectangle without rows");
    }

    #[test]
    fn noise_is_normal_and_its_own_seed_s() {
        let fill = |seed| {
            let mut planes = vec![0.; 3 * 64 * 64];
            EraseBox { top: 0, left: 0, height: 64, width: 64, fill: EraseFill::Noise(seed) }
                .apply(&mut planes, [64, 64]);
            planes
        };
        let values = fill(1);
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let variance = values.iter().map(|value| value * value).sum::<f32>() / values.len() as f32;
        // Five standard errors of 12,288 draws.
        assert!(mean.abs() < 0.045 && (variance - 1.).abs() < 0.064, "{mean} {variance}");
        assert_eq!(values, fill(1));
        assert_ne!(values, fill(2));
        assert!(values[..4096] != values[4096..8192], "the planes have noise of their own");
    }

    #[test]
    fn draws_have_their_probability_area_and_count() {
        let mut rng = stream(9, &[]);
        let draws: Vec<Vec<EraseBox>> =
            (0..20_000).map(|_| EraseBox::draw(&mut rng, 0.25, EraseMode::Rand, 3, [128, 96])).collect();
        let erased: Vec<&Vec<EraseBox>> = draws.iter().filter(|boxes| !boxes.is_empty()).collect();
        assert!((erased.len() as f64 / draws.len() as f64 - 0.25).abs() < 0.02, "{}", erased.len());
        for count in 1..=3 {
            let share = erased.iter().filter(|boxes| boxes.len() == count).count() as f64 / erased.len() as f64;
            assert!((share - 1. / 3.).abs() < 0.04, "{share} have {count}");
        }
        for one in erased.iter().copied().flatten() {
            let area = (one.height * one.width) as f64 / (128. * 96.);
            assert!(
                (0.005..0.35).contains(&area) && one.top + one.height <= 128 && one.left + one.width <= 96,
                "{one:?}"
            );
            let ratio = one.height as f64 / one.width as f64;
            assert!((0.25..4.).contains(&ratio), "{one:?}");
        }
        let single: Vec<f64> = erased
            .iter()
            .filter(|boxes| boxes.len() == 1)
            .map(|boxes| (boxes[0].height * boxes[0].width) as f64 / (128. * 96.))
            .collect();
        let mean = single.iter().sum::<f64>() / single.len() as f64;
        assert!((mean - (0.02 + 1. / 3.) / 2.).abs() < 0.02, "{mean}");
        assert!(EraseBox::draw(&mut rng, 0., EraseMode::Const, 1, [32, 32]).is_empty());
        let certain = EraseBox::draw(&mut rng, 1., EraseMode::Const, 1, [32, 32]);
        assert_eq!(certain[0].fill, EraseFill::Color([0.; 3]));
    }
}
