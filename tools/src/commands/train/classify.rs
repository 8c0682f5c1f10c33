//! Training a classifier.

mod images;
mod setup;
mod source;
mod task;

pub(super) use setup::Setup;
