//! Images and batches changed at random, as torchvision, timm and Ultralytics change them in training.
//!
//! Everything random is drawn into plain values first, from [`train::stream`](crate::train::stream), and done afterwards:
//! with equal values, images of 8 bits come out as PIL's, to the bit.
//!
//! - [`ClassificationAugment`], [`TrainTransform`]: the options of a classifier's training images, and what they do;
//! - [`DataLoader`]: batches made on threads of its own, the same for any number of them;
//! - [`affine`], [`color`], [`point_ops`], [`CropBox`], [`EraseBox`], [`MixParams`], [`Operation`]: the single changes.

mod affine;
mod batch;
pub mod color;
mod crop;
mod erase;
mod error;
mod jitter;
mod loader;
mod mixup;
mod options;
pub mod point_ops;
mod rand_augment;
mod random;
mod sample;

pub use affine::{Affine, Resample, affine, rotation};
pub use batch::{Batch, Targets};
pub use crop::CropBox;
pub use erase::{EraseBox, EraseFill, EraseMode};
pub use error::AugmentError;
pub use jitter::{ColorJitter, JitterOp, JitterRanges};
pub use loader::{DataLoader, EpochIter, LoaderOptions};
pub use mixup::{MixMode, MixParams, Mixup, mix_images, mixed_targets};
pub use options::{ClassificationAugment, TrainInterpolation};
pub use rand_augment::{Operation, RandAugment};
pub use random::beta;
pub use sample::{SampleParams, TrainTransform};

#[cfg(test)]
mod fixtures;
