//! Everything between a model's name and its tensors: checkpoint files, key maps, the registry and the Hub.
//!
//! [`read`] takes safetensors and files of `torch.save` (without executing anything in them) and gives a [`Checkpoint`]:
//! tensors under the names our models use, and what the file says about itself. [`write`] stores one as safetensors.
#![deny(unsafe_code)]

mod checkpoint;
mod error;
mod keymap;
mod pickle;
mod read;
mod write;

pub use checkpoint::{Checkpoint, Layout, Metadata, Preprocessing};
pub use error::Error;
pub use read::read;
pub use write::write;
