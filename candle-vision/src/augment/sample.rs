//! One training image: what is drawn for it, and the network's input that comes out.

use image::{RgbImage, imageops};
use rand::Rng;

use super::crop::CropBox;
use super::erase::EraseBox;
use super::jitter::ColorJitter;
use super::options::ClassificationAugment;
use super::rand_augment::Operation;
use super::random::happens;
use super::{AugmentError, color};
use crate::image::{EvalTransform, Interpolation};

/// A classifier's view of an image in training: random changes, and the input size and statistics of evaluation.
#[derive(Debug, Clone)]
pub struct TrainTransform {
    options: ClassificationAugment,
    input_size: [usize; 2],
    /// Normalised value of each level, per channel.
    tables: [[f32; 256]; 3],
    /// Mean colour, which fills what comes in from outside.
    fill: [u8; 3],
}

/// All that is drawn for one image.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleParams {
    /// Window that is resized to the input size.
    pub crop: CropBox,
    /// Filter of that resize.
    pub interpolation: Interpolation,
    /// Whether left and right change places.
    pub hflip: bool,
    /// Whether top and bottom do.
    pub vflip: bool,
    /// Operations of RandAugment.
    pub policy: Vec<Operation>,
    /// Changes of colour.
    pub jitter: ColorJitter,
    /// Whether colour is lost.
    pub grayscale: bool,
    /// Rectangles erased after normalisation.
    pub erase: Vec<EraseBox>,
}

impl TrainTransform {
    /// Input size, mean and standard deviation are those of `view`.
    ///
    /// # Errors
    /// An option out of its range.
    pub fn new(options: ClassificationAugment, view: &EvalTransform) -> Result<Self, AugmentError> {
        options.check()?;
        let fill = view.mean.map(|mean| (f64::from(mean) * 255.).round_ties_even() as u8);
        Ok(Self { options, input_size: view.input_size, tables: view.tables(), fill })
    }

    /// [height, width] of the network's input, in pixels.
    #[must_use]
    pub fn input_size(&self) -> [usize; 2] {
        self.input_size
    }

    /// The options.
    #[must_use]
    pub fn options(&self) -> &ClassificationAugment {
        &self.options
    }

    /// Draws what happens to an image of `size` = [height, width].
    pub fn draw(&self, rng: &mut impl Rng, size: [usize; 2]) -> SampleParams {
        let options = &self.options;
        let crop = match options.padding {
            Some(padding) => CropBox::random_padded(rng, size, padding),
            None => CropBox::random_resized(rng, size, options.scale, options.ratio),
        };
        let filters = options.interpolation.filters();
        SampleParams {
            crop,
            interpolation: filters[rng.random_range(0..filters.len())].into(),
            hflip: happens(rng, options.hflip),
            vflip: happens(rng, options.vflip),
            policy: options.aa.as_ref().map(|policy| policy.draw(rng, filters)).unwrap_or_default(),
            jitter: ColorJitter::draw(rng, &options.jitter()),
            grayscale: happens(rng, options.grayscale_prob),
            erase: EraseBox::draw(rng, options.reprob, options.remode, options.recount, self.input_size),
        }
    }

    /// The image of `input_size` after everything but normalisation and erasing.
    #[must_use]
    pub fn image(&self, plan: &SampleParams, image: &RgbImage) -> RgbImage {
        let mut image = plan.crop.apply_resized(image, self.input_size, plan.interpolation);
        if plan.hflip {
            imageops::flip_horizontal_in_place(&mut image);
        }
        if plan.vflip {
            imageops::flip_vertical_in_place(&mut image);
        }
        plan.policy.iter().for_each(|operation| operation.apply(&mut image, self.fill));
        plan.jitter.apply(&mut image);
        if plan.grayscale {
            color::grayscale(&mut image);
        }
        image
    }

    /// Writes the network's input, three planes of `input_size`, to `out`.
    ///
    /// # Panics
    /// If `out` has another length.
    pub fn apply(&self, plan: &SampleParams, image: &RgbImage, out: &mut [f32]) {
        crate::image::write_planes(&self.image(plan, image), &self.tables, out);
        plan.erase.iter().for_each(|erase| erase.apply(out, self.input_size));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::fixtures::{check, image, is_golden, value};
    use crate::augment::{EraseFill, JitterOp, Resample};
    use crate::image::fixtures::synthetic;
    use crate::train::stream;

    fn transform(options: ClassificationAugment) -> TrainTransform {
        let view = EvalTransform { input_size: [24, 32], ..Default::default() };
        TrainTransform::new(options, &view).unwrap()
    }

    /// The plans of the oracle's two pipelines.
    fn plan(interpolation: Interpolation) -> SampleParams {
        let (policy, jitter) = match interpolation {
            Interpolation::Bilinear => {
                (vec![Operation::Rotate(17., Resample::Bilinear), Operation::Posterize(3)], Vec::new())
            }
            _ => (Vec::new(), vec![JitterOp::Brightness(1.3), JitterOp::Contrast(0.7)]),
        };
        SampleParams {
            crop: CropBox { top: 5, left: 9, height: 40, width: 51 },
            interpolation,
            hflip: true,
            vflip: true,
            policy,
            jitter: ColorJitter(jitter),
            grayscale: true,
            erase: Vec::new(),
        }
    }

    #[test]
    fn the_whole_is_bit_equal_with_timm_s_order_of_the_parts() {
        let transform = transform(ClassificationAugment::default());
        check("pipeline", |case| {
            let plan = plan(value::<String>(case, "interpolation").parse().unwrap());
            let mut out = vec![0.; 3 * 24 * 32];
            transform.apply(&plan, &image(case), &mut out);
            let bytes: Vec<u8> = out.iter().flat_map(|level| level.to_le_bytes()).collect();
            (!is_golden(case, &bytes)).then(|| out[..3].to_vec())
        });
    }

    #[test]
    fn erasing_comes_after_normalisation() {
        let transform = transform(ClassificationAugment::default());
        let erase = EraseBox { top: 3, left: 4, height: 5, width: 6, fill: EraseFill::Color([0., 8., 9.]) };
        let plan = SampleParams { erase: vec![erase], ..plan(Interpolation::Bicubic) };
        let mut out = vec![7.; 3 * 24 * 32];
        transform.apply(&plan, &synthetic(1, 61, 83), &mut out);
        let at = |plane: usize| out[(plane * 24 + 3) * 32 + 4];
        assert_eq!([at(0), at(1), at(2)], [0., 8., 9.]);
    }

    #[test]
    fn each_option_changes_its_own_part_of_the_plan() {
        let draws = |options: ClassificationAugment| -> Vec<SampleParams> {
            let transform = transform(options);
            (0..400).map(|index| transform.draw(&mut stream(1, &[index]), [60, 80])).collect()
        };
        let share = |plans: &[SampleParams], holds: fn(&SampleParams) -> bool| {
            plans.iter().filter(|plan| holds(plan)).count() as f64 / plans.len() as f64
        };
        let plain = ClassificationAugment { hflip: 0., color_jitter: 0., ..ClassificationAugment::default() };
        let none = draws(plain.clone());
        assert_eq!(share(&none, |p| p.hflip || p.vflip || p.grayscale || !p.policy.is_empty()), 0.);
        assert_eq!(share(&none, |p| p.jitter.0.is_empty() && p.erase.is_empty()), 1.);
        let near = |found: f64, expected: f64| (found - expected).abs() < 0.13;
        assert!(near(share(&none, |p| p.interpolation == Interpolation::Bicubic), 0.5));
        assert!(near(share(&draws(ClassificationAugment { hflip: 0.5, ..plain.clone() }), |p| p.hflip), 0.5));
        assert!(near(share(&draws(ClassificationAugment { vflip: 0.2, ..plain.clone() }), |p| p.vflip), 0.2));
        assert!(near(
            share(&draws(ClassificationAugment { grayscale_prob: 0.7, ..plain.clone() }), |p| p.grayscale),
            0.7
        ));
        assert!(near(
            share(&draws(ClassificationAugment { reprob: 0.3, ..plain.clone() }), |p| !p.erase.is_empty()),
            0.3
        ));
        let jitter = draws(ClassificationAugment { color_jitter: 0.4, ..plain.clone() });
        assert_eq!(share(&jitter, |p| p.jitter.0.len() == 3), 1.);
        let policy =
            ClassificationAugment { aa: Some("rand-n2-p1".parse().unwrap()), color_jitter: 0.4, ..plain.clone() };
        assert_eq!(share(&draws(policy), |p| p.policy.len() == 2 && p.jitter.0.is_empty()), 1., "timm's rule");
        let padded = draws(ClassificationAugment { padding: Some(2), ..plain });
        assert_eq!(share(&padded, |p| [p.crop.height, p.crop.width] == [60, 80]), 1.);
    }
}
