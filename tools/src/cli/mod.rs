//! The command line.

mod bench;
pub(crate) mod bytes;
mod classify;
mod convert;
mod detect;
mod eval;
mod guides;
mod idle;
mod limit;
mod merge;
mod models;
mod prune;
mod publish;
mod pull;
mod quantize;
mod shard;
mod summary;
mod tiles;
mod track;
mod train;
mod val;
mod video;
mod yolo;

use std::ffi::OsString;

use anyhow::Result;
use candle_core::{DType, Device};
use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::device::Choice;
use crate::error::usage;

pub(crate) use bench::{BenchArgs, Engine};
pub(crate) use classify::ClassifyArgs;
pub(crate) use convert::ConvertArgs;
pub(crate) use detect::{DetectArgs, DetectPartArgs};
pub(crate) use eval::EvalArgs;
pub(crate) use guides::{CompletionsArgs, ManArgs};
pub(crate) use idle::tell as tell_idle;
pub(crate) use limit::Limit;
pub(crate) use merge::MergeArgs;
pub(crate) use models::ModelsArgs;
pub(crate) use prune::{Importance, PruneArgs};
pub(crate) use publish::PublishArgs;
pub(crate) use pull::PullArgs;
pub(crate) use quantize::{Method, QuantizeArgs};
pub(crate) use shard::{Shard, ShardArgs};
pub(crate) use summary::SummaryArgs;
pub(crate) use tiles::TileArgs;
pub(crate) use track::{Points, TrackArgs, TrackingArgs};
pub(crate) use train::{ClassifyTrainArgs, DetectTrainArgs, RunArgs, TrainArgs, TrainTask};
pub(crate) use val::{MAX_DET, Metric, ValArgs};
pub(crate) use video::VideoArgs;
pub(crate) use yolo::as_options;

/// Detect and classify with GhostNet and YOLOv8 models, from checkpoints trained in PyTorch.
#[derive(Debug, Parser)]
#[command(name = "ghostzoo", version, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Find objects in images and videos: boxes, classes, confidences
    #[command(visible_alias = "predict")]
    Detect(DetectPartArgs),
    /// Follow objects through videos, cameras and sequences of images
    Track(TrackArgs),
    /// Say what an image shows
    Classify(ClassifyArgs),
    /// Train a detector or a classifier on images of your own
    Train(TrainArgs),
    /// Measure a detector on labelled images: COCO's and Ultralytics' mAP
    Val(ValArgs),
    /// Measure classifiers on labelled images: top-1, top-5, loss, calibration
    Eval(EvalArgs),
    /// Put together the parts of a detection, a validation or an evaluation
    Merge(MergeArgs),
    /// Compare models: layers, parameters, gradients, GFLOPs
    Summary(SummaryArgs),
    /// Measure how long a model takes
    Bench(BenchArgs),
    /// List the models that have a name here
    Models(ModelsArgs),
    /// Download a model's checkpoint
    Pull(PullArgs),
    /// Write any readable checkpoint as safetensors with its metadata
    Convert(ConvertArgs),
    /// Write a model with fewer channels, which is smaller and faster, to be trained on
    Prune(PruneArgs),
    /// Write a model with its convolutions in 8 bits, by the ranges that images show
    Quantize(QuantizeArgs),
    /// Write a folder for the Hugging Face Hub: a card, weights, configuration, licence
    Publish(PublishArgs),
    /// Write what a shell completes commands and options with
    Completions(CompletionsArgs),
    /// Write the manual pages
    Man(ManArgs),
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct GlobalArgs {
    /// Architecture of a checkpoint that does not say what it is: a name, or a model's yaml file
    #[arg(long, global = true, value_name = "NAME|FILE.yaml")]
    pub(crate) arch: Option<OsString>,
    /// Where to compute: auto, cpu, cuda, cuda:N or metal
    #[arg(long, global = true, default_value = "auto")]
    pub(crate) device: Choice,
    /// Type to compute in; auto is bf16 on a CPU that multiplies it, else f32 [default: f32]
    #[arg(long, global = true)]
    pub(crate) dtype: Option<Float>,
    /// Threads to compute with [default: one per core]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Print results and errors only: no notes, no progress, no totals
    #[arg(long, global = true)]
    pub(crate) quiet: bool,
}

impl GlobalArgs {
    /// Applies what holds for the whole process.
    pub(crate) fn start(&self) -> anyhow::Result<()> {
        if let Some(threads) = self.threads {
            rayon::ThreadPoolBuilder::new().num_threads(threads.into()).build_global()?;
        }
        Ok(())
    }

    /// Opens the device, and refuses a type that it cannot compute in. `quiet` as [`Choice::open`] has it.
    pub(crate) fn open(&self, quiet: bool) -> anyhow::Result<Device> {
        let device = self.device.open(quiet)?;
        ghostzoo_kernels::check_dtype(&device, self.dtype(&device))
            .map_err(|error| usage(format!("--dtype: {error}")))?;
        Ok(device)
    }

    /// Refuses `--arch` beside a model that is an architecture.
    pub(crate) fn refuse_arch(&self, model: &str) -> anyhow::Result<()> {
        match &self.arch {
            Some(arch) => Err(usage(format!(
                "--arch {} says what a checkpoint is, and {model} is an architecture by name: leave one of them out",
                bytes::shown(arch)
            ))),
            None => Ok(()),
        }
    }

    /// The type to compute in; a model with weights in 8 bits may have another where none was named.
    pub(crate) fn dtype(&self, device: &Device) -> DType {
        self.dtype.unwrap_or(Float::F32).named().unwrap_or_else(|| ghostzoo::best_dtype(device))
    }
}

/// A floating-point type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Float {
    /// 32 bits
    F32,
    /// 16 bits, IEEE half precision
    F16,
    /// 16 bits with the exponent of f32
    Bf16,
    /// What suits the device and the model
    Auto,
}

impl Float {
    /// The type, unless it depends on what computes.
    pub(crate) fn named(self) -> Option<DType> {
        match self {
            Self::F32 => Some(DType::F32),
            Self::F16 => Some(DType::F16),
            Self::Bf16 => Some(DType::BF16),
            Self::Auto => None,
        }
    }
}

/// The command line as it is parsed.
pub(crate) fn command() -> clap::Command {
    idle::hidden(declared())
}

/// The command line as completions and manuals list it.
pub(crate) fn listed() -> clap::Command {
    idle::listed(declared())
}

/// A negative number behind an option of a training is its value, which is then refused by name.
fn declared() -> clap::Command {
    let negative = |arg: Arg| {
        let takes_value = arg.get_action().takes_values();
        arg.allow_negative_numbers(takes_value)
    };
    // Ultralytics' default: what is below a tracker's own thresholds helps it to follow.
    let tracking = |track: clap::Command| track.mut_arg("conf", |conf| conf.default_value("0.1"));
    // What is written of each image cannot go on where a run ended.
    let in_parts = |detect: clap::Command| {
        let refused = ["save_txt", "save_crop", "coco_json"];
        detect.mut_arg("part", |part| part.requires("no_save").conflicts_with_all(refused))
    };
    Cli::command()
        .mut_subcommand("detect", in_parts)
        .mut_subcommand("track", tracking)
        .mut_subcommand("train", |train| train.mut_subcommands(|task| task.mut_args(negative)))
}

/// What the command line says, which may be written as for `yolo`. A word that is not UTF-8 may name a file.
///
/// # Errors
/// What [`as_options`] refuses; a word that is not UTF-8 where text is asked for. All else ends the program, as help does.
pub(crate) fn matches(command: &clap::Command, given: impl Iterator<Item = OsString>) -> Result<ArgMatches> {
    let given = given.map(|word| bytes::text(&word));
    let words: Vec<OsString> = as_options(given, command)?.iter().map(|word| bytes::word(word)).collect();
    let parse = |words: &[OsString]| command.clone().try_get_matches_from(words);
    let is_no_text = |word: &&OsString| word.to_str().is_none();
    match parse(&words) {
        // The arguments of a run are kept as text.
        Ok(matches)
            if matches.subcommand_name() != Some("train") || !words.iter().skip(1).any(|word| is_no_text(&word)) =>
        {
            Ok(matches)
        }
        Err(error) if error.kind() != ErrorKind::InvalidUtf8 => error.exit(),
        refused => {
            // That which is refused where all others are text.
            let alone = |at: &usize| {
                let lossy = |(place, word): (usize, &OsString)| match place == *at {
                    true => word.clone(),
                    false => word.to_string_lossy().into_owned().into(),
                };
                let words: Vec<OsString> = words.iter().enumerate().map(lossy).collect();
                is_no_text(&&words[*at])
                    && (refused.is_ok() || parse(&words).is_err_and(|error| error.kind() == ErrorKind::InvalidUtf8))
            };
            let word = (1..words.len()).find(alone).map(|at| bytes::shown(&words[at])).unwrap_or_default();
            let why = match refused {
                Ok(_) => ", and a training keeps its arguments as text: give the file a name in UTF-8",
                Err(_) => ", and what it is given for takes text; only names of files and folders may be so",
            };
            Err(usage(format!("the argument `{word}` is not UTF-8{why}")))
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
        super::listed().debug_assert();
    }

    #[test]
    fn numbers_beyond_all_memory_are_refused() {
        let refused = |words: &str| {
            let error = super::command().try_get_matches_from(words.split(' ')).expect_err(words);
            error.to_string().contains("give a whole number from 1 to ")
        };
        for command in
            ["detect a.jpg", "classify a.jpg", "eval --data d", "val --data d", "train detect --data d", "bench"]
        {
            assert!(refused(&format!("ghostzoo {command} --batch 1000000000")), "{command}");
            assert!(refused(&format!("ghostzoo {command} --batch 0")), "{command}");
        }
        for command in ["val --data d", "train detect --data d", "train classify --data d"] {
            assert!(refused(&format!("ghostzoo {command} --imgsz 1000000000")), "{command}");
        }
    }
}
