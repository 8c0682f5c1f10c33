//! How much is changed.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::OptionError;
use crate::data::entries;

/// Ranges and probabilities of the random changes, with Ultralytics' names and defaults.
///
/// ```
/// use candle_yolov8::train::augment::AugmentOptions;
///
/// let mut options = AugmentOptions::default();
/// options.flipud = 1.5;
/// assert!(options.check().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AugmentOptions {
    /// Most that the hue is turned, as a fraction of the whole circle.
    pub hsv_h: f64,
    /// Most that the saturation grows or shrinks, as a fraction of itself.
    pub hsv_s: f64,
    /// Most that the value grows or shrinks, as a fraction of itself.
    pub hsv_v: f64,
    /// Most that an image is turned, in degrees.
    pub degrees: f64,
    /// Most that an image is moved, as a fraction of the input's side.
    pub translate: f64,
    /// How much an image grows or shrinks.
    pub scale: Scale,
    /// Most that an image is sheared along each axis, in degrees.
    pub shear: f64,
    /// Most of the perspective along each axis; 0.001 is much.
    pub perspective: f64,
    /// Probability of an upside-down image.
    pub flipud: f64,
    /// Probability of a mirrored image.
    pub fliplr: f64,
    /// Probability of red and blue exchanged.
    pub bgr: f64,
    /// Probability of a mosaic of four images.
    pub mosaic: f64,
    /// Probability of a mixture with another image.
    pub mixup: f64,
    /// Probability of a rectangle of another image.
    pub cutmix: f64,
}

impl Default for AugmentOptions {
    fn default() -> Self {
        Self {
            hsv_h: 0.015,
            hsv_s: 0.7,
            hsv_v: 0.4,
            degrees: 0.,
            translate: 0.1,
            scale: Scale::Gain(0.5),
            shear: 0.,
            perspective: 0.,
            flipud: 0.,
            fliplr: 0.5,
            bgr: 0.,
            mosaic: 1.,
            mixup: 0.,
            cutmix: 0.,
        }
    }
}

impl AugmentOptions {
    /// The same without what joins images: for the last epochs, which `close_mosaic` counts.
    #[must_use]
    pub fn of_single_images(&self) -> Self {
        Self { mosaic: 0., mixup: 0., cutmix: 0., ..self.clone() }
    }

    /// What is wrong with the numbers, if anything: the key, its value and what is allowed.
    ///
    /// # Errors
    /// The first problem, in the order of the fields.
    pub fn check(&self) -> Result<(), OptionError> {
        let fractions = [("hsv_h", self.hsv_h), ("hsv_s", self.hsv_s), ("hsv_v", self.hsv_v)];
        let probabilities = [
            ("flipud", self.flipud),
            ("fliplr", self.fliplr),
            ("bgr", self.bgr),
            ("mosaic", self.mosaic),
            ("mixup", self.mixup),
            ("cutmix", self.cutmix),
        ];
        let amounts = [
            ("degrees", self.degrees, 180.),
            ("translate", self.translate, 1.),
            ("shear", self.shear, 90.),
            ("perspective", self.perspective, 0.001),
        ];
        let of_one = fractions.into_iter().chain(probabilities).map(|(key, value)| (key, value, 1.));
        for (name, value, most) in of_one.chain(amounts) {
            if !(0. ..=most).contains(&value) {
                return Err(OptionError::OutOfRange { name, value, most });
            }
        }
        match self.scale {
            Scale::Gain(gain) if !(0. ..=1.).contains(&gain) => Err(OptionError::ScaleGain(gain)),
            Scale::Range([low, high]) if !(0. < low && low <= high && high < f64::INFINITY) => {
                Err(OptionError::ScaleRange([low, high]))
            }
            _ => Ok(()),
        }
    }
}

/// The factors that images are scaled by, each as probable.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scale {
    /// From 1 less this to 1 and this.
    Gain(f64),
    /// From the first to the second.
    Range([f64; 2]),
}

impl Scale {
    /// Their middle, and how far they go from there.
    pub(super) fn middle(self) -> [f64; 2] {
        match self {
            Self::Gain(gain) => [1., gain],
            Self::Range([low, high]) => [(low + high) / 2., (high - low) / 2.],
        }
    }
}

impl FromStr for Scale {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        let numbers: Option<Vec<f64>> = entries(text).into_iter().map(|entry| entry.parse().ok()).collect();
        match numbers.as_deref() {
            Some([gain]) => Ok(Self::Gain(*gain)),
            Some([low, high]) => Ok(Self::Range([*low, *high])),
            _ => Err(OptionError::Scale),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_keys_have_defaults_and_unknown_ones_are_refused() {
        let read = |text: &str| serde_json::from_str::<AugmentOptions>(text);
        assert_eq!(read("{}").unwrap(), AugmentOptions::default());
        let options = AugmentOptions { degrees: 10., mosaic: 0.5, ..Default::default() };
        assert_eq!(read(r#"{"degrees": 10, "mosaic": 0.5}"#).unwrap(), options);
        assert_eq!(read(&serde_json::to_string(&options).unwrap()).unwrap(), options);
        assert!(read(r#"{"mosaik": 1}"#).unwrap_err().to_string().contains("mosaik"));
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        assert_eq!(AugmentOptions::default().check(), Ok(()));
        for (options, problem) in [
            (AugmentOptions { hsv_s: -0.1, ..Default::default() }, "`hsv_s` is -0.1, where 0 to 1 is allowed"),
            (AugmentOptions { fliplr: 1.5, ..Default::default() }, "`fliplr` is 1.5, where 0 to 1 is allowed"),
            (
                AugmentOptions { scale: Scale::Gain(1.5), ..Default::default() },
                "`scale` is 1.5, where 0 to 1 is allowed, or a pair of factors",
            ),
            (
                AugmentOptions { scale: Scale::Range([2., 0.5]), ..Default::default() },
                "`scale` is 2,0.5, where two factors above 0 are allowed, the smaller one first",
            ),
            (AugmentOptions { degrees: f64::NAN, ..Default::default() }, "`degrees` is NaN, where 0 to 180 is allowed"),
        ] {
            assert_eq!(options.check().map_err(|error| error.to_string()), Err(problem.into()));
        }
    }

    #[test]
    fn a_scale_is_a_gain_or_a_pair_of_factors() {
        for (text, scale, written, middle) in [
            ("0.5", Scale::Gain(0.5), "0.5", [1., 0.5]),
            ("0.5,2", Scale::Range([0.5, 2.]), "[0.5,2.0]", [1.25, 0.75]),
            ("(0.5, 2.0)", Scale::Range([0.5, 2.]), "[0.5,2.0]", [1.25, 0.75]),
            ("[1,1]", Scale::Range([1., 1.]), "[1.0,1.0]", [1., 0.]),
        ] {
            assert_eq!(text.parse::<Scale>(), Ok(scale));
            assert_eq!((serde_json::to_string(&scale).unwrap().as_str(), scale.middle()), (written, middle));
            assert_eq!(serde_json::from_str::<Scale>(written).unwrap(), scale);
        }
        assert!("1,2,3".parse::<Scale>().is_err() && "big".parse::<Scale>().is_err());
    }
}
