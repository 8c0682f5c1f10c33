//! File names by their endings, and small text files.

use std::io::Read;
use std::path::Path;

use super::DataError;
use super::error::count;
use crate::regular;

/// Endings of images that are read.
const IMAGES: &[&str] = if cfg!(feature = "tiff") {
    &["jpg", "jpeg", "png", "bmp", "webp", "tif", "tiff"]
} else {
    &["jpg", "jpeg", "png", "bmp", "webp"]
};

/// Endings that torchvision's `ImageFolder` takes for images too, of formats that are not decoded here.
const UNREAD: &[&str] = if cfg!(feature = "tiff") { &["ppm", "pgm"] } else { &["ppm", "pgm", "tif", "tiff"] };

/// Largest list of labels or classes in bytes.
const MAX_TEXT_BYTES: u64 = 64 << 20;

/// What a file is by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// An image that is read.
    Image,
    /// An image of a format that is not read.
    Unread,
    /// An image's ending on a hidden file, such as the `._` files of macOS.
    HiddenImage,
    /// Another hidden file.
    Hidden,
    /// Anything else.
    Other,
}

impl Ending {
    /// Of a path or file name with `/` between folders. Case does not matter.
    pub(super) fn of(name: &str) -> Self {
        let base = base_name(name);
        let extension = base.rsplit_once('.').map_or("", |(_, extension)| extension);
        let among = |known: &[&str]| known.iter().any(|known| extension.eq_ignore_ascii_case(known));
        match (base.starts_with('.'), among(IMAGES)) {
            (true, true) => Self::HiddenImage,
            (true, false) => Self::Hidden,
            (false, true) => Self::Image,
            (false, false) if among(UNREAD) => Self::Unread,
            (false, false) => Self::Other,
        }
    }
}

/// The part after the last `/`.
pub(super) fn base_name(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, base)| base)
}

/// The name without an image's ending; other endings stay.
pub(super) fn without_ending(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((stem, _)) if matches!(Ending::of(name), Ending::Image | Ending::Unread) => stem,
        _ => name,
    }
}

/// How many files were passed over, by reason.
#[derive(Debug, Default)]
pub(super) struct Skipped {
    other: usize,
    unread: usize,
    hidden: usize,
}

impl Skipped {
    /// Whether the file is an image to list; counts it otherwise.
    pub(super) fn is_image(&mut self, ending: Ending) -> bool {
        match ending {
            Ending::Image => return true,
            Ending::Unread => self.unread += 1,
            Ending::HiddenImage => self.hidden += 1,
            Ending::Other => self.other += 1,
            Ending::Hidden => {}
        }
        false
    }

    /// One line for each reason that occurred.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.unread > 0 {
            let images = count(self.unread, "image is", "images are");
            notes.push(format!(
                "{images} PPM, PGM or TIFF, which this build does not read: convert them to JPEG, PNG, WebP or BMP"
            ));
        }
        if self.hidden > 0 {
            notes.push(format!(
                "{} hidden by the name (`._` and the like)",
                count(self.hidden, "image is", "images are")
            ));
        }
        if self.other > 0 {
            notes.push(format!("{} by the ending", count(self.other, "file is no image", "files are no images")));
        }
        notes
    }
}

/// Reads a text file of bounded size, without a byte order mark.
///
/// # Errors
/// The file cannot be read, is empty, is larger than [`MAX_TEXT_BYTES`] or is not UTF-8.
pub(super) fn read_text(path: &Path) -> Result<String, DataError> {
    let bytes = read_bounded(path, MAX_TEXT_BYTES)?;
    let text = String::from_utf8(bytes).map_err(|_| DataError::damaged(path, "is not UTF-8 text; save it as UTF-8"))?;
    let text = text.trim_start_matches('\u{feff}');
    if text.trim().is_empty() {
        return Err(DataError::damaged(path, "the file is empty"));
    }
    Ok(text.to_owned())
}

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// The file cannot be read or is larger.
pub(super) fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, DataError> {
    let io = |source| DataError::io("read", path, source);
    let mut bytes = Vec::new();
    regular::open(path).map_err(io)?.take(limit + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > limit {
        return Err(DataError::damaged(path, format!("has more than {limit} bytes; is it the right file?")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_tell_images() {
        for (name, expected, stem) in [
            ("val/a.JPEG", Ending::Image, "val/a"),
            ("a.b.jpg", Ending::Image, "a.b"),
            ("a.WebP", Ending::Image, "a"),
            ("a.PPM", Ending::Unread, "a"),
            ("a.TIFF", if cfg!(feature = "tiff") { Ending::Image } else { Ending::Unread }, "a"),
            ("._a.jpg", Ending::HiddenImage, "._a.jpg"),
            ("val.jpg/.DS_Store", Ending::Hidden, "val.jpg/.DS_Store"),
            ("jpg", Ending::Other, "jpg"),
            ("val.jpg/readme", Ending::Other, "val.jpg/readme"),
            ("a.jpg.txt", Ending::Other, "a.jpg.txt"),
        ] {
            assert_eq!(Ending::of(name), expected, "{name}");
            assert_eq!(without_ending(name), stem, "{name}");
        }
    }
}
