//! The command `ghostzoo`: detect and classify with GhostNet and YOLOv8 models, from checkpoints trained in PyTorch.
//!
//! Results go to stdout, everything else to stderr. Exit codes: 0 done; 1 an image failed, or nothing could be done;
//! 2 the command line asks for something that does not exist.
#![forbid(unsafe_code)]

/// A line on stderr, what would steer a terminal escaped; one that nobody reads any more is no error.
macro_rules! status {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "{}", crate::output::safe(&format!($($text)*)));
    }};
}

mod assets;
mod cli;
mod commands;
mod device;
mod error;
mod files;
mod interrupt;
mod model;
mod output;
mod part;
mod progress;
mod reader;
mod request;
mod run_dir;
mod shard;
mod source;
mod stdin;
mod wording;

use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{ArgMatches, FromArgMatches};

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    ghostzoo_kernels::use_huge_pages();
    let command = cli::command();
    let matches = match cli::matches(&command, std::env::args_os()) {
        Ok(matches) => matches,
        Err(error) => return error::report(&error, None),
    };
    let Cli { global, command } = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    cli::tell_idle(&matches, global.quiet);
    let done = global.start().and_then(|()| match command {
        Command::Detect(args) => commands::detect::run(&args, &global),
        Command::Track(args) => commands::track::run(&args, &global),
        Command::Classify(args) => commands::classify::run(&args, &global),
        Command::Train(args) => commands::train::run(&args, &global, &explicit(&matches)),
        Command::Val(args) => commands::val::run(&args, &global),
        Command::Eval(args) => commands::eval::run(&args, &global),
        Command::Merge(args) => commands::merge::run(&args, &global),
        Command::Summary(args) => commands::summary::run(&args, &global),
        Command::Bench(args) => commands::bench::run(&args, &global),
        Command::Models(args) => commands::models::run(&args),
        Command::Pull(args) => commands::pull::run(&args, &global),
        Command::Convert(args) => commands::convert::run(&args, &global),
        Command::Prune(args) => commands::prune::run(&args, &global),
        Command::Quantize(args) => commands::quantize::run(&args, &global),
        Command::Publish(args) => commands::publish::run(&args, &global),
        Command::Completions(args) => commands::guides::completions(&args),
        Command::Man(args) => commands::guides::man(&args),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error::report(&error, innermost(&matches).try_get_one("batch").ok().flatten().copied()),
    }
}

/// What the innermost command was told.
fn innermost(matches: &ArgMatches) -> &ArgMatches {
    let mut innermost = matches;
    while let Some((_, inner)) = innermost.subcommand() {
        innermost = inner;
    }
    innermost
}

/// The options given on the command line to the innermost command, by the names of their fields.
fn explicit(matches: &ArgMatches) -> Vec<String> {
    let innermost = innermost(matches);
    let given = |id: &&clap::Id| innermost.value_source(id.as_str()) == Some(ValueSource::CommandLine);
    innermost.ids().filter(given).map(|id| id.as_str().to_owned()).collect()
}
