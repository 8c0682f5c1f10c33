use std::ffi::OsString;

use clap::Args;

/// Arguments of `ghostzoo classify`.
#[derive(Debug, Args)]
pub(crate) struct ClassifyArgs {
    /// Images, folders, globs, a .txt file with one path a line, or - for those on stdin [default: an image
    /// that is built in]
    #[arg(value_name = "SOURCE")]
    pub(crate) sources: Vec<OsString>,
    /// Checkpoint: a name of `ghostzoo models`, a file (.safetensors, .pt, .pth, .bin), or hf://org/repo@rev/file
    /// [default: without SOURCE, ghostnet_050-cifar10, which is built in; else ghostnet_100.in1k of the Hub, Apache-2.0]
    #[arg(long, short, value_name = "NAME|FILE|hf://…")]
    pub(crate) model: Option<OsString>,
    /// Classes to name per image, the likeliest first
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = super::detect::positive)]
    pub(crate) topk: usize,
    #[command(flatten)]
    pub(crate) largest: super::Limit,
    /// Images per forward pass
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = super::detect::batch)]
    pub(crate) batch: usize,
    /// Print one JSON object per image and line to stdout, nothing else
    #[arg(long)]
    pub(crate) json: bool,
}
