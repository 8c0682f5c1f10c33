//! Results for people.

use std::collections::BTreeMap;

use candle_yolov8::Detection;

use super::{Speed, class_name, shown};

/// `2 persons, 1 bus`, in the order of the classes.
pub(crate) fn counts(detections: &[Detection], names: &[String]) -> String {
    let mut counts = BTreeMap::new();
    for detection in detections {
        *counts.entry(detection.class_id).or_insert(0usize) += 1;
    }
    if counts.is_empty() {
        return "(no detections)".to_owned();
    }
    let part = |(class_id, count): (usize, usize)| {
        format!("{count} {}{}", shown(&class_name(names, class_id)), if count > 1 { "s" } else { "" })
    };
    counts.into_iter().map(part).collect::<Vec<_>>().join(", ")
}

/// The mean times of a run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MeanSpeed {
    sum: Speed,
    count: usize,
}

impl MeanSpeed {
    /// Counts an image.
    pub(crate) fn add(&mut self, speed: Speed) {
        self.count += 1;
        self.sum.preprocess += speed.preprocess;
        self.sum.inference += speed.inference;
        self.sum.postprocess += speed.postprocess;
    }

    /// Whether no image was counted.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The times for people, and the shape that the model saw last.
    pub(crate) fn line(&self, [n, c, h, w]: [usize; 4]) -> String {
        let Speed { preprocess, inference, postprocess } = self.sum.shared(self.count);
        format!(
            "Speed: {preprocess:.1}ms preprocess, {inference:.1}ms inference, {postprocess:.1}ms postprocess per image at \
             shape ({n}, {c}, {h}, {w})"
        )
    }
}
