//! Training a classifier.

mod evaluate;
mod image_set;
mod options;
mod prepare;
mod start;
mod task;

pub use options::ClassificationOptions;
pub use start::ClassificationStart;
pub use task::ClassificationTask;
