//! JSON Lines: one object per image.

use candle_yolov8::Detection;
use serde::{Deserialize, Serialize};

use super::{ImageRecord, JsonCrossing, JsonZone, Speed, class_name};

/// The objects in one image.
#[derive(Debug, Serialize)]
pub(crate) struct JsonDetections<'a> {
    path: &'a str,
    /// From 1, of a video.
    #[serde(skip_serializing_if = "Option::is_none")]
    frame: Option<u64>,
    /// Seconds from the video's beginning, to the microsecond.
    #[serde(skip_serializing_if = "Option::is_none")]
    time_s: Option<f64>,
    width: u32,
    height: u32,
    detections: Vec<JsonDetection>,
    #[serde(skip_serializing_if = "Option::is_none")]
    crossings: Option<&'a [JsonCrossing]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zones: Option<&'a [JsonZone]>,
    speed_ms: Speed,
}

/// One object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct JsonDetection {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) track_id: Option<u64>,
    pub(crate) class_id: usize,
    pub(crate) class: String,
    pub(crate) confidence: f32,
    #[serde(rename = "box")]
    pub(crate) xyxy: JsonBox,
}

/// Corners in pixels of the image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct JsonBox {
    pub(crate) x1: f32,
    pub(crate) y1: f32,
    pub(crate) x2: f32,
    pub(crate) y2: f32,
}

/// What is kept of an image: [`JsonDetections`] without times, or [`JsonError`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JsonRecord {
    pub(crate) path: String,
    /// From 1, of a video.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) frame: Option<u64>,
    /// Seconds from the video's beginning, to the microsecond.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) time_s: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) width: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) height: Option<u32>,
    /// None where there is an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) detections: Option<Vec<JsonDetection>>,
    /// Why nothing could be found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl JsonRecord {
    /// Of an image that was looked at.
    pub(crate) fn new(record: &ImageRecord<'_>, names: &[String]) -> Self {
        let [width, height] = record.size;
        Self {
            path: record.path.to_owned(),
            frame: record.frame.map(|frame| frame.number),
            time_s: record.frame.map(|frame| micro(frame.time_s)),
            width: Some(width),
            height: Some(height),
            detections: Some(detections(record, names)),
            error: None,
        }
    }

    /// Of an image that failed.
    pub(crate) fn failed(path: &str, error: &str) -> Self {
        Self {
            path: path.to_owned(),
            frame: None,
            time_s: None,
            width: None,
            height: None,
            detections: None,
            error: Some(error.to_owned()),
        }
    }
}

fn detections(record: &ImageRecord<'_>, names: &[String]) -> Vec<JsonDetection> {
    let detection = |(index, detection): (usize, &Detection)| {
        let [x1, y1, x2, y2] = detection.xyxy;
        JsonDetection {
            track_id: record.track_id(index),
            class_id: detection.class_id,
            class: class_name(names, detection.class_id),
            confidence: detection.confidence,
            xyxy: JsonBox { x1, y1, x2, y2 },
        }
    };
    record.detections.iter().enumerate().map(detection).collect()
}

impl<'a> JsonDetections<'a> {
    pub(crate) fn new(record: &ImageRecord<'a>, names: &[String]) -> Self {
        let [width, height] = record.size;
        Self {
            path: record.path,
            frame: record.frame.map(|frame| frame.number),
            time_s: record.frame.map(|frame| micro(frame.time_s)),
            width,
            height,
            detections: detections(record, names),
            crossings: record.tracked.and_then(|tracked| tracked.crossings.as_deref()),
            zones: record.tracked.and_then(|tracked| tracked.zones.as_deref()),
            speed_ms: record.speed,
        }
    }
}

/// A time to the microsecond, which is as exact as it is known.
fn micro(time_s: f64) -> f64 {
    (time_s * 1e6).round() / 1e6
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
