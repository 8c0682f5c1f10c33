//! Training: what the loops of all models share.
//!
//! A model in training is built on [`VarStore`]; its gradients, summed by a [`GradAccumulator`], move them through a
//! [`optim::GroupedOptimizer`] at the rates of a [`schedule`], and an [`Ema`] averages them. A [`TrainState`] holds them all, and
//! saves and restores them.

pub mod distributed;
mod dropout;
mod ema;
#[cfg(test)]
mod golden;
mod gradients;
pub mod loss;
pub mod optim;
mod random;
pub mod schedule;
mod sparsity;
mod stopping;
mod train_state;
mod transfer;
mod variables;

pub use dropout::dropout;
pub use ema::{Ema, EmaDecay};
pub use gradients::GradAccumulator;
pub use random::{Stream, skip, stream};
pub use stopping::EarlyStopping;
pub use train_state::TrainState;
pub use transfer::{class_rows, take_class_rows, take_filters};
pub use variables::{LoadReport, VarStore};
