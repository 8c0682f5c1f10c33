//! What a WebP's container says, before a decoder reads it.

use super::ImageError;

/// Bytes before the first chunk, and of a chunk's name and length.
const HEADER: usize = 12;
const CHUNK: usize = 8;

/// The flag of an extended WebP that announces EXIF data.
const HAS_EXIF: u8 = 8;

/// Names and contents of the chunks, as far as the file has them whole.
fn chunks(bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = bytes.get(HEADER..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (head, behind) = rest.split_at_checked(CHUNK)?;
        let (name, length) = head.split_at(4);
        let length = number(length) as usize;
        let content = behind.get(..length)?;
        rest = behind.get(length.saturating_add(length % 2)..).unwrap_or_default();
        Some((name, content))
    })
}

fn number(digits: &[u8]) -> u32 {
    digits.iter().rev().fold(0, |sum, &digit| sum << 8 | u32::from(digit))
}

/// What an extended WebP says of itself.
fn extension(bytes: &[u8]) -> Option<&[u8]> {
    chunks(bytes).next().filter(|(name, _)| *name == b"VP8X").map(|(_, content)| content)
}

/// The `EXIF` chunks of an extended WebP whose header announces them.
pub(super) fn exif_blocks(bytes: &[u8]) -> Vec<&[u8]> {
    if extension(bytes).and_then(|extension| extension.first()).is_none_or(|flags| flags & HAS_EXIF == 0) {
        return Vec::new();
    }
    chunks(bytes).filter(|(name, _)| *name == b"EXIF").map(|(_, block)| block).collect()
}

/// Frames of an animation; a still image has none.
pub(super) fn frames(bytes: &[u8]) -> usize {
    chunks(bytes).filter(|(name, _)| *name == b"ANMF").count()
}

/// Width and height of the canvas of an extended WebP, and of its frame, where it has one of its own.
fn sizes(bytes: &[u8]) -> Option<([u32; 2], [u32; 2])> {
    let canvas = extension(bytes)?.get(4..10)?;
    let canvas = [number(&canvas[..3]) + 1, number(&canvas[3..]) + 1];
    let frame = chunks(bytes).find_map(|(name, content)| match name {
        // Three bytes of the frame's tag, three of its start code.
        b"VP8 " => content.get(6..10).map(|sides| [number(&sides[..2]) & 0x3FFF, number(&sides[2..]) & 0x3FFF]),
        b"VP8L" => {
            content.get(1..5).map(number).map(|sides| [sides & 0x3FFF, sides >> 14 & 0x3FFF].map(|side| side + 1))
        }
        _ => None,
    });
    Some((canvas, frame?))
}

/// Refuses a WebP shorter than its header says, for the lossless decoder does not tell an early end from damage, and one
/// whose frame is not of its canvas' size, as Pillow 13.0 and OpenCV 5.0 do: the decoder allocates what the frame says.
pub(super) fn check(bytes: &[u8]) -> Result<(), ImageError> {
    let truncated = |reason: String| ImageError::Truncated { format: "WebP", reason };
    let declared = bytes.get(4..8).ok_or_else(|| truncated("it ends in its header".into()))?;
    let declared = 8 + u64::from(number(declared));
    if declared > bytes.len() as u64 {
        return Err(truncated(format!("{} of {declared} bytes are there", bytes.len())));
    }
    match sizes(bytes) {
        Some(([width, height], [frame_width, frame_height])) if [width, height] != [frame_width, frame_height] => {
            let reason = format!("its frame is {frame_width}x{frame_height} and its canvas {width}x{height}");
            Err(ImageError::Corrupt { format: "WebP", reason })
        }
        _ => Ok(()),
    }
}
