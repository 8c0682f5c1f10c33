//! Each box's part of the image, as an image.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use anyhow::Result;
use candle_vision::image::{self as images, RgbImage};

use super::{Found, class_name, file_name, safe_name};
use crate::files;

/// A crop's size over its box's.
const GAIN: f32 = 1.02;
/// Pixels that a crop is wider and higher still.
const MARGIN: f32 = 10.;

/// Writes `folder/crops/CLASS/stem.jpg`, then `stem-2.jpg`, `stem-3.jpg`, … by what is free, as Ultralytics 8.4.190 does: no
/// crop takes the place of another, of this image or of one before. Each is 2 % and 10 pixels larger than its box, within
/// the image.
pub(crate) fn save_crops(found: &Found, folder: &Path, stem: &OsStr, names: &[String]) -> Result<()> {
    let mut numbers = BTreeMap::new();
    for detection in &found.detections {
        let name = safe_name(&class_name(names, detection.class_id));
        let class = folder.join("crops").join(&name);
        files::make_folder(&class)?;
        let number = numbers.entry(name).or_insert(0);
        let path = loop {
            *number += 1;
            let path = class.join(match *number {
                1 => file_name(stem, ".jpg"),
                number => file_name(stem, &format!("-{number}.jpg")),
            });
            if !path.exists() {
                break path;
            }
        };
        images::save(&crop(&found.image, detection.xyxy), &path)?;
    }
    Ok(())
}

fn crop(image: &RgbImage, [x1, y1, x2, y2]: [f32; 4]) -> RgbImage {
    let range = |low: f32, high: f32, side: u32| {
        let (centre, size) = ((low + high) / 2., (high - low) * GAIN + MARGIN);
        let start = ((centre - size / 2.).max(0.) as u32).min(side.saturating_sub(1));
        let end = ((centre + size / 2.).max(0.) as u32).clamp(start + 1, side.max(start + 1));
        (start, end - start)
    };
    let (left, width) = range(x1, x2, image.width());
    let (top, height) = range(y1, y2, image.height());
    RgbImage::from_fn(width, height, |x, y| *image.get_pixel(left + x, top + y))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crops_are_a_little_larger_than_their_box_and_stay_inside() {
        let image = RgbImage::from_fn(200, 100, |x, y| image::Rgb([x as u8, y as u8, 0]));
        let whole = crop(&image, [50., 20., 150., 70.]);
        // x: 100 +- (100 * 1.02 + 10) / 2, y: 45 +- (50 * 1.02 + 10) / 2
        assert_eq!((whole.dimensions(), whole.get_pixel(0, 0)), ((112, 61), image.get_pixel(44, 14)));
        assert_eq!(crop(&image, [0., 0., 200., 100.]).dimensions(), (200, 100));
        assert_eq!(crop(&image, [200., 100., 200., 100.]).dimensions(), (5, 5));
    }
}
