//! Large images as overlapping tiles, so that objects which are small in the image are large enough for a detector.
//!
//! - [`grid`]: where the tiles lie;
//! - [`crop`]: the pixels of one;
//! - [`merge`]: one box of those that several tiles have of an object.
//!
//! Source: Akyon, Altinuc, Temizel, *Slicing Aided Hyper Inference and Fine-tuning for Small Object Detection*, ICIP 2022
//! (arXiv 2202.06934), and its implementation SAHI 0.12.8 (MIT), whose positions and merged boxes these are.

mod grid;
mod merge;

pub use grid::{GridError, MAX_TILES, Tile, crop, grid};
pub use merge::{MatchMetric, Merge, MergeOptions, merge};

#[cfg(test)]
mod tests;
