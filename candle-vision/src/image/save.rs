//! Images to files.

use std::io::{BufWriter, Write};
use std::path::Path;

use ghostzoo_files::Pending;
use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, RgbImage};

use super::ImageError;

/// Quality of written JPEGs, of 100.
const JPEG_QUALITY: u8 = 95;

/// Writes an image in the format of the path's extension: jpg, jpeg (quality 95), png, webp (lossless) or bmp.
///
/// The file appears complete or not at all: it is written beside its place, synced and renamed.
///
/// # Errors
/// `Unsupported` for another extension, `Encode`, or `Io`.
pub fn save(image: &RgbImage, path: &Path) -> Result<(), ImageError> {
    let format = match ImageFormat::from_path(path) {
        Ok(format @ (ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::WebP | ImageFormat::Bmp)) => format,
        _ => return Err(ImageError::Unsupported { what: format!("writing {}: its extension", path.display()) }),
    };
    let io = |source| ImageError::Io { action: "write", path: path.to_path_buf(), source };
    let mut file = BufWriter::new(Pending::create(path).map_err(io)?);
    let encoded = match format {
        ImageFormat::Jpeg => image.write_with_encoder(JpegEncoder::new_with_quality(&mut file, JPEG_QUALITY)),
        _ => {
            let mut bytes = std::io::Cursor::new(Vec::new());
            image.write_to(&mut bytes, format).and_then(|()| Ok(file.write_all(bytes.get_ref())?))
        }
    };
    encoded.map_err(|error| match error {
        image::ImageError::IoError(source) => io(source),
        error => ImageError::Encode { path: path.to_path_buf(), reason: error.to_string() },
    })?;
    let file = file.into_inner().map_err(|error| io(error.into_error()))?;
    file.finish().map_err(io)
}
