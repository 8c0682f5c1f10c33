use super::*;
use crate::image::fixtures::{cases, check_digests, image, size};
use ghostzoo_kernels::{PLACES, Place};

fn options(case: &serde_json::Value) -> Letterbox {
    let scale_up = case.get("scale_up").is_none_or(|value| value.as_bool().unwrap());
    Letterbox { size: size(case, "size"), stride: 32, auto: case["auto"].as_bool().unwrap(), scale_up }
}

#[test]
fn letterbox_is_bit_equal_with_ultralytics() {
    check_digests("letterbox", |case| {
        let (out, info) = letterbox(&image(case), &options(case));
        assert_eq!([out.height() as usize, out.width() as usize], info.size);
        assert_eq!(info.size, size(case, "padded"), "{case}");
        out.into_raw()
    });
}

#[test]
fn boxes_return_as_with_ultralytics() {
    /// Of f32 coordinates up to 300, divided once.
    const TOLERANCE: f32 = 1e-4;
    for case in cases("letterbox").iter().filter(|case| case.get("boxes").is_some()) {
        let info = options(case).plan(size(case, "in"));
        let boxes: Vec<[f32; 4]> = serde_json::from_value(case["boxes"].clone()).unwrap();
        let original: Vec<[f32; 4]> = serde_json::from_value(case["original"].clone()).unwrap();
        for (seen, wanted) in boxes.iter().zip(&original) {
            let back = info.to_original(*seen);
            let gap = back.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(gap <= TOLERANCE, "{case}: {back:?} is not {wanted:?}");
        }
    }
}

#[test]
fn plans_are_those_of_ultralytics() {
    for case in cases("plan") {
        let info = options(&case).plan(size(&case, "in"));
        let found = [info.size, info.pad, info.resized];
        assert_eq!(found, ["padded", "pad", "resized"].map(|key| size(&case, key)), "{case}");
    }
}

#[test]
fn a_box_not_scaled_up_returns_to_its_place() {
    let info = Letterbox { scale_up: false, ..Letterbox::new([64, 64]) }.plan([20, 30]);
    assert_eq!((info.resized, info.pad, info.ratio), ([20, 30], [22, 17], 1.0));
    assert_eq!(info.to_original([17.0, 22.0, 27.0, 32.0]), [0.0, 0.0, 10.0, 10.0]);
}

#[test]
fn tensors_are_planes_of_unit_levels() {
    let image = RgbImage::from_raw(2, 1, vec![0, 51, 255, 1, 2, 3]).unwrap();
    let tensor = to_tensor(&image, &Device::Cpu).unwrap();
    assert_eq!(tensor.dims(), [3, 1, 2]);
    let planes = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(planes, [0.0, 1.0 / 255.0, 0.2, 2.0 / 255.0, 1.0, 3.0 / 255.0]);
}

#[test]
fn odd_sizes_and_strides_do_not_panic() {
    for original in [[0, 0], [1, 20_000], [20_000, 1]] {
        for stride in [0, 1, 32] {
            let info = Letterbox::rect([64, 64], stride).plan(original);
            assert!(info.resized.iter().all(|&side| side >= 1), "{info:?}");
        }
    }
    let (out, info) = letterbox(&RgbImage::new(0, 0), &Letterbox::new([8, 8]));
    assert_eq!((out.dimensions(), info.original), ((8, 8), [1, 1]));
}

/// The GPUs that the build and the machine have, and the emulators.
fn gpus() -> impl Iterator<Item = &'static Place> {
    PLACES.iter().filter(|place| !matches!(place, Place::Cpu))
}

#[test]
fn a_gpu_letterboxes_to_the_bit() {
    let sizes = [[1, 1], [3, 200], [37, 61], [64, 64], [128, 96], [128, 128], [97, 131], [300, 40], [0, 7]];
    let image = |index: usize, [height, width]: [u32; 2]| {
        let level = |x: u32, y: u32| (x * 7 + y * 13 + index as u32 * 101) ^ (x * y);
        RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([level(x, y) as u8, (level(x, y) >> 2) as u8, (level(y, x) >> 1) as u8])
        })
    };
    let images: Vec<RgbImage> = sizes.iter().enumerate().map(|(index, size)| image(index, *size)).collect();
    for options in [Letterbox::new([64, 64]), Letterbox::rect([64, 96], 32), Letterbox::new([65, 33])] {
        let seen = |image: &RgbImage| letterbox(image, &options);
        let mut groups = std::collections::BTreeMap::<[usize; 2], Vec<&RgbImage>>::new();
        for image in &images {
            groups.entry(seen(image).1.size).or_default().push(image);
        }
        for (group, dtype) in
            groups.values().flat_map(|group| [DType::F32, DType::F16, DType::BF16].map(|d| (group, d)))
        {
            let planes = group.iter().map(|image| to_tensor(&seen(image).0, &Device::Cpu).unwrap());
            let expected = Tensor::stack(&planes.collect::<Vec<_>>(), 0).unwrap().to_dtype(dtype).unwrap();
            let bits = |xs: &Tensor| {
                let xs = xs.to_device(&Device::Cpu).unwrap().to_dtype(DType::F32).unwrap();
                xs.flatten_all().unwrap().to_vec1::<f32>().unwrap()
            };
            for place in gpus() {
                let found = place.run(|| {
                    let upload = |image: &&RgbImage| {
                        let (upload, info) = Upload::new(image, &options, place.device()).unwrap();
                        assert_eq!(info, seen(image).1);
                        upload
                    };
                    let uploads: Vec<Upload> = group.iter().map(upload).collect();
                    letterbox_uploads(&uploads.iter().collect::<Vec<_>>(), dtype).unwrap()
                });
                assert_eq!((found.dims(), found.dtype()), (expected.dims(), dtype));
                assert!(bits(&found) == bits(&expected), "{options:?} in {dtype:?} on {place:?}");
            }
        }
    }
}

#[test]
fn letterboxes_of_two_sizes_are_no_batch() {
    for place in gpus() {
        let error = place.run(|| {
            let upload =
                |side| Upload::new(&RgbImage::new(9, 9), &Letterbox::new([side; 2]), place.device()).unwrap().0;
            letterbox_uploads(&[&upload(32), &upload(64)], DType::F32).unwrap_err().to_string()
        });
        assert!(error.contains("in one batch"), "{error}");
    }
}
