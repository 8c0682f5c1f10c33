//! A rectangle of an image taken from another.

use candle_vision::image::RgbImage;
use candle_vision::train::Stream;
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::boxes::PixelBox;
use super::options::AugmentOptions;
use super::sample::GeometryParams;

/// Rectangles that are tried.
const AREAS: usize = 3;
/// Least part of an object of the other image within the rectangle, for it to be taken along.
const LEAST_PART: f32 = 0.1;
/// Guard against division by zero.
const TINY: f32 = 1e-7;

/// Which rectangle of an image is taken from which other one.
///
/// Source: Yun et al., CutMix, <https://arxiv.org/abs/1905.04899>.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CutMixPlan {
    /// Number of the other image.
    pub partner: usize,
    /// How that is laid into the input.
    pub view: GeometryParams,
    /// Left, top, right and bottom of rectangles, one of which is taken.
    pub areas: [[usize; 4]; AREAS],
    /// Which of the rectangles that cover no object of the image, as a share of their number, below 1.
    pub choice: f64,
}

impl CutMixPlan {
    /// Draws rectangles of an input of `imgsz` that each cover an even share of it, before they are cut to it.
    pub(super) fn draw(
        options: &AugmentOptions,
        imgsz: usize,
        stream: &mut Stream,
        neighbour: &mut dyn FnMut(&mut Stream) -> usize,
        any: &mut dyn FnMut(&mut Stream) -> usize,
    ) -> Self {
        let partner = any(stream);
        let view = GeometryParams::draw(options, imgsz, stream, neighbour);
        let areas = std::array::from_fn(|_| {
            let share = stream.random();
            let centre = [(); 2].map(|()| stream.random_range(0..imgsz.max(1) as u64) as usize);
            area(share, centre, imgsz)
        });
        Self { partner, view, areas, choice: stream.random() }
    }

    /// Takes a rectangle that covers no object of the image, and what lies in it, from `other`. Where there is none, or the
    /// chosen one holds no tenth of an object of `other`, nothing changes.
    pub(super) fn apply(
        &self,
        image: &mut RgbImage,
        objects: &mut Vec<PixelBox>,
        other: &RgbImage,
        others: &[PixelBox],
    ) {
        let free = |area: &&[usize; 4]| objects.iter().all(|object| part(object, area) <= 0.);
        let free: Vec<&[usize; 4]> = self.areas.iter().filter(free).collect();
        let Some(area) = free.get((self.choice * free.len() as f64) as usize) else { return };
        let taken: Vec<&PixelBox> = others.iter().filter(|object| part(object, area) >= LEAST_PART).collect();
        if taken.is_empty() {
            return;
        }
        let [left, top, right, bottom] = **area;
        let row = 3 * image.width() as usize;
        let lines = image.chunks_exact_mut(row).zip(other.chunks_exact(row));
        for (line, other) in lines.take(bottom).skip(top) {
            line[3 * left..3 * right].copy_from_slice(&other[3 * left..3 * right]);
        }
        let [x, y] = [left, top].map(|side| side as f32);
        objects.extend(taken.into_iter().map(|object| {
            let [x1, y1, x2, y2] = object.xyxy;
            let moved = PixelBox { xyxy: [x1 - x, y1 - y, x2 - x, y2 - y], ..*object };
            let [x1, y1, x2, y2] = moved.clipped([bottom - top, right - left]).xyxy;
            PixelBox { xyxy: [x1 + x, y1 + y, x2 + x, y2 + y], ..*object }
        }));
    }
}

/// The rectangle around `centre` = [x, y] that leaves this share of a square input, cut to it.
fn area(share: f64, centre: [usize; 2], imgsz: usize) -> [usize; 4] {
    let side = (imgsz as f64 * (1. - share).sqrt()) as usize;
    let [x, y] = centre;
    let [left, top] = [x, y].map(|place| place.saturating_sub(side / 2));
    let [right, bottom] = [x, y].map(|place| (place + side / 2).min(imgsz));
    [left, top, right, bottom]
}

/// The part of an object's box that lies in an area.
fn part(object: &PixelBox, area: &[usize; 4]) -> f32 {
    let [x1, y1, x2, y2] = object.xyxy;
    let [left, top, right, bottom] = area.map(|side| side as f32);
    let overlap = (right.min(x2) - left.max(x1)).max(0.) * (bottom.min(y2) - top.max(y1)).max(0.);
    overlap / ((x2 - x1) * (y2 - y1) + TINY)
}

#[cfg(test)]
mod tests {
    use candle_vision::image::Rgb;

    use super::*;

    #[test]
    fn a_rectangle_leaves_its_share_and_ends_at_the_edges() {
        for (share, centre, expected) in [
            (0., [32, 32], [0, 0, 64, 64]),
            (0.75, [32, 20], [16, 4, 48, 36]),
            (0.75, [0, 63], [0, 47, 16, 64]),
            (0.9999, [5, 5], [5, 5, 5, 5]),
        ] {
            assert_eq!(area(share, centre, 64), expected, "{share} at {centre:?}");
        }
    }

    #[test]
    fn objects_are_neither_covered_nor_left_behind() {
        let placed = |class, xyxy| PixelBox { class, xyxy };
        let view = GeometryParams {
            mosaic: None,
            affine: super::super::AffinePlan {
                perspective: [0.; 2],
                degrees: 0.,
                scale: 1.,
                shear: [0.; 2],
                translate: [0.5; 2],
            },
        };
        let plan = |areas, choice| CutMixPlan { partner: 0, view: view.clone(), areas, choice };
        let [covering, far, small] = [[0, 0, 8, 8], [8, 8, 16, 16], [10, 2, 14, 6]];
        let own = placed(0, [1., 1., 5., 5.]);
        for (areas, choice, others, expected) in [
            ([covering, far, far], 0., vec![placed(1, [6., 6., 12., 12.])], Some((far, [8., 8., 12., 12.]))),
            ([covering, far, small], 0.99, vec![placed(1, [9., 1., 15., 5.])], Some((small, [10., 2., 14., 5.]))),
            ([covering; 3], 0.5, vec![placed(1, [0., 0., 8., 8.])], None),
            // A tenth of it is wanted.
            ([far; 3], 0.5, vec![placed(1, [0., 0., 10., 10.])], None),
            ([far; 3], 0.5, vec![], None),
        ] {
            let mut image = RgbImage::from_pixel(16, 16, Rgb([1; 3]));
            let mut objects = vec![own];
            plan(areas, choice).apply(&mut image, &mut objects, &RgbImage::from_pixel(16, 16, Rgb([2; 3])), &others);
            let changed = image.pixels().filter(|pixel| pixel.0 == [2; 3]).count();
            match expected {
                None => assert_eq!((objects, changed), (vec![own], 0), "{areas:?}"),
                Some(([left, top, right, bottom], xyxy)) => {
                    assert_eq!((objects, changed), (vec![own, placed(1, xyxy)], (right - left) * (bottom - top)));
                }
            }
        }
    }
}
