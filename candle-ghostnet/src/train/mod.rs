//! Training a classifier.
//!
//! A [`Trainer`] learns from batches of [`candle_vision::augment::DataLoader`] by a [`Recipe`].

mod freeze;
mod optimizer;
mod recipe;
mod trainer;

pub use freeze::is_frozen;
pub use optimizer::{Optimizer, OptionError, Schedule};
pub use recipe::Recipe;
pub use trainer::{Trainer, TrainerConfig};

#[cfg(test)]
mod tests;
