//! `ghostzoo pull`: a checkpoint into the cache.

use anyhow::Result;
use ghostzoo_weights::{CheckpointSource, ResolveOptions};

use crate::cli::{GlobalArgs, PullArgs};
use crate::model;
use crate::output::Stdout;

/// Downloads what is not cached, or with `--force` what is, and prints its path. What is built in has none.
pub(crate) fn run(args: &PullArgs, global: &GlobalArgs) -> Result<()> {
    let options = ResolveOptions::new().again(args.force);
    let found = model::find_with(&args.model, &options, global, false)?;
    match found.origin {
        CheckpointSource::File(path) => Stdout::new().line(&path.display().to_string()),
        CheckpointSource::Bundled(shipped) => {
            if !global.quiet {
                let (name, file) = (&args.model, shipped.file());
                status!(
                    "note: {name} is built in and needs no download; `ghostzoo convert {name} {file}` writes its file"
                );
            }
            Ok(())
        }
    }
}
