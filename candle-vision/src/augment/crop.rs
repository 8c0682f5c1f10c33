//! Windows of an image: random resized crops as timm and torchvision draw them, and crops of a padded image.

use image::RgbImage;
use rand::Rng;

use super::random::uniform;
use crate::image::{Interpolation, resize};

/// A window in pixels. Its corner may lie outside the image, where the window is black.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CropBox {
    /// First row.
    pub top: i64,
    /// First column.
    pub left: i64,
    /// Number of rows.
    pub height: usize,
    /// Number of columns.
    pub width: usize,
}

impl CropBox {
    /// Draws a window of an image of `size` = [height, width]: its share of the area from `scale`, its aspect ratio
    /// width / height from `ratio`, on a logarithmic scale, and its place.
    ///
    /// After ten windows that do not fit it is the largest central one of a ratio in the range. timm's
    /// `RandomResizedCropAndInterpolation`.
    pub fn random_resized(rng: &mut impl Rng, size: [usize; 2], scale: [f64; 2], ratio: [f64; 2]) -> Self {
        let [height, width] = size;
        for _ in 0..10 {
            let share = uniform(rng, scale);
            let ratio = uniform(rng, ratio.map(f64::ln)).exp();
            let [crop_h, crop_w] = sides(size, share, ratio);
            if crop_h <= height && crop_w <= width {
                let top = rng.random_range(0..=height - crop_h) as i64;
                let left = rng.random_range(0..=width - crop_w) as i64;
                return Self { top, left, height: crop_h, width: crop_w };
            }
        }
        Self::central(size, ratio)
    }

    /// The largest central window whose ratio width / height lies in `ratio`.
    #[must_use]
    pub fn central([height, width]: [usize; 2], ratio: [f64; 2]) -> Self {
        let [low, high] = [ratio[0].min(ratio[1]), ratio[0].max(ratio[1])];
        let own = width as f64 / height.max(1) as f64;
        let [crop_h, crop_w] = if own < low {
            [round(width as f64 / low).min(height), width]
        } else if own > high {
            [height, round(height as f64 * high).min(width)]
        } else {
            [height, width]
        };
        let [top, left] = [(height - crop_h) / 2, (width - crop_w) / 2].map(|at| at as i64);
        Self { top, left, height: crop_h, width: crop_w }
    }

    /// Draws a window of the image's own `size` = [height, width] from the image with `padding` pixels of black on
    /// each side: torchvision's `RandomCrop(size, padding)`.
    pub fn random_padded(rng: &mut impl Rng, [height, width]: [usize; 2], padding: usize) -> Self {
        let [top, left] = std::array::from_fn(|_| rng.random_range(0..=2 * padding) as i64 - padding as i64);
        Self { top, left, height, width }
    }

    /// The window's pixels.
    #[must_use]
    pub fn apply(&self, image: &RgbImage) -> RgbImage {
        let mut out = RgbImage::new(self.width as u32, self.height as u32);
        let (width, height) = (i64::from(image.width()), i64::from(image.height()));
        let first = self.left.clamp(0, width);
        let last = (self.left + self.width as i64).clamp(first, width);
        let bytes = (last - first) as usize * 3;
        if bytes == 0 {
            return out;
        }
        let skipped = (first - self.left) as usize * 3;
        for (y, row) in (self.top..).zip(out.chunks_exact_mut(self.width * 3)) {
            if (0..height).contains(&y) {
                let start = (y * width + first) as usize * 3;
                row[skipped..skipped + bytes].copy_from_slice(&image.as_raw()[start..start + bytes]);
            }
        }
        out
    }

    /// The window's pixels resized to `size` = [height, width] as PIL does: torchvision's `resized_crop`.
    #[must_use]
    pub fn apply_resized(&self, image: &RgbImage, size: [usize; 2], interpolation: Interpolation) -> RgbImage {
        let whole = Self { top: 0, left: 0, height: image.height() as usize, width: image.width() as usize };
        if *self == whole {
            resize(image, size, interpolation)
        } else {
            resize(&self.apply(image), size, interpolation)
        }
    }
}

/// [height, width] of a window of a `share` of the area of `size`, with `ratio` width / height.
fn sides([height, width]: [usize; 2], share: f64, ratio: f64) -> [usize; 2] {
    let area = share * (height * width) as f64;
    [(area / ratio).sqrt(), (area * ratio).sqrt()].map(round)
}

/// Python's `round`, at least one pixel.
fn round(side: f64) -> usize {
    (side.round_ties_even() as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::fixtures::{check, check_images, image, value};
    use crate::image::fixtures::synthetic;
    use crate::train::stream;

    #[test]
    fn crops_are_bit_equal_with_torchvision() {
        check_images("crop", |case| {
            let [top, left, height, width]: [usize; 4] = value(case, "box");
            let crop = CropBox { top: top as i64, left: left as i64, height, width };
            crop.apply_resized(
                &image(case),
                value(case, "out"),
                value::<String>(case, "interpolation").parse().unwrap(),
            )
        });
    }

    #[test]
    fn padded_crops_are_bit_equal_with_torchvision() {
        check_images("padded", |case| {
            let ([height, width], padding): ([usize; 2], i64) = (value(case, "in"), value(case, "padding"));
            let [top, left] = value::<[i64; 2]>(case, "at").map(|at| at - padding);
            CropBox { top, left, height, width }.apply(&image(case))
        });
    }

    #[test]
    fn windows_have_timm_s_sides() {
        check("window", |case| {
            let size @ [height, width]: [usize; 2] = value(case, "in");
            let [crop_h, crop_w] = sides(size, value(case, "share"), value(case, "ratio"));
            let fits = crop_h <= height && crop_w <= width;
            let [top, left, expected @ ..]: [usize; 4] = value(case, "box");
            let found = if fits {
                CropBox { top: 0, left: 0, height: crop_h, width: crop_w }
            } else {
                CropBox::central(size, [3. / 4., 4. / 3.])
            };
            let expected = CropBox { top: top as i64, left: left as i64, height: expected[0], width: expected[1] };
            (value::<bool>(case, "fits") != fits || found != expected).then_some(found)
        });
    }

    #[test]
    fn windows_lie_in_the_image_and_fill_their_ranges() {
        let (scale, ratio) = ([0.08, 1.], [3. / 4., 4. / 3.]);
        let mut rng = stream(5, &[]);
        let crops: Vec<CropBox> =
            (0..20_000).map(|_| CropBox::random_resized(&mut rng, [400, 400], scale, ratio)).collect();
        let shares: Vec<f64> = crops.iter().map(|crop| (crop.height * crop.width) as f64 / 160_000.).collect();
        for crop in &crops {
            let [bottom, right] = [crop.top + crop.height as i64, crop.left + crop.width as i64];
            assert!(crop.top >= 0 && crop.left >= 0 && bottom <= 400 && right <= 400, "{crop:?}");
            let ratio = crop.width as f64 / crop.height as f64;
            assert!((0.74..1.36).contains(&ratio), "{crop:?}");
        }
        // Even shares, but that large ones fit less often; corners are as often high as low.
        let below = |limit: f64| shares.iter().filter(|&&share| share < limit).count() as f64 / shares.len() as f64;
        assert!(shares.iter().all(|share| (0.078..=1.).contains(share)));
        assert!((below(0.2) / below(0.32) - 0.5).abs() < 0.03 && below(0.5) > 0.45, "{} {}", below(0.2), below(0.5));
        let wide = crops.iter().filter(|crop| crop.width > crop.height).count() as f64 / crops.len() as f64;
        assert!((wide - 0.5).abs() < 0.02, "{wide}");
        let high = crops.iter().filter(|crop| 2 * crop.top < 400 - crop.height as i64).count() as f64;
        assert!((high / crops.len() as f64 - 0.5).abs() < 0.05, "{high}");
    }

    #[test]
    fn every_image_has_a_window() {
        let mut rng = stream(6, &[]);
        for size in [[1, 1], [1, 900], [900, 1], [2, 3], [3, 2]] {
            for _ in 0..50 {
                let crop = CropBox::random_resized(&mut rng, size, [0.08, 1.], [3. / 4., 4. / 3.]);
                assert!(
                    (1..=size[0]).contains(&crop.height) && (1..=size[1]).contains(&crop.width),
                    "{size:?} {crop:?}"
                );
                assert_eq!(
                    crop.apply(&synthetic(1, size[0], size[1])).dimensions(),
                    (crop.width as u32, crop.height as u32)
                );
            }
        }
    }

    #[test]
    fn padded_windows_reach_every_place_alike() {
        let mut rng = stream(7, &[]);
        let mut counts = [[0; 9]; 9];
        for _ in 0..40_500 {
            let crop = CropBox::random_padded(&mut rng, [32, 30], 4);
            assert_eq!([crop.height, crop.width], [32, 30]);
            counts[(crop.top + 4) as usize][(crop.left + 4) as usize] += 1;
        }
        // 500 at each place; five standard deviations are 112.
        assert!(counts.iter().flatten().all(|count| (388..612).contains(count)), "{counts:?}");
    }
}
