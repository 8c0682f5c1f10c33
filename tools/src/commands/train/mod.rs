//! `ghostzoo train`: from labelled images to a checkpoint, in a folder that shows how it went.

mod args_yaml;
mod arguments;
mod classify;
mod detect;
mod display;
mod place;
mod progress;
mod run;

use std::env;

use anyhow::Result;
use ghostzoo_kernels::retain_heap;

use crate::cli::{GlobalArgs, TrainArgs, TrainTask};
use crate::error::usage;

/// Trains what the command line says. `explicit` names the options that were given.
pub(crate) fn run(args: &TrainArgs, global: &GlobalArgs, explicit: &[String]) -> Result<()> {
    is_alone()?;
    retain_heap();
    match &args.task {
        TrainTask::Detect(args) => run::run::<detect::Detect>(args, global, explicit),
        TrainTask::Classify(args) => run::run::<classify::Classify>(args, global, explicit),
    }
}

/// Refuses to be one of several processes that were started together, each of which would train by itself into one folder.
fn is_alone() -> Result<()> {
    // Numbers of processes, as torchrun, Open MPI, and MPICH and Intel MPI tell them.
    for name in ["WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"] {
        let count = env::var(name).ok().and_then(|count| count.parse::<usize>().ok());
        if let Some(count) = count.filter(|count| *count > 1) {
            return Err(usage(format!(
                "{name}={count}: this command trains in one process; several train together by the Python package, \
                 `torchrun -m ghostzoo train detect data=…` (docs/training.md), or unset {name}"
            )));
        }
    }
    Ok(())
}
