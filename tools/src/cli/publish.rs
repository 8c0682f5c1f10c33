use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

/// Arguments of `ghostzoo publish`.
#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    /// Checkpoint: a name of `ghostzoo models`, a file (.safetensors, .pt, .pth, .bin), or hf://org/repo@rev/file
    #[arg(long, short, value_name = "NAME|FILE|hf://…")]
    pub(crate) model: Option<OsString>,
    /// Folder to write, which does not exist yet: README.md, model.safetensors, config.json, LICENSE
    #[arg(long, short, value_name = "FOLDER")]
    pub(crate) output: PathBuf,
    /// Write the folder, and upload nothing: `hf upload` does that
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// What the model is to be called on the Hub [default: the folder's name]
    #[arg(long, value_name = "ORGANISATION/NAME")]
    pub(crate) name: Option<String>,
    /// Licence of the weights, as the Hub names it: mit, apache-2.0, cc-by-4.0, agpl-3.0; another with --license-file
    /// [default: the checkpoint's]
    #[arg(long, value_name = "ID")]
    pub(crate) license: Option<String>,
    /// The licence's text, for LICENSE; without it LICENSE names the licence
    #[arg(long, value_name = "FILE")]
    pub(crate) license_file: Option<PathBuf>,
    /// What it was trained on: a data set of the Hub as ORGANISATION/NAME, or any name
    #[arg(long, value_name = "NAME")]
    pub(crate) dataset: Option<String>,
    /// Part of the data set that the metrics are of: val, test
    #[arg(long, value_name = "NAME")]
    pub(crate) split: Option<String>,
    /// Whom the licences of the weights and the data ask to name
    #[arg(long, value_name = "TEXT")]
    pub(crate) attribution: Option<String>,
    /// What `val --json` or `eval --json` printed about the model
    #[arg(long, value_name = "FILE.json")]
    pub(crate) metrics: Option<PathBuf>,
}
