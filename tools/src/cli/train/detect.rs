use std::path::PathBuf;

use candle_yolov8::data::{Classes, Fractions};
use candle_yolov8::train::augment::Scale;
use clap::Args;
use serde::{Deserialize, Serialize};

use super::RunArgs;
use crate::cli::detect::{batch, positive, share, side};

/// Arguments of `ghostzoo train detect`.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[command(args_override_self = true)]
pub(crate) struct DetectTrainArgs {
    /// Ultralytics' data.yaml
    #[arg(long, value_name = "FILE", required_unless_present = "resume")]
    pub(crate) data: Option<PathBuf>,
    /// Architecture or its yaml, trained from the start; or a checkpoint to start from: a file, a name of `ghostzoo models`
    #[arg(long, short, default_value = "yolov8n-ghostnet", value_name = "NAME|FILE")]
    pub(crate) model: String,
    /// Start from the model's published weights where it has some; a file: from that one's
    #[arg(long, default_value = "true", value_name = "true|false|FILE")]
    pub(crate) pretrained: String,
    /// Start each class from the row of the head that has its name in the checkpoint
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    pub(crate) cls_remap: bool,
    /// Images per step; -1 or a share such as 0.7: as many as that part of a GPU's memory takes, at most 16 on a CPU
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = batch, overrides_with = "auto_batch")]
    pub(crate) batch: usize,
    /// The part of the memory; what `--batch` below 1 becomes
    #[arg(long, hide = true, value_parser = probability, overrides_with = "batch")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) auto_batch: Option<f64>,
    /// Side of the network's input, in pixels; rounded up to a multiple of the largest stride
    #[arg(long, default_value_t = 640, value_name = "N", value_parser = side)]
    pub(crate) imgsz: usize,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) run: RunArgs,
    /// Hours after which the run ends, whatever --epochs says; rates follow the number of epochs that fits
    #[arg(long, value_name = "HOURS", value_parser = above_zero)]
    #[serde(default)]
    pub(crate) time: Option<f64>,
    /// Keep decoded images: in ram, on disk as .npy files beside them, false, or auto: in ram where they take less than a quarter of it
    #[arg(long, default_value = "auto", value_name = "auto|ram|disk|false")]
    pub(crate) cache: String,
    /// Take all classes as one
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    pub(crate) single_cls: bool,
    /// Objects of these classes alone count, in training and validation: 0 or 0,2,3; the others keep their numbers
    #[arg(long, value_name = "N,…")]
    #[serde(default)]
    pub(crate) classes: Option<Classes>,
    /// Training images to use, from the first: a share, a count above 1, or both for train,val
    #[arg(long, default_value = "1.0", value_name = "SHARE|N|…,…")]
    pub(crate) fraction: Fractions,
    /// Batches of images of similar shapes, in one order and without mosaics and mixtures, instead of square ones
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    #[serde(default)]
    pub(crate) rect: bool,
    /// Scale each batch to a size of its own, up to this share of --imgsz smaller or larger
    #[arg(long, default_value_t = 0., value_name = "SHARE", value_parser = share_or_false)]
    #[serde(default)]
    pub(crate) multi_scale: f64,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) optimizer: OptimizerArgs,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) augment: AugmentArgs,
    /// Use single images instead of mosaics in the last epochs
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub(crate) close_mosaic: usize,
    /// Overlap above which the less confident of two boxes goes in validation
    #[arg(long, default_value_t = 0.7, value_parser = share::<f32>)]
    pub(crate) iou: f32,
    /// Most boxes per image in validation
    #[arg(long, default_value_t = 300, value_name = "N")]
    pub(crate) max_det: usize,
}

/// How weights move.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Optimizer")]
pub(crate) struct OptimizerArgs {
    /// SGD, MuSGD, AdamW, Adam, Adamax, NAdam, RAdam, RMSProp or auto: up to 10,000 updates AdamW at round(.002·5/(4 + classes), 6), above MuSGD at .01
    #[arg(long, default_value = "auto", value_name = "NAME")]
    pub(crate) optimizer: String,
    /// First learning rate
    #[arg(long, default_value_t = 0.01, value_name = "RATE", value_parser = finite)]
    pub(crate) lr0: f64,
    /// Last learning rate, as a share of the first
    #[arg(long, default_value_t = 0.01, value_name = "SHARE", value_parser = finite)]
    pub(crate) lrf: f64,
    /// Momentum of SGD and RMSProp, beta1 of Adam and its kin
    #[arg(long, default_value_t = 0.937, value_name = "X", value_parser = finite)]
    pub(crate) momentum: f64,
    /// Decay of weights, per nominal batch
    #[arg(long, default_value_t = 0.0005, value_name = "X", value_parser = finite)]
    pub(crate) weight_decay: f64,
    /// Epochs in which rates and momentum rise
    #[arg(long, default_value_t = 3., value_name = "X", value_parser = finite)]
    pub(crate) warmup_epochs: f64,
    /// First momentum
    #[arg(long, default_value_t = 0.8, value_name = "X", value_parser = finite)]
    pub(crate) warmup_momentum: f64,
    /// First learning rate of biases
    #[arg(long, default_value_t = 0.1, value_name = "RATE", value_parser = finite)]
    pub(crate) warmup_bias_lr: f64,
    /// Let the learning rate fall along a cosine, instead of a line
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    pub(crate) cos_lr: bool,
    /// Nominal batch: gradients of round(nbs / batch) batches are added up
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = positive)]
    pub(crate) nbs: usize,
    /// Weight of the box loss
    #[arg(id = "box", long = "box", default_value_t = 7.5, value_name = "X", value_parser = finite)]
    #[serde(rename = "box")]
    pub(crate) box_gain: f64,
    /// Weight of the class loss
    #[arg(id = "cls", long = "cls", default_value_t = 0.5, value_name = "X", value_parser = finite)]
    #[serde(rename = "cls")]
    pub(crate) cls_gain: f64,
    /// Weight of the loss of box distributions
    #[arg(id = "dfl", long = "dfl", default_value_t = 1.5, value_name = "X", value_parser = finite)]
    #[serde(rename = "dfl")]
    pub(crate) dfl_gain: f64,
    /// Weight classes by this power of their inverse frequency, 0 (alike) to 1
    #[arg(long, default_value_t = 0., value_name = "X", value_parser = probability)]
    #[serde(default)]
    pub(crate) cls_pw: f64,
    /// Leave layers as they are: the first N, or a list of layers such as 0,1,9 or names such as 22.cv2
    #[arg(long, default_value = "", hide_default_value = true, value_name = "N|LAYER,…")]
    pub(crate) freeze: String,
    /// Learn from another detector's answers too, of the same classes and strides: a file, a name of `ghostzoo models`
    #[arg(long, value_name = "NAME|FILE")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) teacher: Option<String>,
    /// Weight of the teacher's part of the loss, beside --cls and --dfl [default: 1]
    #[arg(long, value_name = "X", value_parser = above_zero)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) distill: Option<f64>,
    /// Move the weights of batch norms towards 0, by this much times the rate in each step, for `prune --criterion bn`
    #[arg(long, value_name = "X", value_parser = above_zero)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) slim: Option<f64>,
}

/// How images change.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Augmentation")]
pub(crate) struct AugmentArgs {
    /// Largest change of hue
    #[arg(long, default_value_t = 0.015, value_name = "SHARE", value_parser = finite)]
    pub(crate) hsv_h: f64,
    /// Largest change of saturation
    #[arg(long, default_value_t = 0.7, value_name = "SHARE", value_parser = finite)]
    pub(crate) hsv_s: f64,
    /// Largest change of brightness
    #[arg(long, default_value_t = 0.4, value_name = "SHARE", value_parser = finite)]
    pub(crate) hsv_v: f64,
    /// Largest turn, in degrees
    #[arg(long, default_value_t = 0., value_name = "X", value_parser = finite)]
    pub(crate) degrees: f64,
    /// Largest shift, as a share of the side
    #[arg(long, default_value_t = 0.1, value_name = "SHARE", value_parser = finite)]
    pub(crate) translate: f64,
    /// Largest change of scale, or the smallest and the largest factor: 0.5,2
    #[arg(long, default_value = "0.5", value_name = "SHARE|X,Y")]
    pub(crate) scale: Scale,
    /// Largest shear, in degrees
    #[arg(long, default_value_t = 0., value_name = "X", value_parser = finite)]
    pub(crate) shear: f64,
    /// Largest perspective, 0 to 0.001
    #[arg(long, default_value_t = 0., value_name = "X", value_parser = finite)]
    pub(crate) perspective: f64,
    /// Probability of upside down
    #[arg(long, default_value_t = 0., value_name = "P", value_parser = probability)]
    pub(crate) flipud: f64,
    /// Probability of left to right
    #[arg(long, default_value_t = 0.5, value_name = "P", value_parser = probability)]
    pub(crate) fliplr: f64,
    /// Probability of blue for red
    #[arg(long, default_value_t = 0., value_name = "P", value_parser = probability)]
    pub(crate) bgr: f64,
    /// Probability of four images in one
    #[arg(long, default_value_t = 1., value_name = "P", value_parser = probability)]
    pub(crate) mosaic: f64,
    /// Probability of two images on top of each other
    #[arg(long, default_value_t = 0., value_name = "P", value_parser = probability)]
    pub(crate) mixup: f64,
    /// Probability of a rectangle of another image, where it covers no object
    #[arg(long, default_value_t = 0., value_name = "P", value_parser = probability)]
    #[serde(default)]
    pub(crate) cutmix: f64,
}

/// Parses a number from 0 to 1.
pub(crate) fn probability(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if (0. ..=1.).contains(&value) => Ok(value),
        _ => Err("give a number from 0 to 1".to_owned()),
    }
}

/// Parses a number above 0.
pub(crate) fn above_zero(text: &str) -> Result<f64, String> {
    finite(text).ok().filter(|value| *value > 0.).ok_or_else(|| "give a number above 0".to_owned())
}

/// Parses a number of at least 0.
pub(crate) fn finite(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if (0. ..f64::INFINITY).contains(&value) => Ok(value),
        _ => Err("give a number of at least 0".to_owned()),
    }
}

/// Parses a number from 0 to 1, or the `False` of older configurations, which means 0.
fn share_or_false(text: &str) -> Result<f64, String> {
    if text.eq_ignore_ascii_case("false") { Ok(0.) } else { probability(text) }
}
