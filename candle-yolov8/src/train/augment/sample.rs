//! All that happens to a picture on its way into a batch.

use std::sync::Arc;

use candle_vision::image::{RgbImage, map_hsv};
use candle_vision::train::Stream;
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::affine::AffinePlan;
use super::boxes::{Object, Placed};
use super::color::HsvPlan;
use super::mixup::{MixupPlan, draw_ratio, mix};
use super::mosaic::MosaicPlan;
use super::options::AugmentOptions;

/// A picture as the data set gives it, its longer side of the input's size, with its objects.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The pixels.
    pub picture: Arc<RgbImage>,
    /// What they show.
    pub objects: Vec<Object>,
}

/// How one picture, or a mosaic around it, is laid into the input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ViewPlan {
    /// What surrounds the picture; nothing for the picture alone.
    pub mosaic: Option<MosaicPlan>,
    /// The warp.
    pub affine: AffinePlan,
}

/// Everything that is drawn for a sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SamplePlan {
    /// How the picture is laid into the input.
    pub view: ViewPlan,
    /// What it is mixed with.
    pub mixup: Option<MixupPlan>,
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
pub struct Augmented {
    /// Levels of shape (3, imgsz, imgsz): red, green, blue.
    pub planes: Vec<u8>,
    /// What they show, as fractions of the input.
    pub objects: Vec<Object>,
}

impl ViewPlan {
    fn draw(
        options: &AugmentOptions,
        imgsz: usize,
        stream: &mut Stream,
        neighbour: &mut dyn FnMut(&mut Stream) -> usize,
    ) -> Self {
        let has_mosaic = happens(options.mosaic, stream);
        let mosaic = has_mosaic.then(|| MosaicPlan::draw(imgsz, stream, neighbour));
        Self { mosaic, affine: AffinePlan::draw(options, stream) }
    }

    fn apply(&self, index: usize, scene: &dyn Fn(usize) -> Scene, imgsz: usize) -> (RgbImage, Vec<Placed>) {
        let own = scene(index);
        match &self.mosaic {
            Some(mosaic) => {
                let [b, c, d] = mosaic.partners.map(scene);
                let (canvas, objects) = mosaic.apply([&own, &b, &c, &d], imgsz);
                self.affine.apply(&canvas, &objects, imgsz)
            }
            None => {
                let size = [own.picture.height() as usize, own.picture.width() as usize];
                let objects: Vec<Placed> = own.objects.iter().map(|object| object.place(size, [0.; 2])).collect();
                self.affine.apply(&own.picture, &objects, imgsz)
            }
        }
    }
}

impl SamplePlan {
    /// Draws everything for a sample of an input of `imgsz`. `neighbour` draws the number of a picture for a mosaic,
    /// `any` that of one to mix with.
    pub fn draw(
        options: &AugmentOptions,
        imgsz: usize,
        stream: &mut Stream,
        neighbour: &mut dyn FnMut(&mut Stream) -> usize,
        any: &mut dyn FnMut(&mut Stream) -> usize,
    ) -> Self {
        let view = ViewPlan::draw(options, imgsz, stream, neighbour);
        let mixup = happens(options.mixup, stream).then(|| {
            let partner = any(stream);
            let view = ViewPlan::draw(options, imgsz, stream, neighbour);
            MixupPlan { partner, view, ratio: draw_ratio(stream) }
        });
        let hsv = HsvPlan::draw(options, stream);
        let [flip_vertical, flip_horizontal, bgr] =
            [options.flipud, options.fliplr, options.bgr].map(|probability| happens(probability, stream));
        Self { view, mixup, hsv, flip_vertical, flip_horizontal, bgr }
    }

    /// Makes the sample of picture `index`; `scene` gives the pictures by number.
    #[must_use]
    pub fn apply(&self, index: usize, scene: &dyn Fn(usize) -> Scene, imgsz: usize) -> Augmented {
        let (mut picture, mut objects) = self.view.apply(index, scene, imgsz);
        if let Some(mixup) = &self.mixup {
            let (other, others) = mixup.view.apply(mixup.partner, scene, imgsz);
            mix(&mut picture, &other, mixup.ratio);
            objects.extend(others);
        }
        if let Some(hsv) = &self.hsv {
            map_hsv(&mut picture, &hsv.tables());
        }
        let normalised = |object: &Placed| object.normalised(imgsz, self.flip_vertical, self.flip_horizontal);
        Augmented { planes: self.planes(&picture, imgsz), objects: objects.iter().map(normalised).collect() }
    }

    fn planes(&self, picture: &RgbImage, imgsz: usize) -> Vec<u8> {
        let mut planes = vec![0; 3 * imgsz * imgsz];
        let side = imgsz.max(1);
        let rows = picture.as_chunks::<3>().0.chunks_exact(side);
        for (channel, plane) in planes.chunks_exact_mut(side * side).enumerate() {
            let channel = if self.bgr { 2 - channel } else { channel };
            for (y, row) in rows.clone().enumerate() {
                let y = if self.flip_vertical { imgsz - 1 - y } else { y };
                let out = plane[y * side..][..side].iter_mut();
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
        let options =
            AugmentOptions { flipud: 0.25, fliplr: 0.5, bgr: 0.1, mosaic: 0.7, mixup: 0.2, ..Default::default() };
        let plans = plans(&options);
        let share = |has: &dyn Fn(&SamplePlan) -> bool| plans.iter().filter(|plan| has(plan)).count() as f64 / 4000.;
        for (what, expected, found) in [
            ("flipud", 0.25, share(&|plan| plan.flip_vertical)),
            ("fliplr", 0.5, share(&|plan| plan.flip_horizontal)),
            ("bgr", 0.1, share(&|plan| plan.bgr)),
            ("mosaic", 0.7, share(&|plan| plan.view.mosaic.is_some())),
            ("mixup", 0.2, share(&|plan| plan.mixup.is_some())),
            ("both", 0.1, share(&|plan| plan.flip_horizontal && plan.mixup.is_some())),
        ] {
            // Five standard errors.
            assert!((found - expected).abs() < 5. * (expected * (1. - expected) / 4000f64).sqrt(), "{what}: {found}");
        }
    }

    #[test]
    fn nothing_happens_at_probability_0_and_all_at_1() {
        let none = AugmentOptions { fliplr: 0., ..AugmentOptions::default().of_single_pictures() };
        let is_plain = |plan: &SamplePlan| {
            let SamplePlan { view, mixup, flip_vertical, flip_horizontal, bgr, .. } = plan;
            view.mosaic.is_none() && mixup.is_none() && !(*flip_vertical || *flip_horizontal || *bgr)
        };
        assert!(plans(&none).iter().all(is_plain));
        let all = AugmentOptions { flipud: 1., fliplr: 1., bgr: 1., mosaic: 1., mixup: 1., ..Default::default() };
        let is_full = |plan: &SamplePlan| {
            let mixed = plan.mixup.as_ref().is_some_and(|mixup| mixup.view.mosaic.is_some());
            plan.view.mosaic.is_some() && mixed && plan.flip_vertical && plan.flip_horizontal && plan.bgr
        };
        assert!(plans(&all).iter().all(is_full));
    }
}
