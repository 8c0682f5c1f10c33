//! Whole samples against `tests/oracle/augment_detect.py`: plans that Ultralytics drew, its images and its boxes.

use std::sync::Arc;

use crate::seeded;
use candle_core::{Device, Shape};
use candle_vision::image::RgbImage;
use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Golden {
    size: usize,
    #[serde(rename = "pictures")]
    images: Vec<Image>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Image {
    size: [usize; 2],
    classes: Vec<usize>,
    boxes: Vec<[f32; 4]>,
}

#[derive(Deserialize)]
struct Case {
    index: usize,
    change: serde_json::Value,
    plan: SamplePlan,
    /// [height, width] of the input, where it is not the square one.
    input: Option<[usize; 2]>,
    digest: String,
    classes: Vec<usize>,
    boxes: Vec<[f32; 4]>,
}

fn golden() -> Golden {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/augment/detect.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn objects(classes: &[usize], boxes: &[[f32; 4]]) -> Vec<BoxTarget> {
    classes.iter().zip(boxes).map(|(&class, &xywhn)| BoxTarget { class, xywhn }).collect()
}

/// The noise that the oracle makes of the image's number.
fn scene(number: usize, image: &Image) -> RawSample {
    let [height, width] = image.size;
    let noise = seeded::uniform(&format!("picture {number}"), &Shape::from(height * width * 3), &Device::Cpu).unwrap();
    let levels = noise.to_vec1::<f32>().unwrap().into_iter().map(|level| ((level + 1.) * 128.) as u8).collect();
    let image_of = RgbImage::from_raw(width as u32, height as u32, levels).unwrap();
    RawSample { image: Arc::new(image_of), objects: objects(&image.classes, &image.boxes) }
}

/// 64-bit FNV-1a in hexadecimal.
fn digest(bytes: &[u8]) -> String {
    let start = 0xCBF2_9CE4_8422_2325_u64;
    let hash = bytes.iter().fold(start, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3));
    format!("{hash:016x}")
}

#[test]
fn samples_are_bit_equal_with_ultralytics() {
    let Golden { size, images, cases } = golden();
    let scenes: Vec<RawSample> = images.iter().enumerate().map(|(number, image)| scene(number, image)).collect();
    assert!(cases.len() >= 30 && cases.iter().map(|case| case.boxes.len()).sum::<usize>() > 100);
    for case in cases {
        let sample = case.plan.apply(case.index, &|index| scenes[index].clone(), case.input.unwrap_or([size; 2]));
        let what = format!("image {} with {}", case.index, case.change);
        assert_eq!(sample.objects, objects(&case.classes, &case.boxes), "{what}");
        assert_eq!(digest(&sample.planes), case.digest, "{what}");
    }
}
