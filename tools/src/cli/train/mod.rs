//! Arguments of `ghostzoo train`, under the names of Ultralytics (detect) and timm (classify).

mod cfg;
mod classify;
mod detect;
mod key_value;
mod keys;
mod values;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

pub(crate) use classify::ClassifyTrainArgs;
pub(crate) use detect::DetectTrainArgs;
pub(super) use key_value::{as_options, device, is_key, joined, option_of};
pub(super) use values::{elements, is_none, switch, truth};

/// Whether `yolo` has a key.
pub(super) fn is_known_key(name: &str) -> bool {
    keys::find(name).is_some()
}

/// Whether `yolo` takes the bare key for `key=True`.
pub(super) fn is_switch(name: &str) -> bool {
    keys::find(name).is_some_and(keys::Key::is_switch)
}

/// Whether a value is the one that a key of `yolo` stands at.
pub(super) fn is_default(name: &str, value: &str) -> bool {
    keys::find(name).is_some_and(|key| values::same(value, key.default))
}

/// Arguments of `ghostzoo train`.
#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    #[command(subcommand)]
    pub(crate) task: TrainTask,
}

/// What to train.
#[derive(Debug, Subcommand)]
pub(crate) enum TrainTask {
    /// Train a detector on labelled boxes. Options may be given as in `yolo train`: epochs=100 imgsz=320
    Detect(Box<DetectTrainArgs>),
    /// Train a classifier on folders of images, one per class
    Classify(Box<ClassifyTrainArgs>),
}

/// Options of every training.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
pub(crate) struct RunArgs {
    /// Go on with an interrupted run: its folder, or its weights/last.safetensors; without a value the latest run
    #[arg(long, num_args = 0..=1, default_missing_value = "", value_name = "RUN")]
    #[serde(skip)]
    pub(crate) resume: Option<String>,
    /// Take arguments from a file, such as a run's args.yaml, here's or Ultralytics'; those of the command line win
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub(crate) cfg: Option<PathBuf>,
    /// Passes over the training images
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = super::detect::positive)]
    pub(crate) epochs: usize,
    /// Stop after so many epochs without a better model; 0 never does
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub(crate) patience: usize,
    /// Hold back this share of the images to validate with, where the data have none for that: as --seed and their names
    /// decide, of a classifier's as much of each class
    #[arg(long, value_name = "SHARE", value_parser = val_split)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) val_split: Option<f64>,
    /// Let --resume go on where the data are not those that the run began with, and say what changed
    #[arg(long, requires = "resume")]
    #[serde(skip)]
    pub(crate) accept_changed_data: bool,
    /// Number that decides every random choice
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) seed: u64,
    /// Threads that prepare images beside the training; 0 prepares them between steps
    #[arg(long, value_name = "N", value_parser = workers)]
    pub(crate) workers: Option<usize>,
    /// Write weights/epochN.safetensors every so many epochs; -1 never does
    #[arg(long, default_value_t = -1, value_name = "N")]
    pub(crate) save_period: i64,
    /// Look at the validation images after every epoch, instead of after the last only
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "true|false")]
    pub(crate) val: bool,
    /// Draw curves and batches into the run's folder
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "true|false")]
    pub(crate) plots: bool,
    /// Folder that runs' folders go into, below runs/detect or runs/classify unless it is a whole path
    #[arg(long, value_name = "FOLDER")]
    pub(crate) project: Option<PathBuf>,
    /// Name of the run's folder; a number is added where it exists
    #[arg(long, default_value = "train", value_name = "NAME")]
    pub(crate) name: String,
    /// Write into the folder even where it exists
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    pub(crate) exist_ok: bool,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) largest: super::Limit,
    /// Print one JSON object per epoch to stdout, nothing else
    #[arg(long)]
    #[serde(skip)]
    pub(crate) json: bool,
}

/// Parses a share that leaves something on either side.
fn val_split(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share > 0. && share < 1. => Ok(share),
        _ => Err("give a share between 0 and 1, such as 0.2".to_owned()),
    }
}

/// Most threads that prepare images.
const MAX_WORKERS: usize = 256;

fn workers(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if count <= MAX_WORKERS => Ok(count),
        _ => Err(format!("give a whole number from 0 to {MAX_WORKERS}")),
    }
}
