//! Everything between a model's name and its tensors: checkpoint files, key maps, the registry and the Hub.
//!
//! [`resolve`] finds the file of a model: a path, a name of the [`Registry`], or an address on the Hub, whose cache it keeps.
//! With the feature `shipped`, the checkpoints of `weights/shipped` are in the program and need no file.
//! [`read`] takes safetensors and files of `torch.save` (without executing anything in them) and gives a [`Checkpoint`]:
//! tensors under the names our models use, and what the file says about itself. [`write()`] stores one as safetensors.
#![deny(unsafe_code)]

mod budget;
mod checkpoint;
mod elements;
mod error;
mod finite;
mod foreign;
mod header;
#[cfg(feature = "hub")]
pub mod hub;
mod keymap;
mod pickle;
mod progress;
mod read;
mod registry;
mod resolve;
mod shipped;
mod write;

pub use checkpoint::{Checkpoint, KeyLayout, Metadata, Preprocessing};
pub use error::Error;
pub use progress::{DownloadProgress, NoProgress};
pub use read::read;
pub use registry::{Location, ModelEntry, PublishedMetrics, Registry, Task, nearest};
pub use resolve::{CheckpointSource, ResolveError, ResolveOptions, ResolvedModel, resolve};
pub use shipped::Bundled;
pub use write::write;
