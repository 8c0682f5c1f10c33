//! Bytes to 8-bit RGB.
//!
//! | input | becomes |
//! |---|---|
//! | grey, 1 to 8 bits | the level in all three channels |
//! | 16 bits per channel | the high byte; Pillow's 16-bit grey is clipped at 255: [`DecodeOptions::reference`] |
//! | palette | its colours |
//! | alpha | dropped, not blended, as PIL's `convert("RGB")` and `cv2.imread`, which blends TIFFs of 8 bits alone |
//! | CMYK, YCCK JPEG | Adobe's inverted inks, as PIL and `cv2.imread` assume too |
//! | EXIF orientation | applied, as `cv2.imread`; PIL and torchvision's `ImageFolder` ignore it: [`DecodeOptions::orient`] |
//! | a JPEG that libjpeg warns of | libjpeg's pixels, with [`Decoded::warning`] |
//! | animation, pages | the first; [`Decoded::frames`] counts them |
//! | TIFF orientation | applied at all times, as both do |
//! | what of TIFFs only one of PIL and `cv2` reads | as that one reads it |

use std::io::{Cursor, ErrorKind, Read};
use std::path::Path;

use image::error::{ImageError as CodecError, LimitErrorKind};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

#[cfg(feature = "avif")]
use super::avif;
use super::format::format_of;
use super::jpeg_markers;
#[cfg(feature = "tiff")]
use super::tiff;
use super::{ImageError, bmp, exif, frames, jpeg, webp};
use crate::guard::guard;
use crate::regular;

/// Most pixels an image may have: the count at which Pillow refuses one as a decompression bomb.
pub const MAX_PIXELS: u64 = 178_956_970;

/// Most bytes a file may have.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// Bytes a decoder may allocate for each pixel that an image may have: 16-bit RGBA.
pub(super) const DECODER_BYTES: u64 = 8;

/// Whose pixels, where Pillow 13.0 and OpenCV 5.0 read a file in two ways: grey of 16 bits, CMYK, a TIFF's alpha, BMP of
/// 16 bits per pixel or run lengths, and a JPEG with an unknown marker behind its pixels, which Pillow refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reference {
    /// `cv2.imdecode`, by which Ultralytics reads.
    #[default]
    OpenCv,
    /// `Image.open(...).convert("RGB")`, as timm and torchvision read.
    Pillow,
}

const SCALE_DOWN: &str = "scale it down first";
pub(super) const RAISE: &str = "scale it down first, or raise `options.max_pixels`";

/// How to decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DecodeOptions {
    /// Turn and mirror the image as its EXIF orientation says. `true` by default.
    pub orient: bool,
    /// Most pixels the image may have. [`MAX_PIXELS`] by default.
    pub max_pixels: u64,
    /// Whose pixels. OpenCV's by default.
    pub reference: Reference,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self { orient: true, max_pixels: MAX_PIXELS, reference: Reference::OpenCv }
    }
}

impl DecodeOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the image is turned and mirrored as its EXIF orientation says.
    #[must_use]
    pub fn orient(self, orient: bool) -> Self {
        Self { orient, ..self }
    }

    /// Most pixels the image may have.
    #[must_use]
    pub fn max_pixels(self, max_pixels: u64) -> Self {
        Self { max_pixels, ..self }
    }

    /// Whose pixels.
    #[must_use]
    pub fn reference(self, reference: Reference) -> Self {
        Self { reference, ..self }
    }

    /// As timm and torchvision's `ImageFolder` read: Pillow's pixels as they are stored, whatever the EXIF orientation.
    #[must_use]
    pub fn stored() -> Self {
        Self { orient: false, reference: Reference::Pillow, ..Self::default() }
    }
}

/// An image, and what is to be said of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The pixels.
    pub image: RgbImage,
    /// Why they may not be what was meant.
    pub warning: Option<&'static str>,
    /// How many frames or pages the file has, of which `image` is the first: of GIF, APNG, WebP, TIFF and AVIF.
    pub frames: usize,
}

/// What [`Decoded::warning`] says of a JPEG of which libjpeg warns.
const DAMAGED_JPEG: &str = "the JPEG data are damaged; what follows the damage may be grey, shifted or wrong";

/// Decodes a file held in memory with the default [`DecodeOptions`].
///
/// # Errors
/// Every category of [`ImageError`] but `Io` and `Encode`.
pub fn decode(bytes: &[u8]) -> Result<RgbImage, ImageError> {
    decode_with(bytes, &DecodeOptions::default()).map(|decoded| decoded.image)
}

/// Reads and decodes a file with the default [`DecodeOptions`]. The content tells the format, not the name.
///
/// # Errors
/// As [`decode`], and `Io` if the file cannot be read.
pub fn open(path: &Path) -> Result<RgbImage, ImageError> {
    open_with(path, &DecodeOptions::default()).map(|decoded| decoded.image)
}

/// Reads and decodes a file. The content tells the format, not the name.
///
/// # Errors
/// As [`decode`], and `Io` if the file cannot be read.
pub fn open_with(path: &Path, options: &DecodeOptions) -> Result<Decoded, ImageError> {
    decode_with(&read(path)?, options)
}

/// The bytes of a file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, ImageError> {
    let io = |source| ImageError::Io { action: "read", path: path.to_path_buf(), source };
    let file = regular::open(path).map_err(io)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(ImageError::TooLarge {
            found: "the file".into(),
            limit: format!("{MAX_FILE_BYTES} bytes"),
            advice: SCALE_DOWN,
        });
    }
    Ok(bytes)
}

/// Decodes a JPEG, PNG, WebP or BMP file held in memory; with the features `tiff`, `gif` and `avif` such a file too.
///
/// # Errors
/// Every category of [`ImageError`] but `Io` and `Encode`.
pub fn decode_with(bytes: &[u8], options: &DecodeOptions) -> Result<Decoded, ImageError> {
    let (format, name) = format_of(bytes)?;
    let decoded = || match format {
        ImageFormat::Jpeg => decode_jpeg(bytes, options),
        #[cfg(feature = "tiff")]
        ImageFormat::Tiff => {
            let (image, orientation) = tiff::decode(bytes, options.reference, options.max_pixels)?;
            // Which both references apply at all times.
            Ok(Decoded { image: turned(image, orientation), warning: None, frames: 1 })
        }
        #[cfg(feature = "avif")]
        ImageFormat::Avif => {
            let (image, orientation) = avif::decode(bytes, options.max_pixels)?;
            let image = if options.orient { turned(image, orientation) } else { image };
            Ok(Decoded { image, warning: None, frames: 1 })
        }
        _ => decode_as(bytes, format, name, options),
    };
    let result = guard(|| Ok(Decoded { frames: frames::count(bytes, format), ..decoded()? }));
    result.unwrap_or_else(|_| Err(ImageError::Corrupt { format: name, reason: "the decoder gave up on it".into() }))
}

fn decode_jpeg(bytes: &[u8], options: &DecodeOptions) -> Result<Decoded, ImageError> {
    let header = jpeg_markers::header(bytes)?;
    check_size(header.size, "JPEG", options.max_pixels)?;
    let (image, warned) = jpeg::decode(bytes, &header, options.reference)?;
    let image = if options.orient { turned(image, exif::orientation(header.exif)) } else { image };
    Ok(Decoded { image, warning: warned.then_some(DAMAGED_JPEG), frames: 1 })
}

fn decode_as(
    bytes: &[u8],
    format: ImageFormat,
    name: &'static str,
    options: &DecodeOptions,
) -> Result<Decoded, ImageError> {
    let map = |error| from_codec(error, name);
    if format == ImageFormat::WebP {
        webp::check(bytes)?;
    }
    if let Some(bitmap) = bmp::read(bytes).filter(|_| format == ImageFormat::Bmp) {
        check_size(bitmap.size(), name, options.max_pixels)?;
        return Ok(Decoded { image: bitmap.decode(options.reference)?, warning: None, frames: 1 });
    }
    let mut decoder = decoder_of(Cursor::new(bytes), format, options.max_pixels).map_err(map)?;
    let size = decoder.dimensions().into();
    check_size(size, name, options.max_pixels)?;
    // A GIF's frame may be larger than the image, by its own word: of the image and a frame there is room for both.
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(most_bytes(size, 2 * DECODER_BYTES, options.max_pixels));
    decoder.set_limits(limits).map_err(map)?;
    let orientation = if options.orient { orientation(bytes, format) } else { Orientation::NoTransforms };
    let image = DynamicImage::from_decoder(decoder).map_err(map)?;
    let image = match (image, options.reference) {
        (image, Reference::Pillow) if is_grey_of_16_bits(&image, bytes) => clipped(&image.into_luma16()),
        (image, _) => rgb8(image),
    };
    let image = turned(image, orientation);
    Ok(Decoded { image, warning: None, frames: 1 })
}

/// Bytes that a decoder may allocate for an image of any size that is allowed.
fn most_bytes_of_any(max_pixels: u64) -> u64 {
    max_pixels.max(MAX_PIXELS).saturating_mul(DECODER_BYTES)
}

/// Bytes that a decoder may allocate for an image of this size, of so many bytes per pixel.
pub(super) fn most_bytes([width, height]: [u32; 2], per_pixel: u64, max_pixels: u64) -> u64 {
    const SPARE: u64 = 32 << 20;
    let pixels = u64::from(width) * u64::from(height);
    pixels.saturating_mul(per_pixel).saturating_add(SPARE).min(most_bytes_of_any(max_pixels))
}

/// A decoder that has read its header and will allocate no more than the limit.
pub(super) fn decoder_of<'a, R: std::io::BufRead + std::io::Seek + 'a>(
    reader: R,
    format: ImageFormat,
    max_pixels: u64,
) -> Result<impl ImageDecoder + 'a, CodecError> {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(most_bytes_of_any(max_pixels));
    let mut reader = ImageReader::with_format(reader, format);
    reader.limits(limits);
    reader.into_decoder()
}

pub(super) fn check_size([width, height]: [u32; 2], format: &'static str, max_pixels: u64) -> Result<(), ImageError> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(ImageError::Corrupt { format, reason: format!("its size is {width}x{height}") });
    }
    if pixels > max_pixels {
        return Err(ImageError::TooLarge {
            found: format!("{width}x{height} pixels"),
            limit: format!("{max_pixels} pixels"),
            advice: RAISE,
        });
    }
    Ok(())
}

/// What a file of another format than JPEG says of its orientation.
pub(super) fn orientation(bytes: &[u8], format: ImageFormat) -> Orientation {
    exif::orientation(match format {
        ImageFormat::Png => exif::blocks_of_png(bytes),
        ImageFormat::WebP => webp::exif_blocks(bytes),
        _ => Vec::new(),
    })
}

fn turned(image: RgbImage, orientation: Orientation) -> RgbImage {
    if orientation == Orientation::NoTransforms {
        return image;
    }
    let mut image = DynamicImage::ImageRgb8(image);
    image.apply_orientation(orientation);
    image.into_rgb8()
}

/// Whether the file has one channel of 16 bits. A PNG's single transparent level, read as alpha, is none.
fn is_grey_of_16_bits(image: &DynamicImage, bytes: &[u8]) -> bool {
    match image {
        DynamicImage::ImageLuma16(_) => true,
        DynamicImage::ImageLumaA16(_) => bytes.starts_with(b"\x89PNG") && bytes.get(25) == Some(&0),
        _ => false,
    }
}

/// Pillow's conversion of 16-bit grey: levels above 255 are 255.
fn clipped(grey: &image::ImageBuffer<image::Luma<u16>, Vec<u16>>) -> RgbImage {
    let level = |x, y| image::Rgb([grey.get_pixel(x, y).0[0].min(255) as u8; 3]);
    RgbImage::from_fn(grey.width(), grey.height(), level)
}

/// Drops alpha and the low byte of 16-bit channels.
fn rgb8(image: DynamicImage) -> RgbImage {
    let (width, height) = (image.width(), image.height());
    let high = |level: u16| (level >> 8) as u8;
    let pixels: Vec<u8> = match &image {
        DynamicImage::ImageLuma16(grey) => grey.iter().flat_map(|&level| [high(level); 3]).collect(),
        DynamicImage::ImageLumaA16(grey) => grey.pixels().flat_map(|p| [high(p.0[0]); 3]).collect(),
        DynamicImage::ImageRgb16(rgb) => rgb.iter().map(|&level| high(level)).collect(),
        DynamicImage::ImageRgba16(rgba) => {
            rgba.pixels().flat_map(|p| [high(p.0[0]), high(p.0[1]), high(p.0[2])]).collect()
        }
        _ => return image.into_rgb8(),
    };
    RgbImage::from_raw(width, height, pixels).expect("three bytes were collected per pixel")
}

pub(super) fn from_codec(error: CodecError, format: &'static str) -> ImageError {
    match error {
        CodecError::Limits(limit) => match limit.kind() {
            LimitErrorKind::InsufficientMemory => {
                let limit = format!("{DECODER_BYTES} bytes for each pixel that is allowed");
                ImageError::TooLarge { found: "its decoded size".into(), limit, advice: RAISE }
            }
            _ => {
                let limit = "what its decoder reads".into();
                ImageError::TooLarge { found: "its size".into(), limit, advice: SCALE_DOWN }
            }
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

#[cfg(test)]
#[path = "decode_reference_tests.rs"]
mod reference_tests;
