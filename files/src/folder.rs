//! Folders that appear with all their files or not at all.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{RANDOM, SUFFIX, folder_of, name_of, prefix, shortened};

/// A folder that is not whole yet. Dropped, it is removed with what is in it.
#[derive(Debug)]
pub struct PendingFolder {
    folder: TempDir,
    path: PathBuf,
    /// The open folder, locked: whoever sweeps knows that it is being filled. `None` where folders cannot be opened or locked.
    _lock: Option<File>,
}

impl PendingFolder {
    /// Begins the folder that is to be at `path`, with the permissions of any new folder.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] where something is at `path`; a folder above it that is not there or cannot be written.
    pub fn create(path: &Path) -> io::Result<Self> {
        if path.symlink_metadata().is_ok() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} exists", path.display())));
        }
        let prefix = prefix(path);
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(SUFFIX).rand_bytes(RANDOM);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
        loop {
            let folder = builder.tempdir_in(folder_of(path))?;
            let lock = File::open(folder.path()).ok().filter(|opened| opened.try_lock().is_ok());
            // Another process may have taken it for a leftover before it was locked.
            if folder.path().exists() {
                return Ok(Self { folder, path: path.to_path_buf(), _lock: lock });
            }
        }
    }

    /// Where the folder is until it has its name.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Gives the folder its name. What is in it should be synced: see [`crate::write`].
    ///
    /// # Errors
    /// Where something has come to be in its place, or the folder above cannot be written. The folder is removed then.
    pub fn finish(self) -> io::Result<()> {
        fs::rename(self.folder.path(), &self.path)?;
        let _ = self.folder.keep();
        Ok(())
    }
}

/// Removes what killed processes left of the folder at `path`. Where folders cannot be locked, nothing is taken for a leftover.
///
/// # Errors
/// The first leftover that cannot be removed, by its path.
pub fn sweep_folders(path: &Path) -> io::Result<()> {
    let name = shortened(path);
    for entry in fs::read_dir(folder_of(path)).into_iter().flatten().flatten() {
        let is_left = entry.file_name().to_str().and_then(name_of).is_some_and(|left| left == name)
            && entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_left {
            continue;
        }
        let Ok(opened) = File::open(entry.path()) else { continue };
        if opened.try_lock().is_err() {
            continue;
        }
        match fs::remove_dir_all(entry.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let path = entry.path();
                return Err(io::Error::new(error.kind(), format!("cannot remove {}: {error}", path.display())));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .expect("a folder")
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_appears_with_all_its_files_or_not_at_all() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("card");
        let pending = PendingFolder::create(&path).expect("begun");
        fs::write(pending.path().join("a"), "a").expect("a file");
        assert!(!path.exists());
        drop(pending);
        assert!(names(root.path()).is_empty(), "what is dropped goes");
        let pending = PendingFolder::create(&path).expect("begun");
        fs::write(pending.path().join("a"), "a").expect("a file");
        pending.finish().expect("renamed");
        assert_eq!((names(root.path()), names(&path)), (vec!["card".to_owned()], vec!["a".to_owned()]));
        let error = PendingFolder::create(&path).expect_err("it is there");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn what_came_to_be_in_its_place_stays() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("card");
        let pending = PendingFolder::create(&path).expect("begun");
        fs::create_dir(&path).expect("a folder of another");
        fs::write(path.join("theirs"), "").expect("a file of another");
        pending.finish().expect_err("it is there by now");
        assert_eq!((names(root.path()), names(&path)), (vec!["card".to_owned()], vec!["theirs".to_owned()]));
    }

    #[cfg(unix)]
    #[test]
    fn leftovers_of_killed_processes_go_and_what_is_being_filled_stays() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("card");
        let living = PendingFolder::create(&path).expect("begun");
        for left in [".card.AbC123.tmp", ".other.AbC123.tmp"] {
            fs::create_dir(root.path().join(left)).expect("a leftover");
            fs::write(root.path().join(left).join("a"), "").expect("a file in it");
        }
        sweep_folders(&path).expect("swept");
        assert!(living.path().exists() && !root.path().join(".card.AbC123.tmp").exists());
        assert!(root.path().join(".other.AbC123.tmp").exists(), "of another folder");
    }
}
