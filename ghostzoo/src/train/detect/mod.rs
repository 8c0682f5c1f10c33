//! Training a detector.

mod auto_batch;
mod data;
mod evaluate;
mod label_text;
mod options;
mod prepare;
mod share;
mod start;
mod task;
mod teacher;
mod val_set;

pub use data::{DetectionData, DetectionDataOptions};
pub use options::DetectionOptions;
pub use start::DetectionStart;
pub use task::DetectionTask;
#[cfg(test)]
pub(super) use task::five_digits;
