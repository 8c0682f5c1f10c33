#![doc = include_str!("../README.md")]
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
mod quantized;
mod read;
mod registry;
mod resolve;
mod shipped;
mod write;

pub use checkpoint::{Checkpoint, KeyLayout, Metadata, Preprocessing, QuantizationInfo};
pub use error::Error;
pub use progress::{DownloadProgress, NoProgress};
pub use quantized::QuantizedConv;
pub use read::read;
pub use registry::{Location, ModelEntry, PublishedMetrics, Registry, Task, nearest};
pub use resolve::{CheckpointSource, ResolveError, ResolveOptions, ResolvedModel, resolve};
pub use shipped::Bundled;
pub use write::write;
