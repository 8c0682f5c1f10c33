//! The image with its boxes.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Result, bail};
use candle_vision::image::{self as images, RgbImage};
use ghostzoo::plot::{BoxStyle, annotate};

use super::{Found, file_name};
use crate::run_dir::RunDir;

/// Endings of files that can be written.
const EXTENSIONS: [&str; 5] = ["jpg", "jpeg", "png", "webp", "bmp"];

/// The image with boxes and labels.
pub(crate) fn annotated(found: &Found, style: &BoxStyle) -> RgbImage {
    let (record, mut image) = (found.record(), found.image.clone());
    let objects = found.detections.iter().enumerate().map(|(index, object)| (object, record.track_id(index)));
    annotate(&mut image, objects, style);
    image
}

/// Writes a drawn image into `folder` under the name that its file had at `path`, or with `.jpg` where its format can be read only.
pub(crate) fn save_annotated(image: &RgbImage, path: &str, folder: &RunDir, stem: &OsStr) -> Result<()> {
    let extension = Path::new(path).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let known = EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known));
    let name = file_name(stem, &format!(".{}", if known { extension } else { "jpg" }));
    let path = folder.path().join(name);
    if let Some(reason) = folder.refusal(&path) {
        bail!("cannot write the image {}: {reason}", path.display());
    }
    Ok(images::save(image, &path)?)
}
