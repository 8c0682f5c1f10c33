use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Most boxes per image unless told otherwise: Ultralytics' default.
pub(crate) const MAX_DET: usize = 300;

/// Arguments of `ghostzoo val`.
#[derive(Debug, Args)]
pub(crate) struct ValArgs {
    /// Ultralytics' data.yaml, whose splits may be COCO's instances too, or COCO's instances_*.json
    #[arg(long, value_name = "FILE")]
    pub(crate) data: PathBuf,
    /// Checkpoint: a name of `ghostzoo models`, a file (.safetensors, .pt, .pth, .bin), or hf://org/repo@rev/file
    #[arg(long, short, value_name = "NAME|FILE|hf://…")]
    pub(crate) model: Option<OsString>,
    /// Part of a data.yaml to look at: val, test or train
    #[arg(long, default_value = "val", value_name = "NAME")]
    pub(crate) split: String,
    /// Folder of the images that an instances file names [default: beside it, or images/ beside or above it]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) images: Option<PathBuf>,
    /// Pixels that an image's longer side is scaled to, rounded up to a multiple of 32 [default: as the model was trained,
    /// else 640]
    #[arg(long, value_name = "N", value_parser = super::detect::side)]
    pub(crate) imgsz: Option<usize>,
    #[command(flatten)]
    pub(crate) largest: super::Limit,
    /// Images per forward pass; with --rect it decides the shapes too
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = super::detect::batch)]
    pub(crate) batch: usize,
    /// Give each batch the shape that fits its images, instead of a square
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "true|false")]
    pub(crate) rect: bool,
    /// Least confidence of a box, exclusive
    #[arg(long, default_value_t = 0.001, value_parser = super::detect::share::<f32>)]
    pub(crate) conf: f32,
    /// Overlap above which the less confident of two boxes of a class goes
    #[arg(long, default_value_t = 0.7, value_parser = super::detect::share::<f32>)]
    pub(crate) iou: f32,
    /// Most boxes per image; 300 is raised to the most objects of an image
    #[arg(long, default_value_t = MAX_DET, value_name = "N")]
    pub(crate) max_det: usize,
    /// Let boxes of different classes suppress each other
    #[arg(long)]
    pub(crate) agnostic_nms: bool,
    /// Take all classes as one, as a model trained with single_cls is validated unasked
    #[arg(long)]
    pub(crate) single_cls: bool,
    /// Confidence above which boxes count into the confusion matrix
    #[arg(long, default_value_t = 0.25, value_name = "CONF", value_parser = super::detect::share::<f32>)]
    pub(crate) confusion_conf: f32,
    /// Whose definition of the metrics to print
    #[arg(long, default_value = "both")]
    pub(crate) metric: Metric,
    /// Write predictions.json, COCO's list of results in pixels of the images. Categories are those of an instances
    /// file; for COCO's own lists, val2017.txt and test-dev2017.txt, COCO's, 1 to 90; else the class's number plus 1: all as
    /// Ultralytics writes them
    #[arg(long, conflicts_with = "shard")]
    pub(crate) save_json: bool,
    /// Draw the confusion matrix and the curves of precision, recall and F1; not of a --shard
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "true|false")]
    pub(crate) plots: bool,
    /// Where files go; a number is added where it exists [default: runs/detect/val]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) save_dir: Option<PathBuf>,
    /// Write into the folder even where it exists
    #[arg(long)]
    pub(crate) exist_ok: bool,
    /// Print one JSON object to stdout, nothing else
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) tiles: super::TileArgs,
    #[command(flatten)]
    pub(crate) parts: super::ShardArgs,
}

/// A definition of average precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Metric {
    /// pycocotools': the precision at 101 recalls, crowds, areas, at most 100 boxes
    Coco,
    /// Ultralytics': the area under the curve, precision and recall at the best F1
    Ultralytics,
    /// Both
    Both,
}
