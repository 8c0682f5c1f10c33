//! Files that appear complete or not at all.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

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
