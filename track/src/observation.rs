//! A detection as the trackers compute with it.

use crate::detection::Detection;
use crate::kalman::BoxForm;

/// A detection with a box that has an area, in `f32`, rounded where Ultralytics rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Observation {
    /// Place among the frame's detections.
    pub(crate) index: usize,
    pub(crate) class_id: usize,
    pub(crate) score: f32,
    /// Left, top, width, height.
    ltwh: [f32; 4],
}

impl Observation {
    /// None for a box that is not finite or has no area, and for a score that is not finite.
    pub(crate) fn new(index: usize, detection: &Detection) -> Option<Self> {
        let [x1, y1, x2, y2] = detection.xyxy;
        let (width, height) = (x2 - x1, y2 - y1);
        let corner = |centre: f32, size: f32| (f64::from(centre) - f64::from(size) / 2.0) as f32;
        let ltwh = [corner((x1 + x2) / 2.0, width), corner((y1 + y2) / 2.0, height), width, height];
        let usable = width > 0.0
            && height > 0.0
            && ltwh.iter().all(|value| value.is_finite())
            && (width / height).is_finite()
            && detection.confidence.is_finite();
        usable.then_some(Self { index, class_id: detection.class_id, score: detection.confidence, ltwh })
    }

    /// Left, top, right, bottom.
    pub(crate) fn xyxy(&self) -> [f32; 4] {
        let [left, top, width, height] = self.ltwh;
        [left, top, left + width, top + height]
    }

    /// The four numbers that a filter of this form measures.
    pub(crate) fn measurement(&self, form: BoxForm) -> [f64; 4] {
        let [left, top, width, height] = self.ltwh;
        let third = if form == BoxForm::Xyah { width / height } else { width };
        [left + width / 2.0, top + height / 2.0, third, height].map(f64::from)
    }
}

/// The detections of at least the score `high`, and those between `low` and `high`.
pub(crate) fn split(detections: &[Detection], low: f64, high: f64) -> (Vec<Observation>, Vec<Observation>) {
    let (low, high) = (low as f32, high as f32);
    let observations =
        detections.iter().enumerate().filter_map(|(index, detection)| Observation::new(index, detection));
    observations.filter(|seen| seen.score >= high || seen.score > low).partition(|seen| seen.score >= high)
}
