//! What `tests/oracle/image.py` and these tests share: synthetic images, a digest, golden files.

use std::path::PathBuf;

use image::RgbImage;
use serde_json::Value;

/// An image of noise, gradients and hard edges, from integers only: the oracle's `synthetic`.
pub(crate) fn synthetic(seed: u32, height: usize, width: usize) -> RgbImage {
    let mut pixels = Vec::with_capacity(height * width * 3);
    for (index, (y, x, channel)) in
        (0..height).flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |channel| (y, x, channel)))).enumerate()
    {
        let mut hash = (index as u32).wrapping_mul(2_654_435_761).wrapping_add(seed.wrapping_mul(40_503));
        hash = (hash ^ (hash >> 15)).wrapping_mul(2_246_822_519);
        hash ^= hash >> 13;
        pixels.push(match (x / 8 + y / 8) % 3 {
            0 => (hash >> 24) as u8,
            1 => ((x * 255 / width + y * (channel + 1) * 127 / height) % 256) as u8,
            _ => ((x / 3 + y / 2) % 2 * 255) as u8,
        });
    }
    RgbImage::from_raw(width as u32, height as u32, pixels).expect("three levels were pushed per pixel")
}

/// 64-bit FNV-1a in hexadecimal.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let hash = bytes
        .iter()
        .fold(0xCBF2_9CE4_8422_2325_u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3));
    format!("{hash:016x}")
}

pub(super) fn golden_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/image")
}

/// A file below `tests/golden`.
pub(super) fn golden(file: &str) -> Value {
    let text = std::fs::read_to_string(golden_dir().join("..").join(file)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The cases of one section of `cases.json`.
pub(super) fn cases(section: &str) -> Vec<Value> {
    cases_of("image/cases.json", section)
}

fn cases_of(file: &str, section: &str) -> Vec<Value> {
    let cases = golden(file)[section].as_array().unwrap().clone();
    assert!(!cases.is_empty(), "no cases in section {section}");
    cases
}

/// A [height, width] of a case.
pub(super) fn size(case: &Value, key: &str) -> [usize; 2] {
    serde_json::from_value(case[key].clone()).unwrap()
}

/// The synthetic image of a case.
pub(super) fn image(case: &Value) -> RgbImage {
    let [height, width] = size(case, "in");
    synthetic(case["seed"].as_u64().unwrap() as u32, height, width)
}

/// Fails with every case whose digest is not the golden one.
pub(super) fn check_digests(section: &str, output: impl Fn(&Value) -> Vec<u8>) {
    check_digests_of("image/cases.json", section, output);
}

/// [`check_digests`] of a file below `tests/golden`.
pub(super) fn check_digests_of(file: &str, section: &str, output: impl Fn(&Value) -> Vec<u8>) {
    let wrong: Vec<String> = cases_of(file, section)
        .into_iter()
        .filter_map(|case| {
            let bytes = output(&case);
            let head: Vec<u8> = serde_json::from_value(case["head"].clone()).unwrap();
            let same = digest(&bytes) == case["digest"] && bytes.starts_with(&head);
            (!same).then(|| format!("{case}\n  begins {:?}", &bytes[..head.len().min(bytes.len())]))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {section} differ:\n{}", wrong.len(), wrong.join("\n"));
}
