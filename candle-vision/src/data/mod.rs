//! Labelled image sets for training and evaluation, and what takes images from them ahead of who needs them.
//!
//! A [`Dataset`] gives items by index, from wherever they come: [`InMemoryDataset`] from a list, [`CachedDataset`] from an
//! [`ImageIndex`], a database by an implementation of one's own. [`Prefetcher`] and [`PrefetchIter`] work ahead.
//!
//! An [`ImageIndex`] holds bytes and class indices of every layout that ImageNet comes in:
//!
//! | layout | labels |
//! |---|---|
//! | `ROOT/CLASS/**/*.jpg`, also below `val`, `validation` or `test` | class folders, as torchvision's `ImageFolder` |
//! | a folder or tar of images without class folders | a labels file: csv, `name label` lines, or labels alone |
//! | tar files of class folders, or WebDataset shards (`KEY.jpg` and `KEY.cls`) | folders, or the `.cls` members |
//! | Parquet shards, as the Hugging Face Hub keeps them | the label column, by its class names where it has some |
//!
//! Tar files, Parquet shards and csv are read by the features `tar`, `parquet` and `csv`; without one, its files are refused
//! with its name.
//!
//! A set is an index: about 100 bytes an image. Images are read one by one, when asked for; nothing is unpacked.
//! A name in an archive is only a name: no path from one is ever opened or written.
//!
//! Labels become the model's class indices by meaning, never by position alone where a meaning is known: WordNet ids in
//! ImageNet-1k's order, class names by name, numbers by a stated [`ClassIndexing`]. [`ImageIndex::order`] says which.

mod class_map;
mod classes;
mod classification;
mod dataset;
mod decoded;
mod devkit;
mod error;
mod files;
mod folder;
mod held_out;
mod imagenet;
mod index;
mod labels;
mod layout;
mod listing;
mod matlab;
#[cfg(feature = "parquet")]
mod parquet;
mod prefetch;
mod real_labels;
mod record;
mod subset;
#[cfg(feature = "tar")]
mod tar;

pub use classification::ClassificationDataset;
pub use dataset::{ClassificationItem, Dataset, InMemoryDataset, ItemError};
pub use decoded::CachedDataset;
pub use error::{DataError, ImageReadError};
pub use held_out::held_out;
pub use index::{ClassIndexing, DatasetOptions, ImageIndex};
pub use prefetch::{LoaderError, PREFETCH, PrefetchIter, Prefetcher};
pub use real_labels::RealLabels;
pub use record::{ImageRecord, MAX_IMAGE_BYTES, Records};
pub use subset::subset;

#[cfg(test)]
mod fixtures;
