//! The files that `tests/oracle/metrics.py` writes.

use std::path::PathBuf;

use serde::Deserialize;

use super::coco::{GroundTruth, ScoredBox};

#[derive(Deserialize)]
pub(super) struct Golden {
    pub(super) classes: usize,
    /// Image, class, x, y, w, h, area, crowd.
    truths: Vec<[f64; 8]>,
    /// Image, class, x, y, w, h, score.
    detections: Vec<[f64; 7]>,
    pub(super) coco: Coco,
    pub(super) ultralytics: Option<Ultralytics>,
}

#[derive(Deserialize)]
pub(super) struct Coco {
    pub(super) stats: [f64; 12],
    pub(super) by_class: Vec<[f64; 2]>,
}

#[derive(Deserialize)]
pub(super) struct Ultralytics {
    pub(super) classes: Vec<usize>,
    pub(super) precision: Vec<f64>,
    pub(super) recall: Vec<f64>,
    pub(super) f1: Vec<f64>,
    pub(super) ap: Vec<[f64; 10]>,
    pub(super) curves: Curves,
    pub(super) confusion: Vec<Vec<u64>>,
}

/// Every 37th point of each curve, by class.
#[derive(Deserialize)]
pub(super) struct Curves {
    pub(super) precision: Vec<Vec<f64>>,
    pub(super) recall: Vec<Vec<f64>>,
    pub(super) f1: Vec<Vec<f64>>,
    pub(super) pr: Vec<Vec<f64>>,
}

pub(super) fn names() -> [&'static str; 7] {
    ["bccd", "plain", "crowds", "many", "ties", "nothing", "absent-classes"]
}

pub(super) fn golden(name: &str) -> Golden {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/metrics");
    let text = std::fs::read(folder.join(format!("{name}.json"))).expect("a committed file");
    serde_json::from_slice(&text).expect("of this form")
}

impl Golden {
    pub(super) fn truths(&self) -> Vec<GroundTruth> {
        let truth = |row: &[f64; 8]| {
            let [image, class, x, y, w, h, area, crowd] = *row;
            GroundTruth { image: image as usize, class: class as usize, bbox: [x, y, w, h], area, crowd: crowd != 0. }
        };
        self.truths.iter().map(truth).collect()
    }

    pub(super) fn detections(&self) -> Vec<ScoredBox> {
        let scored = |row: &[f64; 7]| {
            let [image, class, x, y, w, h, score] = *row;
            ScoredBox { image: image as usize, class: class as usize, bbox: [x, y, w, h], score }
        };
        self.detections.iter().map(scored).collect()
    }
}
