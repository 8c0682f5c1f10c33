//! Bytes to 8-bit RGB, upright.
//!
//! | input | becomes |
//! |---|---|
//! | grey, 1 to 8 bits | the level in all three channels |
//! | 16 bits per channel | the high byte, as `cv2.imread` (PIL does so for RGB, but clips 16-bit grey to 255) |
//! | palette | its colours |
//! | alpha | dropped, not blended, as PIL's `convert("RGB")` and `cv2.imread` |
//! | CMYK, YCCK JPEG | Adobe's inverted inks, as PIL and `cv2.imread` assume too |
//! | EXIF orientation | applied, as `cv2.imread`; PIL and torchvision's `ImageFolder` ignore it: [`DecodeOptions::orient`] |
//! | animation | the first frame |

use std::fs::File;
use std::io::{Cursor, ErrorKind, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::error::{ImageError as CodecError, LimitErrorKind};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use libjpeg_turbo_rs::{JpegError, PixelFormat, decompress_to};

use super::ImageError;

/// Most pixels a picture may have: the count at which Pillow refuses one as a decompression bomb.
pub const MAX_PIXELS: u64 = 178_956_970;

/// Most bytes a file may have.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// Most bytes a decoder may allocate: a 16-bit RGBA picture of [`MAX_PIXELS`].
const MAX_DECODER_BYTES: u64 = MAX_PIXELS * 8;

/// How to decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Turn and mirror the picture as its EXIF orientation says. `true` by default.
    pub orient: bool,
    /// Most pixels the picture may have. [`MAX_PIXELS`] by default.
    pub max_pixels: u64,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self { orient: true, max_pixels: MAX_PIXELS }
    }
}

/// Decodes a JPEG, PNG, WebP or BMP file held in memory with the default [`DecodeOptions`].
///
/// # Errors
/// Every category of [`ImageError`] but `Io` and `Encode`.
pub fn decode(bytes: &[u8]) -> Result<RgbImage, ImageError> {
    decode_with(bytes, &DecodeOptions::default())
}

/// Reads and decodes a file with the default [`DecodeOptions`]. The content tells the format, not the name.
///
/// # Errors
/// As [`decode`], and `Io` if the file cannot be read.
pub fn open(path: &Path) -> Result<RgbImage, ImageError> {
    let io = |source| ImageError::Io { action: "read", path: path.to_path_buf(), source };
    let file = File::open(path).map_err(io)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(ImageError::TooLarge { found: "the file".into(), limit: format!("{MAX_FILE_BYTES} bytes") });
    }
    decode(&bytes)
}

/// The [height, width] that [`open`] would give, from the file's header.
///
/// # Errors
/// As [`decode`], and `Io` if the file cannot be read; damage behind the header does not show.
pub fn upright_size(path: &Path) -> Result<[usize; 2], ImageError> {
    let io = |source| ImageError::Io { action: "read", path: path.to_path_buf(), source };
    let mut reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format).map_err(io)?;
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    reader.limits(limits);
    let name = reader.format().and_then(usual_name).unwrap_or("supposed");
    let mut decoder = reader.into_decoder().map_err(|error| from_codec(error, name))?;
    let (width, height) = decoder.dimensions();
    let size = [height as usize, width as usize];
    let turned =
        [Orientation::Rotate90, Orientation::Rotate270, Orientation::Rotate90FlipH, Orientation::Rotate270FlipH];
    let is_turned = decoder.orientation().is_ok_and(|orientation| turned.contains(&orientation));
    Ok(if is_turned { [size[1], size[0]] } else { size })
}

/// Decodes a JPEG, PNG, WebP or BMP file held in memory.
///
/// # Errors
/// Every category of [`ImageError`] but `Io` and `Encode`.
pub fn decode_with(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    if bytes.is_empty() {
        return Err(ImageError::Empty);
    }
    let not_an_image = || ImageError::NotAnImage { length: bytes.len() };
    let format = image::guess_format(bytes).map_err(|_| not_an_image())?;
    let Some(name) = usual_name(format) else {
        return Err(ImageError::Unsupported { what: format!("the format {format:?}") });
    };
    match format {
        ImageFormat::Jpeg => check_jpeg_is_whole(bytes)?,
        ImageFormat::WebP => check_webp_is_whole(bytes)?,
        _ => {}
    }
    match catch_unwind(AssertUnwindSafe(|| decode_as(bytes, format, name, options))) {
        Ok(result) => result,
        Err(_) => Err(ImageError::Corrupt { format: name, reason: "the decoder gave up on it".into() }),
    }
}

/// The name of a format that is decoded here.
fn usual_name(format: ImageFormat) -> Option<&'static str> {
    match format {
        ImageFormat::Jpeg => Some("JPEG"),
        ImageFormat::Png => Some("PNG"),
        ImageFormat::WebP => Some("WebP"),
        ImageFormat::Bmp => Some("BMP"),
        _ => None,
    }
}

fn decode_as(
    bytes: &[u8],
    format: ImageFormat,
    name: &'static str,
    options: &DecodeOptions,
) -> Result<RgbImage, ImageError> {
    let map = |error| from_codec(error, name);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(map)?;

    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(ImageError::Corrupt { format: name, reason: format!("its size is {width}x{height}") });
    }
    if pixels > options.max_pixels {
        return Err(ImageError::TooLarge {
            found: format!("{width}x{height} pixels"),
            limit: format!("{} pixels", options.max_pixels),
        });
    }
    let orientation = if options.orient { decoder.orientation().ok() } else { None };
    let pixels = match format {
        ImageFormat::Jpeg => jpeg_pixels(bytes, [width, height])?,
        _ => rgb8(DynamicImage::from_decoder(decoder).map_err(map)?),
    };
    let mut picture = DynamicImage::ImageRgb8(pixels);
    if let Some(orientation) = orientation {
        picture.apply_orientation(orientation);
    }
    Ok(picture.into_rgb8())
}

/// The pixels of a JPEG as libjpeg-turbo decodes them.
fn jpeg_pixels(bytes: &[u8], [width, height]: [u32; 2]) -> Result<RgbImage, ImageError> {
    let corrupt = |reason: String| ImageError::Corrupt { format: "JPEG", reason };
    let decoded = decompress_to(bytes, PixelFormat::Rgb).map_err(|error| match error {
        JpegError::UnexpectedEof => ImageError::Truncated { format: "JPEG", reason: "the data ends too early".into() },
        JpegError::Unsupported(what) => ImageError::Unsupported { what: format!("this kind of JPEG ({what})") },
        JpegError::LimitExceeded { what, actual, limit } => {
            ImageError::TooLarge { found: format!("{what} {actual}"), limit: limit.to_string() }
        }
        error => corrupt(error.to_string()),
    })?;
    if [decoded.width, decoded.height] != [width as usize, height as usize] {
        return Err(corrupt(format!(
            "its header says {width}x{height} and its data {}x{}",
            decoded.width, decoded.height
        )));
    }
    RgbImage::from_raw(width, height, decoded.data).ok_or_else(|| corrupt("its pixels are fewer than its size".into()))
}

/// Drops alpha and the low byte of 16-bit channels.
fn rgb8(picture: DynamicImage) -> RgbImage {
    let (width, height) = (picture.width(), picture.height());
    let high = |level: u16| (level >> 8) as u8;
    let pixels: Vec<u8> = match &picture {
        DynamicImage::ImageLuma16(grey) => grey.iter().flat_map(|&level| [high(level); 3]).collect(),
        DynamicImage::ImageLumaA16(grey) => grey.pixels().flat_map(|p| [high(p.0[0]); 3]).collect(),
        DynamicImage::ImageRgb16(rgb) => rgb.iter().map(|&level| high(level)).collect(),
        DynamicImage::ImageRgba16(rgba) => {
            rgba.pixels().flat_map(|p| [high(p.0[0]), high(p.0[1]), high(p.0[2])]).collect()
        }
        _ => return picture.into_rgb8(),
    };
    RgbImage::from_raw(width, height, pixels).expect("three bytes were collected per pixel")
}

/// Refuses a JPEG whose scans do not end in an end-of-image marker: the decoder would fill the rest with grey.
fn check_jpeg_is_whole(bytes: &[u8]) -> Result<(), ImageError> {
    const END_OF_IMAGE: u8 = 0xD9;
    const START_OF_SCAN: u8 = 0xDA;
    let mut at = 2;
    let mut in_scan = false;
    while let Some(&[byte, marker]) = bytes.get(at..at + 2).and_then(|pair| pair.first_chunk()) {
        if byte != 0xFF || marker == 0xFF {
            at += 1;
            continue;
        }
        match marker {
            END_OF_IMAGE => return Ok(()),
            0x00 | 0x01 | 0xD0..=0xD8 => at += 2,
            _ => {
                let Some(&length) = bytes.get(at + 2..at + 4).and_then(|pair| pair.first_chunk()) else { break };
                at += 2 + usize::from(u16::from_be_bytes(length)).max(2);
                in_scan |= marker == START_OF_SCAN;
            }
        }
    }
    let reason = if in_scan { "its pixel data has no end" } else { "it ends before its pixel data" };
    Err(ImageError::Truncated { format: "JPEG", reason: reason.into() })
}

/// Refuses a WebP shorter than its header says: the lossless decoder does not tell an early end from damage.
fn check_webp_is_whole(bytes: &[u8]) -> Result<(), ImageError> {
    let declared =
        bytes.get(4..8).and_then(|size| size.first_chunk()).map(|&size| 8 + u64::from(u32::from_le_bytes(size)));
    match declared {
        Some(declared) if declared <= bytes.len() as u64 => Ok(()),
        Some(declared) => Err(ImageError::Truncated {
            format: "WebP",
            reason: format!("{} of {declared} bytes are there", bytes.len()),
        }),
        None => Err(ImageError::Truncated { format: "WebP", reason: "it ends in its header".into() }),
    }
}

fn from_codec(error: CodecError, format: &'static str) -> ImageError {
    match error {
        CodecError::Limits(limit) => match limit.kind() {
            LimitErrorKind::InsufficientMemory => {
                ImageError::TooLarge { found: "its decoded size".into(), limit: format!("{MAX_DECODER_BYTES} bytes") }
            }
            _ => ImageError::TooLarge { found: "its size".into(), limit: format!("{MAX_PIXELS} pixels") },
        },
        CodecError::Unsupported(error) => ImageError::Unsupported { what: format!("this kind of {format} ({error})") },
        CodecError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            ImageError::Truncated { format, reason: "the data ends too early".into() }
        }
        error => {
            let reason = error.to_string();
            if ends_early(&error) {
                ImageError::Truncated { format, reason: "the data ends too early".into() }
            } else {
                ImageError::Corrupt { format, reason }
            }
        }
    }
}

/// Whether an unexpected end of the data lies at the bottom of `error`.
fn ends_early(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == ErrorKind::UnexpectedEof) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
