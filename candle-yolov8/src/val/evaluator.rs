//! Detections against labels, by both definitions.

use candle_vision::metrics::{ApAccumulator, ConfusionMatrix, IouMatches, Metrics, coco, match_boxes};
use candle_vision::nms::Candidate;
use serde::{Deserialize, Serialize};

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

/// What one image adds to the numbers. Those of all images, in the order in which they were looked at, give what
/// [`DetectionEvaluator::finish`] says of the whole, to the last digit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageEval {
    /// What was found, best first, in pixels of the image.
    pub detections: Vec<Detection>,
    /// At which overlaps each is right, as Ultralytics decides.
    pub matches: Vec<IouMatches>,
    /// The image's labels, crowds included. Their `image` is its place in the order of ids.
    pub truths: Vec<coco::GroundTruth>,
    /// Pairs of predicted and true class, of [`ConfusionMatrix::pairs`].
    pub confusion: Vec<(usize, usize)>,
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
        let eval = self.judge(image, labels, sample, found);
        self.add_eval(image, &eval);
        eval.detections
    }

    /// What [`Self::add`] adds, without adding it.
    pub fn judge(&self, image: usize, labels: &[Annotation], sample: &ValSample, found: &[Candidate]) -> ImageEval {
        let objects = labels.iter().filter(|label| !label.crowd);
        let objects: Vec<(usize, [f32; 4])> =
            objects.map(|label| (label.class, sample.to_input(label.xywhn(sample.original)))).collect();
        let boxes: Vec<(usize, [f32; 4])> = found.iter().map(|c| (c.class_id, c.xyxy)).collect();
        let confident = found.iter().take_while(|c| c.confidence > self.confusion_conf).count();
        let truth = |label: &Annotation| {
            let [x1, y1, x2, y2] = label.xyxy(sample.original);
            let (bbox, area) = ([x1, y1, x2 - x1, y2 - y1], label.area(sample.original));
            coco::GroundTruth { image, class: label.class, bbox, area, crowd: label.crowd }
        };
        let detection = |c: &Candidate| Detection {
            class_id: c.class_id,
            confidence: c.confidence,
            xyxy: sample.to_original(c.xyxy),
        };
        ImageEval {
            matches: match_boxes(&boxes, &objects),
            confusion: self.confusion.pairs(&boxes[..confident], &objects),
            truths: labels.iter().map(truth).collect(),
            detections: found.iter().map(detection).collect(),
        }
    }

    /// Adds what [`Self::judge`] said of an image.
    pub fn add_eval(&mut self, image: usize, eval: &ImageEval) {
        let rows = eval.detections.iter().zip(&eval.matches);
        let rows = rows.map(|(found, right)| (found.class_id, found.confidence, *right));
        let objects = eval.truths.iter().filter(|truth| !truth.crowd).map(|truth| truth.class);
        self.precision_recall.add(rows, &objects.collect::<Vec<_>>());
        for (predicted, truth) in &eval.confusion {
            self.confusion.increment(*predicted, *truth);
        }
        self.truths.extend(&eval.truths);
        self.scored.extend(eval.detections.iter().map(|detection| {
            let [x1, y1, x2, y2] = detection.xyxy;
            let bbox = [x1, y1, x2 - x1, y2 - y1].map(f64::from);
            coco::ScoredBox { image, class: detection.class_id, bbox, score: f64::from(detection.confidence) }
        }));
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
