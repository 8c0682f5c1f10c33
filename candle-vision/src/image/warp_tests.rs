use serde_json::Value;

use super::*;
use crate::image::GREY;
use crate::image::fixtures::{check_digests_of, image, size};

fn matrix<const ROWS: usize>(case: &Value) -> [[f32; 3]; ROWS] {
    let rows: Vec<[f32; 3]> = serde_json::from_value(case["matrix"].clone()).unwrap();
    rows.try_into().unwrap()
}

#[test]
fn affine_warps_are_bit_equal_with_cv2() {
    check_digests_of("augment/image.json", "affine", |case| {
        warp_affine(&image(case), &matrix(case), size(case, "out"), GREY).into_raw()
    });
}

#[test]
fn perspective_warps_are_bit_equal_with_cv2() {
    check_digests_of("augment/image.json", "perspective", |case| {
        warp_perspective(&image(case), &matrix(case), size(case, "out"), GREY).into_raw()
    });
}

#[test]
fn whole_steps_move_pixels_and_show_the_border() {
    let source = RgbImage::from_fn(3, 2, |x, y| Rgb([x as u8, y as u8, 7]));
    let moved = warp_affine(&source, &[[1., 0., 1.], [0., 1., -1.]], [2, 4], 9);
    let expected = |x: u32, y: u32| if x > 0 && y == 0 { [x as u8 - 1, 1, 7] } else { [9; 3] };
    assert!(moved.enumerate_pixels().all(|(x, y, pixel)| pixel.0 == expected(x, y)), "{moved:?}");
    let tilted = warp_perspective(&source, &[[1., 0., 1.], [0., 1., -1.], [0., 0., 1.]], [2, 4], 9);
    assert_eq!(tilted, moved);
}

#[test]
fn nothing_to_read_from_is_border() {
    let matrix = [[1., 0., 0.], [0., 1., 0.], [0., 0., 1.]];
    for (width, height) in [(0, 0), (0, 3), (3, 0)] {
        let source = RgbImage::new(width, height);
        assert!(warp_perspective(&source, &matrix, [2, 2], 5).iter().all(|&level| level == 5));
    }
    assert!(warp_affine(&RgbImage::new(3, 3), &[[f32::NAN; 3]; 2], [2, 2], 5).iter().all(|&level| level == 5));
    assert!(warp_affine(&RgbImage::new(3, 3), &[[1., 0., 0.], [0., 1., 0.]], [0, 2], 5).is_empty());
}
