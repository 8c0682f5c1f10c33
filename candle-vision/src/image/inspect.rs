//! What a file will give when it is decoded, without decoding it where that can be helped.

use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use image::{ImageDecoder, ImageFormat};

#[cfg(feature = "avif")]
use super::avif;
use super::decode::{check_size, decode_with, decoder_of, from_codec, orientation, read};
use super::format::format_of;
use super::{DecodeOptions, ImageError, exif, jpeg_markers, webp};
use crate::regular;

/// Bytes in which a JPEG's header is looked for first.
const HEADER_BYTES: u64 = 1 << 16;

/// The [height, width] that [`open_with`](super::open_with) would give. A file that ends too early is refused: a JPEG
/// without its end, a PNG without its last chunk, a WebP shorter than it says, an AVIF without all of its
/// image's data; BMPs and other formats are decoded.
///
/// # Errors
/// As [`decode`](super::decode), and `Io` if the file cannot be read; damage within the pixels does not show.
pub fn upright_size(path: &Path, options: &DecodeOptions) -> Result<[usize; 2], ImageError> {
    let io = |source| ImageError::Io { action: "read", path: path.to_path_buf(), source };
    let mut file = regular::open(path).map_err(io)?;
    let mut start = Vec::new();
    file.by_ref().take(HEADER_BYTES).read_to_end(&mut start).map_err(io)?;
    let (format, name) = format_of(&start)?;
    let ([width, height], orientation) = match format {
        ImageFormat::Jpeg => {
            let mut end = [0; 2];
            file.seek(SeekFrom::End(-2)).and_then(|_| file.read_exact(&mut end)).map_err(io)?;
            let is_whole = end == [0xFF, 0xD9];
            let whole;
            let header = match jpeg_markers::header(&start) {
                Ok(header) if is_whole => header,
                _ => {
                    whole = read(path)?;
                    let header = jpeg_markers::header(&whole)?;
                    jpeg_markers::check_end(&whole)?;
                    header
                }
            };
            (header.size, exif::orientation(header.exif))
        }
        ImageFormat::Png | ImageFormat::WebP => {
            let bytes = read(path)?;
            match format {
                ImageFormat::Png => check_png_is_whole(&bytes)?,
                _ => webp::check(&bytes)?,
            }
            let decoder =
                decoder_of(Cursor::new(&bytes), format, options.max_pixels).map_err(|error| from_codec(error, name))?;
            (decoder.dimensions().into(), orientation(&bytes, format))
        }
        #[cfg(feature = "avif")]
        ImageFormat::Avif => avif::header(&read(path)?, options.max_pixels)?,
        _ => {
            let image = decode_with(&read(path)?, options)?.image;
            return Ok([image.height() as usize, image.width() as usize]);
        }
    };
    check_size([width, height], name, options.max_pixels)?;
    let [width, height] = [width as usize, height as usize];
    Ok(if options.orient && exif::swaps_sides(orientation) { [width, height] } else { [height, width] })
}

/// Refuses a PNG whose chunks do not reach to the last.
fn check_png_is_whole(bytes: &[u8]) -> Result<(), ImageError> {
    let mut rest = bytes.get(8..).unwrap_or_default();
    while let Some((&length, behind)) = rest.split_first_chunk::<4>() {
        if behind.starts_with(b"IEND") {
            return Ok(());
        }
        rest = behind.get((u32::from_be_bytes(length) as usize).saturating_add(8)..).unwrap_or_default();
    }
    Err(ImageError::Truncated { format: "PNG", reason: "its last chunk is missing".into() })
}
