//! The picture with its boxes.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::Result;
use candle_vision::image::{self as pictures, BoxLabel};

use super::{Found, class_name, file_name};

/// Endings of files that can be written.
const EXTENSIONS: [&str; 5] = ["jpg", "jpeg", "png", "webp", "bmp"];

/// Writes the picture with boxes and labels into `folder` under its own name, or with `.jpg` where its format can be
/// read only.
pub(crate) fn save_annotated(found: &Found, folder: &Path, stem: &OsStr, names: &[String]) -> Result<()> {
    let extension = Path::new(&found.path).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let known = EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known));
    let name = file_name(stem, &format!(".{}", if known { extension } else { "jpg" }));
    let label = |detection: &candle_yolov8::Detection| BoxLabel {
        xyxy: detection.xyxy,
        class_id: detection.class_id,
        text: format!("{} {:.2}", class_name(names, detection.class_id), detection.confidence),
    };
    let boxes: Vec<BoxLabel> = found.detections.iter().map(label).collect();
    let mut picture = found.picture.clone();
    pictures::draw_boxes(&mut picture, &boxes);
    Ok(pictures::save(&picture, &folder.join(name))?)
}
