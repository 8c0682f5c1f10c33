//! The image with its boxes.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Result, bail};
use candle_vision::image::{self as images, DrawnBox, Pen, RgbImage};
use candle_yolov8::Detection;

use super::drawable;
use super::{Found, class_name, file_name};
use crate::run_dir::RunDir;
use ghostzoo::plot::typeface;

/// Endings of files that can be written.
const EXTENSIONS: [&str; 5] = ["jpg", "jpeg", "png", "webp", "bmp"];

/// What of boxes is drawn.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BoxStyle {
    /// Names of the classes as they are drawn, unless they are not.
    names: Option<Vec<String>>,
    /// Whether with confidences.
    has_conf: bool,
    /// Whether at all.
    has_boxes: bool,
    /// Pixels of a line; of the image's own width where there is none.
    line_width: Option<u32>,
}

/// What the options say that is not drawn.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Hidden {
    pub(crate) labels: bool,
    pub(crate) conf: bool,
    pub(crate) boxes: bool,
}

impl BoxStyle {
    /// All but what is hidden. Names in letters that no font has are their numbers.
    pub(crate) fn new(names: &[String], hidden: Hidden, line_width: Option<u32>, quiet: bool) -> Self {
        let has_names = !hidden.labels && !hidden.boxes;
        Self {
            names: has_names.then(|| drawable(names, quiet)),
            has_conf: !hidden.conf,
            has_boxes: !hidden.boxes,
            line_width,
        }
    }

    /// What stands at a box; nothing where both its parts are hidden.
    fn text(&self, found: &Detection, track_id: Option<u64>) -> String {
        let id = track_id.filter(|_| self.names.is_some()).map(|track_id| format!("id:{track_id}"));
        let name = self.names.as_ref().map(|names| class_name(names, found.class_id));
        let conf = self.has_conf.then(|| format!("{:.2}", found.confidence));
        id.into_iter().chain(name).chain(conf).collect::<Vec<_>>().join(" ")
    }
}

/// The image with boxes and labels.
pub(crate) fn annotated(found: &Found, annotation: &BoxStyle) -> RgbImage {
    let record = found.record();
    let label = |(index, found): (usize, &Detection)| DrawnBox {
        xyxy: found.xyxy,
        class_id: found.class_id,
        text: annotation.text(found, record.track_id(index)),
    };
    let shown = found.detections.iter().enumerate().filter(|_| annotation.has_boxes);
    let boxes: Vec<DrawnBox> = shown.map(label).collect();
    let mut image = found.image.clone();
    images::draw_boxes(&mut image, &boxes, &Pen::new().line_width(annotation.line_width).font(typeface()));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Ultralytics 8.4.190's four labels, and none with `show_boxes=False`.
    #[test]
    fn a_label_has_the_parts_that_are_not_hidden() {
        let found = Detection { class_id: 1, confidence: 0.875, xyxy: [0.; 4] };
        let names = ["a".to_owned(), "b c".to_owned()];
        for (labels, conf, expected) in
            [(false, false, "b c 0.88"), (false, true, "b c"), (true, false, "0.88"), (true, true, "")]
        {
            let annotation = BoxStyle::new(&names, Hidden { labels, conf, boxes: false }, None, true);
            assert_eq!(annotation.text(&found, None), expected, "{labels} {conf}");
        }
        assert!(!BoxStyle::new(&names, Hidden { boxes: true, ..Hidden::default() }, None, true).has_boxes);
        let all = BoxStyle::new(&names, Hidden::default(), None, true);
        assert_eq!(all.text(&found, Some(12)), "id:12 b c 0.88");
        let unnamed = BoxStyle::new(&[], Hidden::default(), Some(3), true);
        assert_eq!(unnamed.text(&found, None), "1 0.88");
    }
}
