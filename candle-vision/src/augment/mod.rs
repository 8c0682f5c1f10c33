//! Images and batches changed at random, as torchvision, timm and Ultralytics change them in training.
//!
//! Everything random is drawn into plain values first, from [`train::stream`](crate::train::stream), and done afterwards:
//! with equal values, images of 8 bits come out as PIL's, to the bit.
//!
//! - [`ClassifyAugment`], [`TrainTransform`]: the options of a classifier's training images, and what they do;
//! - [`Loader`]: batches made on threads of its own, the same for any number of them;
//! - [`affine`], [`color`], [`levels`], [`CropBox`], [`EraseBox`], [`Mix`], [`Operation`]: the single changes.

mod affine;
mod batch;
pub mod color;
mod crop;
mod erase;
mod error;
mod jitter;
pub mod levels;
mod loader;
mod mixup;
mod options;
mod policy;
mod random;
mod sample;

pub use affine::{Affine, Filter, affine, rotation};
pub use batch::{Batch, Targets};
pub use crop::CropBox;
pub use erase::{EraseBox, EraseFill, EraseMode};
pub use error::AugmentError;
pub use jitter::{Adjustment, ColorJitter, JitterRanges};
pub use loader::{Epoch, Loader, LoaderOptions};
pub use mixup::{Mix, MixMode, Mixup, mix_images, mixed_targets};
pub use options::{ClassifyAugment, TrainInterpolation};
pub use policy::{Operation, RandAugment};
pub use random::beta;
pub use sample::{SamplePlan, TrainTransform};

#[cfg(test)]
mod fixtures;
