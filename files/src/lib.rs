#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod folder;

use std::fs::{self, DirEntry, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

pub use folder::{PendingFolder, sweep_folders};

const SUFFIX: &str = ".tmp";
/// Letters and digits that tell files of one name apart.
const RANDOM: usize = 6;
/// Bytes of the name that are kept: with what stands around them they fit every file system's 255.
const LONGEST: usize = 200;

/// A file that is not whole yet. Dropped, it is removed.
#[derive(Debug)]
pub struct Pending {
    file: NamedTempFile,
    path: PathBuf,
}

impl Pending {
    /// Begins the file that is to be at `path`, with the permissions of any new file.
    ///
    /// # Errors
    /// A folder that is not there or cannot be written, a full disk.
    pub fn create(path: &Path) -> io::Result<Self> {
        let prefix = prefix(path);
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(SUFFIX).rand_bytes(RANDOM);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        loop {
            let file = builder.tempfile_in(folder_of(path))?;
            // Another process may take it for a leftover before it is locked, and removes it then. Where there are no locks,
            // nobody does.
            let is_taken = matches!(file.as_file().try_lock(), Err(TryLockError::WouldBlock));
            if !is_taken && file.path().exists() {
                return Ok(Self { file, path: path.to_path_buf() });
            }
        }
    }

    /// What is written so far.
    #[must_use]
    pub fn file(&self) -> &File {
        self.file.as_file()
    }

    /// Where the file is until it has its name, for a program of others that writes it. On Windows, whose locks keep others from
    /// writing, it is unlocked.
    ///
    /// # Errors
    /// A lock that cannot be given up.
    pub fn for_program(&self) -> io::Result<&Path> {
        #[cfg(windows)]
        self.file.as_file().unlock()?;
        Ok(self.file.path())
    }

    /// Syncs the file and gives it its name, in place of what has it.
    ///
    /// # Errors
    /// A full or broken disk, a folder in its place. The file is removed then.
    pub fn finish(self) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        self.rename()
    }

    /// Gives the file its name without syncing: for what can be made again, and is checked when it is read.
    ///
    /// # Errors
    /// As [`Pending::finish`].
    pub fn rename(self) -> io::Result<()> {
        self.file.persist(&self.path).map(drop).map_err(|error| error.error)
    }
}

impl Write for Pending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The file's own, whose errors name no path: that of the half-written file says nothing to anybody.
        self.file.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_file_mut().flush()
    }
}

/// Writes a whole file.
///
/// # Errors
/// As [`Pending::create`] and [`Pending::finish`].
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = Pending::create(path)?;
    file.write_all(bytes)?;
    file.finish()
}

/// Puts a symbolic link to `target` at `path`, in place of the file or the link that is there until then.
///
/// # Errors
/// As [`Pending::create`]; a system or a file system without such links.
pub fn link(target: &Path, path: &Path) -> io::Result<()> {
    let made = |link: &Path| -> io::Result<()> {
        #[cfg(unix)]
        return std::os::unix::fs::symlink(target, link);
        #[cfg(not(unix))]
        return Err(ErrorKind::Unsupported.into());
    };
    let prefix = prefix(path);
    let mut builder = tempfile::Builder::new();
    let link = builder.prefix(&prefix).suffix(SUFFIX).rand_bytes(RANDOM).make_in(folder_of(path), made)?;
    link.into_temp_path().persist(path).map_err(|error| error.error)
}

/// The folder that a file goes into.
#[must_use]
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Removes what killed processes left of the file at `path`.
///
/// # Errors
/// The first leftover that cannot be removed, by its path.
pub fn sweep(path: &Path) -> io::Result<()> {
    let name = shortened(path);
    sweep_folder(folder_of(path), |left| left == name)
}

/// Removes what killed processes left in a folder of the files whose names are `ours`. A folder that is not there holds
/// nothing.
///
/// # Errors
/// The first leftover that cannot be removed, by its path.
pub fn sweep_folder(folder: &Path, ours: impl Fn(&str) -> bool) -> io::Result<()> {
    let is_left = |entry: &DirEntry| {
        entry.file_name().to_str().and_then(name_of).is_some_and(&ours)
            && entry.file_type().is_ok_and(|kind| kind.is_file() || kind.is_symlink())
    };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten().filter(is_left) {
        let path = entry.path();
        // Somebody else's file may not be opened, and a living process holds its lock. Where there are no locks, it may live. A link
        // has no lock: who loses one that it was about to rename is told by the error of its renaming.
        if !entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
            let Ok(file) = OpenOptions::new().write(true).open(&path) else { continue };
            if file.try_lock().is_err() {
                continue;
            }
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(io::Error::new(error.kind(), format!("cannot remove {}: {error}", path.display())));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The name that a file is to have, by that of the half-written file.
#[must_use]
pub fn name_of(left: &str) -> Option<&str> {
    let (name, random) = left.strip_prefix('.')?.strip_suffix(SUFFIX)?.rsplit_once('.')?;
    let is_random = random.len() == RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (is_random && !name.is_empty()).then_some(name)
}

/// What the half-written file of a path begins with.
fn prefix(path: &Path) -> String {
    format!(".{}.", shortened(path))
}

/// The beginning of a path's name.
fn shortened(path: &Path) -> String {
    let mut name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let end = (0..=LONGEST.min(name.len())).rev().find(|end| name.is_char_boundary(*end));
    name.truncate(end.unwrap_or(0));
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder").flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("results.csv");
        fs::write(&path, "before").expect("an older file");
        let mut file = Pending::create(&path).expect("begun");
        file.write_all(b"half").expect("written");
        assert!(names(folder.path())[0].starts_with(".results.csv."), "{:?}", names(folder.path()));
        drop(file);
        assert_eq!(
            (names(folder.path()), fs::read(&path).expect("there")),
            (vec!["results.csv".into()], b"before".into())
        );
        write(&path, b"after").expect("written");
        assert_eq!(
            (names(folder.path()), fs::read(&path).expect("there")),
            (vec!["results.csv".into()], b"after".into())
        );
        fs::create_dir(folder.path().join("taken")).expect("a folder in its place");
        assert!(
            write(&folder.path().join("taken"), b"").is_err() && write(&folder.path().join("no/file"), b"").is_err()
        );
        assert_eq!(names(folder.path()), ["results.csv", "taken"]);
        let long = "ä".repeat(127) + "b";
        write(&folder.path().join(&long), b"").expect("a name of 255 bytes");
        assert!(names(folder.path()).contains(&long));
    }

    #[test]
    fn what_nobody_finishes_goes_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.jpg");
        let left = [".a.jpg.AbC123.tmp", ".b.txt.000000.tmp"];
        let kept =
            [".a.jpg.AbC12.tmp", ".AbC123.tmp", "..AbC123.tmp", "a.jpg.AbC123.tmp", ".a.jpg.AbC-23.tmp", ".lock"];
        left.iter().chain(&kept).for_each(|name| fs::write(folder.path().join(name), "").expect("written"));
        fs::create_dir(folder.path().join(".a.jpg.Folder.tmp")).expect("a folder");
        let living = Pending::create(&path).expect("begun");
        sweep(&path).expect("swept");
        assert!(!folder.path().join(left[0]).exists() && folder.path().join(left[1]).exists(), "only the file's own");
        sweep_folder(folder.path(), |_| true).expect("swept");
        assert!(!folder.path().join(left[1]).exists());
        assert_eq!(names(folder.path()).len(), kept.len() + 2, "{:?}", names(folder.path()));
        living.finish().expect("a living process is not disturbed");
        sweep_folder(&folder.path().join("nowhere"), |_| true).expect("nothing is there");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_takes_the_place_of_what_was_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("weights");
        fs::write(folder.path().join("blob"), "new").expect("written");
        fs::write(&path, "old").expect("written");
        for _ in 0..2 {
            link(Path::new("blob"), &path).expect("linked");
            assert_eq!(fs::read(&path).expect("there"), b"new");
        }
        std::os::unix::fs::symlink("blob", folder.path().join(".weights.AbC123.tmp"))
            .expect("as a killed process leaves it");
        sweep(&path).expect("swept");
        assert_eq!(names(folder.path()), ["blob", "weights"]);
    }
}
