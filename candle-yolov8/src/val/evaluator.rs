//! Detections against labels, by both definitions.

use candle_vision::metrics::{ApAccumulator, ConfusionMatrix, Metrics, coco, match_boxes};
use candle_vision::nms::Candidate;

use super::batches::ValSample;
use crate::data::Annotation;
use crate::detector::Detection;

/// Collects images; then [`DetectionEvaluator::finish`].
#[derive(Debug)]
pub struct DetectionEvaluator {
    classes: usize,
    confusion_conf: f32,
    precision_recall: ApAccumulator,
    confusion: ConfusionMatrix,
    truths: Vec<coco::GroundTruth>,
    scored: Vec<coco::ScoredBox>,
}

/// What a data set says of a detector.
#[derive(Debug, Clone, PartialEq)]
pub struct EvalResult {
    /// As Ultralytics defines it.
    pub ultralytics: Metrics,
    /// As COCO defines it.
    pub coco: coco::CocoEval,
    /// What was taken for what.
    pub confusion: ConfusionMatrix,
}

impl DetectionEvaluator {
    /// Of `classes` classes; detections count into the confusion matrix above `confusion_conf`.
    pub fn new(classes: usize, confusion_conf: f32) -> Self {
        Self {
            classes,
            confusion_conf,
            precision_recall: ApAccumulator::default(),
            confusion: ConfusionMatrix::new(classes),
            truths: Vec::new(),
            scored: Vec::new(),
        }
    }

    /// Adds an image and what was found in it, best first, in pixels of the input. `image` is its place in the order of
    /// ids, in which COCO takes detections of equal confidence.
    ///
    /// Gives the detections in pixels of the image. Labels of crowds count for COCO only.
    pub fn add(
        &mut self,
        image: usize,
        labels: &[Annotation],
        sample: &ValSample,
        found: &[Candidate],
    ) -> Vec<Detection> {
        let objects = labels.iter().filter(|label| !label.crowd);
        let objects: Vec<(usize, [f32; 4])> =
            objects.map(|label| (label.class, sample.to_input(label.xywhn(sample.original)))).collect();
        let boxes: Vec<(usize, [f32; 4])> = found.iter().map(|c| (c.class_id, c.xyxy)).collect();
        let right = match_boxes(&boxes, &objects);
        let rows = found.iter().zip(right).map(|(c, right)| (c.class_id, c.confidence, right));
        self.precision_recall.add(rows, &objects.iter().map(|object| object.0).collect::<Vec<_>>());
        let confident = found.iter().take_while(|c| c.confidence > self.confusion_conf).count();
        self.confusion.add(&boxes[..confident], &objects);
        self.truths.extend(labels.iter().map(|label| {
            let [x1, y1, x2, y2] = label.xyxy(sample.original);
            let (bbox, area) = ([x1, y1, x2 - x1, y2 - y1], label.area(sample.original));
            coco::GroundTruth { image, class: label.class, bbox, area, crowd: label.crowd }
        }));
        let detection = |c: &Candidate| Detection {
            class_id: c.class_id,
            confidence: c.confidence,
            xyxy: sample.to_original(c.xyxy),
        };
        let detections: Vec<Detection> = found.iter().map(detection).collect();
        self.scored.extend(detections.iter().map(|detection| {
            let [x1, y1, x2, y2] = detection.xyxy;
            let bbox = [x1, y1, x2 - x1, y2 - y1].map(f64::from);
            coco::ScoredBox { image, class: detection.class_id, bbox, score: f64::from(detection.confidence) }
        }));
        detections
    }

    /// The numbers of all images added.
    pub fn finish(self) -> EvalResult {
        EvalResult {
            ultralytics: self.precision_recall.finish(),
            coco: coco::evaluate(&self.truths, &self.scored, self.classes),
            confusion: self.confusion,
        }
    }
}
