//! Structured pruning: a trained network with fewer channels, as an ordinary checkpoint that training goes on from.
//!
//! ```no_run
//! use ghostzoo::prune::{PruneOptions, PruneTarget, Source, prune};
//! use ghostzoo::weights;
//!
//! let source = Source::find("yolov8n-ghostnet-bccd")?;
//! let pruned = prune(&source, &PruneOptions::new(PruneTarget::Ratio(0.3)))?;
//! println!("{} of {} parameters", pruned.report.parameters[1], pruned.report.parameters[0]);
//! weights::write("cells-pruned.safetensors".as_ref(), &pruned.checkpoint)?;
//! # Ok::<(), ghostzoo::Error>(())
//! ```

mod run;
mod target;
mod taylor;
mod within;

use ghostzoo_weights::Checkpoint;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::train::Message;

pub use crate::quantize::Source;
pub use candle_vision::prune::{Criterion, Scope};
pub use run::{prune, prune_by};
pub use taylor::Taylor;
pub use within::prune_within;

/// How much to remove.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum PruneTarget {
    /// A share of the channels, above 0 and below 1.
    Ratio(f64),
    /// The fewest channels that leave so many GFLOPs at most, for one image.
    Gflops(f64),
    /// The fewest channels that leave a median time per image of so many milliseconds at most, on this machine's CPU, in f32.
    Millis(f64),
}

impl PruneTarget {
    /// Nearly all channels: no bound of its own for [`prune_within`].
    pub const NEARLY_ALL: Self = Self::Ratio(0.99);
}

/// How to prune.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PruneOptions {
    /// How much to remove.
    pub target: PruneTarget,
    /// What a channel's importance is measured by.
    pub criterion: Criterion,
    /// What the least important channels are looked for in.
    pub scope: Scope,
    /// Channels that stay of each group, where it has so many; a tenth of it stays in any case.
    pub min_channels: usize,
    /// What the channels that stay of each group are a multiple of, where it has so many: kernels compute 8 or 16 at once.
    pub round_to: usize,
    /// `[height, width]` of the image that GFLOPs and times are of; `None` for the size that the checkpoint says, else 640 of a
    /// detector and 224 of a classifier.
    pub imgsz: Option<[usize; 2]>,
}

impl PruneOptions {
    /// By the L2 norm, over all layers; 8 channels of each group stay, in multiples of 8.
    pub fn new(target: PruneTarget) -> Self {
        Self {
            target,
            criterion: Criterion::default(),
            scope: Scope::default(),
            min_channels: 8,
            round_to: 8,
            imgsz: None,
        }
    }

    /// What a channel's importance is measured by.
    #[must_use]
    pub fn criterion(self, criterion: Criterion) -> Self {
        Self { criterion, ..self }
    }

    /// What the least important channels are looked for in.
    #[must_use]
    pub fn scope(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    /// Channels that stay of each group.
    #[must_use]
    pub fn min_channels(self, min_channels: usize) -> Self {
        Self { min_channels, ..self }
    }

    /// What the channels that stay of each group are a multiple of; 1 for any number.
    #[must_use]
    pub fn round_to(self, round_to: usize) -> Self {
        Self { round_to, ..self }
    }

    /// `[height, width]` of the image that GFLOPs and times are of.
    #[must_use]
    pub fn imgsz(self, imgsz: Option<[usize; 2]>) -> Self {
        Self { imgsz, ..self }
    }
}

/// What a program does while images are looked at; `()` does nothing.
#[expect(unused_variables, reason = "the names say what a callback is given")]
pub trait PruneCallbacks {
    /// So many images are done.
    ///
    /// # Errors
    /// What ends the work.
    fn on_image(&mut self, done: usize, total: usize) -> Result<()> {
        Ok(())
    }

    /// A line for whoever prunes.
    fn message(&mut self, message: &Message) {}
}

impl PruneCallbacks for () {}

/// A convolution or linear layer that has fewer channels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PrunedLayer {
    /// Its path in the checkpoint.
    pub path: String,
    /// The first two sides of its weight, outputs and inputs of a group, before.
    pub before: [usize; 2],
    /// The same after.
    pub after: [usize; 2],
}

/// What was removed. Pairs are before and after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PruneReport {
    /// The layers that changed, in the order of their paths.
    pub layers: Vec<PrunedLayer>,
    /// Channels that can be removed.
    pub channels: [usize; 2],
    /// Trainable elements.
    pub parameters: [usize; 2],
    /// For one image, counted as `summary` does.
    pub gflops: [f64; 2],
    /// `[height, width]` of that image.
    pub imgsz: [usize; 2],
    /// Median time of an image, where the target is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub millis: Option<[f64; 2]>,
    /// What [`prune_within`] kept to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<PruneMetric>,
}

/// A metric, the higher the better, and how much of it may be lost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PruneMetric {
    /// Of the whole network.
    pub whole: f64,
    /// Of the pruned one.
    pub pruned: f64,
    /// How much less the latter may be.
    pub max_drop: f64,
}

/// A pruned network.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Pruned {
    /// Its tensors, in the form of the source.
    pub checkpoint: Checkpoint,
    /// What was done.
    pub report: PruneReport,
}
