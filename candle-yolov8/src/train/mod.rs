//! Training a detector.
//!
//! A [`DetectionDataset`] holds the images, of files or of any other [`Dataset`](candle_vision::data::Dataset), a [`DataLoader`] makes batches of them as [`augment`] says, and a [`Trainer`] learns from
//! these by a [`Recipe`].

mod anchors;
mod assign;
pub mod augment;
mod biases;
mod ciou;
mod class_weights;
mod dataset;
mod dataset_options;
mod decoded;
mod distill;
mod distill_terms;
mod freeze;
mod image_cache;
mod image_loss;
mod loader;
mod loss;
mod loss_terms;
mod multi_scale;
mod raw_levels;
mod recipe;
mod rect;
mod source;
mod trainer;

pub use biases::initial_head_biases;
pub use class_weights::class_weights;
pub use dataset::DetectionDataset;
pub use dataset_options::{CacheMode, DetectionDatasetOptions};
pub use distill::{DistillationLoss, DistillationLosses};
pub use freeze::Freeze;
pub use loader::{Batch, DataLoader, EpochIter, LoaderOptions};
pub use loss::{DetectionLoss, LossWeights, Losses};
pub use multi_scale::MultiScale;
pub use recipe::{Optimizer, Recipe};
pub use trainer::{StepLosses, Trainer, TrainerConfig};

#[cfg(test)]
mod distill_tests;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
pub(crate) mod golden;
#[cfg(test)]
mod loss_tests;
#[cfg(test)]
mod parallel_tests;

/// One object of a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// Number of the image in its batch.
    pub image: usize,
    /// Number of the class.
    pub class: usize,
    /// Centre x, centre y, width and height as fractions of the network's input.
    pub xywhn: [f32; 4],
}
