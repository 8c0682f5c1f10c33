//! Images in tar files: class folders, WebDataset samples, or images alone. Headers and `.cls` members are read.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use tar::{Archive, EntryType};

use super::DataError;
use super::error::{count, examples};
use super::files::{Ending, Skipped, base_name};
use super::imagenet::is_wnid;
use super::listing::{Labels, Listing, Names, Origin};
use super::record::{Span, Store};
use crate::regular;

/// Size of a tar header, and what bodies are padded to, in bytes.
const BLOCK: u64 = 512;

/// Longest label in a `.cls` member, in bytes.
const MAX_LABEL_BYTES: u64 = 256;

/// What the members of all files are.
#[derive(Default)]
struct Members {
    /// Path, place, and the text of the `.cls` member beside it.
    images: Vec<(String, Span, Option<String>)>,
    skipped: Skipped,
    links: usize,
    labels: usize,
    unused_labels: usize,
}

/// Lists tar files. `flat`: folders and `.cls` members mean nothing.
pub(super) fn list(place: &Path, files: &[PathBuf], flat: bool) -> Result<Listing, DataError> {
    let mut members = Members::default();
    for (index, file) in files.iter().enumerate() {
        let index = u32::try_from(index).map_err(|_| DataError::layout(place, "too many tar files"))?;
        members.read(file, index)?;
    }
    let mut notes = members.skipped.notes();
    if members.links > 0 {
        notes.push(format!("{} passed over", count(members.links, "link is", "links are")));
    }
    if members.unused_labels > 0 && !flat {
        notes.push(format!("{} without an image", count(members.unused_labels, ".cls member is", ".cls members are")));
    }
    let origin = if flat {
        None
    } else if members.labels > 0 {
        members.check_labels(place)?;
        Some(Origin::Members)
    } else {
        notes.extend(members.label_by_folder());
        members.images.iter().any(|(.., label)| label.is_some()).then_some(Origin::Folders)
    };
    let mut names = Names::default();
    let mut labels = Labels::default();
    let mut spans = Vec::with_capacity(members.images.len());
    for (name, span, label) in members.images {
        names.push(&name);
        spans.push(span);
        if origin.is_some() {
            labels.push(label.as_deref().expect("images without a label were refused or left out above"));
        }
    }
    let labels = origin.map(|origin| (labels, origin));
    Ok(Listing { names, labels, store: Store::Tars { files: files.to_vec(), spans }, notes })
}

impl Members {
    /// Adds the members of one file.
    fn read(&mut self, path: &Path, index: u32) -> Result<(), DataError> {
        let io = |source| DataError::io("read", path, source);
        let mut file = regular::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        check_magic(path, &mut file)?;

        let first = self.images.len();
        let mut labels: HashMap<String, String> = HashMap::new();
        let mut end = 0;
        let mut last = "the beginning".to_owned();
        let mut archive = Archive::new(&file);
        for entry in archive.entries_with_seek().map_err(io)? {
            let mut entry = entry.map_err(|error| broken(path, length, &last, &error))?;
            let name = normal(&String::from_utf8_lossy(&entry.path_bytes()));
            let span = Span { file: index, offset: entry.raw_file_position(), length: entry.size() };
            last = format!("the member `{}`", name.chars().take(200).collect::<String>());
            let padded = span.length.checked_next_multiple_of(BLOCK).and_then(|length| span.offset.checked_add(length));
            end = padded.filter(|&end| end <= length).ok_or_else(|| truncated(path, &format!("in {last}")))?;
            match entry.header().entry_type() {
                EntryType::Regular | EntryType::Continuous => {}
                EntryType::Link | EntryType::Symlink => {
                    self.links += 1;
                    continue;
                }
                EntryType::GNUSparse => {
                    return Err(DataError::damaged(path, format!("{last} is sparse, which is not read; pack it anew")));
                }
                _ => continue,
            }
            if let Some(key) = name.strip_suffix(".cls").filter(|_| sample_ending(&name) == "cls") {
                let text =
                    read_label(&mut entry).map_err(|reason| DataError::labels(path, format!("{last}: {reason}")))?;
                self.labels += 1;
                if labels.insert(key.to_owned(), text).is_some() {
                    return Err(DataError::labels(path, format!("{last} is there twice")));
                }
            } else if self.skipped.is_image(Ending::of(&name)) {
                self.images.push((name, span, None));
            }
        }
        check_end(path, &mut file, end, &last)?;

        let mut used = 0;
        for (name, _, label) in &mut self.images[first..] {
            let ending = sample_ending(name);
            let key = &name[..name.len() - ending.len() - 1];
            *label = if ending.contains('.') { None } else { labels.get(key).cloned() };
            used += usize::from(label.is_some());
        }
        self.unused_labels += labels.len().saturating_sub(used);
        Ok(())
    }

    /// Fails if some images have a `.cls` member and others none.
    fn check_labels(&self, place: &Path) -> Result<(), DataError> {
        let without: Vec<&str> =
            self.images.iter().filter(|(.., label)| label.is_none()).map(|(name, ..)| name.as_str()).collect();
        if without.is_empty() {
            return Ok(());
        }
        let found = format!("{} of {} have no .cls member", without.len(), count(self.images.len(), "image", "images"));
        Err(DataError::labels(place, format!("{found}: {}; pack them anew, or give a labels file", examples(without))))
    }

    /// Takes the first folder for the class, after folders that all images share. Leaves out images beside them.
    fn label_by_folder(&mut self) -> Option<String> {
        let folder = |name: &str, depth: usize| {
            let parts: Vec<&str> = name.split('/').collect();
            (parts.len() > depth + 1).then(|| parts[depth].to_owned())
        };
        let mut depth = 0;
        if let Some((first, ..)) = self.images.first() {
            while let Some(shared) = folder(first, depth).filter(|shared| !is_wnid(shared)) {
                let is_prefix =
                    |name: &str| folder(name, depth).as_ref() == Some(&shared) && folder(name, depth + 1).is_some();
                if !self.images.iter().all(|(name, ..)| is_prefix(name)) {
                    break;
                }
                depth += 1;
            }
        }
        for (name, _, label) in &mut self.images {
            *label = folder(name, depth);
        }
        let beside = self.images.iter().filter(|(.., label)| label.is_none()).count();
        if beside == 0 || beside == self.images.len() {
            return None;
        }
        self.images.retain(|(.., label)| label.is_some());
        Some(format!("{} beside the class folders, in no class", count(beside, "image lies", "images lie")))
    }
}

/// The part of a member's name after the first dot of its base name: WebDataset's name for what it is of its sample.
fn sample_ending(name: &str) -> &str {
    base_name(name).split_once('.').map_or("", |(_, ending)| ending)
}

/// Folders joined by single slashes, without `.` and empty parts.
fn normal(name: &str) -> String {
    name.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/")
}

fn read_label(entry: &mut impl Read) -> Result<String, String> {
    let mut text = String::new();
    entry.take(MAX_LABEL_BYTES + 1).read_to_string(&mut text).map_err(|error| format!("is no text ({error})"))?;
    match text.trim() {
        "" => Err("is empty".to_owned()),
        _ if text.len() as u64 > MAX_LABEL_BYTES => {
            Err(format!("has more than {MAX_LABEL_BYTES} bytes, a label is expected"))
        }
        label => Ok(label.to_owned()),
    }
}

/// Refuses what is compressed under the name of a tar file.
fn check_magic(path: &Path, file: &mut File) -> Result<(), DataError> {
    const MAGICS: [&[u8]; 5] = [b"\x1F\x8B", b"BZh", b"\xFD7zXZ", b"\x28\xB5\x2F\xFD", b"PK\x03\x04"];
    let io = |source| DataError::io("read", path, source);
    let mut head = Vec::new();
    file.by_ref().take(8).read_to_end(&mut head).map_err(io)?;
    file.rewind().map_err(io)?;
    match MAGICS.iter().any(|magic| head.starts_with(magic)) {
        true => Err(DataError::layout(path, "is compressed; unpack it")),
        false => Ok(()),
    }
}

/// Checks that the archive ends as archives do: with a block of zeros. One that is cut between members does not.
fn check_end(path: &Path, file: &mut File, end: u64, last: &str) -> Result<(), DataError> {
    let mut block = [1; BLOCK as usize];
    let read = file.seek(SeekFrom::Start(end)).and_then(|_| file.read_exact(&mut block));
    match read {
        Ok(()) if block.iter().all(|&byte| byte == 0) => Ok(()),
        Ok(()) => Err(DataError::damaged(path, format!("is damaged after {last}; copy or download it again"))),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(truncated(path, &format!("after {last}"))),
        Err(error) => Err(DataError::io("read", path, error)),
    }
}

/// What an error of the reader means. It does not tell a file that ends in a header from one that is damaged.
fn broken(path: &Path, length: u64, last: &str, error: &io::Error) -> DataError {
    if error.kind() == ErrorKind::UnexpectedEof || !length.is_multiple_of(BLOCK) {
        return truncated(path, &format!("after {last}, or no tar file"));
    }
    let reason = format!("is no tar file, or damaged after {last} ({error}); copy or download it again");
    DataError::damaged(path, reason)
}

fn truncated(path: &Path, place: &str) -> DataError {
    DataError::damaged(path, format!("is truncated {place}; copy or download it again"))
}

#[cfg(test)]
#[path = "tar_tests.rs"]
mod tests;
