//! Tiles of an image beside SAHI's, with the detector that ships.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use ghostzoo::candle_yolov8::{PredictOptions, iou};
use ghostzoo::{Detection, Detector, Merge, RgbImage, TileOptions, image};
use serde_json::Value;

const MODEL: &str = "yolov8n-ghostnet-bccd";
/// Least intersection over union of a box with SAHI's. Ultralytics sums a convolution in another order, and its box may be
/// one-thousandth of a pixel off.
const SAME_BOX: f32 = 0.999;
/// Largest difference of a confidence, for the same reason.
const SAME_CONFIDENCE: f32 = 1e-3;

fn cells() -> RgbImage {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
    image::open(&assets.join("BloodImage_00062.jpg")).unwrap()
}

/// What `tests/oracle/tiles.py` wrote.
fn golden() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/tiles/detector.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn sides(value: &Value) -> Option<[usize; 2]> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn the_boxes_are_those_that_sahi_has_of_ultralytics() {
    let (cells, cases) = (cells(), golden());
    assert_eq!(cases.len(), 5);
    for case in cases {
        let conf = case["conf"].as_f64().unwrap() as f32;
        let imgsz = case["imgsz"].as_u64().map(|side| [side as usize; 2]);
        let mut options = PredictOptions::new().imgsz(imgsz);
        options.nms.conf = conf;
        let tiles = TileOptions::new()
            .size(sides(&case["tile"]).unwrap())
            .overlap(case["overlap"].as_f64().unwrap())
            .whole(case["whole"].as_bool().unwrap())
            .merge(case["nms"].as_bool().unwrap().then_some(Merge::Nms));
        let detector = Detector::load(MODEL).unwrap().options(options);
        let mut found = detector.predict_tiled(&cells, &tiles).unwrap();
        let rows = case["rows"].as_array().unwrap();
        assert_eq!(found.len(), rows.len(), "{tiles:?}");
        for row in rows {
            let row: Vec<f32> = row.as_array().unwrap().iter().map(|cell| cell.as_f64().unwrap() as f32).collect();
            let &[x1, y1, x2, y2, confidence, class] = row.as_slice() else { panic!("{row:?}") };
            let is_same = |found: &Detection| {
                found.class_id == class as usize
                    && iou(&found.xyxy, &[x1, y1, x2, y2]) > SAME_BOX
                    && (found.confidence - confidence).abs() < SAME_CONFIDENCE
            };
            let place = found.iter().position(is_same).unwrap_or_else(|| panic!("{row:?} is not in {found:?}"));
            found.remove(place);
        }
    }
}

#[test]
fn tiles_that_cannot_be_are_a_request_and_no_failure() {
    let detector = Detector::load(MODEL).unwrap();
    let image = RgbImage::new(64, 32);
    for (tiles, part) in [
        (TileOptions::new().size([0, 64]), "give sides of at least 1"),
        (TileOptions::new().overlap(1.), "give a share from 0 up to, but not, 1"),
        (TileOptions::new().threshold(0.), "give a threshold above 0 and up to 1"),
    ] {
        let error = detector.predict_tiled(&image, &tiles).unwrap_err();
        assert!(error.is_request() && error.to_string().contains(part), "{error}");
    }
    assert_eq!(detector.predict_tiled(&RgbImage::new(0, 9), &TileOptions::new()).unwrap(), []);
}
