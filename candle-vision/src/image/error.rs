//! What can go wrong between a file and its pixels.

use std::path::PathBuf;

/// Why an image could not be read or written.
///
/// The messages of the decoding variants do not name the file: the caller knows what it was decoding.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The bytes begin like no image format.
    #[error("not an image: {length} bytes that begin like no known format; give a JPEG, PNG, WebP or BMP file")]
    NotAnImage {
        /// Number of bytes given.
        length: usize,
    },
    /// There are no bytes at all.
    #[error("the file is empty; give a JPEG, PNG, WebP or BMP file")]
    Empty,
    /// The data stops before the image is complete.
    #[error("the {format} image is truncated: {reason}; fetch or export the file again")]
    Truncated {
        /// Format, as its usual name.
        format: &'static str,
        /// What is missing.
        reason: String,
    },
    /// The data contradicts its own format.
    #[error("the {format} image is damaged: {reason}; fetch or export the file again")]
    Corrupt {
        /// Format, as its usual name.
        format: &'static str,
        /// The decoder's finding.
        reason: String,
    },
    /// A format, or a feature of one, that is not decoded here.
    #[error("{what} is not supported; convert the image to JPEG, PNG, WebP or BMP")]
    Unsupported {
        /// The format or feature.
        what: String,
    },
    /// More pixels or bytes than the limits allow.
    #[error("the image is too large: {found} exceeds the limit of {limit}; {advice}")]
    TooLarge {
        /// Size found, with its unit.
        found: String,
        /// Limit, with its unit.
        limit: String,
        /// What to do.
        advice: &'static str,
    },
    /// The file could not be read or written.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// "read" or "write".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The image could not be encoded.
    #[error("cannot encode {path}: {reason}", path = path.display())]
    Encode {
        /// The file that was to be written.
        path: PathBuf,
        /// The encoder's reason.
        reason: String,
    },
}
