//! Lines from point to point on an image.

use image::RgbImage;

/// Points beyond this many pixels are taken as that far, so that sums stay exact.
const FARTHEST: f64 = 1e6;

/// Draws lines from each point to the next, `width` pixels wide with round ends: the pixels whose centres lie within half of it. A
/// single point is a dot. Points may lie outside the image; one that is not finite breaks the line.
pub fn draw_path(image: &mut RgbImage, points: &[[f64; 2]], width: u32, color: [u8; 3]) {
    let radius = f64::from(width.max(1)) / 2.;
    for run in points.split(|point| !point.iter().all(|at| at.is_finite())) {
        if let [point] = run {
            segment(image, [*point; 2], radius, color);
        }
        run.windows(2).for_each(|ends| segment(image, [ends[0], ends[1]], radius, color));
    }
}

fn segment(image: &mut RgbImage, ends: [[f64; 2]; 2], radius: f64, color: [u8; 3]) {
    let [a, b] = ends.map(|point| point.map(|at| at.clamp(-FARTHEST, FARTHEST)));
    let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
    let length = dx * dx + dy * dy;
    let clip = |value: f64, side: u32| value.clamp(0., f64::from(side)) as u32;
    let (width, height) = image.dimensions();
    for y in clip((a[1].min(b[1]) - radius).floor(), height)..clip((a[1].max(b[1]) + radius).ceil(), height) {
        let middle = f64::from(y) + 0.5;
        // The part of the row that can be near: where the line is within the row's reach, and the radius to both sides.
        let at = |y: f64| if dy == 0. { None } else { Some(((y - a[1]) / dy).clamp(0., 1.) * dx + a[0]) };
        let (left, right) = match (at(middle - radius), at(middle + radius)) {
            (Some(one), Some(other)) => (one.min(other), one.max(other)),
            _ => (a[0].min(b[0]), a[0].max(b[0])),
        };
        for x in clip((left - radius).floor(), width)..clip((right + radius).ceil(), width) {
            let (px, py) = (f64::from(x) + 0.5 - a[0], middle - a[1]);
            let along = if length > 0. { ((px * dx + py * dy) / length).clamp(0., 1.) } else { 0. };
            let (ex, ey) = (px - along * dx, py - along * dy);
            if ex * ex + ey * ey <= radius * radius {
                image.put_pixel(x, y, image::Rgb(color));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const COLOR: [u8; 3] = [9, 8, 7];

    /// Each pixel by its distance from each line.
    fn by_definition(side: u32, points: &[[f64; 2]], width: u32) -> RgbImage {
        let distance = |[x, y]: [f64; 2], [a, b]: [[f64; 2]; 2]| {
            let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
            let length = dx * dx + dy * dy;
            let along = if length > 0. { (((x - a[0]) * dx + (y - a[1]) * dy) / length).clamp(0., 1.) } else { 0. };
            (x - a[0] - along * dx).powi(2) + (y - a[1] - along * dy).powi(2)
        };
        RgbImage::from_fn(side, side, |x, y| {
            let centre = [f64::from(x) + 0.5, f64::from(y) + 0.5];
            let lines = points.windows(2).map(|ends| [ends[0], ends[1]]);
            let near = lines.map(|line| distance(centre, line)).fold(f64::INFINITY, f64::min);
            image::Rgb(if near <= (f64::from(width) / 2.).powi(2) { COLOR } else { [0; 3] })
        })
    }

    proptest! {
        #[test]
        fn a_path_is_the_pixels_that_are_near_it(
            points in prop::collection::vec([-20_i32..60, -20_i32..60], 2..5), width in 1_u32..9
        ) {
            let points: Vec<[f64; 2]> = points.into_iter().map(|point| point.map(|at| f64::from(at) / 2.)).collect();
            let mut image = RgbImage::new(24, 24);
            draw_path(&mut image, &points, width, COLOR);
            prop_assert_eq!(image, by_definition(24, &points, width));
        }
    }

    #[test]
    fn points_that_are_nowhere_break_a_path_and_far_ones_end() {
        let mut image = RgbImage::new(9, 9);
        draw_path(&mut image, &[[f64::NAN, 1.], [4.5, 4.5], [f64::INFINITY, 0.]], 1, COLOR);
        let dots = image.pixels().filter(|pixel| pixel.0 == COLOR).count();
        assert_eq!((dots, image.get_pixel(4, 4).0), (1, COLOR));
        draw_path(&mut image, &[[-1e300, 4.5], [1e300, 4.5]], 1, COLOR);
        assert_eq!((0..9).filter(|x| image.get_pixel(*x, 4).0 == COLOR).count(), 9);
        draw_path(&mut RgbImage::new(0, 0), &[[0., 0.], [5., 5.]], 3, COLOR);
    }
}
