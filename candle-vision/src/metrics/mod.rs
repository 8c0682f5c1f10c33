//! How good a model is: accuracy of classifiers, average precision of detectors.
//!
//! - [`ClassificationMetrics`]: top-1, top-5, loss, calibration and confusion of a classifier, in sums that add up exactly, in whatever
//!   order and on however many machines the images were looked at;
//! - [`coco::evaluate`]: COCO's average precision and recall, as pycocotools defines them;
//! - [`ApAccumulator`]: precision, recall, F1 and mAP as Ultralytics defines them;
//! - [`ConfusionMatrix`]: what a detector takes for what.
//!
//! COCO's and Ultralytics' average precision differ: COCO takes the precision at 101 recalls as a step function and knows
//! crowds, areas and at most 100 boxes per image; Ultralytics interpolates between the points and integrates.

pub mod coco;

mod classification;
mod confusion;
mod curves;
mod matching;
mod precision_recall;

#[cfg(test)]
mod fixtures;

pub use classification::{BINS, ClassificationMetrics, SampleResult};
pub use confusion::ConfusionMatrix;
pub use matching::{IOU_LEVELS, IouMatches, iou_levels, match_boxes};
pub use precision_recall::{ApAccumulator, CURVE_POINTS, ClassMetrics, Metrics};
