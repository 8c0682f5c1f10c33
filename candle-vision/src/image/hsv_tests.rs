use super::*;
use crate::image::Rgb;
use crate::image::fixtures::{digest, golden, synthetic};

/// Multiples of 5.
fn levels() -> impl Iterator<Item = u8> + Clone {
    (0..=u8::MAX).step_by(5)
}

/// Each first level with each second and third, the last running fastest.
fn grid(first: impl Iterator<Item = u8>) -> Vec<[u8; 3]> {
    first.flat_map(|a| levels().flat_map(move |b| levels().map(move |c| [a, b, c]))).collect()
}

#[test]
fn colours_are_converted_as_by_cv2() {
    let golden = &golden("augment/image.json")["hsv"];
    let converted = |pixels: Vec<[u8; 3]>, convert: fn([u8; 3]) -> [u8; 3]| {
        digest(&pixels.into_iter().flat_map(convert).collect::<Vec<u8>>())
    };
    assert_eq!(converted(grid(levels()), hsv_from_rgb), golden["hsv_from_rgb"], "to HSV");
    assert_eq!(converted(grid(0..=u8::MAX), rgb_from_hsv), golden["rgb_from_hsv"], "from HSV");
}

#[test]
fn tables_map_each_pixel() {
    let mut tables = HsvLut { hue: [0; 256], saturation: [0; 256], value: [0; 256] };
    for level in 0..=u8::MAX {
        let index = usize::from(level);
        tables.hue[index] = level.wrapping_add(60);
        tables.saturation[index] = 255 - level;
        tables.value[index] = level / 2;
    }
    for (width, height) in [(0, 0), (1, 1), (63, 3), (64, 2), (130, 5)] {
        let image = synthetic(1, height, width);
        let mut mapped = image.clone();
        map_hsv(&mut mapped, &tables);
        for (Rgb(before), Rgb(after)) in image.pixels().zip(mapped.pixels()) {
            let [hue, saturation, value] = hsv_from_rgb(*before);
            assert_eq!(*after, rgb_from_hsv([hue.wrapping_add(60), 255 - saturation, value / 2]), "{before:?}");
        }
    }
}
