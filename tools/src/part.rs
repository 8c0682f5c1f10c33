//! A part of the data as a file that grows by lines: for runs that go on, and for parts that are put together.
//!
//! The first line says what the part is of. Each line behind it is an object with `at`, the place of an item among all items of
//! all parts, and `done`, whether nothing follows of that item. What a killed run left of a line, and of an item that was not
//! done, goes when the next run goes on. The file holds no times: a run that went on leaves the bytes of an unbroken one.

mod merge;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::usage;
use crate::files;

pub(crate) use merge::{PartFile, merged};

/// Longest line that is read.
const MAX_LINE_BYTES: u64 = 1 << 30;
/// Time between two syncs.
const BETWEEN_SYNCS: Duration = Duration::from_secs(20);

/// What a part is of. Two parts belong together where all but `start`, `end` and the model's name are equal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PartHeader {
    /// The command and the version of its parts.
    pub(crate) format: String,
    /// Hash of the items' names, and of their labels where they have some.
    pub(crate) data: String,
    /// Items of all parts.
    pub(crate) total: usize,
    /// The part's items: from, up to.
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// What the user called the model.
    pub(crate) model: String,
    /// CRC-32 of its file.
    pub(crate) weights: u32,
    /// What else decides on the results, by the options' names.
    pub(crate) options: Map<String, Value>,
    /// What the results need besides.
    pub(crate) details: Value,
}

impl PartHeader {
    /// As a file gives it back.
    fn kept(&self) -> Result<Self> {
        Ok(serde_json::from_slice(&serde_json::to_vec(self)?)?)
    }

    /// In what two parts differ, so that they are none of one run, if they do.
    pub(crate) fn difference(&self, other: &Self) -> Option<String> {
        if self.format != other.format {
            return Some(format!("one is a {:?}, the other a {:?}", self.format, other.format));
        }
        if (&self.data, self.total, &self.details) != (&other.data, other.total, &other.details) {
            return Some(format!("they are of other images or labels ({} and {})", self.total, other.total));
        }
        if self.weights != other.weights {
            return Some(format!("their models ({} and {}) have other weights", self.model, other.model));
        }
        let names = self.options.keys().chain(other.options.keys());
        let mut different = names.filter(|name| self.options.get(*name) != other.options.get(*name));
        let name = different.next()?;
        let shown = |header: &Self| header.options.get(name).unwrap_or(&Value::Null).to_string();
        Some(format!("they have other options: {name} is {} and {}", shown(self), shown(other)))
    }
}

/// What each line begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LineHead {
    /// The item's place among those of all parts.
    pub(crate) at: usize,
    /// Whether nothing follows of the item.
    pub(crate) done: bool,
}

/// A part's file that is written.
#[derive(Debug)]
pub(crate) struct PartWriter {
    path: PathBuf,
    file: File,
    /// The next item to look at.
    next: usize,
    /// Lines that are not written yet.
    lines: Vec<u8>,
    synced: Instant,
}

impl PartWriter {
    /// Begins a part, or goes on with the one that a run left.
    ///
    /// # Errors
    /// A file that is there without `resume`, that another run writes, or that is of something else.
    pub(crate) fn open(path: &Path, header: &PartHeader, resume: bool) -> Result<Self> {
        files::check_place(path)?;
        let cannot_write = || format!("cannot write {}", path.display());
        if path.exists() && !path.is_file() {
            bail!("cannot write {}: it is no file", path.display());
        }
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).with_context(cannot_write)?;
        // Where there are no locks, nobody holds one.
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(usage(format!("{} is being written by another run", path.display())));
        }
        let mut first = serde_json::to_vec(header)?;
        first.push(b'\n');
        let mut begun = Vec::new();
        (&mut file).take(first.len() as u64).read_to_end(&mut begun).with_context(cannot_write)?;
        // A new file, or one that was killed while it got its first line.
        if begun.len() < first.len() && first.starts_with(&begun) {
            file.write_all(&first[begun.len()..]).and_then(|()| file.sync_all()).with_context(cannot_write)?;
        } else if !resume {
            return Err(usage(format!("{} exists; --resume goes on with it", path.display())));
        }
        // By the handle that holds the lock: another may not read on Windows.
        file.rewind().with_context(cannot_write)?;
        let lines = Lines::new(path, file.try_clone().with_context(cannot_write)?);
        let found = PartFile::scan_lines(lines)?;
        if let Some(difference) = header.kept()?.difference(&found.header) {
            return Err(usage(format!(
                "--resume: this run is not the one that wrote {}: {difference}",
                path.display()
            )));
        }
        if (found.header.start, found.header.end) != (header.start, header.end) {
            return Err(usage(format!(
                "--resume: {} holds {} to {} of {}, and this --shard {} to {}",
                path.display(),
                found.header.start,
                found.header.end,
                header.total,
                header.start,
                header.end
            )));
        }
        if found.cut.is_some() {
            file.set_len(found.length).with_context(cannot_write)?;
        }
        Ok(Self { path: path.to_path_buf(), file, next: found.next, lines: Vec::new(), synced: Instant::now() })
    }

    /// The next item to look at: those before it are done.
    pub(crate) fn next(&self) -> usize {
        self.next
    }

    /// Adds a line, which [`Self::flush`] writes.
    pub(crate) fn add(&mut self, line: &impl Serialize) -> Result<()> {
        serde_json::to_writer(&mut self.lines, line)?;
        self.lines.push(b'\n');
        Ok(())
    }

    /// Writes what was added.
    pub(crate) fn flush(&mut self) -> Result<()> {
        let cannot_write = || format!("cannot write {}", self.path.display());
        self.file.write_all(&self.lines).with_context(cannot_write)?;
        self.lines.clear();
        if self.synced.elapsed() >= BETWEEN_SYNCS {
            self.file.sync_data().with_context(cannot_write)?;
            self.synced = Instant::now();
        }
        Ok(())
    }

    /// Writes what was added to the disk.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.flush()?;
        self.file.sync_all().with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// The lines of a part's file, one after another.
pub(crate) struct Lines {
    path: PathBuf,
    file: BufReader<File>,
    line: Vec<u8>,
}

impl Lines {
    fn open(path: &Path) -> Result<Self> {
        let file = candle_vision::regular::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self::new(path, file))
    }

    fn new(path: &Path, file: File) -> Self {
        Self { path: path.to_path_buf(), file: BufReader::new(file), line: Vec::new() }
    }

    /// The next line with its end, which the last may lack; empty at the end of the file.
    fn next(&mut self) -> Result<&[u8]> {
        self.line.clear();
        let mut file = (&mut self.file).take(MAX_LINE_BYTES);
        let cannot_read = || format!("cannot read {}", self.path.display());
        file.read_until(b'\n', &mut self.line).with_context(cannot_read)?;
        Ok(&self.line)
    }

    /// The first line.
    fn header(&mut self) -> Result<PartHeader> {
        let path = self.path.display().to_string();
        let line = self.next()?;
        let header: Option<PartHeader> = line.ends_with(b"\n").then(|| serde_json::from_slice(line).ok()).flatten();
        match header.filter(|header| header.start <= header.end && header.end <= header.total) {
            Some(header) => Ok(header),
            None => bail!("{path} is no part that `ghostzoo detect --part` or `ghostzoo val --part` wrote"),
        }
    }
}

/// A number as people write it: 0.7, where f32 holds 0.699999988.
pub(crate) fn decimal(number: f32) -> Value {
    number.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

/// A hash that tells lists apart that were mistaken, not forged: CRC-32 over the items, each behind its length.
#[derive(Debug, Default)]
pub(crate) struct Fingerprint(crc32fast::Hasher);

impl Fingerprint {
    pub(crate) fn add(&mut self, item: &[u8]) {
        self.0.update(&item.len().to_le_bytes());
        self.0.update(item);
    }

    pub(crate) fn finish(self) -> String {
        format!("{:08x}", self.0.finalize())
    }
}

#[cfg(test)]
mod tests;
