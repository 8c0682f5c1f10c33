//! An image turned, scaled, sheared, moved and seen in perspective.

use candle_vision::image::{GREY, RgbImage, warp_affine, warp_perspective};
use candle_vision::train::Stream;
use serde::{Deserialize, Serialize};

use super::boxes::PixelBox;
use super::options::AugmentOptions;
use super::uniform;

/// How an image is laid into the input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AffinePlan {
    /// What the depth gains per pixel along x and y.
    pub perspective: [f64; 2],
    /// Angle against the clock.
    pub degrees: f64,
    /// Factor of the sides.
    pub scale: f64,
    /// Angles along x and y, in degrees.
    pub shear: [f64; 2],
    /// x and y of the image's middle, as fractions of the input's sides.
    pub translate: [f64; 2],
}

type Matrix = [[f32; 3]; 3];

impl AffinePlan {
    /// Draws each value evenly from its range.
    pub fn draw(options: &AugmentOptions, stream: &mut Stream) -> Self {
        let mut pair = |middle: f64, most: f64| [(); 2].map(|()| uniform(stream, middle, most));
        let perspective = pair(0., options.perspective);
        let [middle, most] = options.scale.middle();
        let [degrees, scale] = [pair(0., options.degrees)[0], pair(middle, most)[0]];
        Self { perspective, degrees, scale, shear: pair(0., options.shear), translate: pair(0.5, options.translate) }
    }

    /// Carries pixels of an image of `size` = [height, width] to pixels of an input of `input` = [height, width].
    #[must_use]
    pub fn matrix(&self, size: [usize; 2], input: [usize; 2]) -> Matrix {
        let [height, width] = size.map(|side| side as f32);
        let centre = [[1., 0., -width / 2.], [0., 1., -height / 2.], [0., 0., 1.]];
        let [px, py] = self.perspective.map(|gain| gain as f32);
        let perspective = [[1., 0., 0.], [0., 1., 0.], [px, py, 1.]];
        let (sine, cosine) = (self.degrees * (std::f64::consts::PI / 180.)).sin_cos();
        let [sine, cosine] = [sine, cosine].map(|value| value * self.scale);
        let turn = [[cosine as f32, sine as f32, 0.], [-sine as f32, cosine as f32, 0.], [0., 0., 1.]];
        let [sx, sy] = self.shear.map(|degrees| (degrees * std::f64::consts::PI / 180.).tan() as f32);
        let shear = [[1., sx, 0.], [sy, 1., 0.], [0., 0., 1.]];
        let [tx, ty] = [0, 1].map(|axis| (self.translate[axis] * input[1 - axis] as f64) as f32);
        let place = [[1., 0., tx], [0., 1., ty], [0., 0., 1.]];
        [shear, turn, perspective, centre].iter().fold(place, product)
    }

    /// The image and its boxes in an input of `input` = [height, width], grey beyond the image. Boxes are cut to the input; those
    /// that are then narrower than 2 pixels, 100 times as long as wide, or a tenth of what they were are dropped.
    #[must_use]
    pub fn apply(&self, image: &RgbImage, objects: &[PixelBox], input: [usize; 2]) -> (RgbImage, Vec<PixelBox>) {
        let matrix = self.matrix([image.height() as usize, image.width() as usize], input);
        let has_perspective = self.perspective != [0.; 2];
        let warped = if has_perspective {
            warp_perspective(image, &matrix, input, GREY)
        } else {
            warp_affine(image, &[matrix[0], matrix[1]], input, GREY)
        };
        let kept = objects.iter().filter_map(|object| {
            let cut = object.warped(&matrix, has_perspective).clipped(input);
            object.is_kept_as(&cut, self.scale as f32).then_some(cut)
        });
        (warped, kept.collect())
    }
}

/// Of two matrices; each sum in order, rounded once per term, as BLAS computes it.
fn product(a: Matrix, b: &Matrix) -> Matrix {
    let cell = |row: [f32; 3], column: usize| (0..3).fold(0., |sum, k| row[k].mul_add(b[k][column], sum));
    a.map(|row| std::array::from_fn(|column| cell(row, column)))
}

#[cfg(test)]
mod tests {
    use candle_vision::train::stream;

    use super::*;
    use crate::train::augment::Scale;

    #[test]
    fn values_are_drawn_evenly_from_their_ranges() {
        const DRAWS: usize = 4000;
        let options =
            AugmentOptions { degrees: 10., shear: 4., perspective: 0.001, translate: 0.2, ..Default::default() };
        let mut stream = stream(0, &[]);
        let plans: Vec<AffinePlan> = (0..DRAWS).map(|_| AffinePlan::draw(&options, &mut stream)).collect();
        let check = |what: &str, middle: f64, most: f64, value: &dyn Fn(&AffinePlan) -> f64| {
            let offsets: Vec<f64> = plans.iter().map(|plan| (value(plan) - middle) / most).collect();
            let (low, high) = offsets.iter().fold((0f64, 0f64), |(low, high), &x| (low.min(x), high.max(x)));
            assert!((-1. ..-0.99).contains(&low) && high > 0.99 && high <= 1., "{what}: {low} {high}");
            let mean = offsets.iter().sum::<f64>() / DRAWS as f64;
            let variance = offsets.iter().map(|x| x * x).sum::<f64>() / DRAWS as f64;
            // Five standard errors of the mean and the variance of an even distribution.
            let error = 5. / (DRAWS as f64).sqrt();
            assert!(mean.abs() < error / 3f64.sqrt() && (variance - 1. / 3.).abs() < error * 0.3, "{what}: {mean}");
        };
        for axis in 0..2 {
            check("perspective", 0., 0.001, &|plan| plan.perspective[axis]);
            check("shear", 0., 4., &|plan| plan.shear[axis]);
            check("translate", 0.5, 0.2, &|plan| plan.translate[axis]);
        }
        check("degrees", 0., 10., &|plan| plan.degrees);
        check("scale", 1., 0.5, &|plan| plan.scale);
        let options = AugmentOptions { scale: Scale::Range([0.4, 2.4]), ..Default::default() };
        let plans: Vec<AffinePlan> = (0..DRAWS).map(|_| AffinePlan::draw(&options, &mut stream)).collect();
        let scales = || plans.iter().map(|plan| plan.scale);
        let (low, high) = (scales().fold(9., f64::min), scales().fold(0., f64::max));
        assert!((0.4..0.41).contains(&low) && high > 2.39 && high <= 2.4, "{low} {high}");
    }

    #[test]
    fn the_middle_goes_where_the_plan_says() {
        let plan = AffinePlan { perspective: [0.; 2], degrees: 90., scale: 2., shear: [0.; 2], translate: [0.25, 0.5] };
        let matrix = plan.matrix([40, 60], [80; 2]);
        let carry = |[x, y]: [f32; 2]| [0, 1].map(|row| matrix[row][0] * x + matrix[row][1] * y + matrix[row][2]);
        for (from, to) in [([30., 20.], [20., 40.]), ([40., 20.], [20., 20.]), ([30., 30.], [40., 40.])] {
            let found = carry(from);
            assert!(found.iter().zip(to).all(|(a, b)| (a - b).abs() < 1e-4), "{from:?}: {found:?}");
        }
    }
}
