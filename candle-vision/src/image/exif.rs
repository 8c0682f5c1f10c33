//! The orientation in a file's EXIF data, as OpenCV 5.0 reads it.
//!
//! Its value is the 16 bits at the start of the tag's value field, whatever the tag's type and count; the first tag 274
//! of all blocks counts, even where its value is none of 1 to 8. A block ends where a tag before it points outside.

use image::metadata::Orientation;

const ORIENTATION: u16 = 0x112;
/// Bytes of a tag in a directory.
const ENTRY_BYTES: usize = 12;

/// The orientation that the TIFF structures `blocks` say, in their order; upright where they say none.
pub(super) fn orientation<'a>(blocks: impl IntoIterator<Item = &'a [u8]>) -> Orientation {
    let value = blocks.into_iter().find_map(orientation_of);
    let value = value.and_then(|value| u8::try_from(value).ok());
    value.and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms)
}

/// Whether it swaps width and height.
pub(super) fn swaps_sides(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
}

/// The `eXIf` chunks of a PNG, before or behind its pixels.
pub(super) fn blocks_of_png(bytes: &[u8]) -> Vec<&[u8]> {
    let mut blocks = Vec::new();
    let mut rest = bytes.get(8..).unwrap_or_default();
    while let Some((&length, behind)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(length) as usize;
        let Some(content) = behind.get(4..).and_then(|behind| behind.get(..length)) else { break };
        if behind.starts_with(b"eXIf") {
            blocks.push(content);
        }
        rest = behind.get(length.saturating_add(8)..).unwrap_or_default();
    }
    blocks
}

fn orientation_of(block: &[u8]) -> Option<u16> {
    let tiff = match block.first_chunk::<2>()? {
        b"II" => Tiff { bytes: block, is_big_endian: false },
        b"MM" => Tiff { bytes: block, is_big_endian: true },
        _ => return None,
    };
    if tiff.u16(2)? != 42 {
        return None;
    }
    let directory = tiff.u32(4)?;
    for entry in 0..usize::from(tiff.u16(directory)?) {
        let at = directory.checked_add(2 + ENTRY_BYTES * entry)?;
        match tiff.u16(at)? {
            ORIENTATION => return tiff.u16(at + 8),
            tag => tiff.check_value(tag, at)?,
        }
    }
    None
}

struct Tiff<'a> {
    bytes: &'a [u8],
    is_big_endian: bool,
}

impl Tiff<'_> {
    fn u16(&self, at: usize) -> Option<u16> {
        let &bytes = self.bytes.get(at..)?.first_chunk()?;
        Some(if self.is_big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn u32(&self, at: usize) -> Option<usize> {
        let &bytes = self.bytes.get(at..)?.first_chunk()?;
        let value = if self.is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
        Some(value as usize)
    }

    /// `None` if the value of a tag that OpenCV reads lies outside.
    fn check_value(&self, tag: u16, at: usize) -> Option<()> {
        let bytes = match tag {
            // Texts: description, make, model, software, date, copyright.
            0x10E | 0x10F | 0x110 | 0x131 | 0x132 | 0x8298 => match self.u32(at + 4)? {
                0..=4 => return self.u32(at + 8).map(|_| ()),
                length => length,
            },
            // Fractions: resolution, white point, chromaticities, coefficients, reference black and white.
            0x11A | 0x11B => 8,
            0x13E => 16,
            0x211 => 24,
            0x13F | 0x214 => 48,
            _ => return Some(()),
        };
        let end = self.u32(at + 8)?.checked_add(bytes)?;
        (end <= self.bytes.len()).then_some(())
    }
}
