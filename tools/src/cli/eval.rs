use std::ffi::OsString;
use std::path::PathBuf;

use candle_vision::image::Interpolation;
use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{Args, ValueEnum};

/// Arguments of `ghostzoo eval`.
#[derive(Debug, Args)]
pub(crate) struct EvalArgs {
    /// Labelled images: class folders, images with --labels, a tar or tar shards, Parquet shards (file, folder or glob)
    #[arg(long, value_name = "PATH")]
    pub(crate) data: PathBuf,
    /// Checkpoints: names of `ghostzoo models` (* and ? allowed), files, folders of files, or hf://org/repo@rev/file; all
    /// look at each image in one pass
    #[arg(long, short, num_args = 1.., value_delimiter = ',', value_name = "NAME|FILE|hf://…")]
    pub(crate) model: Vec<OsString>,
    /// Folder or shards below --data to take [default: val or validation, else test, where there are]
    #[arg(long, value_name = "NAME")]
    pub(crate) split: Option<String>,
    /// Labels of images without class folders: csv, `name label` lines, labels in the order of names, or the devkit's
    /// ground truth
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
    /// Class folders, one a line in class order, or `folder index` lines
    #[arg(long, value_name = "FILE")]
    pub(crate) class_map: Option<PathBuf>,
    /// How numbers in labels and folder names count
    #[arg(long, value_name = "ORDER")]
    pub(crate) label_order: Option<ClassIndexing>,
    /// ImageNet's reassessed labels (ReaL, real.json): a prediction is right if any person agreed with it
    #[arg(long, value_name = "FILE")]
    pub(crate) real_labels: Option<PathBuf>,
    /// Predict only these classes: a file of indices or WordNet ids, imagenet-a, imagenet-r, or `data` for those that have
    /// images
    #[arg(long, value_name = "FILE|NAME")]
    pub(crate) valid_labels: Option<OsString>,
    #[command(flatten)]
    pub(crate) largest: super::Limit,
    /// Images per forward pass
    #[arg(long, alias = "batch-size", default_value_t = 64, value_name = "N", value_parser = super::detect::batch)]
    pub(crate) batch: usize,
    /// Side of the network's input [default: as the model was trained]
    #[arg(long, visible_alias = "img-size", value_name = "N|H,W", value_parser = super::detect::image_size)]
    pub(crate) imgsz: Option<[usize; 2]>,
    /// Share of the resized image that the crop keeps [default: as the model was trained]
    #[arg(long, value_name = "SHARE", value_parser = crop_pct)]
    pub(crate) crop_pct: Option<f64>,
    /// Filter of the resize, bicubic or bilinear [default: as the model was trained]
    #[arg(long, value_name = "NAME")]
    pub(crate) interpolation: Option<Interpolation>,
    /// Look at N images only, spread evenly over the data
    #[arg(long, value_name = "N", value_parser = super::detect::positive)]
    pub(crate) limit: Option<usize>,
    #[command(flatten)]
    pub(crate) parts: super::ShardArgs,
    /// Write the results with timm's columns
    #[arg(long, value_name = "FILE.csv|FILE.json", value_parser = PathBufValueParser::new().try_map(results_file))]
    pub(crate) results_file: Option<PathBuf>,
    /// Write how often each class was taken for which
    #[arg(long, value_name = "FILE.csv")]
    pub(crate) confusion: Option<PathBuf>,
    /// Write the logits, a row per image, those of unreadable ones NaN; for one model
    #[arg(long, value_name = "FILE.npy", conflicts_with_all = ["resume", "shard"])]
    pub(crate) logits: Option<PathBuf>,
    /// Print one JSON object per model and line to stdout, nothing else
    #[arg(long)]
    pub(crate) json: bool,
}

/// How numbers in labels count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClassIndexing {
    /// The model's classes, from 0
    Index,
    /// The model's classes, from 1
    OneBased,
    /// ILSVRC2012_ID of ImageNet's devkit, which has an order of its own
    Devkit,
}

impl From<ClassIndexing> for candle_vision::data::ClassIndexing {
    fn from(order: ClassIndexing) -> Self {
        match order {
            ClassIndexing::Index => Self::Index,
            ClassIndexing::OneBased => Self::OneBased,
            ClassIndexing::Devkit => Self::Devkit,
        }
    }
}

fn crop_pct(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0. && value <= 1. => Ok(value),
        _ => Err("give a number above 0 and up to 1".to_owned()),
    }
}

/// Takes a path whose ending says the format.
pub(super) fn results_file(path: PathBuf) -> Result<PathBuf, String> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv" | "json") => Ok(path),
        _ => Err("end it in .csv or .json".to_owned()),
    }
}
