//! `ghostzoo train`: from labelled pictures to a checkpoint, in a folder that shows how it went.

mod arguments;
mod cycle;
mod detect;
mod interrupt;
mod place;
mod progress;
mod results;
mod state;

use anyhow::Result;

use crate::cli::{GlobalArgs, TrainArgs, TrainTask};

/// Trains what the command line says. `explicit` names the options that were given.
pub(crate) fn run(args: &TrainArgs, global: &GlobalArgs, explicit: &[String]) -> Result<()> {
    match &args.task {
        TrainTask::Detect(args) => detect::run(args, global, explicit),
    }
}
