//! COCO's list of results.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

use super::Found;
use crate::files;

/// Name of the file in the run's folder.
const FILE: &str = "predictions.json";

/// The results of all pictures, in their order.
#[derive(Debug, Default)]
pub(crate) struct CocoResults(Vec<CocoResult>);

#[derive(Debug, Serialize)]
struct CocoResult {
    image_id: Value,
    category_id: usize,
    /// x, y, width, height in pixels.
    bbox: [f32; 4],
    score: f32,
}

impl CocoResults {
    /// Adds a picture's detections. Its id is the number that is its file name's stem, else the stem.
    pub(crate) fn add(&mut self, found: &Found, stem: &str) {
        let image_id = match stem.parse::<u64>() {
            Ok(number) => Value::from(number),
            Err(_) => Value::from(stem),
        };
        self.0.extend(found.detections.iter().map(|detection| {
            let [x1, y1, x2, y2] = detection.xyxy;
            CocoResult {
                image_id: image_id.clone(),
                category_id: detection.class_id,
                bbox: [x1, y1, x2 - x1, y2 - y1],
                score: detection.confidence,
            }
        }));
    }

    /// Writes `predictions.json` into `folder`.
    pub(crate) fn save(&self, folder: &Path) -> Result<()> {
        files::write(&folder.join(FILE), &serde_json::to_vec(&self.0)?)
    }
}
