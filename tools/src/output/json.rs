//! JSON Lines: one object per image.

use candle_yolov8::Detection;
use serde::Serialize;

use super::{Found, Speed, class_name};

/// The objects in one image.
#[derive(Debug, Serialize)]
pub(crate) struct JsonDetections<'a> {
    path: &'a str,
    width: u32,
    height: u32,
    detections: Vec<JsonDetection>,
    speed_ms: Speed,
}

#[derive(Debug, Serialize)]
struct JsonDetection {
    class_id: usize,
    class: String,
    confidence: f32,
    #[serde(rename = "box")]
    xyxy: JsonBox,
}

/// Corners in pixels of the image.
#[derive(Debug, Serialize)]
struct JsonBox {
    x1: f32,
    y1: f32,
    x2: f32,
    y2: f32,
}

impl<'a> JsonDetections<'a> {
    pub(crate) fn new(found: &'a Found, names: &[String]) -> Self {
        let detection = |detection: &Detection| {
            let [x1, y1, x2, y2] = detection.xyxy;
            JsonDetection {
                class_id: detection.class_id,
                class: class_name(names, detection.class_id),
                confidence: detection.confidence,
                xyxy: JsonBox { x1, y1, x2, y2 },
            }
        };
        Self {
            path: &found.path,
            width: found.image.width(),
            height: found.image.height(),
            detections: found.detections.iter().map(detection).collect(),
            speed_ms: found.speed,
        }
    }
}

/// The likeliest classes of one image.
#[derive(Debug, Serialize)]
pub(crate) struct JsonTop<'a> {
    pub(crate) path: &'a str,
    pub(crate) top: Vec<JsonClass>,
}

/// One class of an image.
#[derive(Debug, Serialize)]
pub(crate) struct JsonClass {
    pub(crate) class_id: usize,
    pub(crate) class: String,
    pub(crate) probability: f32,
}

/// An image that failed.
#[derive(Debug, Serialize)]
pub(crate) struct JsonError<'a> {
    pub(crate) path: &'a str,
    pub(crate) error: &'a str,
}
