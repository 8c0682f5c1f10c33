//! Files that appear complete or not at all.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ghostzoo_weights::{CheckpointSource, ResolvedModel};

use crate::error::usage;

/// Writes `bytes` beside `path`, syncs, then renames.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    ghostzoo_files::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Fails where [`write()`] could not put a file: for long runs, before they start. What a killed run left half-written of
/// the file goes.
pub(crate) fn check_place(path: &Path) -> Result<()> {
    ghostzoo_files::sweep(path)?;
    tempfile::tempfile_in(ghostzoo_files::folder_of(path))
        .with_context(|| format!("cannot write {}", path.display()))?;
    if path.is_dir() {
        anyhow::bail!("cannot write {}: it is a folder", path.display());
    }
    Ok(())
}

/// The checkpoint to write: as it was asked for, else the model's name with `suffix`, in this folder. Nothing is there, unless `force`
/// says that it may be, and it can be written.
pub(crate) fn output(asked: Option<&Path>, model: &OsStr, suffix: &str, force: bool) -> Result<PathBuf> {
    let output = asked.map_or_else(
        || {
            let path = Path::new(model);
            // A name of the registry may hold a dot.
            let stem = if path.is_file() { path.file_stem() } else { path.file_name() };
            let mut name = stem.unwrap_or(model).to_owned();
            name.push(format!("{suffix}.safetensors"));
            PathBuf::from(name)
        },
        Path::to_path_buf,
    );
    let shown = output.display();
    if output.extension().is_none_or(|extension| extension != "safetensors") {
        return Err(usage(format!("{shown} must end in .safetensors, the format that is written")));
    }
    // Also a link that leads nowhere: to write would replace it.
    if !force && output.symlink_metadata().is_ok() {
        return Err(usage(format!("{shown} exists; give --output another name, or --force to write over it")));
    }
    check_place(&output)?;
    Ok(output)
}

/// Refuses to write over the model that is read.
pub(crate) fn check_not_model(output: &Path, model: &ResolvedModel) -> Result<()> {
    match &model.origin {
        CheckpointSource::File(path) if matches!((path.canonicalize(), output.canonicalize()), (Ok(a), Ok(b)) if a == b) => {
            Err(usage("the model and --output are the same file; give --output another name"))
        }
        _ => Ok(()),
    }
}

/// Refuses to write over a file that is read.
pub(crate) fn check_not_read<'a>(output: &Path, read: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    let Ok(written) = output.canonicalize() else { return Ok(()) };
    if read.into_iter().any(|path| path.canonicalize().is_ok_and(|path| path == written)) {
        return Err(usage(format!("{} is read: name another file to write", output.display())));
    }
    Ok(())
}

/// A file's CRC-32: tells files apart that were mistaken, not forged.
pub(crate) fn checksum(path: &Path) -> Result<u32> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(crc32fast::hash(&bytes))
}

/// Makes a folder and those above it.
pub(crate) fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot make the folder {}", path.display()))
}
