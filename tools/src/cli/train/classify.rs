use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::RunArgs;
use super::detect::{above_zero, finite, probability};
use crate::cli::detect::{batch, side};

/// Arguments of `ghostzoo train classify`.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[command(args_override_self = true)]
pub(crate) struct ClassifyTrainArgs {
    /// Folder with train/ and val/ (or test/), each with a folder of images per class, or with train.tar and val.tar
    #[arg(long, value_name = "DIR", required_unless_present = "resume")]
    pub(crate) data: Option<PathBuf>,
    /// Architecture, trained from the start, or a checkpoint to start from: a file, a name of `ghostzoo models`
    #[arg(long, short, default_value = "ghostnet_100", value_name = "NAME|FILE")]
    pub(crate) model: String,
    /// Start from the model's published weights where it has some; a file: from that one's
    #[arg(long, default_value = "false", num_args = 0..=1, default_missing_value = "true", value_name = "true|false|FILE")]
    pub(crate) pretrained: String,
    /// Start each class from the row of the head that has its name in the checkpoint
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    pub(crate) cls_remap: bool,
    /// Images per step; what is left of an epoch is not used
    #[arg(long, visible_alias = "batch-size", default_value_t = 128, value_name = "N", value_parser = batch)]
    pub(crate) batch: usize,
    /// Side of the network's input, in pixels
    #[arg(long, visible_alias = "img-size", default_value_t = 224, value_name = "N", value_parser = side)]
    pub(crate) imgsz: usize,
    /// Share of a validation image that its centre crop keeps [default: the checkpoint's, else 0.875]
    #[arg(long, value_name = "SHARE", value_parser = positive_share)]
    pub(crate) crop_pct: Option<f64>,
    /// Filter that scales validation images: bicubic or bilinear [default: the checkpoint's, else bicubic]
    #[arg(long, value_name = "NAME")]
    pub(crate) interpolation: Option<String>,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) run: RunArgs,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) optimizer: ClassifyOptimizerArgs,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) augment: ClassifyAugmentArgs,
}

/// How weights move.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Optimizer")]
pub(crate) struct ClassifyOptimizerArgs {
    /// sgd (with Nesterov's momentum), adamw, adam or rmsproptf
    #[arg(long, default_value = "sgd", value_name = "NAME")]
    pub(crate) opt: String,
    /// Learning rate after the warm-up [default: 0.1 per 256 images of a batch; adam per the root of it]
    #[arg(long, value_name = "RATE", value_parser = finite)]
    pub(crate) lr: Option<f64>,
    /// Momentum, beta1 of Adam
    #[arg(long, default_value_t = 0.9, value_name = "X", value_parser = probability)]
    pub(crate) momentum: f64,
    /// Decay of weights that are neither biases nor of batch norms
    #[arg(long, default_value_t = 2e-5, value_name = "X", value_parser = finite)]
    pub(crate) weight_decay: f64,
    /// Largest norm of all gradients
    #[arg(long, value_name = "NORM", value_parser = finite)]
    pub(crate) clip_grad: Option<f64>,
    /// How the rate falls: cosine or step
    #[arg(long, default_value = "cosine", value_name = "NAME")]
    pub(crate) sched: String,
    /// Epochs in which the rate rises
    #[arg(long, default_value_t = 5., value_name = "X", value_parser = finite)]
    pub(crate) warmup_epochs: f64,
    /// First rate of the warm-up
    #[arg(long, default_value_t = 1e-5, value_name = "RATE", value_parser = finite)]
    pub(crate) warmup_lr: f64,
    /// Last rate of the cosine
    #[arg(long, default_value_t = 0., value_name = "RATE", value_parser = finite)]
    pub(crate) min_lr: f64,
    /// Epochs between steps
    #[arg(long, default_value_t = 90., value_name = "N", value_parser = above_zero)]
    pub(crate) decay_epochs: f64,
    /// What a step multiplies the rate by
    #[arg(long, default_value_t = 0.1, value_name = "X", value_parser = finite)]
    pub(crate) decay_rate: f64,
    /// Keep an average of the weights, and measure and save that
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    pub(crate) model_ema: bool,
    /// What an update keeps of the average
    #[arg(long, default_value_t = 0.9998, value_name = "X", value_parser = probability)]
    pub(crate) model_ema_decay: f64,
    /// Share of the classifier's inputs that are dropped
    #[arg(long, default_value_t = 0., value_name = "P", value_parser = probability)]
    pub(crate) drop: f64,
    /// Leave the first N layers as they are: the stem, then a stage each; 11 are all but conv_head and the classifier
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = frozen)]
    pub(crate) freeze: usize,
    /// Learn from another checkpoint's answers too, as GhostNetV3 does
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) teacher: Option<String>,
    /// Share of the teacher in the loss
    #[arg(long, default_value_t = 0.5, value_name = "P", value_parser = probability)]
    pub(crate) distill_alpha: f64,
    /// Temperature of both answers
    #[arg(long, default_value_t = 1., value_name = "X", value_parser = above_zero)]
    pub(crate) distill_temperature: f64,
    /// Move the weights of batch norms towards 0, by this much times the rate in each step, for `prune --criterion bn`
    #[arg(long, value_name = "X", value_parser = above_zero)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) slim: Option<f64>,
}

/// How images change.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Augmentation")]
pub(crate) struct ClassifyAugmentArgs {
    /// Part of the image's area that a crop takes, at least and at most
    #[arg(long, default_value = "0.08,1", value_name = "MIN,MAX")]
    pub(crate) scale: String,
    /// Width by height of a crop, at least and at most
    #[arg(long, default_value = "0.75,1.3333333333333333", value_name = "MIN,MAX")]
    pub(crate) ratio: String,
    /// Crop after this many black pixels on every side, at the images' own scale, instead of a part at random
    #[arg(long, value_name = "N")]
    pub(crate) crop_pad: Option<usize>,
    /// Probability of left to right
    #[arg(long, default_value_t = 0.5, value_name = "P", value_parser = probability)]
    pub(crate) hflip: f64,
    /// Probability of upside down
    #[arg(long, default_value_t = 0., value_name = "P", value_parser = probability)]
    pub(crate) vflip: f64,
    /// Largest change of brightness, contrast and saturation; none with --aa
    #[arg(long, default_value_t = 0.4, value_name = "SHARE", value_parser = finite)]
    pub(crate) color_jitter: f64,
    /// RandAugment as timm writes it: rand-m9-mstd0.5-inc1
    #[arg(long, value_name = "POLICY")]
    pub(crate) aa: Option<String>,
    /// Filter of the scaling: random (of the two), bilinear or bicubic
    #[arg(long, default_value = "random", value_name = "NAME", value_parser = ["random", "bilinear", "bicubic"])]
    pub(crate) train_interpolation: String,
    /// Probability that a part is erased
    #[arg(long, default_value_t = 0., value_name = "P", value_parser = probability)]
    pub(crate) reprob: f64,
    /// What it is erased with: pixel (noise), rand (one colour) or const (the mean)
    #[arg(long, default_value = "pixel", value_name = "NAME", value_parser = ["pixel", "rand", "const"])]
    pub(crate) remode: String,
    /// Most parts that are erased
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) recount: usize,
    /// Alpha of mixup; 0 for none
    #[arg(long, default_value_t = 0., value_name = "X", value_parser = finite)]
    pub(crate) mixup: f64,
    /// Alpha of cutmix; 0 for none
    #[arg(long, default_value_t = 0., value_name = "X", value_parser = finite)]
    pub(crate) cutmix: f64,
    /// Probability of either
    #[arg(long, default_value_t = 1., value_name = "P", value_parser = probability)]
    pub(crate) mixup_prob: f64,
    /// Probability of cutmix where both are on
    #[arg(long, default_value_t = 0.5, value_name = "P", value_parser = probability)]
    pub(crate) mixup_switch_prob: f64,
    /// Label smoothing
    #[arg(long, default_value_t = 0.1, value_name = "P", value_parser = probability)]
    pub(crate) smoothing: f64,
}

/// Parses a number of layers.
fn frozen(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|layers| *layers <= 11).ok_or_else(|| "give 0 to 11, the stem and ten stages".to_owned())
}

/// Parses a number above 0 and up to 1.
fn positive_share(text: &str) -> Result<f64, String> {
    probability(text).ok().filter(|value| *value > 0.).ok_or_else(|| "give a number above 0, up to 1".to_owned())
}
