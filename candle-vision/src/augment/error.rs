//! What can be wrong with the options of an augmentation, and with a loader.

use crate::data::LoaderError;

/// Why an augmentation or a batch cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AugmentError {
    /// A configuration string is not timm's for RandAugment.
    #[error("cannot read the augmentation `{text}`: {reason}; an example is `rand-m9-mstd0.5-inc1`")]
    Policy {
        /// The string.
        text: String,
        /// Which part of it, and what is expected.
        reason: String,
    },
    /// An option lies outside of its range.
    #[error("the option {name} is {found}; {expected}")]
    Option {
        /// Name of the option.
        name: &'static str,
        /// Its value.
        found: String,
        /// What it has to be.
        expected: &'static str,
    },
    /// There is nothing to make batches of.
    #[error("the dataset has no images")]
    Empty,
    /// Too many images in a row cannot be read.
    #[error("{count} images in a row cannot be read, the last `{name}`: {reason}; check the image set")]
    Unreadable {
        /// How many were tried.
        count: usize,
        /// The last of them.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No threads, or a mistake in the program.
    #[error(transparent)]
    Loader(#[from] LoaderError),
}
