//! Training a classifier.

mod pictures;
mod setup;
mod source;
mod task;

pub(super) use setup::Setup;
