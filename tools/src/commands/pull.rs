//! `ghostzoo pull`: a checkpoint into the cache.

use anyhow::Result;

use crate::cli::{GlobalArgs, PullArgs};
use crate::model;
use crate::output::Stdout;

/// Downloads what is not cached and prints its path.
pub(crate) fn run(args: &PullArgs, global: &GlobalArgs) -> Result<()> {
    let found = model::find(&args.model, global, false)?;
    Stdout::new().line(&found.path.display().to_string())
}
