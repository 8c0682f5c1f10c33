//! What `tests/oracle/augment_classify.py` and these tests share.

use std::fmt::Debug;

use image::RgbImage;
use serde_json::Value;

use crate::image::fixtures::{digest, synthetic};

/// The cases of a golden file.
pub(super) fn cases(section: &str) -> Vec<Value> {
    let path = format!("{}/../tests/golden/augment_classify/{section}.json", env!("CARGO_MANIFEST_DIR"));
    let cases: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(!cases.is_empty(), "no cases in {section}");
    cases
}

/// A value of a case.
pub(super) fn value<T: serde::de::DeserializeOwned>(case: &Value, key: &str) -> T {
    serde_json::from_value(case[key].clone()).unwrap_or_else(|error| panic!("{key} of {case}: {error}"))
}

/// The image of a case: the oracle's `image`.
pub(super) fn image(case: &Value) -> RgbImage {
    let [height, width] = value(case, "in");
    let mut image = synthetic(value(case, "seed"), height, width);
    for pixel in image.as_chunks_mut::<3>().0 {
        *pixel = match case["kind"].as_str().unwrap_or("rgb") {
            "grey" => [pixel[0]; 3],
            "dim" => pixel.map(|level| level / 5 + 70),
            "flat" => [90; 3],
            _ => *pixel,
        };
    }
    image
}

/// Whether bytes are the golden ones of a case.
pub(super) fn is_golden(case: &Value, bytes: &[u8]) -> bool {
    let head: Vec<u8> = value(case, "head");
    bytes.starts_with(&head) && digest(bytes) == case["digest"]
}

/// Fails with every case for which `failure` says what is wrong.
pub(super) fn check<T: Debug>(section: &str, failure: impl Fn(&Value) -> Option<T>) {
    let cases = cases(section);
    let wrong: Vec<String> =
        cases.iter().filter_map(|case| failure(case).map(|failure| format!("{case}\n  {failure:?}"))).collect();
    assert!(wrong.is_empty(), "{} of {} cases of {section} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Fails with every case whose image is not the golden one.
pub(super) fn check_images(section: &str, change: impl Fn(&Value) -> RgbImage) {
    check(section, |case| {
        let out = change(case).into_raw();
        (!is_golden(case, &out)).then(|| out[..out.len().min(12)].to_vec())
    });
}
