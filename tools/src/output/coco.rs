//! COCO's list of results.

use std::path::Path;

use anyhow::Result;
use candle_yolov8::data::{ImageId, image_ids};
use serde::Serialize;

use super::Found;
use crate::files;

/// Name of the file in the run's folder.
const FILE: &str = "predictions.json";

/// The results of all images, in their order. Which id an image has depends on all names, so they get it at the end.
#[derive(Debug, Default)]
pub(crate) struct CocoResults {
    /// Names of the images without extension.
    stems: Vec<String>,
    boxes: Vec<Scored>,
}

#[derive(Debug)]
struct Scored {
    image: usize,
    path: String,
    category_id: usize,
    xywh: [f32; 4],
    score: f32,
}

#[derive(Debug, Serialize)]
struct CocoResult<'a> {
    image_id: &'a ImageId,
    file_name: &'a str,
    category_id: usize,
    /// x, y, width, height in pixels.
    bbox: [f32; 4],
    score: f32,
}

impl CocoResults {
    /// Adds an image's detections; `stem` is its name without extension.
    pub(crate) fn add(&mut self, found: &Found, stem: String) {
        let image = self.stems.len();
        self.stems.push(stem);
        self.boxes.extend(found.detections.iter().map(|detection| {
            let [x1, y1, x2, y2] = detection.xyxy;
            Scored {
                image,
                path: found.path.clone(),
                category_id: detection.class_id,
                xywh: [x1, y1, x2 - x1, y2 - y1],
                score: detection.confidence,
            }
        }));
    }

    /// Writes `predictions.json` into `folder`, with the ids of [`image_ids`].
    pub(crate) fn save(&self, folder: &Path) -> Result<()> {
        let ids = image_ids(&self.stems);
        let mut results = Vec::with_capacity(self.boxes.len());
        for Scored { image, path, category_id, xywh, score } in &self.boxes {
            results.push(CocoResult {
                image_id: &ids[*image],
                file_name: path,
                category_id: *category_id,
                bbox: *xywh,
                score: *score,
            });
        }
        files::write(&folder.join(FILE), &serde_json::to_vec(&results)?)
    }
}
