//! Which format the bytes of a file are in.

use image::ImageFormat;

use super::ImageError;

/// Formats that are told apart from noise, but not decoded, and how their files begin: at which byte, with what.
const FOREIGN: [(&str, usize, &[u8]); 8] = [
    ("HEIC", 4, b"ftyphei"),
    ("HEIC", 4, b"ftyphev"),
    ("HEIC", 4, b"ftypmif1"),
    ("AVIF", 4, b"ftypavi"),
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
        ImageFormat::Tiff if cfg!(feature = "tiff") => Ok((format, "TIFF")),
        ImageFormat::Gif if cfg!(feature = "gif") => Ok((format, "GIF")),
        ImageFormat::Tiff | ImageFormat::Gif => {
            Err(ImageError::Unsupported { what: format!("the format {format:?}, without which this was built,") })
        }
        _ => Err(ImageError::Unsupported { what: format!("the format {format:?}") }),
    }
}
