//! Training a detector.

mod auto_batch;
mod data;
mod setup;
mod task;

pub(super) use setup::Setup;
#[cfg(test)]
pub(super) use task::five_digits;
