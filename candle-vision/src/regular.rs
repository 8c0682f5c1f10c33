//! Files that end: a pipe or a device would be waited for, or read, for ever.

use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::path::Path;

/// Opens a regular file for reading.
///
/// # Errors
/// The system's, and `InvalidInput` for a folder, a pipe, a socket or a device.
pub fn open(path: &Path) -> Result<File> {
    let kind = path.metadata()?.file_type();
    if kind.is_file() {
        return File::open(path);
    }
    let what = if kind.is_dir() { "it is a folder" } else { "it is a pipe or a device, no regular file" };
    Err(Error::new(ErrorKind::InvalidInput, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_opened() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "text").expect("a file");
        assert!(open(&file).is_ok());
        let refused = |path: &Path| open(path).expect_err("no regular file").to_string();
        assert_eq!(refused(folder.path()), "it is a folder");
        assert_eq!(open(&folder.path().join("none")).expect_err("no file").kind(), ErrorKind::NotFound);
        if cfg!(target_os = "linux") {
            assert!(refused(Path::new("/dev/zero")).contains("no regular file"));
        }
    }
}
