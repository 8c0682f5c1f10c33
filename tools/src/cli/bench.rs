use std::ffi::OsString;

use clap::{Args, ValueEnum};
use ghostzoo_kernels::Isa;

/// Arguments of `ghostzoo bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Architecture, yaml file or checkpoint; an architecture runs with made-up weights, which cost the same
    #[arg(long, short, value_name = "NAME|FILE", required_unless_present = "tune")]
    pub(crate) model: Option<OsString>,
    /// Images per run [default: 1; with --train 16, GhostNet 32]
    #[arg(long, value_name = "N", value_parser = super::detect::batch)]
    pub(crate) batch: Option<usize>,
    /// Side of the images, or HEIGHT,WIDTH [default: 640, GhostNet 224; with --train 320, GhostNet 224]
    #[arg(long, value_name = "N|H,W", value_parser = super::detect::image_size)]
    pub(crate) imgsz: Option<[usize; 2]>,
    /// Timed runs
    #[arg(long, default_value = "30", value_name = "N", value_parser = super::detect::positive)]
    pub(crate) runs: usize,
    /// What computes on the CPU
    #[arg(long, default_value = "plan")]
    pub(crate) engine: Engine,
    /// Time steps of training on made-up images: forward, loss, gradients, update by SGD; prints the peak memory of the
    /// process and the median of five steps
    #[arg(long, conflicts_with_all = ["runs", "isa", "tune", "profile", "stdin", "json"])]
    pub(crate) train: bool,
    /// Instruction set of the plan [default: the widest of this machine]
    #[arg(long, value_name = "NAME")]
    pub(crate) isa: Option<Isa>,
    /// Measure which kernel is fastest for each convolution of the models that are benchmarked, and print the table that
    /// kernels/src/plan/tables holds
    #[arg(long, conflicts_with_all = ["model", "stdin", "json", "profile"])]
    pub(crate) tune: bool,
    /// Print a table of the plan's steps
    #[arg(long, conflicts_with = "stdin")]
    pub(crate) profile: bool,
    /// Print what a GPU launches for an image, and the least time that an H100 needs for it. Needs no GPU
    #[arg(long, conflicts_with_all = ["profile", "stdin", "json", "train", "tune"])]
    pub(crate) launches: bool,
    /// Take turns with other programs: after `ready`, each line read makes one turn (a pause of 30 ms, a run, the median of
    /// three) and prints its milliseconds
    #[arg(long)]
    pub(crate) stdin: bool,
    /// Print one JSON object to stdout, nothing else
    #[arg(long, conflicts_with = "stdin")]
    pub(crate) json: bool,
}

/// What computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    /// Fused kernels of this project
    Plan,
    /// Candle's own operations
    Stock,
}
