use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ghostzoo::prune::{Criterion, Scope};

/// Arguments of `ghostzoo prune`.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Checkpoint in floats: a name of `ghostzoo models`, a file (.safetensors, .pt, .pth, .bin), or hf://org/repo@rev/file
    #[arg(long, short, value_name = "NAME|FILE|hf://…")]
    pub(crate) model: Option<OsString>,
    /// Share of the channels to remove, above 0 and below 1
    #[arg(long, value_name = "SHARE", value_parser = ratio)]
    pub(crate) ratio: Option<f64>,
    /// Remove the fewest channels that leave so many GFLOPs at most, for an image of --imgsz
    #[arg(long, value_name = "GFLOPS", value_parser = positive, conflicts_with = "ratio")]
    pub(crate) target_gflops: Option<f64>,
    /// Remove the fewest channels that leave so many milliseconds for an image of --imgsz at most, on this machine's CPU
    #[arg(long, value_name = "MS", value_parser = positive, conflicts_with_all = ["ratio", "target_gflops"])]
    pub(crate) target_ms: Option<f64>,
    /// Remove as many channels as lose at most so much of mAP50-95, or of top-1, each from 0 to 1, on the labelled images of --val-split,
    /// without training: 0.005 is half a point. Beside --ratio or a target, no more than that removes
    #[arg(long, value_name = "SHARE", value_parser = super::detect::share::<f64>)]
    pub(crate) max_drop: Option<f64>,
    /// Part of the data that --max-drop measures on
    #[arg(long, default_value = "val", value_name = "NAME", requires = "max_drop")]
    pub(crate) val_split: String,
    /// What a channel's importance is measured by [default: taylor with --data, else l2]
    #[arg(long)]
    pub(crate) criterion: Option<Importance>,
    /// Labelled images that taylor looks at, which keeps most accuracy: a data.yaml or an instances file of COCO for a detector;
    /// class folders, tars or Parquet for a classifier
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,
    /// Part of the data to look at [default: train of a data.yaml; of a classifier's, train where there is one]
    #[arg(long, value_name = "NAME", requires = "data")]
    pub(crate) split: Option<String>,
    /// Images to look at, spread evenly over the data
    #[arg(long, default_value_t = 128, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(crate) images: u32,
    /// Where the least important channels are looked for
    #[arg(long, default_value = "global")]
    pub(crate) scope: PruneScope,
    /// Keep a multiple of so many channels of each layer; 1 for any number
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) round_to: u16,
    /// Keep so many channels of each layer, where it has them, and a tenth in any case
    #[arg(long, default_value_t = 8, value_name = "N")]
    pub(crate) min_channels: u16,
    /// Side of the image that GFLOPs and times are of [default: as the model was trained]
    #[arg(long, value_name = "N|H,W", value_parser = super::detect::image_size)]
    pub(crate) imgsz: Option<[usize; 2]>,
    /// File to write, .safetensors [default: the model's name with -pruned, in this folder]
    #[arg(long, short, value_name = "FILE.safetensors")]
    pub(crate) output: Option<PathBuf>,
    /// Write the file even where it exists
    #[arg(long)]
    pub(crate) force: bool,
    /// Print one JSON object to stdout, nothing else
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a channel's importance is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Importance {
    /// The magnitudes of its weights
    L1,
    /// The squares of its weights
    L2,
    /// The weights of its batch norms, as network slimming has it
    Bn,
    /// What the training loss of --data depends on, to first order
    Taylor,
}

impl Importance {
    /// The library's word, where it needs no images.
    pub(crate) fn criterion(self) -> Option<Criterion> {
        match self {
            Self::L1 => Some(Criterion::L1),
            Self::L2 => Some(Criterion::L2),
            Self::Bn => Some(Criterion::BatchNorm),
            Self::Taylor => None,
        }
    }
}

/// Where the least important channels are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PruneScope {
    /// In all layers: those that count less lose more
    Global,
    /// In each layer by itself: all lose the same share
    Uniform,
}

impl PruneScope {
    /// The library's word.
    pub(crate) fn scope(self) -> Scope {
        match self {
            Self::Global => Scope::Global,
            Self::Uniform => Scope::Uniform,
        }
    }
}

fn ratio(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if value > 0. && value < 1. => Ok(value),
        _ => Err("give a number above 0 and below 1".to_owned()),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0. && value.is_finite() => Ok(value),
        _ => Err("give a number above 0".to_owned()),
    }
}
