//! Training: what the loops of all models share.
//!
//! A model in training is built on [`Variables`]; its gradients, summed by a [`GradientSum`], move them through a
//! [`optim::GroupedOptimizer`] at the rates of a [`schedule`], and an [`Ema`] averages them. A [`Learner`] holds them all, and
//! saves and restores them.

pub mod ahead;
mod dropout;
mod ema;
#[cfg(test)]
mod golden;
mod gradients;
mod learner;
pub mod loss;
pub mod optim;
mod random;
pub mod schedule;
mod stopping;
mod transfer;
mod variables;

pub use dropout::dropout;
pub use ema::{Decay, Ema};
pub use gradients::GradientSum;
pub use learner::Learner;
pub use random::{Stream, stream};
pub use stopping::EarlyStopping;
pub use transfer::{class_rows, take_class_rows, take_filters};
pub use variables::{Transferred, Variables};
