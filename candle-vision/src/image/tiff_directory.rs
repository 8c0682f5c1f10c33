//! The first directory of a TIFF, before a decoder reads it.

use tiff::tags::Tag;

/// Most values of a tag that is read: of as many strips.
const MAX_VALUES: usize = 1 << 20;

/// Tags that decoding reads: from the size to the black and white of YCbCr.
const READ: std::ops::RangeInclusive<u16> = 254..=532;

const SHORT: u16 = 3;

/// Where the entries of the first directory are.
pub(super) struct Directory {
    is_big_endian: bool,
    /// Of an entry's count, and of its value or the value's offset.
    number_bytes: usize,
    entries: Vec<usize>,
}

impl Directory {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let is_big_endian = bytes.starts_with(b"MM");
        let is_long = u16_at(bytes, 2, is_big_endian)? == 43;
        let (start, count_bytes, number_bytes) = if is_long { (8, 8, 8) } else { (4, 2, 4) };
        let number = |at, length| number_at(bytes, at, length, is_big_endian);
        let directory = number(start, number_bytes)?;
        let first = directory.checked_add(count_bytes)?;
        let entries = (0..number(directory, count_bytes)?)
            .map_while(|index| first.checked_add(index.checked_mul(4 + 2 * number_bytes)?))
            .take_while(|&at| at < bytes.len());
        Some(Self { is_big_endian, number_bytes, entries: entries.collect() })
    }

    /// Whether the tags that are read have no more values than the file and an image can have.
    pub(super) fn has_its_values(&self, bytes: &[u8]) -> bool {
        let is_read = |&&at: &&usize| u16_at(bytes, at, self.is_big_endian).is_some_and(|tag| READ.contains(&tag));
        self.entries.iter().filter(is_read).all(|&at| {
            let count = number_at(bytes, at + 4, self.number_bytes, self.is_big_endian);
            count.is_none_or(|count| count <= MAX_VALUES.min(bytes.len()))
        })
    }

    /// Where the photometric interpretation is, and whether numbers are big-endian.
    pub(super) fn photometric_at(&self, bytes: &[u8]) -> Option<(usize, bool)> {
        let short = |at| u16_at(bytes, at, self.is_big_endian);
        let is_photometric = |&at: &usize| short(at) == Some(Tag::PhotometricInterpretation.to_u16());
        let at = self.entries.iter().copied().find(is_photometric)?;
        let value = at + 4 + self.number_bytes;
        (short(at + 2)? == SHORT && short(value).is_some()).then_some((value, self.is_big_endian))
    }
}

/// Directories of pages, of at most `most`: not of reduced images and masks, by the flags of `NewSubfileType`.
pub(super) fn pages(bytes: &[u8], most: usize) -> usize {
    let Some(first) = Directory::read(bytes) else { return 0 };
    let (is_big_endian, number_bytes) = (first.is_big_endian, first.number_bytes);
    let (start, count_bytes) = if number_bytes == 8 { (8, 8) } else { (4, 2) };
    let number = |at: usize, length| number_at(bytes, at, length, is_big_endian);
    let (mut pages, mut at, mut seen) = (0, number(start, number_bytes), std::collections::HashSet::new());
    while let Some(directory) = at.filter(|at| *at > 0 && seen.len() < most && seen.insert(*at)) {
        let Some(count) = number(directory, count_bytes) else { break };
        let entry = directory + count_bytes;
        // Tags ascend, and this is the least.
        let is_kind = count > 0 && u16_at(bytes, entry, is_big_endian) == Some(Tag::NewSubfileType.to_u16());
        let kind = number(entry + 4 + number_bytes, 4).filter(|_| is_kind).unwrap_or(0);
        pages += usize::from(kind & 5 == 0);
        let end = count.checked_mul(4 + 2 * number_bytes).and_then(|length| entry.checked_add(length));
        at = end.and_then(|end| number(end, number_bytes));
    }
    pages
}

fn number_at(bytes: &[u8], at: usize, length: usize, is_big_endian: bool) -> Option<usize> {
    let number = bytes.get(at..at.checked_add(length)?)?;
    let push = |sum: u64, &byte: &u8| sum << 8 | u64::from(byte);
    let number = if is_big_endian { number.iter().fold(0, push) } else { number.iter().rev().fold(0, push) };
    usize::try_from(number).ok()
}

pub(super) fn u16_at(bytes: &[u8], at: usize, is_big_endian: bool) -> Option<u16> {
    let &value = bytes.get(at..)?.first_chunk()?;
    Some(if is_big_endian { u16::from_be_bytes(value) } else { u16::from_le_bytes(value) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_has_no_more_values_than_the_file_has_bytes() {
        let file = |tag: u16, count: u32| {
            let mut bytes = b"II*\0\x08\0\0\0\x01\0".to_vec();
            bytes.extend(tag.to_le_bytes());
            bytes.extend(SHORT.to_le_bytes());
            bytes.extend(count.to_le_bytes());
            bytes.extend([0; 100]);
            bytes
        };
        let has_its_values = |bytes: &[u8]| Directory::read(bytes).expect("a directory").has_its_values(bytes);
        for tag in [Tag::StripOffsets, Tag::ColorMap, Tag::ChromaSubsampling] {
            assert!(has_its_values(&file(tag.to_u16(), 2)), "{tag:?}");
            assert!(!has_its_values(&file(tag.to_u16(), 6_160_386)), "{tag:?}");
        }
    }
}
