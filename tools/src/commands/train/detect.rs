//! Training a detector.

mod setup;
mod task;

pub(super) use setup::Setup;
