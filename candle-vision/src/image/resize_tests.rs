use super::*;
use crate::image::fixtures::{cases, check_digests, image, size, synthetic};
use crate::image::{EvalTransform, resize_bilinear, resize_bilinear_alone};

fn interpolation(case: &serde_json::Value) -> Interpolation {
    case["interpolation"].as_str().unwrap().parse().unwrap()
}

#[test]
fn resize_is_bit_equal_with_pil() {
    check_digests("resize", |case| resize(&image(case), size(case, "out"), interpolation(case)).into_raw());
}

#[test]
fn bilinear_is_bit_equal_with_cv2() {
    check_digests("cv2", |case| resize_bilinear(&image(case), size(case, "out")).into_raw());
    check_digests("cv2", |case| resize_bilinear_alone(&image(case), size(case, "out")).into_raw());
}

#[test]
fn classify_transform_is_bit_equal_with_timm() {
    check_digests("classify", |case| {
        let transform = EvalTransform {
            input_size: size(case, "size"),
            crop_pct: case["crop_pct"].as_f64().unwrap(),
            interpolation: interpolation(case),
            ..EvalTransform::default()
        };
        let tensor = transform.apply(&image(case), &candle_core::Device::Cpu).unwrap();
        let [height, width] = transform.input_size;
        assert_eq!(tensor.dims(), [3, height, width]);
        tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().flat_map(|value| value.to_le_bytes()).collect()
    });
}

#[test]
fn a_window_is_the_crop_of_the_whole() {
    let source = synthetic(7, 61, 83);
    for case in cases("resize").iter().filter(|case| size(case, "out").iter().all(|&side| side > 4)) {
        let [height, width] = size(case, "out");
        let window = Window { rows: 1..height - 2, columns: 2..width - 1 };
        let whole = resize(&source, [height, width], interpolation(case));
        let crop = image::imageops::crop_imm(&whole, 2, 1, width as u32 - 3, height as u32 - 3).to_image();
        assert_eq!(resize_window(&source, [height, width], &window, interpolation(case)), crop, "{case}");
    }
}

#[test]
fn extreme_weights_do_not_overflow() {
    let white = RgbImage::from_pixel(1000, 700, image::Rgb([255; 3]));
    for interpolation in [Interpolation::Bilinear, Interpolation::Bicubic] {
        for size in [[1, 1], [3, 5], [699, 1001], [1400, 13]] {
            assert!(
                resize(&white, size, interpolation).iter().all(|&level| level == 255),
                "{interpolation:?} {size:?}"
            );
        }
    }
}

#[test]
fn empty_images_give_black_or_nothing() {
    assert_eq!(resize(&RgbImage::new(0, 5), [2, 3], Interpolation::Bicubic), RgbImage::new(3, 2));
    assert_eq!(resize_bilinear(&RgbImage::new(5, 0), [2, 3]), RgbImage::new(3, 2));
    assert!(resize(&synthetic(1, 4, 4), [0, 3], Interpolation::Bilinear).is_empty());
    assert_eq!(EvalTransform::default().resize_crop(&RgbImage::new(0, 0)), RgbImage::new(224, 224));
}

#[test]
fn long_strips_cost_only_their_crop() {
    let strip = synthetic(3, 10, 20_000);
    assert_eq!(EvalTransform::default().resized([10, 20_000]), [256, 512_000]);
    assert_eq!(EvalTransform::default().resize_crop(&strip).dimensions(), (224, 224));
}
