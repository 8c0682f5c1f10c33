//! All that happens to an image on its way into a batch.

use std::sync::Arc;

use candle_vision::image::{RgbImage, map_hsv};
use candle_vision::train::Stream;
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::affine::AffinePlan;
use super::boxes::{BoxTarget, PixelBox};
use super::color::HsvPlan;
use super::cutmix::CutMixPlan;
use super::mixup::{MixupPlan, draw_ratio, mix};
use super::mosaic::MosaicPlan;
use super::options::AugmentOptions;

/// An image as the data set gives it, its longer side of the input's size, with its objects.
#[derive(Debug, Clone)]
pub struct RawSample {
    /// The pixels.
    pub image: Arc<RgbImage>,
    /// What they show.
    pub objects: Vec<BoxTarget>,
}

/// How one image, or a mosaic around it, is laid into the input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GeometryParams {
    /// What surrounds the image; nothing for the image alone.
    pub mosaic: Option<MosaicPlan>,
    /// The warp.
    pub affine: AffinePlan,
}

/// Everything that is drawn for a sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SamplePlan {
    /// How the image is laid into the input.
    pub view: GeometryParams,
    /// What it is mixed with.
    pub mixup: Option<MixupPlan>,
    /// What a rectangle of it is taken from.
    #[serde(default)]
    pub cutmix: Option<CutMixPlan>,
    /// How its colours change.
    pub hsv: Option<HsvPlan>,
    /// Whether it is upside down.
    pub flip_vertical: bool,
    /// Whether it is mirrored.
    pub flip_horizontal: bool,
    /// Whether its planes are blue, green and red.
    pub bgr: bool,
}

/// A sample of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct AugmentedSample {
    /// Levels of shape (3, height, width): red, green, blue.
    pub planes: Vec<u8>,
    /// What they show, as fractions of the input.
    pub objects: Vec<BoxTarget>,
}

impl GeometryParams {
    pub(super) fn draw(
        options: &AugmentOptions,
        imgsz: usize,
        stream: &mut Stream,
        neighbour: &mut dyn FnMut(&mut Stream) -> usize,
    ) -> Self {
        let has_mosaic = happens(options.mosaic, stream);
        let mosaic = has_mosaic.then(|| MosaicPlan::draw(imgsz, stream, neighbour));
        Self { mosaic, affine: AffinePlan::draw(options, stream) }
    }

    /// In an input of `input` = [height, width], a square one where there is a mosaic.
    fn apply(&self, index: usize, scene: &dyn Fn(usize) -> RawSample, input: [usize; 2]) -> (RgbImage, Vec<PixelBox>) {
        let own = scene(index);
        match &self.mosaic {
            Some(mosaic) => {
                let [b, c, d] = mosaic.partners.map(scene);
                let (canvas, objects) = mosaic.apply([&own, &b, &c, &d], input[1]);
                self.affine.apply(&canvas, &objects, input)
            }
            None => {
                let size = [own.image.height() as usize, own.image.width() as usize];
                let objects: Vec<PixelBox> = own.objects.iter().map(|object| object.place(size, [0.; 2])).collect();
                self.affine.apply(&own.image, &objects, input)
            }
        }
    }
}

impl SamplePlan {
    /// Draws everything for a sample of an input of `imgsz`. `neighbour` draws the number of an image for a mosaic,
    /// `any` that of one to mix with.
    pub fn draw(
        options: &AugmentOptions,
        imgsz: usize,
        stream: &mut Stream,
        neighbour: &mut dyn FnMut(&mut Stream) -> usize,
        any: &mut dyn FnMut(&mut Stream) -> usize,
    ) -> Self {
        let view = GeometryParams::draw(options, imgsz, stream, neighbour);
        let mixup = happens(options.mixup, stream).then(|| {
            let partner = any(stream);
            let view = GeometryParams::draw(options, imgsz, stream, neighbour);
            MixupPlan { partner, view, ratio: draw_ratio(stream) }
        });
        let hsv = HsvPlan::draw(options, stream);
        let [flip_vertical, flip_horizontal, bgr] =
            [options.flipud, options.fliplr, options.bgr].map(|probability| happens(probability, stream));
        let cutmix = happens(options.cutmix, stream).then(|| CutMixPlan::draw(options, imgsz, stream, neighbour, any));
        Self { view, mixup, cutmix, hsv, flip_vertical, flip_horizontal, bgr }
    }

    /// Makes the sample of image `index` for an input of `input` = [height, width]; `scene` gives the images by number.
    #[must_use]
    pub fn apply(&self, index: usize, scene: &dyn Fn(usize) -> RawSample, input: [usize; 2]) -> AugmentedSample {
        let (mut image, mut objects) = self.view.apply(index, scene, input);
        if let Some(mixup) = &self.mixup {
            let (other, others) = mixup.view.apply(mixup.partner, scene, input);
            mix(&mut image, &other, mixup.ratio);
            objects.extend(others);
        }
        if let Some(cutmix) = &self.cutmix {
            let (other, others) = cutmix.view.apply(cutmix.partner, scene, input);
            cutmix.apply(&mut image, &mut objects, &other, &others);
        }
        if let Some(hsv) = &self.hsv {
            map_hsv(&mut image, &hsv.tables());
        }
        let normalised = |object: &PixelBox| object.normalised(input, self.flip_vertical, self.flip_horizontal);
        AugmentedSample { planes: self.planes(&image), objects: objects.iter().map(normalised).collect() }
    }

    fn planes(&self, image: &RgbImage) -> Vec<u8> {
        let [height, width] = [image.height(), image.width()].map(|side| side as usize);
        let mut planes = vec![0; 3 * height * width];
        let rows = image.as_chunks::<3>().0.chunks_exact(width.max(1));
        for (channel, plane) in planes.chunks_exact_mut((height * width).max(1)).enumerate() {
            let channel = if self.bgr { 2 - channel } else { channel };
            for (y, row) in rows.clone().enumerate() {
                let y = if self.flip_vertical { height - 1 - y } else { y };
                let out = plane[y * width..][..width].iter_mut();
                if self.flip_horizontal {
                    out.rev().zip(row).for_each(|(out, pixel)| *out = pixel[channel]);
                } else {
                    out.zip(row).for_each(|(out, pixel)| *out = pixel[channel]);
                }
            }
        }
        planes
    }
}

/// Whether something of this probability happens. One number is drawn whatever the probability is, so that the others
/// do not depend on it.
fn happens(probability: f64, stream: &mut Stream) -> bool {
    stream.random::<f64>() < probability
}

#[cfg(test)]
mod tests {
    use candle_vision::train::stream;

    use super::*;

    fn plans(options: &AugmentOptions) -> Vec<SamplePlan> {
        let mut stream = stream(0, &[]);
        let mut pick = |stream: &mut Stream| stream.random_range(0..7);
        (0..4000).map(|_| SamplePlan::draw(options, 64, &mut stream, &mut pick.clone(), &mut pick)).collect()
    }

    #[test]
    fn events_happen_with_their_probability() {
        let options = AugmentOptions {
            flipud: 0.25,
            fliplr: 0.5,
            bgr: 0.1,
            mosaic: 0.7,
            mixup: 0.2,
            cutmix: 0.3,
            ..Default::default()
        };
        let plans = plans(&options);
        let share = |has: &dyn Fn(&SamplePlan) -> bool| plans.iter().filter(|plan| has(plan)).count() as f64 / 4000.;
        for (what, expected, found) in [
            ("flipud", 0.25, share(&|plan| plan.flip_vertical)),
            ("fliplr", 0.5, share(&|plan| plan.flip_horizontal)),
            ("bgr", 0.1, share(&|plan| plan.bgr)),
            ("mosaic", 0.7, share(&|plan| plan.view.mosaic.is_some())),
            ("mixup", 0.2, share(&|plan| plan.mixup.is_some())),
            ("cutmix", 0.3, share(&|plan| plan.cutmix.is_some())),
            ("both", 0.1, share(&|plan| plan.flip_horizontal && plan.mixup.is_some())),
        ] {
            // Five standard errors.
            assert!((found - expected).abs() < 5. * (expected * (1. - expected) / 4000f64).sqrt(), "{what}: {found}");
        }
    }

    #[test]
    fn what_is_new_in_a_plan_is_drawn_behind_the_rest() {
        let with = plans(&AugmentOptions { cutmix: 1., ..Default::default() });
        let without = plans(&AugmentOptions::default());
        assert_eq!(SamplePlan { cutmix: None, ..with[0].clone() }, without[0]);
        assert!(with[0].cutmix.is_some());
    }

    #[test]
    fn nothing_happens_at_probability_0_and_all_at_1() {
        let none = AugmentOptions { fliplr: 0., ..AugmentOptions::default().of_single_images() };
        let is_plain = |plan: &SamplePlan| {
            let SamplePlan { view, mixup, cutmix, flip_vertical, flip_horizontal, bgr, .. } = plan;
            view.mosaic.is_none()
                && mixup.is_none()
                && cutmix.is_none()
                && !(*flip_vertical || *flip_horizontal || *bgr)
        };
        assert!(plans(&none).iter().all(is_plain));
        let all =
            AugmentOptions { flipud: 1., fliplr: 1., bgr: 1., mosaic: 1., mixup: 1., cutmix: 1., ..Default::default() };
        let is_full = |plan: &SamplePlan| {
            let mixed = plan.mixup.as_ref().is_some_and(|mixup| mixup.view.mosaic.is_some());
            let cut = plan.cutmix.as_ref().is_some_and(|cutmix| cutmix.view.mosaic.is_some());
            plan.view.mosaic.is_some() && mixed && cut && plan.flip_vertical && plan.flip_horizontal && plan.bgr
        };
        assert!(plans(&all).iter().all(is_full));
    }
}
