//! Small data sets for the tests of this module.

use std::path::Path;

use candle_vision::image::{Rgb, RgbImage, save};

use crate::data::{AnnotatedImage, Annotation, BBox, ImageId};

/// `count` images of several shapes with one to three objects each, as files of a folder.
pub(super) fn images(folder: &Path, count: usize) -> Vec<AnnotatedImage> {
    (0..count).map(|number| image(folder, number)).collect()
}

fn image(folder: &Path, number: usize) -> AnnotatedImage {
    let (width, height) = [(40, 30), (30, 40), (32, 32), (64, 20)][number % 4];
    let level = |x: u32, y: u32, c: u32| (x * (3 + c) + y * 5 + x * y / 7 + 11 * number as u32) as u8;
    let image = RgbImage::from_fn(width, height, |x, y| Rgb([0, 1, 2].map(|c| level(x, y, c))));
    let path = folder.join(format!("{number}.png"));
    save(&image, &path).unwrap();
    let label = |object: usize| Annotation {
        class: (number + object) % 5,
        place: BBox::Normalised([0.3 + 0.2 * object as f64, 0.5, 0.4, 0.6]),
        outline_area: None,
        crowd: false,
    };
    AnnotatedImage {
        image_id: ImageId::of_path(&path),
        path,
        size: None,
        labels: (0..1 + number % 3).map(label).collect(),
    }
}
