//! How good a detector is on labelled images: those of files by [`validate`], of any dataset by [`validate_dataset`].
//! [`validate_batches`] looks at a part of them: what several machines find goes together exactly.
//!
//! Images are looked at as Ultralytics validates, which is not as it predicts: see [`ValOptions`]. The same detections
//! are measured twice: as Ultralytics defines precision, recall and mAP, in pixels of the network's input, and as COCO does,
//! in pixels of the image.

mod batches;
mod evaluator;
mod options;
mod plan;
mod run;
mod tiled;

pub use batches::{ValBatch, ValSample, batches};
pub use evaluator::{DetectionEvaluator, EvalResult, ImageEval};
pub use options::ValOptions;
pub use plan::ValPlan;
pub use run::{BatchOutput, ValReport, ranks, validate, validate_batches, validate_dataset, validate_dataset_batches};
