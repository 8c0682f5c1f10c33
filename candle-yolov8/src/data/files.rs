//! Files and folders of a dataset.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use candle_vision::regular;

use super::DataError;

/// Endings of image files, as Ultralytics knows them. Formats that cannot be decoded are among them: they fail by name
/// when they are opened.
const EXTENSIONS: [&str; 14] =
    ["avif", "bmp", "dng", "heic", "heif", "jp2", "jpeg", "jpg", "mpo", "pfm", "png", "tif", "tiff", "webp"];

/// Whether the path ends like an image's.
pub(super) fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// The content of a file of at most `limit` bytes.
pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, DataError> {
    let io = |source| DataError::io("read", path, source);
    let mut bytes = Vec::new();
    regular::open(path).map_err(io)?.take(limit + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > limit {
        return Err(DataError::invalid(path, format!("the file is larger than the limit of {limit} bytes")));
    }
    Ok(bytes)
}

/// The text of a UTF-8 file of at most `limit` bytes, without a byte-order mark.
pub(super) fn read_text(path: &Path, limit: u64) -> Result<String, DataError> {
    let mut text = String::from_utf8(read(path, limit)?)
        .map_err(|error| DataError::invalid(path, format!("no UTF-8 text: {}", error.utf8_error())))?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}

/// The path from the root of the file system, without `.`; links and `..` stay as they are.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, DataError> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let path = std::path::absolute(path).map_err(|source| DataError::io("find", path, source))?;
    Ok(path.components().filter(|part| *part != Component::CurDir).collect())
}

/// The folders, then the images and lists that a pattern below a folder names; none if it is no pattern. What lies in
/// a folder that is named too is not repeated; names that begin with a dot are hidden.
pub(super) fn matches(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, DataError> {
    if !pattern.contains(['*', '?', '[']) {
        return Ok(Vec::new());
    }
    let below = absolute(&folder.join(pattern))?;
    let literal = absolute(folder)?;
    let pattern = match below.strip_prefix(&literal) {
        Ok(rest) => PathBuf::from(glob::Pattern::escape(&literal.to_string_lossy())).join(rest),
        Err(_) => below,
    };
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..Default::default() };
    let invalid = |error: glob::PatternError| DataError::invalid(&pattern, format!("no pattern of names: {error}"));
    let found = glob::glob_with(&pattern.to_string_lossy(), options).map_err(invalid)?;
    let (mut folders, mut files): (Vec<PathBuf>, Vec<PathBuf>) = (Vec::new(), Vec::new());
    for path in found {
        let path = path.map_err(|error| {
            let path = error.path().to_path_buf();
            DataError::Io { action: "read", path, source: error.into() }
        })?;
        // They come sorted: a folder before what is in it.
        if folders.iter().any(|folder| path.starts_with(folder)) {
            continue;
        }
        if path.is_dir() {
            folders.push(path);
        } else if is_image(&path) || is_list(&path) {
            files.push(path);
        }
    }
    folders.append(&mut files);
    Ok(folders)
}

/// Whether the path ends like a list of images.
pub(super) fn is_list(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("txt"))
}

/// Whether the path ends like COCO's instances.
pub(super) fn is_instances(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
}

/// Adds the images in a folder and those below it to `images`. Names that begin with a dot are hidden; links are
/// followed, each folder once.
pub(super) fn images_below(folder: &Path, images: &mut Vec<PathBuf>) -> Result<(), DataError> {
    let mut seen = HashSet::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let io = |source| DataError::io("read the folder", &folder, source);
        if !seen.insert(fs::canonicalize(&folder).map_err(io)?) {
            continue;
        }
        for entry in fs::read_dir(&folder).map_err(io)? {
            let entry = entry.map_err(io)?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = entry.path();
            let kind = entry.file_type().map_err(io)?;
            if kind.is_dir() || (kind.is_symlink() && path.is_dir()) {
                folders.push(path);
            } else if is_image(&path) {
                images.push(path);
            }
        }
    }
    Ok(())
}
