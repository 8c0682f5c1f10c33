//! Labels as YOLO's training data has them.

use std::ffi::OsStr;
use std::fmt::Write;
use std::path::Path;

use anyhow::Result;

use super::{Found, file_name};
use crate::files;

/// Writes `folder/labels/stem.txt`: per box `class x y w h` with the centre and the size as shares of the image, and
/// its confidence, and last its identity where it is tracked. An image without boxes gets no file.
pub(crate) fn save_txt(found: &Found, folder: &Path, stem: &OsStr, with_confidence: bool) -> Result<()> {
    if found.detections.is_empty() {
        return Ok(());
    }
    let (width, height) = (found.image.width() as f32, found.image.height() as f32);
    let mut text = String::new();
    for (index, detection) in found.detections.iter().enumerate() {
        let [x1, y1, x2, y2] = detection.xyxy;
        let shares = [(x1 + x2) / 2. / width, (y1 + y2) / 2. / height, (x2 - x1) / width, (y2 - y1) / height];
        text.push_str(&detection.class_id.to_string());
        for value in shares.into_iter().chain(with_confidence.then_some(detection.confidence)) {
            // Writing to a string cannot fail.
            let _ = write!(text, " {}", six_digits(value));
        }
        if let Some(track_id) = found.record().track_id(index) {
            let _ = write!(text, " {track_id}");
        }
        text.push('\n');
    }
    let labels = folder.join("labels");
    files::make_folder(&labels)?;
    files::write(&labels.join(file_name(stem, ".txt")), text.as_bytes())
}

/// `value` with six significant digits and no trailing zeros, C's `%g`.
fn six_digits(value: f32) -> String {
    let scientific = format!("{value:.5e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |digits: &str| match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => digits.to_owned(),
    };
    if (-4..6).contains(&exponent) {
        trim(&format!("{value:.*}", (5 - exponent) as usize))
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", trim(mantissa), exponent.abs())
    }
}

#[cfg(test)]
mod tests {
    use super::six_digits;

    /// Printed by Python's `"%g" % value`.
    #[test]
    fn numbers_print_as_in_c() {
        let cases = [
            (0.0, "0"),
            (1.0, "1"),
            (0.5, "0.5"),
            (0.123_456_79, "0.123457"),
            (0.999_999_9, "1"),
            (0.000_123_456, "0.000123456"),
            (0.000_012_345_678, "1.23457e-05"),
            (123_456.7, "123457"),
            (1_234_567.0, "1.23457e+06"),
        ];
        for (value, expected) in cases {
            assert_eq!(six_digits(value), expected);
        }
    }
}
