//! A download's file while it is incomplete: ours alone, and one process's at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// `blobs/<key>.ghostzoo.incomplete`, locked. Only the holder of the lock writes, renames or removes it.
pub(super) struct Partial {
    file: File,
    path: PathBuf,
    blob: PathBuf,
}

impl Partial {
    /// Opens the partial file of `blob` and waits until no other process writes it, after telling so by `waits`.
    pub(super) fn hold(blob: &Path, mut waits: impl FnMut()) -> io::Result<Self> {
        let mut path = blob.as_os_str().to_owned();
        path.push(".ghostzoo.incomplete");
        let path = PathBuf::from(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        loop {
            let file = OpenOptions::new().create(true).read(true).append(true).open(&path)?;
            let locked = match file.try_lock() {
                Err(TryLockError::WouldBlock) => {
                    waits();
                    file.lock()
                }
                Err(TryLockError::Error(error)) => Err(error),
                Ok(()) => Ok(()),
            };
            match locked {
                // A file system without locks: the hash still tells a mixture from the file.
                Err(error) if error.kind() != io::ErrorKind::Unsupported => return Err(error),
                _ => {}
            }
            // The process that held it may have renamed or removed it since it was opened.
            if is_still(&file, &path)? {
                return Ok(Self { file, path, blob: blob.to_path_buf() });
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// The SHA-256 of all bytes, in lower-case hexadecimal digits.
    pub(super) fn sha256(&mut self) -> io::Result<String> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match self.file.read(&mut buffer)? {
                0 => return Ok(hex(&hasher.finalize())),
                count => hasher.update(&buffer[..count]),
            }
        }
    }

    /// Gives the file its final name.
    pub(super) fn finish(self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, &self.blob)
    }

    /// Removes the file, and the repository's folders where nothing else is in them.
    pub(super) fn discard(self) {
        // Removal is a courtesy: what stays has no final name, and the error that led here matters more.
        let _ = fs::remove_file(&self.path);
        for folder in self.path.ancestors().skip(1).take(2) {
            let _ = fs::remove_dir(folder);
        }
    }
}

#[cfg(unix)]
fn is_still(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let held = file.metadata()?;
    Ok(fs::metadata(path).is_ok_and(|named| (named.dev(), named.ino()) == (held.dev(), held.ino())))
}

#[cfg(not(unix))]
fn is_still(_: &File, path: &Path) -> io::Result<bool> {
    path.try_exists()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
