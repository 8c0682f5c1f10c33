//! Parts that together are the whole.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;

use super::{LineHead, Lines, PartHeader};
use crate::error::usage;

/// A part's file that was looked through.
#[derive(Debug)]
pub(crate) struct PartFile {
    pub(crate) path: PathBuf,
    pub(crate) header: PartHeader,
    /// The first item that is not done.
    pub(super) next: usize,
    /// Bytes up to there.
    pub(super) length: u64,
    /// The number of the first line behind that, which is cut, damaged, or of an item that is not done.
    pub(super) cut: Option<usize>,
}

impl PartFile {
    /// Looks a file through, up to the first item that is not done.
    ///
    /// # Errors
    /// A file that is no part or cannot be read.
    pub(super) fn scan(path: &Path) -> Result<Self> {
        Self::scan_lines(Lines::open(path)?)
    }

    pub(super) fn scan_lines(mut lines: Lines) -> Result<Self> {
        let header = lines.header()?;
        let mut length = lines.line.len() as u64;
        let (mut next, mut end, mut number) = (header.start, length, 1);
        let mut cut = None;
        loop {
            number += 1;
            let line = lines.next()?;
            if line.is_empty() {
                break;
            }
            cut = cut.or(Some(number));
            end += line.len() as u64;
            // The whole line must be an object, not its beginning alone.
            let head: Option<LineHead> = line.ends_with(b"\n").then(|| serde_json::from_slice(line).ok()).flatten();
            match head.filter(|head| head.at == next && next < header.end) {
                Some(LineHead { done: true, .. }) => (next, length, cut) = (next + 1, end, None),
                Some(_) => {}
                None => break,
            }
        }
        Ok(Self { path: lines.path, header, next, length, cut })
    }

    /// A file whose items are all done.
    ///
    /// # Errors
    /// An item that is not done; a line that is damaged, or of no item.
    pub(crate) fn finished(path: &Path) -> Result<Self> {
        let found = Self::scan(path)?;
        found.check_done()?;
        Ok(found)
    }

    fn check_done(&self) -> Result<()> {
        let (path, PartHeader { start, end, .. }) = (self.path.display(), &self.header);
        if self.next < *end {
            let cut = self.cut.map(|line| format!(", from line {line} on")).unwrap_or_default();
            bail!("{path} has {} of its {} items still to do{cut}; run it with --resume", end - self.next, end - start);
        }
        match self.cut {
            Some(line) => bail!("{path}: line {line} is damaged, or of no item of this part; run it with --resume"),
            None => Ok(()),
        }
    }

    /// Calls `each` with each line, from the first on.
    ///
    /// # Errors
    /// A line that is not `T`; what `each` refuses.
    pub(crate) fn each<T: DeserializeOwned>(&self, mut each: impl FnMut(T) -> Result<()>) -> Result<()> {
        let mut lines = Lines::open(&self.path)?;
        lines.header()?;
        let mut number = 1;
        loop {
            number += 1;
            let line = lines.next()?;
            if line.is_empty() {
                return Ok(());
            }
            let line = serde_json::from_slice(line);
            each(line.with_context(|| format!("{}: line {number} is damaged", self.path.display()))?)?;
        }
    }
}

/// The files of one run's parts in their order, of which each item is in one, and done.
///
/// # Errors
/// A part that is missing, twice, of another run, or not finished; a file that is no part of `format`.
pub(crate) fn merged(paths: &[PathBuf], format: &str) -> Result<Vec<PartFile>> {
    let mut parts = paths.iter().map(|path| PartFile::scan(path)).collect::<Result<Vec<_>>>()?;
    parts.sort_by_key(|part| (part.header.start, part.header.end));
    let Some(first) = parts.first() else { bail!("there is no part") };
    let (total, mut next) = (first.header.total, 0);
    for part in &parts {
        let path = part.path.display();
        if part.header.format != format {
            return Err(usage(format!("{path} is a {:?}, no {format:?}", part.header.format)));
        }
        if let Some(difference) = first.header.difference(&part.header) {
            let first = first.path.display();
            return Err(usage(format!("{first} and {path} are no parts of one run: {difference}")));
        }
        let PartHeader { start, end, .. } = part.header;
        part.check_done()?;
        if start < next {
            return Err(usage(format!(
                "{path} holds items that another part holds too: {start} to {} of {total}",
                next.min(end)
            )));
        }
        if start > next {
            bail!("the part with items {next} to {start} of {total} is missing");
        }
        next = end;
    }
    if next < total {
        bail!("the part with items {next} to {total} of {total} is missing");
    }
    Ok(parts)
}
