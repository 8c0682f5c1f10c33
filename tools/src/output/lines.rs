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

/// The mean times of a run, and the shape that the model saw last.
pub(crate) fn speed_line(speeds: &[Speed], shape: [usize; 4]) -> String {
    let count = speeds.len().max(1) as f64;
    let mean = |time: fn(&Speed) -> f64| speeds.iter().map(time).sum::<f64>() / count;
    let [n, c, h, w] = shape;
    format!(
        "Speed: {:.1}ms preprocess, {:.1}ms inference, {:.1}ms postprocess per image at shape ({n}, {c}, {h}, {w})",
        mean(|speed| speed.preprocess),
        mean(|speed| speed.inference),
        mean(|speed| speed.postprocess),
    )
}
