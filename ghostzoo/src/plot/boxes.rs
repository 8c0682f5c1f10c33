//! Objects on the image that they were found in.

use candle_vision::image::{DrawnBox, Pen, RgbImage, draw_boxes};

use super::fonts::typeface;
use crate::Detection;

/// What of boxes is drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BoxStyle {
    /// Names of the classes as they are drawn: see [`drawable`](super::drawable). One that lacks is its number.
    pub names: Vec<String>,
    /// Whether with names, and with identities of tracked objects.
    pub labels: bool,
    /// Whether with confidences.
    pub conf: bool,
    /// Whether at all.
    pub boxes: bool,
    /// Pixels of a line; `None` for those that the image asks for.
    pub line_width: Option<u32>,
}

impl BoxStyle {
    /// Boxes with names and confidences, in lines as wide as the image asks for.
    #[must_use]
    pub fn new(names: Vec<String>) -> Self {
        Self { names, labels: true, conf: true, boxes: true, line_width: None }
    }

    /// Whether with names, and with identities of tracked objects.
    #[must_use]
    pub fn labels(self, labels: bool) -> Self {
        Self { labels, ..self }
    }

    /// Whether with confidences.
    #[must_use]
    pub fn conf(self, conf: bool) -> Self {
        Self { conf, ..self }
    }

    /// Whether at all.
    #[must_use]
    pub fn boxes(self, boxes: bool) -> Self {
        Self { boxes, ..self }
    }

    /// Pixels of a line; `None` for those that the image asks for.
    #[must_use]
    pub fn line_width(self, line_width: impl Into<Option<u32>>) -> Self {
        Self { line_width: line_width.into(), ..self }
    }

    /// What stands at a box; nothing where both its parts are hidden.
    fn text(&self, found: &Detection, track_id: Option<u64>) -> String {
        let id = track_id.filter(|_| self.labels).map(|track_id| format!("id:{track_id}"));
        let name = || self.names.get(found.class_id).cloned().unwrap_or_else(|| found.class_id.to_string());
        let conf = self.conf.then(|| format!("{:.2}", found.confidence));
        id.into_iter().chain(self.labels.then(name)).chain(conf).collect::<Vec<_>>().join(" ")
    }
}

/// Draws objects, the first on top, each with its identity where it is tracked.
pub fn annotate<'a>(
    image: &mut RgbImage,
    objects: impl IntoIterator<Item = (&'a Detection, Option<u64>)>,
    style: &BoxStyle,
) {
    let drawn = |(found, track_id): (&Detection, Option<u64>)| DrawnBox {
        xyxy: found.xyxy,
        class_id: found.class_id,
        text: style.text(found, track_id),
    };
    let boxes: Vec<DrawnBox> = objects.into_iter().filter(|_| style.boxes).map(drawn).collect();
    draw_boxes(image, &boxes, &Pen::new().line_width(style.line_width).font(typeface()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_vision::image::class_color;

    /// Ultralytics 8.4.190's four labels.
    #[test]
    fn a_label_has_the_parts_that_are_not_hidden() {
        let found = Detection { class_id: 1, confidence: 0.875, xyxy: [0.; 4] };
        let all = BoxStyle::new(vec!["a".to_owned(), "b c".to_owned()]);
        for (labels, conf, expected) in
            [(true, true, "b c 0.88"), (true, false, "b c"), (false, true, "0.88"), (false, false, "")]
        {
            assert_eq!(all.clone().labels(labels).conf(conf).text(&found, None), expected, "{labels} {conf}");
        }
        assert_eq!(all.text(&found, Some(12)), "id:12 b c 0.88");
        assert_eq!(all.labels(false).text(&found, Some(12)), "0.88");
        assert_eq!(BoxStyle::new(Vec::new()).text(&found, None), "1 0.88");
    }

    #[test]
    fn a_frame_is_drawn_unless_boxes_are_hidden() {
        let found = Detection { class_id: 3, confidence: 0.5, xyxy: [10., 30., 50., 50.] };
        let with = |boxes| {
            let mut image = RgbImage::new(64, 64);
            let style = BoxStyle::new(Vec::new()).labels(false).conf(false).boxes(boxes).line_width(4);
            annotate(&mut image, [(&found, None)], &style);
            image
        };
        let drawn = with(true);
        assert_eq!((drawn.get_pixel(30, 49).0, drawn.get_pixel(30, 51).0), (class_color(3), class_color(3)));
        assert_eq!(drawn.get_pixel(30, 53).0, [0; 3], "four pixels");
        assert_eq!(with(false), RgbImage::new(64, 64));
    }
}
