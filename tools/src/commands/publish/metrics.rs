//! How good a model is, as `val --json` and `eval --json` say it.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::error::usage;

/// Most bytes of a file of metrics: a row of `val` has some hundred for each class.
const MAX_BYTES: u64 = 64 << 20;

/// One number of a card.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Metric {
    /// What the Hub's metadata call it.
    pub(super) kind: &'static str,
    /// What people read.
    pub(super) name: &'static str,
    /// A share of 1.
    pub(super) value: f64,
}

/// What a measurement found.
#[derive(Debug, PartialEq)]
pub(super) struct Metrics {
    /// The most telling first.
    pub(super) rows: Vec<Metric>,
    /// How many images were looked at.
    pub(super) images: u64,
    /// Side of the images as the network saw them, in pixels.
    pub(super) imgsz: Option<u64>,
}

/// Kind, name and place in a row of `val --json`.
const OF_DETECTORS: [[&str; 3]; 6] = [
    ["mAP50-95", "mAP50-95 (Ultralytics' definition)", "/ultralytics/map50_95"],
    ["mAP50", "mAP50 (Ultralytics' definition)", "/ultralytics/map50"],
    ["precision", "precision at the best F1", "/ultralytics/precision"],
    ["recall", "recall at the best F1", "/ultralytics/recall"],
    ["AP", "AP at IoU 0.50:0.95 (COCO's definition)", "/coco/AP"],
    ["AP50", "AP at IoU 0.50 (COCO's definition)", "/coco/AP50"],
];

/// The same of `eval --json`, in per cent there.
const OF_CLASSIFIERS: [[&str; 3]; 2] =
    [["accuracy", "top-1 accuracy", "/top1"], ["top_5_accuracy", "top-5 accuracy", "/top5"]];

impl Metrics {
    /// Reads what a command printed about a detector or, with `is_classifier`, about a classifier.
    ///
    /// # Errors
    /// Where the file cannot be read, holds no such row or several, or a number that is no share.
    pub(super) fn read(path: &Path, is_classifier: bool) -> Result<Self> {
        let shown = path.display();
        let length = path.metadata().with_context(|| format!("cannot open --metrics {shown}"))?.len();
        if length > MAX_BYTES {
            return Err(usage(format!(
                "--metrics {shown} has {length} bytes: it is not what `val --json` or `eval --json` printed"
            )));
        }
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read --metrics {shown}"))?;
        let rows: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(&text).into_iter().collect();
        let rows = rows.map_err(|error| usage(format!("--metrics {shown} is no JSON: {error}")))?;
        let [row] = rows.as_slice() else {
            return Err(usage(format!("--metrics {shown} holds {} models: leave the line of this one", rows.len())));
        };
        Self::of(row, is_classifier).map_err(|problem| usage(format!("--metrics {shown}: {problem}")))
    }

    fn of(row: &Value, is_classifier: bool) -> Result<Self, String> {
        let (table, scale, command, images): (&[_], _, _, _) = match is_classifier {
            true => (&OF_CLASSIFIERS, 100., "eval --json", "pictures"),
            false => (&OF_DETECTORS, 1., "val --json", "images"),
        };
        let mut rows = Vec::new();
        for &[kind, name, place] in table {
            match row.pointer(place) {
                // COCO's of data without objects.
                Some(Value::Null) => {}
                Some(value) => {
                    let value = value.as_f64().map(|value| value / scale).filter(|value| (0. ..=1.).contains(value));
                    rows.push(Metric { kind, name, value: value.ok_or_else(|| format!("`{place}` is no share"))? });
                }
                None => return Err(format!("there is no `{place}`: give what `{command}` printed")),
            }
        }
        let images = row.get(images).and_then(Value::as_u64).filter(|images| *images > 0);
        let images = images.ok_or_else(|| "it is of no images".to_owned())?;
        Ok(Self { rows, images, imgsz: row.get("imgsz").or(row.get("img_size")).and_then(Value::as_u64) })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_of_either_command_is_read_in_shares() {
        let row = json!({"top1": 83.5, "top5": 99.25, "pictures": 10, "img_size": 64});
        let metrics = Metrics::of(&row, true).expect("of eval");
        let rows = [("accuracy", "top-1 accuracy", 0.835), ("top_5_accuracy", "top-5 accuracy", 0.9925)];
        let rows = rows.map(|(kind, name, value)| Metric { kind, name, value }).to_vec();
        assert_eq!(metrics, Metrics { rows, images: 10, imgsz: Some(64) });

        let ultralytics = json!({"map50_95": 0.5, "map50": 0.75, "precision": 1, "recall": 0});
        let row = json!({"images": 3, "imgsz": 320, "ultralytics": ultralytics, "coco": {"AP": null, "AP50": 0.25}});
        let metrics = Metrics::of(&row, false).expect("of val");
        let found: Vec<_> = metrics.rows.iter().map(|row| (row.kind, row.value)).collect();
        assert_eq!(found, [("mAP50-95", 0.5), ("mAP50", 0.75), ("precision", 1.), ("recall", 0.), ("AP50", 0.25)]);
    }

    #[test]
    fn what_is_no_such_row_is_refused() {
        for (row, is_classifier, part) in [
            (json!({"top1": 83, "top5": 99, "pictures": 10}), false, "`val --json` printed"),
            (json!({"images": 3}), true, "`eval --json` printed"),
            (json!([1]), true, "`eval --json` printed"),
            (json!({"top1": 183, "top5": 99, "pictures": 10}), true, "`/top1` is no share"),
            (json!({"top1": "83", "top5": 99, "pictures": 10}), true, "`/top1` is no share"),
            (json!({"top1": 83, "top5": 99, "pictures": 0}), true, "no images"),
        ] {
            let problem = Metrics::of(&row, is_classifier).expect_err(part);
            assert!(problem.contains(part), "{problem}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("m.json");
        for (text, part) in [("", "0 models"), ("{}{}", "2 models"), ("{", "no JSON")] {
            std::fs::write(&path, text).expect("a file");
            let error = Metrics::read(&path, true).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(Metrics::read(&folder.path().join("none"), true).is_err());
    }
}
