//! The options of a classifier's training images, under timm's names and with timm's defaults.

use serde::{Deserialize, Serialize};

use super::AugmentError;
use super::affine::Resample;
use super::erase::EraseMode;
use super::jitter::JitterRanges;
use super::mixup::{MixMode, Mixup};
use super::rand_augment::RandAugment;
use crate::image::Interpolation;

/// How training images are resized, and turned by [`RandAugment`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrainInterpolation {
    /// Bilinear or bicubic, each as likely, drawn anew each time.
    Random,
    /// Always bilinear.
    Bilinear,
    /// Always bicubic.
    Bicubic,
}

impl TrainInterpolation {
    /// What is drawn from.
    pub(super) fn filters(self) -> &'static [Resample] {
        match self {
            Self::Random => &[Resample::Bilinear, Resample::Bicubic],
            Self::Bilinear => &[Resample::Bilinear],
            Self::Bicubic => &[Resample::Bicubic],
        }
    }
}

impl From<Resample> for Interpolation {
    fn from(filter: Resample) -> Self {
        match filter {
            Resample::Bilinear => Self::Bilinear,
            Resample::Bicubic => Self::Bicubic,
        }
    }
}

/// What is done to training images, in this order; then they are normalised, and [`reprob`](Self::reprob) and mixing
/// follow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ClassificationAugment {
    /// Range of the random resized crop's share of the area. 0.08 to 1.
    pub scale: [f64; 2],
    /// Range of the crop's ratio width / height. 3/4 to 4/3.
    pub ratio: [f64; 2],
    /// Instead of that crop: pixels of black around the image, from which a window of the image's own size is taken,
    /// and resized. CIFAR's recipe has 4. `None`.
    pub padding: Option<usize>,
    /// Filter of the resize. Random.
    pub interpolation: TrainInterpolation,
    /// Probability of a horizontal flip. 0.5.
    pub hflip: f64,
    /// Probability of a vertical flip. 0.
    pub vflip: f64,
    /// RandAugment. `None`.
    pub aa: Option<RandAugment>,
    /// Strength of the jitter of brightness, contrast and saturation; without [`aa`](Self::aa) only. 0.4.
    pub color_jitter: f64,
    /// Most that the jitter turns hues, as a share of the circle up to 0.5; without [`aa`](Self::aa) only. 0.
    pub hue_jitter: f64,
    /// Probability of a grey image. 0.
    pub grayscale_prob: f64,
    /// Probability of random erasing. 0.
    pub reprob: f64,
    /// What is erased becomes this. Noise.
    pub remode: EraseMode,
    /// Most rectangles erased of one image. 1.
    pub recount: usize,
    /// Parameter of mixup's Beta distribution; 0 is off. 0.
    pub mixup: f64,
    /// Parameter of cutmix's Beta distribution; 0 is off. 0.
    pub cutmix: f64,
    /// Probability of mixing where either is on. 1.
    pub mixup_prob: f64,
    /// Probability of cutmix where both are on. 0.5.
    pub mixup_switch_prob: f64,
    /// For what a draw of mixing counts. The batch.
    pub mixup_mode: MixMode,
    /// Share of each label that is spread over all classes. 0.1.
    pub smoothing: f64,
}

impl Default for ClassificationAugment {
    fn default() -> Self {
        Self {
            scale: [0.08, 1.],
            ratio: [3. / 4., 4. / 3.],
            padding: None,
            interpolation: TrainInterpolation::Random,
            hflip: 0.5,
            vflip: 0.,
            aa: None,
            color_jitter: 0.4,
            hue_jitter: 0.,
            grayscale_prob: 0.,
            reprob: 0.,
            remode: EraseMode::Pixel,
            recount: 1,
            mixup: 0.,
            cutmix: 0.,
            mixup_prob: 1.,
            mixup_switch_prob: 0.5,
            mixup_mode: MixMode::Batch,
            smoothing: 0.1,
        }
    }
}

impl ClassificationAugment {
    /// CIFAR's usual recipe: four pixels of padding and a crop, horizontal flips, bilinear resize; nothing else.
    #[must_use]
    pub fn cifar() -> Self {
        Self { padding: Some(4), interpolation: TrainInterpolation::Bilinear, color_jitter: 0., ..Self::default() }
    }

    /// Whether every option lies in its range.
    ///
    /// # Errors
    /// [`AugmentError::Option`] for the first that does not.
    pub fn check(&self) -> Result<(), AugmentError> {
        let probability = |value: f64| (0. ..=1.).contains(&value);
        let strength = |value: f64| value >= 0. && value.is_finite();
        let range = |[low, high]: [f64; 2], most: f64| low > 0. && low <= high && high <= most;
        let one = |name, value: f64, is_right: bool, expected| (name, value.to_string(), is_right, expected);
        const PROBABILITY: &str = "it has to lie in 0..1";
        const STRENGTH: &str = "it has to be 0 or more";
        let checks = [
            ("scale", format!("{:?}", self.scale), range(self.scale, 1.), "it has to rise within (0, 1]"),
            ("ratio", format!("{:?}", self.ratio), range(self.ratio, f64::MAX), "it has to rise and be above 0"),
            one("hflip", self.hflip, probability(self.hflip), PROBABILITY),
            one("vflip", self.vflip, probability(self.vflip), PROBABILITY),
            one("color_jitter", self.color_jitter, strength(self.color_jitter), STRENGTH),
            one("hue_jitter", self.hue_jitter, (0. ..=0.5).contains(&self.hue_jitter), "it has to lie in 0..0.5"),
            one("grayscale_prob", self.grayscale_prob, probability(self.grayscale_prob), PROBABILITY),
            one("reprob", self.reprob, probability(self.reprob), PROBABILITY),
            one("mixup", self.mixup, strength(self.mixup), STRENGTH),
            one("cutmix", self.cutmix, strength(self.cutmix), STRENGTH),
            one("mixup_prob", self.mixup_prob, probability(self.mixup_prob), PROBABILITY),
            one("mixup_switch_prob", self.mixup_switch_prob, probability(self.mixup_switch_prob), PROBABILITY),
            one("smoothing", self.smoothing, (0. ..1.).contains(&self.smoothing), "it has to lie in 0..1, below 1"),
            ("recount", self.recount.to_string(), self.recount > 0, "it has to be at least 1"),
        ];
        match checks.into_iter().find(|(.., is_right, _)| !is_right) {
            Some((name, found, _, expected)) => Err(AugmentError::Option { name, found, expected }),
            None => Ok(()),
        }
    }

    /// The ranges of the colour jitter; nothing beside RandAugment.
    pub(super) fn jitter(&self) -> JitterRanges {
        if self.aa.is_some() { JitterRanges::default() } else { JitterRanges::new(self.color_jitter, self.hue_jitter) }
    }

    /// How batches are mixed, if they are.
    #[must_use]
    pub fn mixing(&self) -> Option<Mixup> {
        (self.mixup > 0. || self.cutmix > 0.).then_some(Mixup {
            mixup_alpha: self.mixup,
            cutmix_alpha: self.cutmix,
            prob: self.mixup_prob,
            switch_prob: self.mixup_switch_prob,
            mode: self.mixup_mode,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_outside_their_ranges_are_refused() {
        let good = ClassificationAugment::default();
        good.check().unwrap();
        ClassificationAugment::cifar().check().unwrap();
        for (options, name) in [
            (ClassificationAugment { scale: [0., 1.], ..good.clone() }, "scale"),
            (ClassificationAugment { scale: [0.5, 0.2], ..good.clone() }, "scale"),
            (ClassificationAugment { scale: [0.5, 1.2], ..good.clone() }, "scale"),
            (ClassificationAugment { ratio: [f64::NAN, 1.], ..good.clone() }, "ratio"),
            (ClassificationAugment { hflip: 1.1, ..good.clone() }, "hflip"),
            (ClassificationAugment { vflip: -0.1, ..good.clone() }, "vflip"),
            (ClassificationAugment { color_jitter: f64::INFINITY, ..good.clone() }, "color_jitter"),
            (ClassificationAugment { hue_jitter: 0.6, ..good.clone() }, "hue_jitter"),
            (ClassificationAugment { grayscale_prob: f64::NAN, ..good.clone() }, "grayscale_prob"),
            (ClassificationAugment { reprob: 2., ..good.clone() }, "reprob"),
            (ClassificationAugment { recount: 0, ..good.clone() }, "recount"),
            (ClassificationAugment { mixup: -1., ..good.clone() }, "mixup"),
            (ClassificationAugment { cutmix: f64::NAN, ..good.clone() }, "cutmix"),
            (ClassificationAugment { mixup_prob: 1.5, ..good.clone() }, "mixup_prob"),
            (ClassificationAugment { mixup_switch_prob: -1., ..good.clone() }, "mixup_switch_prob"),
            (ClassificationAugment { smoothing: 1., ..good.clone() }, "smoothing"),
        ] {
            let message = options.check().unwrap_err().to_string();
            assert!(message.starts_with(&format!("the option {name} is ")), "{message}");
        }
    }

    #[test]
    fn options_survive_a_file_and_absent_ones_are_timm_s() {
        let options = ClassificationAugment {
            aa: Some("rand-m9-mstd0.5-inc1".parse().unwrap()),
            mixup: 0.2,
            ..Default::default()
        };
        let text = serde_json::to_string(&options).unwrap();
        assert!(text.contains(r#""interpolation":"random""#) && text.contains(r#""remode":"pixel""#), "{text}");
        assert_eq!(serde_json::from_str::<ClassificationAugment>(&text).unwrap(), options);
        let some: ClassificationAugment =
            serde_json::from_str(r#"{"reprob": 0.25, "remode": "const", "aa": "rand-m7"}"#).unwrap();
        let expected = ClassificationAugment {
            reprob: 0.25,
            remode: EraseMode::Const,
            aa: Some(RandAugment { magnitude: 7, ..Default::default() }),
            ..Default::default()
        };
        assert_eq!(some, expected);
        assert!(serde_json::from_str::<ClassificationAugment>(r#"{"aa": "augmix"}"#).is_err());
    }

    #[test]
    fn mixing_is_off_by_default() {
        assert_eq!(ClassificationAugment::default().mixing(), None);
        let mixing = ClassificationAugment { cutmix: 1., ..Default::default() }.mixing().unwrap();
        assert_eq!((mixing.mixup_alpha, mixing.cutmix_alpha, mixing.prob), (0., 1., 1.));
    }
}
