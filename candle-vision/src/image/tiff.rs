//! TIFF as Pillow 13 and OpenCV 5.0 read it. What only one of them reads is read as that one does.
//!
//! The crate `tiff` unpacks what is not JPEG. It refuses palettes, and inverts some greys whose zero is white: it is told
//! that both are plain grey.

use std::borrow::Cow;
use std::io::{Cursor, ErrorKind};

use image::metadata::Orientation;
use image::{RgbImage, imageops};
use tiff::decoder::{BufferLayoutPreference, Decoder, DecodingResult, Limits};
use tiff::tags::{CompressionMethod, ExtraSamples, PhotometricInterpretation as Photometric, SampleFormat, Tag};
use tiff::{ColorType, TiffError};

use super::decode::{DECODER_BYTES, RAISE, check_size, most_bytes};
use super::tiff_colors::{Alpha, Colors, palette};
use super::tiff_directory::{Directory, u16_at};
use super::{ImageError, Reference, jpeg, jpeg_markers};

const BLACK_IS_ZERO: u16 = 1;
/// Bytes of a pixel of 16 channels of 32 bits.
const MOST_PER_PIXEL: u64 = 64;

/// The first page, and how it is to be turned.
///
/// # Errors
/// Every category of [`ImageError`] but `Io` and `Encode`.
pub(super) fn decode(
    bytes: &[u8],
    reference: Reference,
    max_pixels: u64,
) -> Result<(RgbImage, Orientation), ImageError> {
    let directory = Directory::read(bytes);
    if directory.as_ref().is_some_and(|directory| !directory.has_its_values(bytes)) {
        return Err(cut());
    }
    let value_at = directory.and_then(|directory| directory.photometric_at(bytes));
    let stored = value_at.and_then(|(at, is_big)| u16_at(bytes, at, is_big));
    let photometric = stored.and_then(Photometric::from_u16);
    let is_refused_by_pillow = photometric == Some(Photometric::WhiteIsZero) && bytes.starts_with(b"MM");
    let reference = if is_refused_by_pillow { Reference::OpenCv } else { reference };
    let mut told = Cow::Borrowed(bytes);
    if let (Some((at, is_big)), Some(Photometric::RGBPalette | Photometric::WhiteIsZero)) = (value_at, photometric) {
        let value = if is_big { BLACK_IS_ZERO.to_be_bytes() } else { BLACK_IS_ZERO.to_le_bytes() };
        told.to_mut()[at..at + 2].copy_from_slice(&value);
    }
    let mut decoder = Decoder::new(Cursor::new(&*told)).map_err(of_crate)?;
    let (width, height) = decoder.dimensions().map_err(of_crate)?;
    check_size([width, height], "TIFF", max_pixels)?;
    let mut limits = Limits::default();
    let most = most_bytes([width, height], MOST_PER_PIXEL, max_pixels);
    limits.decoding_buffer_size = usize::try_from(most).unwrap_or(usize::MAX);
    limits.intermediate_buffer_size = limits.decoding_buffer_size;
    let decoder = decoder.with_limits(limits);
    let mut page = Page { decoder, bytes, photometric, reference, max_pixels };
    let orientation = page.decoder.find_tag_unsigned::<u8>(Tag::Orientation).map_err(of_crate)?;
    let orientation = orientation.and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms);
    let compression = page.decoder.find_tag_unsigned::<u16>(Tag::Compression).map_err(of_crate)?;
    let image = match compression.map(CompressionMethod::from_u16_exhaustive) {
        Some(CompressionMethod::ModernJPEG) => page.of_jpegs([width, height])?,
        _ => page.of_samples([width, height])?,
    };
    Ok((image, orientation))
}

struct Page<'a> {
    decoder: Decoder<Cursor<&'a [u8]>>,
    bytes: &'a [u8],
    photometric: Option<Photometric>,
    reference: Reference,
    max_pixels: u64,
}

impl Page<'_> {
    /// Strips or tiles that are JPEGs each, whose tables may stand in a tag.
    fn of_jpegs(&mut self, [width, height]: [u32; 2]) -> Result<RgbImage, ImageError> {
        let transform = match self.photometric {
            Some(Photometric::YCbCr) => 1,
            Some(Photometric::BlackIsZero | Photometric::RGB) => 0,
            _ => return Err(unsupported("a TIFF of JPEGs in such colours")),
        };
        let planes = self.decoder.find_tag_unsigned::<u16>(Tag::PlanarConfiguration).map_err(of_crate)?;
        if planes == Some(2) {
            return Err(unsupported("a TIFF of one JPEG per channel"));
        }
        let is_tiled = self.decoder.find_tag(Tag::TileOffsets).map_err(of_crate)?.is_some();
        let (offsets, lengths) = match is_tiled {
            true => (Tag::TileOffsets, Tag::TileByteCounts),
            false => (Tag::StripOffsets, Tag::StripByteCounts),
        };
        let offsets = self.decoder.get_tag_u64_vec(offsets).map_err(of_crate)?;
        let lengths = self.decoder.get_tag_u64_vec(lengths).map_err(of_crate)?;
        let tables = match self.decoder.find_tag(Tag::JPEGTables).map_err(of_crate)? {
            Some(tables) => tables.into_u8_vec().map_err(of_crate)?,
            None => Vec::new(),
        };
        // Without the marks of their start and end.
        let tables = tables.get(2..tables.len().saturating_sub(2)).unwrap_or_default();
        let (across, down) = self.decoder.chunk_dimensions();
        let chunks_per_row = width.div_ceil(across) as usize;
        let mut image = RgbImage::new(width, height);
        for (index, (&offset, &length)) in offsets.iter().zip(&lengths).enumerate() {
            let data = usize::try_from(offset).ok().and_then(|at| self.bytes.get(at..));
            let data = data.and_then(|data| data.get(2..usize::try_from(length).ok()?)).ok_or_else(cut)?;
            // Adobe's segment tells whether colours are YCbCr, whatever the names of the components.
            let start: [&[u8]; 3] = [b"\xFF\xD8\xFF\xEE\0\x0EAdobe\0\x64\0\0\0\0", &[transform], tables];
            let stream = [&start.concat(), data].concat();
            let header = jpeg_markers::header(&stream)?;
            check_size(header.size, "TIFF", self.max_pixels)?;
            let [x, y] = [index % chunks_per_row, index / chunks_per_row];
            let [x, y] = [x as u32 * across, (y as u32).saturating_mul(down)];
            let needed = [across.min(width - x), down.min(height.saturating_sub(y))];
            if header.size[0] < needed[0] || header.size[1] < needed[1] {
                return Err(corrupt("a JPEG within it is too small"));
            }
            let (part, _) = jpeg::decode(&stream, &header, self.reference)?;
            imageops::replace(&mut image, &part, x.into(), y.into());
        }
        Ok(image)
    }

    fn of_samples(&mut self, size: [u32; 2]) -> Result<RgbImage, ImageError> {
        let color = self.decoder.colortype().map_err(of_crate)?;
        let bits = color.bit_depth();
        let mut levels = DecodingResult::U8(Vec::new());
        let alpha = self.alpha()?;
        let layout = self.decoder.image_buffer_layout().map_err(of_crate)?;
        let is_planar = layout.planes > 1;
        let colors = match (color, self.photometric) {
            (ColorType::Gray(_) | ColorType::Multiband { .. }, Some(Photometric::RGBPalette)) => {
                let levels = self.decoder.get_tag_u16_vec(Tag::ColorMap).map_err(of_crate)?;
                Colors::Palette(palette(&levels, bits, self.reference).ok_or_else(|| corrupt("its palette is cut"))?)
            }
            (ColorType::Gray(_) | ColorType::Multiband { .. }, photometric) => {
                let white_is_zero = photometric == Some(Photometric::WhiteIsZero);
                Colors::Grey { white_is_zero, alpha: if is_planar { alpha } else { Alpha::Absent } }
            }
            (ColorType::RGB(_), _) => Colors::Rgb(Alpha::Absent),
            (ColorType::RGBA(_), _) => Colors::Rgb(alpha),
            (ColorType::CMYK(_), _) => Colors::Cmyk,
            _ => return Err(unsupported("a TIFF of such colours")),
        };
        if let SampleFormat::IEEEFP = layout.sample_format
            && !matches!(colors, Colors::Grey { .. })
        {
            return Err(unsupported("a TIFF of floating-point levels"));
        }
        self.decoder.read_image_to_buffer(&mut levels).map_err(of_crate)?;
        if levels.as_buffer(0).byte_len() < layout.complete_len {
            return Err(of_crate(TiffError::LimitsExceeded));
        }
        let rows = Rows::new(&levels, &layout, color, size)?;
        let [width, height] = size;
        let mut image = RgbImage::new(width, height);
        let mut row = vec![0; rows.channels * width as usize];
        for (y, out) in image.chunks_exact_mut(3 * width as usize).enumerate() {
            rows.read(y, &mut row);
            let (out, _) = out.as_chunks_mut();
            colors.write(&row, rows.channels, rows.bits, self.reference, out);
        }
        Ok(image)
    }

    /// What the first channel beyond the colours is.
    fn alpha(&mut self) -> Result<Alpha, ImageError> {
        let extra = self.decoder.find_tag_unsigned_vec::<u16>(Tag::ExtraSamples).map_err(of_crate)?;
        let first = extra.and_then(|extra| ExtraSamples::from_u16(*extra.first()?));
        Ok(match first {
            Some(ExtraSamples::AssociatedAlpha) => Alpha::Multiplied,
            Some(ExtraSamples::UnassociatedAlpha) => Alpha::Apart,
            _ => Alpha::Absent,
        })
    }
}

/// The levels of a page, row by row.
struct Rows<'a> {
    levels: Levels<'a>,
    channels: usize,
    /// Of a level, 16 at most.
    bits: u8,
    /// In levels, or in bytes where several levels share one.
    row_stride: usize,
    /// Where each channel is an image of its own.
    plane_stride: Option<usize>,
}

enum Levels<'a> {
    Packed(&'a [u8]),
    Words(&'a [u16]),
    Floats(&'a [f32]),
    Integers(&'a [i32]),
}

impl<'a> Rows<'a> {
    fn new(
        levels: &'a DecodingResult,
        layout: &BufferLayoutPreference,
        color: ColorType,
        [width, height]: [u32; 2],
    ) -> Result<Self, ImageError> {
        let channels = usize::from(color.num_samples());
        let (levels, bits) = match (levels, color.bit_depth()) {
            (DecodingResult::U8(levels), bits @ (1 | 2 | 4 | 8)) => (Levels::Packed(levels), bits),
            (DecodingResult::U16(levels), 16) => (Levels::Words(levels), 16),
            // Clipped as they are read.
            (DecodingResult::F32(levels), 32) if channels == 1 => (Levels::Floats(levels), 8),
            (DecodingResult::I32(levels), 32) if channels == 1 => (Levels::Integers(levels), 8),
            (_, bits) => return Err(unsupported(&format!("a TIFF of such levels of {bits} bits"))),
        };
        let in_row = if layout.planes > 1 { width as usize } else { width as usize * channels };
        let row_stride = match levels {
            Levels::Packed(_) => (in_row * usize::from(bits)).div_ceil(8),
            _ => in_row,
        };
        let plane_stride = (layout.planes > 1).then_some(row_stride * height as usize);
        Ok(Self { levels, channels, bits, row_stride, plane_stride })
    }

    /// Fills in the row's levels, pixel by pixel.
    fn read(&self, y: usize, out: &mut [u16]) {
        let Some(plane_stride) = self.plane_stride else {
            return self.unpack(y * self.row_stride, out.iter_mut());
        };
        for channel in 0..self.channels {
            let start = channel * plane_stride + y * self.row_stride;
            self.unpack(start, out.iter_mut().skip(channel).step_by(self.channels));
        }
    }

    fn unpack<'o>(&self, start: usize, out: impl Iterator<Item = &'o mut u16>) {
        match self.levels {
            Levels::Packed(bytes) if self.bits == 8 => {
                out.zip(&bytes[start..]).for_each(|(out, &level)| *out = level.into());
            }
            Levels::Packed(bytes) => {
                let (bits, per_byte) = (usize::from(self.bits), usize::from(8 / self.bits));
                for (index, out) in out.enumerate() {
                    let shift = 8 - bits * (index % per_byte + 1);
                    *out = u16::from(bytes[start + index / per_byte] >> shift) & ((1 << bits) - 1);
                }
            }
            Levels::Words(levels) => out.zip(&levels[start..]).for_each(|(out, &level)| *out = level),
            Levels::Floats(levels) => {
                out.zip(&levels[start..]).for_each(|(out, &level)| *out = (level as u8).into());
            }
            Levels::Integers(levels) => {
                out.zip(&levels[start..]).for_each(|(out, &level)| *out = level.clamp(0, 255) as u16);
            }
        }
    }
}

fn cut() -> ImageError {
    ImageError::Truncated { format: "TIFF", reason: "the data ends too early".into() }
}

fn corrupt(reason: &str) -> ImageError {
    ImageError::Corrupt { format: "TIFF", reason: reason.into() }
}

fn unsupported(what: &str) -> ImageError {
    ImageError::Unsupported { what: what.into() }
}

fn of_crate(error: TiffError) -> ImageError {
    match error {
        TiffError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => cut(),
        TiffError::UnsupportedError(error) => unsupported(&format!("this kind of TIFF ({error})")),
        TiffError::LimitsExceeded => {
            let limit = format!("{DECODER_BYTES} bytes for each pixel that is allowed");
            ImageError::TooLarge { found: "its decoded size".into(), limit, advice: RAISE }
        }
        error => corrupt(&error.to_string()),
    }
}
