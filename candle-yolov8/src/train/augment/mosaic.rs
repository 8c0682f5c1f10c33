//! Four images around a point of a canvas of twice the input's side.

use candle_vision::image::{GREY, Rgb, RgbImage};
use candle_vision::train::Stream;
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::boxes::PixelBox;
use super::sample::RawSample;

/// Which images make a mosaic, and where they meet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MosaicPlan {
    /// Numbers of the images at the top right, bottom left and bottom right. The sample's own is at the top left.
    pub partners: [usize; 3],
    /// x and y in pixels of the canvas.
    pub centre: [usize; 2],
}

impl MosaicPlan {
    /// Draws the point from the middle half of the canvas for an input of `imgsz`, and partners by `pick`.
    pub fn draw(imgsz: usize, stream: &mut Stream, mut pick: impl FnMut(&mut Stream) -> usize) -> Self {
        let partners = [(); 3].map(|()| pick(stream));
        let [low, high] = [imgsz as f64 / 2., 1.5 * imgsz as f64];
        let centre = [(); 2].map(|()| stream.random_range(low..=high) as usize);
        Self { partners, centre }
    }

    /// Lays the four images on grey. Boxes are cut to the canvas; those without area are dropped.
    #[must_use]
    pub fn apply(&self, scenes: [&RawSample; 4], imgsz: usize) -> (RgbImage, Vec<PixelBox>) {
        let side = 2 * imgsz;
        let mut canvas = RgbImage::from_pixel(side as u32, side as u32, Rgb([GREY; 3]));
        let mut objects = Vec::new();
        for (number, scene) in scenes.into_iter().enumerate() {
            let size = [scene.image.height() as usize, scene.image.width() as usize];
            let across = Span::new(self.centre[0], size[1], side, number % 2 == 1);
            let down = Span::new(self.centre[1], size[0], side, number / 2 == 1);
            let rows = scene.image.chunks_exact(size[1].max(1) * 3).skip(down.source).take(down.length);
            for (row, out) in rows.zip(canvas.chunks_exact_mut(side * 3).skip(down.canvas)) {
                let (from, to, length) = (across.source * 3, across.canvas * 3, across.length * 3);
                out[to..to + length].copy_from_slice(&row[from..from + length]);
            }
            let corner = [across.corner(), down.corner()];
            objects.extend(scene.objects.iter().map(|object| object.place(size, corner).clipped([side; 2])));
        }
        objects.retain(|object| {
            let [width, height] = object.sides();
            width * height > 0.
        });
        (canvas, objects)
    }
}

/// The part of an image that shows on the canvas, along one axis.
struct Span {
    /// Where it begins on the canvas.
    canvas: usize,
    /// Where it begins in the image.
    source: usize,
    /// Its pixels.
    length: usize,
}

impl Span {
    /// Of an image of `side` pixels that begins at the centre or ends there.
    fn new(centre: usize, side: usize, canvas: usize, begins: bool) -> Self {
        if begins {
            Self { canvas: centre, source: 0, length: side.min(canvas.saturating_sub(centre)) }
        } else {
            let length = side.min(centre);
            Self { canvas: centre - length, source: side - length, length }
        }
    }

    /// Where the image itself begins on the canvas.
    fn corner(&self) -> f32 {
        self.canvas as f32 - self.source as f32
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use candle_vision::train::stream;

    use super::*;
    use crate::train::augment::BoxTarget;

    #[test]
    fn the_point_lies_in_the_middle_half() {
        let mut stream = stream(0, &[]);
        let plans: Vec<MosaicPlan> =
            (0..4000).map(|_| MosaicPlan::draw(64, &mut stream, |stream| stream.random_range(0..10))).collect();
        for axis in 0..2 {
            let values: Vec<usize> = plans.iter().map(|plan| plan.centre[axis]).collect();
            assert_eq!((values.iter().min(), values.iter().max()), (Some(&32), Some(&95)));
            let mean = values.iter().sum::<usize>() as f64 / 4000.;
            // Whole parts of 32 to 96 have the mean 63.5; five standard errors.
            assert!((mean - 63.5).abs() < 5. * 64. / 12f64.sqrt() / 4000f64.sqrt(), "{mean}");
        }
        let mut picked = [0; 10];
        plans.iter().flat_map(|plan| plan.partners).for_each(|partner| picked[partner] += 1);
        assert!(picked.iter().all(|&count| (1000..1400).contains(&count)), "{picked:?}");
    }

    #[test]
    fn images_meet_at_the_point() {
        let scene = |level: u8, width: u32, height: u32| RawSample {
            image: Arc::new(RgbImage::from_fn(width, height, |x, y| Rgb([level, x as u8, y as u8]))),
            objects: vec![BoxTarget { class: level.into(), xywhn: [0.5, 0.5, 1., 1.] }],
        };
        let scenes = [scene(0, 8, 4), scene(1, 8, 8), scene(2, 3, 8), scene(3, 8, 8)];
        let plan = MosaicPlan { partners: [0; 3], centre: [6, 5] };
        let (canvas, objects) = plan.apply(scenes.each_ref(), 8);
        assert_eq!(canvas.dimensions(), (16, 16));
        for ([x, y], expected) in [
            ([5, 4], [0, 7, 3]),
            ([0, 1], [0, 2, 0]),
            ([5, 0], [114; 3]),
            ([6, 4], [1, 0, 7]),
            ([13, 0], [1, 7, 3]),
            ([14, 0], [114; 3]),
            ([5, 5], [2, 2, 0]),
            ([2, 5], [114; 3]),
            ([13, 12], [3, 7, 7]),
            ([13, 13], [114; 3]),
        ] {
            assert_eq!(canvas.get_pixel(x, y).0, expected, "{x} {y}");
        }
        let boxes: Vec<_> = objects.iter().map(|object| (object.class, object.xyxy)).collect();
        assert_eq!(
            boxes,
            [(0, [0., 1., 6., 5.]), (1, [6., 0., 14., 5.]), (2, [3., 5., 6., 13.]), (3, [6., 5., 14., 13.])]
        );
    }
}
