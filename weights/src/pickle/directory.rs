//! The directory of a zip as `torch.save` writes it: entries that lie in the file as they are.
//!
//! A list of all that a zip may hold takes ten times its bytes; of a checkpoint's directory only names and places are kept,
//! within the budget. (PKWARE's APPNOTE gives the records.)

use super::refusal::{Refusal, Result, invalid};
use crate::budget::Budget;

/// Bytes of each record without its names: of a file's own header, of its entry in the directory, of the end.
const LOCAL: usize = 30;
const ENTRY: usize = 46;
const END: usize = 22;
/// Longest comment behind the end.
const MAX_COMMENT: usize = 65_535;

/// One file in the zip.
pub(super) struct ModelEntry<'a> {
    pub(super) name: &'a str,
    pub(super) is_stored: bool,
    /// CRC-32, or 0 where none was written.
    pub(super) sum: u32,
    pub(super) size: u64,
    /// Where its own header is.
    header: u64,
}

/// A number of `N` bytes, little-endian.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let digits: [u8; N] = bytes.get(at..at.checked_add(N)?)?.try_into().ok()?;
    Some(digits.iter().rev().fold(0, |number, digit| number << 8 | u64::from(*digit)))
}

fn index(number: u64) -> Option<usize> {
    usize::try_from(number).ok()
}

/// Where the record that ends the zip begins: the last one whose comment ends the file, else the last one.
fn end(bytes: &[u8]) -> Option<usize> {
    let first = bytes.len().saturating_sub(END + MAX_COMMENT);
    let tail = &bytes[first..];
    let found = || (0..tail.len().saturating_sub(3)).rev().filter(|at| tail[*at..].starts_with(b"PK\x05\x06"));
    let is_last =
        |at: &usize| number::<2>(tail, at + 20).is_some_and(|comment| at + END + comment as usize == tail.len());
    found().find(is_last).or_else(|| found().next()).map(|at| first + at)
}

/// Where the directory is, and how many entries it has.
fn place(bytes: &[u8], end: usize) -> Option<(usize, u64)> {
    let locator = end.checked_sub(20).filter(|at| bytes[*at..].starts_with(b"PK\x06\x07"));
    if let Some(locator) = locator {
        let record = index(number::<8>(bytes, locator + 8)?)?;
        if !bytes.get(record..)?.starts_with(b"PK\x06\x06") {
            return None;
        }
        return Some((index(number::<8>(bytes, record.checked_add(48)?)?)?, number::<8>(bytes, record + 32)?));
    }
    Some((index(number::<4>(bytes, end + 16)?)?, number::<2>(bytes, end + 10)?))
}

/// The entries of the zip, each of which pays for itself.
pub(super) fn entries<'a>(bytes: &'a [u8], budget: &mut Budget) -> Result<Vec<ModelEntry<'a>>> {
    let missing = || Refusal::Incomplete("the directory at the end of the zip is missing".to_owned());
    let end = end(bytes).ok_or_else(missing)?;
    let damaged = || Refusal::Invalid { offset: 0, reason: "zip: its directory is damaged".to_owned() };
    let (mut at, count) = place(bytes, end).ok_or_else(damaged)?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let (entry, next) = entry(bytes, at).ok_or_else(damaged)?;
        budget.reserve(&mut entries, 1)?;
        entries.push(entry);
        at = next;
    }
    Ok(entries)
}

/// The entry at `at`, and where the next one is.
fn entry(bytes: &[u8], at: usize) -> Option<(ModelEntry<'_>, usize)> {
    if !bytes.get(at..)?.starts_with(b"PK\x01\x02") {
        return None;
    }
    let length = |field: usize| number::<2>(bytes, at + field).and_then(index);
    let (name, extra, comment) = (length(28)?, length(30)?, length(32)?);
    let name_at = at + ENTRY;
    let extra_at = name_at + name;
    let [mut packed, mut size, mut header] = [20, 24, 42].map(|field| number::<4>(bytes, at + field));
    // What does not fit stands in a field of its own, in this order.
    let extra_field = bytes.get(extra_at..extra_at + extra)?;
    let mut wide = zip64(extra_field).unwrap_or_default();
    for value in [&mut size, &mut packed, &mut header] {
        if *value == Some(u64::from(u32::MAX)) && !wide.is_empty() {
            *value = Some(number::<8>(wide, 0)?);
            wide = &wide[8..];
        }
    }
    let (size, is_encrypted) = (size?, number::<2>(bytes, at + 8)? & 1 == 1);
    let entry = ModelEntry {
        name: std::str::from_utf8(bytes.get(name_at..extra_at)?).unwrap_or_default(),
        is_stored: number::<2>(bytes, at + 10)? == 0 && packed? == size && !is_encrypted,
        sum: number::<4>(bytes, at + 16)? as u32,
        size,
        header: header?,
    };
    Some((entry, extra_at + extra + comment))
}

/// The content of the extra field of zip64.
fn zip64(mut extra: &[u8]) -> Option<&[u8]> {
    loop {
        let (id, length) = (number::<2>(extra, 0)?, index(number::<2>(extra, 2)?)?);
        let content = extra.get(4..4 + length)?;
        if id == 1 {
            return Some(content);
        }
        extra = &extra[4 + length..];
    }
}

impl ModelEntry<'_> {
    /// The file's bytes. What is wrong with them is told by the name `called`.
    pub(super) fn span(&self, bytes: &[u8], called: &str) -> Result<std::ops::Range<usize>> {
        let span = || {
            let header = index(self.header)?;
            if !bytes.get(header..)?.starts_with(b"PK\x03\x04") {
                return None;
            }
            let length = |field: usize| number::<2>(bytes, header + field).and_then(index);
            let start = header.checked_add(LOCAL)?.checked_add(length(26)?)?.checked_add(length(28)?)?;
            let end = start.checked_add(index(self.size)?)?;
            (end <= bytes.len()).then_some(start..end)
        };
        let Some(span) = span() else { return invalid(format!("entry {called} ends past the file")) };
        // `torch.serialization.set_crc32_options(False)` leaves 0 in the place of the sum.
        if self.sum != 0 && crc32fast::hash(&bytes[span.clone()]) != self.sum {
            return invalid(format!("entry {called}: its checksum is another"));
        }
        Ok(span)
    }
}
