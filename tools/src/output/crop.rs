//! Each box's part of the picture, as a picture.

use std::path::Path;

use anyhow::Result;
use candle_vision::image::{self as pictures, RgbImage};

use super::{Found, class_name, safe_name};
use crate::files;

/// A crop's size over its box's.
const GAIN: f32 = 1.02;
/// Pixels that a crop is wider and higher still.
const MARGIN: f32 = 10.;

/// Writes `folder/crops/CLASS/stem.jpg`, then `stem2.jpg`, …: 2 % and 10 pixels larger than the box, within the picture.
pub(crate) fn save_crops(found: &Found, folder: &Path, stem: &str, names: &[String]) -> Result<()> {
    let mut counts = std::collections::BTreeMap::new();
    for detection in &found.detections {
        let name = safe_name(&class_name(names, detection.class_id));
        let class = folder.join("crops").join(&name);
        let count = counts.entry(name).and_modify(|count| *count += 1).or_insert(1u32);
        let number = if *count > 1 { count.to_string() } else { String::new() };
        files::make_folder(&class)?;
        pictures::save(&crop(&found.picture, detection.xyxy), &class.join(format!("{stem}{number}.jpg")))?;
    }
    Ok(())
}

fn crop(picture: &RgbImage, [x1, y1, x2, y2]: [f32; 4]) -> RgbImage {
    let range = |low: f32, high: f32, side: u32| {
        let (centre, size) = ((low + high) / 2., (high - low) * GAIN + MARGIN);
        let start = ((centre - size / 2.).max(0.) as u32).min(side.saturating_sub(1));
        let end = ((centre + size / 2.).max(0.) as u32).clamp(start + 1, side.max(start + 1));
        (start, end - start)
    };
    let (left, width) = range(x1, x2, picture.width());
    let (top, height) = range(y1, y2, picture.height());
    RgbImage::from_fn(width, height, |x, y| *picture.get_pixel(left + x, top + y))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crops_are_a_little_larger_than_their_box_and_stay_inside() {
        let picture = RgbImage::from_fn(200, 100, |x, y| image::Rgb([x as u8, y as u8, 0]));
        let whole = crop(&picture, [50., 20., 150., 70.]);
        // x: 100 +- (100 * 1.02 + 10) / 2, y: 45 +- (50 * 1.02 + 10) / 2
        assert_eq!((whole.dimensions(), whole.get_pixel(0, 0)), ((112, 61), picture.get_pixel(44, 14)));
        assert_eq!(crop(&picture, [0., 0., 200., 100.]).dimensions(), (200, 100));
        assert_eq!(crop(&picture, [200., 100., 200., 100.]).dimensions(), (5, 5));
    }
}
