//! `ghostzoo merge`: what parts of `eval`, `detect` and `val` say together.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{detect, eval, val};
use crate::cli::{GlobalArgs, MergeArgs};
use crate::error::usage;
use crate::files;

/// Bytes that say what a file is.
const BEGINNING: u64 = 64;

/// Puts parts together, of the command that wrote the first of them.
pub(crate) fn run(args: &MergeArgs, global: &GlobalArgs) -> Result<()> {
    let Some(first) = args.parts.first() else { bail!("there is no part") };
    let command = written_by(first)?;
    let given = [
        ("--results-file", "eval", args.results_file.is_some()),
        ("--confusion", "eval", args.confusion.is_some()),
        ("--parquet", "detect", args.parquet.is_some()),
        ("--metric", "val", args.metric.is_some()),
        ("--save-json", "val", args.save_json),
        ("--plots", "val", args.plots),
    ];
    if let Some((option, of, _)) = given.iter().find(|(_, of, is_given)| *is_given && *of != command) {
        let first = first.display();
        return Err(usage(format!("{option} is for parts of `{of}`, and {first} is one of `{command}`")));
    }
    for output in [&args.parquet, &args.results_file, &args.confusion].into_iter().flatten() {
        files::check_not_read(output, args.parts.iter().map(PathBuf::as_path))?;
    }
    match command {
        "detect" => detect::merge(args, global),
        "val" => val::merge(args, global),
        _ => eval::merge(args, global),
    }
}

/// The command that wrote a part.
fn written_by(path: &Path) -> Result<&'static str> {
    let mut text = Vec::new();
    let file = candle_vision::regular::open(path);
    file.and_then(|file| file.take(BEGINNING).read_to_end(&mut text))
        .with_context(|| format!("cannot read {}", path.display()))?;
    let wrote = |command: &&str| text.starts_with(format!("{{\"format\":\"ghostzoo {command} part ").as_bytes());
    // Who knows none of it refuses it by name.
    Ok(["detect", "val"].into_iter().find(wrote).unwrap_or("eval"))
}
