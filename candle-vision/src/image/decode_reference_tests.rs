//! Files that decoders read in their own ways, against `tests/oracle/decode.py`.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::*;
use crate::image::fixtures::{digest, golden};
use crate::image::upright_size;

/// The name, bytes and case of each file.
fn files() -> Vec<(String, Vec<u8>, Value)> {
    let files = files_of("decode");
    assert!(files.len() > 300, "{}", files.len());
    files
}

fn files_of(source: &str) -> Vec<(String, Vec<u8>, Value)> {
    let files = golden(&format!("image/{source}.json"))["files"].as_array().unwrap().clone();
    let file = |case: Value| {
        (
            case["name"].as_str().unwrap().to_owned(),
            BASE64_STANDARD.decode(case["file"].as_str().unwrap()).unwrap(),
            case,
        )
    };
    files.into_iter().map(file).collect()
}

/// Width, height and digest, as the golden file tells them.
fn told(image: &RgbImage) -> Value {
    serde_json::json!([image.width(), image.height(), digest(image)])
}

/// Damaged arithmetic coding: libjpeg of the crate decodes what follows the damage otherwise than releases from 3.0 on.
const ELSEWHERE: [&str; 2] = ["arithmetic-cut-0.6-closed.jpg", "arithmetic-flip-5.jpg"];

/// Names of files that `options` do not read as `key` says; where `may_read_more`, those that the reference refuses may be
/// read.
fn differing(key: &str, options: &DecodeOptions, may_read_more: impl Fn(&str) -> bool) -> Vec<String> {
    let mut names = Vec::new();
    for (name, bytes, case) in files() {
        match (decode_with(&bytes, options), &case[key]) {
            (Ok(decoded), wanted) if told(&decoded.image) == *wanted => {}
            (Ok(_), Value::Null) if may_read_more(&name) => {}
            (Ok(_), _) if ELSEWHERE.contains(&name.as_str()) => {}
            (Ok(decoded), wanted) => names.push(format!("{name}: {} for {wanted}", told(&decoded.image))),
            (Err(_), Value::Null) => {}
            (Err(error), _) => names.push(format!("{name}: {error}")),
        }
    }
    names
}

#[test]
fn files_are_read_where_pillow_reads_them_to_its_pixels() {
    let wrong = differing("pillow", &DecodeOptions::stored(), |_| false);
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn files_are_read_where_opencv_reads_them_to_its_pixels() {
    // OpenCV refuses headers of version 4 for 16 bits, and runs beyond the row.
    let more = |name: &str| name.ends_with("-v4.bmp") || name == "run8-beyond-row.bmp";
    let wrong = differing("opencv", &DecodeOptions::default(), more);
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[cfg(all(feature = "tiff", feature = "gif"))]
#[test]
fn tiffs_and_gifs_are_read_as_the_reference_reads_them_or_else_the_other() {
    let mut wrong = Vec::new();
    for (name, bytes, case) in files_of("more_formats") {
        for (key, other, options) in
            [("pillow", "opencv", DecodeOptions::stored()), ("opencv", "pillow", DecodeOptions::default())]
        {
            let wanted = if case[key].is_null() { &case[other] } else { &case[key] };
            match decode_with(&bytes, &options) {
                Ok(decoded) if told(&decoded.image) == *wanted => {}
                Ok(decoded) => wrong.push(format!("{name} as {key}: {} for {wanted}", told(&decoded.image))),
                Err(error) => wrong.push(format!("{name} as {key}: {error}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[cfg(feature = "avif")]
#[test]
fn avifs_are_read_as_pillow_reads_them() {
    let mut wrong = Vec::new();
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes, case) in files_of("avif") {
        for (key, options) in [("pillow", DecodeOptions::stored()), ("opencv", DecodeOptions::default())] {
            let path = folder.path().join("file");
            std::fs::write(&path, &bytes).unwrap();
            let size = upright_size(&path, &options).unwrap_or_else(|error| panic!("{name}: {error}"));
            match decode_with(&bytes, &options) {
                Ok(decoded) if told(&decoded.image) == case[key] => {
                    let (width, height) = decoded.image.dimensions();
                    assert_eq!(size, [height as usize, width as usize], "{name}");
                }
                Ok(decoded) => wrong.push(format!("{name} as {key}: {} for {}", told(&decoded.image), case[key])),
                Err(error) => wrong.push(format!("{name} as {key}: {error}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn damage_is_told_of_and_what_is_rare_is_not() {
    let warned = |part: &str| -> Vec<(String, bool)> {
        let of_part = files().into_iter().filter(|(name, ..)| name.starts_with(part));
        let warned =
            of_part.filter_map(|(name, bytes, _)| Some((name, decode_with(&bytes, &DecodeOptions::default()).ok()?)));
        warned.map(|(name, decoded)| (name, decoded.warning.is_some())).collect()
    };
    for part in ["arithmetic.jpg", "arithmetic-progressive", "sampling", "exif", "cmyk.jpg", "components"] {
        let of_part = warned(part);
        assert!(!of_part.is_empty() && of_part.iter().all(|(_, warned)| !warned), "{part}: {of_part:?}");
    }
    let damaged = ["restart-0-missing", "restart-3-segment", "baseline-cut-0.8-closed", "progressive-cut-0.8-closed"];
    for part in damaged {
        let of_part = warned(part);
        assert!(!of_part.is_empty() && of_part.iter().all(|(_, warned)| *warned), "{part}: {of_part:?}");
    }
}

#[test]
fn a_files_size_is_known_without_its_pixels() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes, _) in files() {
        let path = folder.path().join("file");
        std::fs::write(&path, &bytes).unwrap();
        for options in [DecodeOptions::default(), DecodeOptions::stored()] {
            let decoded = decode_with(&bytes, &options);
            let size = upright_size(&path, &options);
            match (&decoded, size) {
                (Ok(decoded), Ok(size)) => {
                    let (width, height) = decoded.image.dimensions();
                    assert_eq!(size, [height as usize, width as usize], "{name}");
                }
                (Ok(_), Err(error)) => panic!("{name} is read, but: {error}"),
                // A file without its end shows that it is cut.
                (Err(ImageError::Truncated { .. }), Ok(_)) => assert!(name.contains("marker"), "{name}"),
                (Err(_), _) => {}
            }
        }
    }
}

/// As many as a run by hand is told by `GHOSTZOO_MUTATIONS`, else some hundred.
#[test]
fn mutated_jpegs_do_not_panic() {
    let rounds = std::env::var("GHOSTZOO_MUTATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(600);
    let mut state = 7u32;
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize
    };
    let sources: Vec<_> = files().into_iter().filter(|(name, ..)| name.ends_with(".jpg")).collect();
    let (mut read, mut warned) = (0, 0);
    for _ in 0..rounds {
        let (name, bytes, _) = &sources[random() % sources.len()];
        let mut bytes = bytes.clone();
        for _ in 0..1 + random() % 3 {
            let at = random() % bytes.len();
            match random() % 6 {
                0 => bytes[at] = random() as u8,
                1 => bytes[at] = 0xFF,
                2 => drop(bytes.drain(at..(at + random() % 9).min(bytes.len()))),
                3 => bytes.insert(at, random() as u8),
                _ => bytes[at] ^= 1 << (random() % 8),
            }
        }
        let reference = if random() % 2 == 0 { Reference::Pillow } else { Reference::OpenCv };
        let options = DecodeOptions { max_pixels: 1 << 20, reference, ..DecodeOptions::default() };
        match decode_with(&bytes, &options) {
            Ok(decoded) => {
                read += 1;
                warned += usize::from(decoded.warning.is_some());
            }
            Err(error) => assert!(!error.to_string().contains("gave up"), "{name}: {error}"),
        }
    }
    println!("{rounds} mutated files: {read} read, {warned} of them with a warning");
    assert!(read * 10 > rounds && warned * 20 > rounds, "{read} read, {warned} with a warning");
}
