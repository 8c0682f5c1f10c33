//! Which format the bytes of a file are in.

use image::ImageFormat;

use super::ImageError;

/// Formats that are told apart from noise, but not decoded, and how their files begin: at which byte, with what.
const FOREIGN: [(&str, usize, &[u8]); 7] = [
    ("HEIC", 4, b"ftyphei"),
    ("HEIC", 4, b"ftyphev"),
    ("HEIC", 4, b"ftypmif1"),
    ("JPEG 2000", 4, b"jP  \r\n\x87\n"),
    ("JPEG 2000", 0, b"\xFF\x4F\xFF\x51"),
    ("JPEG XL", 0, b"\xFF\x0A"),
    ("JPEG XL", 4, b"JXL \r\n\x87\n"),
];

/// The format that the bytes begin like, and its usual name.
///
/// # Errors
/// `Empty`, `NotAnImage`, or `Unsupported`.
pub(super) fn format_of(bytes: &[u8]) -> Result<(ImageFormat, &'static str), ImageError> {
    if bytes.is_empty() {
        return Err(ImageError::Empty);
    }
    let begins = |(_, at, with): &&(_, usize, &[u8])| bytes.get(*at..).is_some_and(|rest| rest.starts_with(with));
    if is_avif(bytes) {
        return built_with(cfg!(feature = "avif"), ImageFormat::Avif, "AVIF");
    }
    if let Some((name, ..)) = FOREIGN.iter().find(begins) {
        return Err(ImageError::Unsupported { what: format!("the format {name}") });
    }
    let is_big_tiff = bytes.starts_with(b"II+\0") || bytes.starts_with(b"MM\0+");
    let guessed = if is_big_tiff { Ok(ImageFormat::Tiff) } else { image::guess_format(bytes) };
    let format = guessed.map_err(|_| ImageError::NotAnImage { length: bytes.len() })?;
    match format {
        ImageFormat::Jpeg => Ok((format, "JPEG")),
        ImageFormat::Png => Ok((format, "PNG")),
        ImageFormat::WebP => Ok((format, "WebP")),
        ImageFormat::Bmp => Ok((format, "BMP")),
        ImageFormat::Tiff => built_with(cfg!(feature = "tiff"), format, "TIFF"),
        ImageFormat::Gif => built_with(cfg!(feature = "gif"), format, "GIF"),
        _ => Err(ImageError::Unsupported { what: format!("the format {format:?}") }),
    }
}

fn built_with(
    is_there: bool,
    format: ImageFormat,
    name: &'static str,
) -> Result<(ImageFormat, &'static str), ImageError> {
    let absent = || ImageError::Unsupported { what: format!("the format {name}, without which this was built,") };
    is_there.then_some((format, name)).ok_or_else(absent)
}

/// Whether the file type box names AVIF as the file's kind, or as one that a general kind is compatible with.
fn is_avif(bytes: &[u8]) -> bool {
    const OWN: [&[u8]; 2] = [b"avif", b"avis"];
    let Some((&length, content)) = bytes.split_first_chunk() else { return false };
    let length = (u32::from_be_bytes(length) as usize).clamp(4, bytes.len().max(4)) - 4;
    let mut brands = content.get(..length).unwrap_or_default().chunks_exact(4);
    match (brands.next(), brands.next()) {
        (Some(b"ftyp"), Some(b"mif1" | b"msf1")) => brands.skip(1).any(|brand| OWN.contains(&brand)),
        (Some(b"ftyp"), Some(brand)) => OWN.contains(&brand),
        _ => false,
    }
}
