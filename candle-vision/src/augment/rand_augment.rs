//! RandAugment with timm's operations, magnitudes and configuration strings.
//!
//! Cubuk et al., *RandAugment*, <https://arxiv.org/abs/1909.13719>; operations and magnitudes are those of timm's
//! `auto_augment.py`. A magnitude of 10 is full strength.

use std::fmt;
use std::str::FromStr;

use image::RgbImage;
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::affine::{Resample, affine, rotation};
use super::random::{happens, normal, uniform};
use super::{AugmentError, color, point_ops};

/// Full strength of a magnitude.
const FULL: f64 = 10.;

/// The standard deviation from which on timm draws magnitudes evenly instead.
const EVEN_STD: f64 = 100.;

/// Operations drawn at random for each image.
///
/// As a string it is timm's `rand-m9-n2-p0.5-mstd0.5-mmax10-inc1`: `m` is the magnitude, `n` the number of operations,
/// `p` the probability of each, `mstd` the magnitude's standard deviation (above 100: drawn evenly from 0 to `m`), `mmax`
/// its upper bound, and with `inc1` a higher magnitude always changes more. All but `rand` may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RandAugment {
    /// Mean magnitude. 10 by default.
    pub magnitude: u32,
    /// Operations drawn for each image, with replacement. 2 by default.
    pub layers: u32,
    /// Probability that an operation drawn is done. 0.5 by default.
    pub probability: f64,
    /// Standard deviation of the magnitude. 0 by default.
    pub magnitude_std: f64,
    /// Upper bound of the magnitude. 10 by default.
    pub magnitude_max: u32,
    /// Whether a higher magnitude changes more in every operation. `false` by default.
    pub increasing: bool,
}

impl Default for RandAugment {
    fn default() -> Self {
        let full = FULL as u32;
        Self { magnitude: full, layers: 2, probability: 0.5, magnitude_std: 0., magnitude_max: full, increasing: false }
    }
}

impl FromStr for RandAugment {
    type Err = AugmentError;

    fn from_str(text: &str) -> Result<Self, AugmentError> {
        let error = |reason: String| AugmentError::Policy { text: text.to_owned(), reason };
        let mut sections = text.split('-');
        if sections.next() != Some("rand") {
            return Err(error("it has to begin with `rand`; AutoAugment and AugMix are not offered".to_owned()));
        }
        let mut policy = Self::default();
        for section in sections {
            let digits = section.find(|c: char| c.is_ascii_digit()).unwrap_or(section.len());
            let (key, value) = section.split_at(digits);
            let whole = || value.parse().map_err(|_| error(format!("`{section}` needs a whole number after `{key}`")));
            let real = |limit: f64| match value.parse() {
                Ok(number) if (0. ..=limit).contains(&number) => Ok(number),
                _ => Err(error(format!("`{section}` needs a number from 0 to {limit} after `{key}`"))),
            };
            match key {
                "m" => policy.magnitude = whole()?,
                "n" => policy.layers = whole()?,
                "p" => policy.probability = real(1.)?,
                "mstd" => policy.magnitude_std = real(f64::MAX)?,
                "mmax" => policy.magnitude_max = whole()?,
                "inc" => policy.increasing = whole()? != 0,
                _ => return Err(error(format!("`{section}` is none of m, n, p, mstd, mmax and inc with a number"))),
            }
        }
        if policy.magnitude_max == 0 {
            return Err(error("an upper bound `mmax` of 0 leaves no magnitude".to_owned()));
        }
        Ok(policy)
    }
}

impl fmt::Display for RandAugment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { magnitude, layers, probability, magnitude_std, magnitude_max, increasing } = *self;
        write!(f, "rand-m{magnitude}-n{layers}-p{probability}-mstd{magnitude_std}-mmax{magnitude_max}")?;
        write!(f, "-inc{}", u8::from(increasing))
    }
}

impl TryFrom<String> for RandAugment {
    type Error = AugmentError;

    fn try_from(text: String) -> Result<Self, AugmentError> {
        text.parse()
    }
}

impl From<RandAugment> for String {
    fn from(policy: RandAugment) -> Self {
        policy.to_string()
    }
}

impl RandAugment {
    /// Draws the operations for one image, in their order. Each that interpolates uses one of `filters`.
    pub fn draw(&self, rng: &mut impl Rng, filters: &[Resample]) -> Vec<Operation> {
        let layers = (0..self.layers).filter_map(|_| {
            let kind = Kind::ALL[rng.random_range(0..Kind::ALL.len())];
            let done = happens(rng, self.probability);
            let mean = f64::from(self.magnitude);
            let magnitude = if self.magnitude_std > EVEN_STD {
                uniform(rng, [0., mean])
            } else {
                normal(rng, mean, self.magnitude_std)
            };
            let magnitude = magnitude.clamp(0., f64::from(self.magnitude_max));
            let sign = if rng.random() { 1. } else { -1. };
            let filter = filters[rng.random_range(0..filters.len())];
            done.then(|| kind.at(magnitude, self.increasing, sign, filter))
        });
        layers.collect()
    }
}

/// One operation with its strength.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Operation {
    /// [`point_ops::auto_contrast`].
    AutoContrast,
    /// [`point_ops::equalize`].
    Equalize,
    /// [`point_ops::invert`].
    Invert,
    /// About the centre, by degrees counterclockwise.
    Rotate(f64, Resample),
    /// [`point_ops::posterize`] to this many bits.
    Posterize(u8),
    /// [`point_ops::solarize`] from this level on.
    Solarize(u16),
    /// [`point_ops::solarize_add`] of this to the levels below 128.
    SolarizeAdd(u8),
    /// [`color::saturation`] by this factor.
    Color(f32),
    /// [`color::contrast`] by this factor.
    Contrast(f32),
    /// [`color::brightness`] by this factor.
    Brightness(f32),
    /// [`color::sharpness`] by this factor.
    Sharpness(f32),
    /// Each row to the left, by this share of its distance from the top.
    ShearX(f64, Resample),
    /// Each column upwards, by this share of its distance from the left.
    ShearY(f64, Resample),
    /// To the left, by this share of the width.
    TranslateXRel(f64, Resample),
    /// Upwards, by this share of the height.
    TranslateYRel(f64, Resample),
}

impl Operation {
    /// Changes the image. What comes in from outside of it has the colour `fill`.
    pub fn apply(&self, image: &mut RgbImage, fill: [u8; 3]) {
        let size = [image.height() as usize, image.width() as usize];
        let (map, filter) = match *self {
            Self::AutoContrast => return point_ops::auto_contrast(image),
            Self::Equalize => return point_ops::equalize(image),
            Self::Invert => return point_ops::invert(image),
            Self::Posterize(bits) => return point_ops::posterize(image, bits),
            Self::Solarize(threshold) => return point_ops::solarize(image, threshold),
            Self::SolarizeAdd(add) => return point_ops::solarize_add(image, add, 128),
            Self::Color(factor) => return color::saturation(image, factor),
            Self::Contrast(factor) => return color::contrast(image, factor),
            Self::Brightness(factor) => return color::brightness(image, factor),
            Self::Sharpness(factor) => return color::sharpness(image, factor),
            Self::Rotate(degrees, filter) => (rotation(degrees, size), filter),
            Self::ShearX(share, filter) => ([1., share, 0., 0., 1., 0.], filter),
            Self::ShearY(share, filter) => ([1., 0., 0., share, 1., 0.], filter),
            Self::TranslateXRel(share, filter) => ([1., 0., share * size[1] as f64, 0., 1., 0.], filter),
            Self::TranslateYRel(share, filter) => ([1., 0., 0., 0., 1., share * size[0] as f64], filter),
        };
        *image = affine(image, &map, filter, fill);
    }
}

/// An operation without its strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    AutoContrast,
    Equalize,
    Invert,
    Rotate,
    Posterize,
    Solarize,
    SolarizeAdd,
    Color,
    Contrast,
    Brightness,
    Sharpness,
    ShearX,
    ShearY,
    TranslateXRel,
    TranslateYRel,
}

impl Kind {
    /// What is drawn from, each as likely.
    const ALL: [Self; 15] = [
        Self::AutoContrast,
        Self::Equalize,
        Self::Invert,
        Self::Rotate,
        Self::Posterize,
        Self::Solarize,
        Self::SolarizeAdd,
        Self::Color,
        Self::Contrast,
        Self::Brightness,
        Self::Sharpness,
        Self::ShearX,
        Self::ShearY,
        Self::TranslateXRel,
        Self::TranslateYRel,
    ];

    /// The operation at a magnitude. `sign` is the direction of those that have two.
    fn at(self, magnitude: f64, increasing: bool, sign: f64, filter: Resample) -> Operation {
        let strength = magnitude / FULL;
        let factor = if increasing { (1. + sign * strength * 0.9).max(0.1) } else { strength * 1.8 + 0.1 } as f32;
        match self {
            Self::AutoContrast => Operation::AutoContrast,
            Self::Equalize => Operation::Equalize,
            Self::Invert => Operation::Invert,
            Self::Rotate => Operation::Rotate(sign * strength * 30., filter),
            Self::Posterize => {
                let bits = (strength * 4.) as u8;
                Operation::Posterize(if increasing { 4_u8.saturating_sub(bits) } else { bits })
            }
            Self::Solarize => {
                let threshold = ((strength * 256.) as u16).min(256);
                Operation::Solarize(if increasing { 256 - threshold } else { threshold })
            }
            Self::SolarizeAdd => Operation::SolarizeAdd(((strength * 110.) as u8).min(128)),
            Self::Color => Operation::Color(factor),
            Self::Contrast => Operation::Contrast(factor),
            Self::Brightness => Operation::Brightness(factor),
            Self::Sharpness => Operation::Sharpness(factor),
            Self::ShearX => Operation::ShearX(sign * strength * 0.3, filter),
            Self::ShearY => Operation::ShearY(sign * strength * 0.3, filter),
            Self::TranslateXRel => Operation::TranslateXRel(sign * strength * 0.45, filter),
            Self::TranslateYRel => Operation::TranslateYRel(sign * strength * 0.45, filter),
        }
    }
}

#[cfg(test)]
#[path = "rand_augment_tests.rs"]
mod tests;
