//! `ghostzoo train`: from labelled images to a checkpoint, in a folder that shows how it went.

mod args_yaml;
mod arguments;
mod classify;
mod detect;
mod display;
mod place;
mod progress;
mod run;

use anyhow::Result;
use ghostzoo_kernels::retain_heap;

use crate::cli::{GlobalArgs, TrainArgs, TrainTask};

/// Trains what the command line says. `explicit` names the options that were given.
pub(crate) fn run(args: &TrainArgs, global: &GlobalArgs, explicit: &[String]) -> Result<()> {
    retain_heap();
    match &args.task {
        TrainTask::Detect(args) => run::run::<detect::Detect>(args, global, explicit),
        TrainTask::Classify(args) => run::run::<classify::Classify>(args, global, explicit),
    }
}
