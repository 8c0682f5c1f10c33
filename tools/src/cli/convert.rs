use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

/// Arguments of `ghostzoo convert`.
#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// Checkpoint to read: a name of `ghostzoo models`, a file, or hf://org/repo@rev/file
    #[arg(value_name = "IN")]
    pub(crate) input: OsString,
    /// File to write, .safetensors
    #[arg(value_name = "OUT")]
    pub(crate) output: PathBuf,
    /// Fold batch norms into the convolutions before them, and merge the branches of GhostNetV3 and RepGhostNet
    #[arg(long)]
    pub(crate) fuse: bool,
    /// Write OUT even where it exists
    #[arg(long)]
    pub(crate) force: bool,
}
