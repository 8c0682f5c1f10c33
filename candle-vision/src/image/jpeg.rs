//! JPEG as Pillow 13 and OpenCV 5.0 read it: libjpeg-turbo's pixels, of damaged data too.
//!
//! `libjpeg-turbo-rs` computes what is whole and usual, to the same bits and faster than C without assembler; libjpeg
//! itself decodes the rest: data that it warns of, arithmetic coding, unusual sampling and colours, scans that are missing.

use image::RgbImage;
use libjpeg_turbo_rs::{PixelFormat, decompress_to};

use super::jpeg_markers::Header;
use super::{ImageError, Reference, libjpeg};
use crate::guard::guard;

/// The pixels as stored, and whether libjpeg warned of the data.
///
/// # Errors
/// `Truncated` for data that end before their pixels, `Corrupt`, or `Unsupported`.
pub(super) fn decode(bytes: &[u8], header: &Header<'_>, reference: Reference) -> Result<(RgbImage, bool), ImageError> {
    let usual = if header.is_plain(bytes) { whole(bytes, header) } else { None };
    let (levels, warned) = match usual {
        Some(levels) => (levels, false),
        None => libjpeg::decode(bytes, header, reference)?,
    };
    let levels = if header.components.len() == 4 { rgb_of_cmyk(&levels, reference) } else { levels };
    let [width, height] = header.size;
    let image = RgbImage::from_raw(width, height, levels)
        .ok_or_else(|| ImageError::Corrupt { format: "JPEG", reason: "its pixels are fewer than its size".into() })?;
    Ok((image, warned))
}

/// The levels of a file without damage; `None` if it has some after all.
fn whole(bytes: &[u8], header: &Header<'_>) -> Option<Vec<u8>> {
    let format = if header.components.len() == 4 { PixelFormat::Cmyk } else { PixelFormat::Rgb };
    let decoded = guard(|| decompress_to(bytes, format)).ok()?.ok()?;
    let is_whole =
        decoded.warnings.is_empty() && [decoded.width, decoded.height].map(|side| side as u32) == header.size;
    is_whole.then_some(decoded.data)
}

/// Inks are stored inverted, as Adobe does and both references assume; their roundings differ by up to two levels.
fn rgb_of_cmyk(levels: &[u8], reference: Reference) -> Vec<u8> {
    let mix = |ink: u8, black: u8| {
        let (missing, black) = (u32::from(255 - ink), u32::from(black));
        let product = missing * black;
        let taken = match reference {
            Reference::Pillow => ((product + 128 + ((product + 128) >> 8)) >> 8).min(black),
            Reference::OpenCv => product >> 8,
        };
        (black - taken) as u8
    };
    levels.as_chunks::<4>().0.iter().flat_map(|&[c, m, y, k]| [mix(c, k), mix(m, k), mix(y, k)]).collect()
}
