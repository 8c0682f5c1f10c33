//! How much is changed.

use serde::{Deserialize, Serialize};

/// Ranges and probabilities of the random changes, with Ultralytics' names and defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentOptions {
    /// Most that the hue is turned, as a fraction of the whole circle.
    pub hsv_h: f64,
    /// Most that the saturation grows or shrinks, as a fraction of itself.
    pub hsv_s: f64,
    /// Most that the value grows or shrinks, as a fraction of itself.
    pub hsv_v: f64,
    /// Most that a picture is turned, in degrees.
    pub degrees: f64,
    /// Most that a picture is moved, as a fraction of the input's side.
    pub translate: f64,
    /// Most that a picture grows or shrinks, as a fraction of itself.
    pub scale: f64,
    /// Most that a picture is sheared along each axis, in degrees.
    pub shear: f64,
    /// Most of the perspective along each axis; 0.001 is much.
    pub perspective: f64,
    /// Probability of an upside-down picture.
    pub flipud: f64,
    /// Probability of a mirrored picture.
    pub fliplr: f64,
    /// Probability of red and blue exchanged.
    pub bgr: f64,
    /// Probability of a mosaic of four pictures.
    pub mosaic: f64,
    /// Probability of a mixture with another picture.
    pub mixup: f64,
}

impl Default for AugmentOptions {
    fn default() -> Self {
        Self {
            hsv_h: 0.015,
            hsv_s: 0.7,
            hsv_v: 0.4,
            degrees: 0.,
            translate: 0.1,
            scale: 0.5,
            shear: 0.,
            perspective: 0.,
            flipud: 0.,
            fliplr: 0.5,
            bgr: 0.,
            mosaic: 1.,
            mixup: 0.,
        }
    }
}

impl AugmentOptions {
    /// The same without what joins pictures: for the last epochs, which `close_mosaic` counts.
    #[must_use]
    pub fn of_single_pictures(&self) -> Self {
        Self { mosaic: 0., mixup: 0., ..self.clone() }
    }

    /// What is wrong with the numbers, if anything: the key, its value and what is allowed.
    ///
    /// # Errors
    /// The first problem, in the order of the fields.
    pub fn check(&self) -> Result<(), String> {
        let fractions = [("hsv_h", self.hsv_h), ("hsv_s", self.hsv_s), ("hsv_v", self.hsv_v)];
        let probabilities = [
            ("flipud", self.flipud),
            ("fliplr", self.fliplr),
            ("bgr", self.bgr),
            ("mosaic", self.mosaic),
            ("mixup", self.mixup),
        ];
        let amounts = [
            ("degrees", self.degrees, 180.),
            ("translate", self.translate, 1.),
            ("scale", self.scale, 1.),
            ("shear", self.shear, 90.),
            ("perspective", self.perspective, 0.001),
        ];
        let of_one = fractions.into_iter().chain(probabilities).map(|(key, value)| (key, value, 1.));
        for (key, value, most) in of_one.chain(amounts) {
            if !(0. ..=most).contains(&value) {
                return Err(format!("`{key}` is {value}, where 0 to {most} is allowed"));
            }
        }
        Ok(())
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
            (AugmentOptions { degrees: f64::NAN, ..Default::default() }, "`degrees` is NaN, where 0 to 180 is allowed"),
        ] {
            assert_eq!(options.check(), Err(problem.into()));
        }
    }
}
