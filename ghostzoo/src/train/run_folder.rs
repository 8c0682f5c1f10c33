//! The folder of a run: who may write into it, and what of older runs goes.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::state;
use crate::error::{Result, io, request};

/// What keeps other processes from training in a folder, as long as it lives. Of a start that came to no state it leaves no
/// file.
#[derive(Debug)]
pub(super) struct Lock {
    folder: PathBuf,
    _file: File,
}

/// Locks a folder against other processes. What to say where its file system cannot comes with it.
pub(super) fn lock(folder: &Path) -> Result<(Lock, Option<String>)> {
    lock_by(folder, File::try_lock)
}

/// The folders of a run that were made for it. They go again if the run leaves them empty.
#[derive(Debug)]
pub(super) struct RunFolder {
    made: Vec<PathBuf>,
}

impl RunFolder {
    /// Makes the folder of a run and that of its weights, unless they are there.
    pub(super) fn create(folder: &Path) -> Result<Self> {
        let weights = folder.join("weights");
        let made = [weights.clone(), folder.to_path_buf()].into_iter().filter(|folder| !folder.is_dir()).collect();
        std::fs::create_dir_all(&weights).map_err(io(format!("cannot make the folder {}", weights.display())))?;
        Ok(Self { made })
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        // Fails, as it should, where there is anything in a folder.
        for folder in &self.made {
            let _ = std::fs::remove_dir(folder);
        }
    }
}

/// The lock that `try_lock` takes of a file in a folder, and what to say of a file system that has none.
fn lock_by(
    folder: &Path,
    try_lock: impl FnOnce(&File) -> std::result::Result<(), TryLockError>,
) -> Result<(Lock, Option<String>)> {
    let path = lock_file(folder);
    let shown = folder.display();
    let file = File::create(&path).map_err(io(format!("cannot write {}", path.display())))?;
    let locked = try_lock(&file);
    let lock = || Lock { folder: folder.to_path_buf(), _file: file };
    match locked {
        Ok(()) => Ok((lock(), None)),
        Err(TryLockError::WouldBlock) => {
            Err(request(format!("{shown} is in use by another process: wait for its end, or take another folder")))
        }
        Err(TryLockError::Error(error)) if has_no_locks(&error) => {
            let note = format!("{shown} is on a file system without locks: let no other process train in it");
            Ok((lock(), Some(note)))
        }
        Err(TryLockError::Error(error)) => {
            drop(lock());
            Err(io(format!("cannot lock {}", path.display()))(error))
        }
    }
}

/// The file that stands for a run's folder.
fn lock_file(folder: &Path) -> PathBuf {
    folder.join("weights").join(".lock")
}

/// Whether a lock failed because the file system knows none.
fn has_no_locks(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::Unsupported || error.raw_os_error().is_some_and(|code| NO_LOCKS.contains(&code))
}

/// What systems say there that the kind of an error may not tell.
#[cfg(unix)]
const NO_LOCKS: [i32; 3] = [libc::ENOSYS, libc::ENOLCK, libc::EOPNOTSUPP];
#[cfg(not(unix))]
const NO_LOCKS: [i32; 0] = [];

impl Drop for Lock {
    fn drop(&mut self) {
        if !state_file(&self.folder).exists() {
            // It may be gone with its folder.
            let _ = std::fs::remove_file(lock_file(&self.folder));
        }
    }
}

/// Beginnings of the names of a run's files, in its folder and among its weights.
const OWN: [(&str, &[&str]); 2] = [
    (
        "",
        &[
            "results.",
            "labels.",
            "confusion_matrix",
            "train_batch",
            "val_batch",
            "BoxP",
            "BoxR",
            "BoxF1",
            "split.",
            "split_",
        ],
    ),
    ("weights", &["best.", "last.", "epoch"]),
];

/// Refuses a folder that holds a run, or files that [`clear`] would remove.
pub(super) fn check_free(folder: &Path) -> Result<()> {
    let shown = folder.display();
    if state_file(folder).exists() {
        return Err(request(format!("{shown} holds a run already: go on with it, or give another folder")));
    }
    match owned(folder)?.first() {
        Some(file) => Err(request(format!(
            "{} is in the way: a run would replace it; give another folder, or allow it (`exist_ok`)",
            file.display()
        ))),
        None => Ok(()),
    }
}

/// The files of a folder that are called as those of a run are.
fn owned(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for (part, beginnings) in OWN {
        let folder = folder.join(part);
        if !folder.is_dir() {
            continue;
        }
        for entry in std::fs::read_dir(&folder).map_err(io(format!("cannot read {}", folder.display())))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if !is_folder && beginnings.iter().any(|beginning| name.starts_with(beginning)) {
                files.push(entry.path());
            }
        }
    }
    Ok(files)
}

/// Removes the results of an older run in the same folder: nothing of it may be taken for this one's.
pub(super) fn clear(folder: &Path) -> Result<()> {
    owned(folder)?.iter().try_for_each(|file| {
        std::fs::remove_file(file).map_err(io(format!("cannot remove {} of an older run", file.display())))
    })
}

/// Removes the files that a killed run left half-written, in its folder and among its weights.
pub(super) fn sweep(folder: &Path) -> Result<()> {
    for folder in [folder.to_path_buf(), folder.join("weights")] {
        let entries = std::fs::read_dir(&folder).map_err(io(format!("cannot read {}", folder.display())))?;
        for entry in entries.flatten() {
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            if is_file && is_half_written(&entry.file_name().to_string_lossy()) {
                let path = entry.path();
                std::fs::remove_file(&path).map_err(io(format!("cannot remove {}", path.display())))?;
            }
        }
    }
    Ok(())
}

/// Whether a file of this name was to be renamed, or is one that tried whether the folder can be written, `.tmpAbC123`.
fn is_half_written(name: &str) -> bool {
    let is_random = |random: &str| random.len() == 6 && random.chars().all(|letter| letter.is_ascii_alphanumeric());
    ghostzoo_files::name_of(name).is_some() || name.strip_prefix(".tmp").is_some_and(is_random)
}

/// The file that the state of the run in `folder` is in.
pub fn state_file(folder: &Path) -> PathBuf {
    folder.join("weights").join(state::FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Done = std::result::Result<(), Box<dyn std::error::Error>>;

    #[test]
    fn a_folder_is_one_process_s_alone() -> Done {
        let root = tempfile::tempdir()?;
        std::fs::create_dir_all(root.path().join("weights"))?;
        let held = lock(root.path())?;
        let error = lock(root.path()).expect_err("it is held");
        assert!(error.to_string().contains("is in use by another process"), "{error}");
        drop(held);
        lock(root.path())?;
        Ok(())
    }

    #[test]
    fn a_file_system_without_locks_is_said_and_trained_on() -> Done {
        let root = tempfile::tempdir()?;
        let failed = |error: std::io::Error| lock_by(root.path(), |_| Err(TryLockError::Error(error)));
        std::fs::create_dir_all(root.path().join("weights"))?;
        let mut lacking = vec![std::io::Error::from(ErrorKind::Unsupported)];
        lacking.extend(NO_LOCKS.map(std::io::Error::from_raw_os_error));
        for error in lacking {
            let (lock, note) = failed(error)?;
            let expected = "is on a file system without locks: let no other process train in it";
            assert!(note.is_some_and(|note| note.ends_with(expected)));
            drop(lock);
        }
        let error = failed(ErrorKind::PermissionDenied.into()).expect_err("another failure");
        assert!(error.to_string().starts_with("cannot lock "), "{error}");
        Ok(())
    }

    #[test]
    fn files_of_others_are_in_the_way_and_not_removed() -> Done {
        let root = tempfile::tempdir()?;
        check_free(&root.path().join("new"))?;
        std::fs::create_dir_all(root.path().join("weights"))?;
        std::fs::create_dir(root.path().join("labels.d"))?;
        std::fs::write(root.path().join("notes.txt"), "")?;
        check_free(root.path())?;
        for name in ["labels.csv", "weights/best.pt"] {
            let file = root.path().join(name);
            std::fs::write(&file, "mine")?;
            let error = check_free(root.path()).expect_err(name);
            assert!(error.is_request() && error.to_string().starts_with(&file.display().to_string()), "{error}");
            clear(root.path())?;
            assert!(!file.exists() && root.path().join("labels.d").is_dir() && root.path().join("notes.txt").exists());
        }
        Ok(())
    }

    #[test]
    fn a_start_that_fails_leaves_no_folder() -> Done {
        let root = tempfile::tempdir()?;
        let base = root.path().join("train");
        let begin = || RunFolder::create(&base);
        let folder = begin()?;
        assert!(lock_by(&base, |_| Err(TryLockError::Error(ErrorKind::PermissionDenied.into()))).is_err());
        drop(folder);
        assert!(!base.exists(), "cannot be locked");
        let folder = begin()?;
        drop((lock(&base)?, folder));
        assert!(!base.exists(), "came to no state");
        let folder = begin()?;
        let held = lock(&base)?;
        std::fs::write(state_file(&base), "")?;
        drop((held, folder));
        assert!(state_file(&base).exists() && lock_file(&base).exists(), "a run stays");
        Ok(())
    }

    #[test]
    fn what_a_kill_left_half_written_goes_and_nothing_else() -> Done {
        let root = tempfile::tempdir()?;
        let left = [".tmpAbC123", ".labels.jpg.AbC123.tmp", ".best.safetensors.000000.tmp"];
        let kept = [".tmp", ".tmp-mine12", ".tmpAbC1234", ".a.jpg.tmp", ".a.AbC-12.tmp", "a.jpg.AbC123.tmp", ".lock"];
        std::fs::create_dir_all(root.path().join("weights/.tmpFolder"))?;
        for folder in [root.path().to_path_buf(), root.path().join("weights")] {
            left.iter().chain(&kept).try_for_each(|name| std::fs::write(folder.join(name), ""))?;
        }
        sweep(root.path())?;
        for folder in [root.path().to_path_buf(), root.path().join("weights")] {
            assert!(left.iter().all(|name| !folder.join(name).exists()), "{}", folder.display());
            assert!(kept.iter().all(|name| folder.join(name).exists()), "{}", folder.display());
        }
        assert!(root.path().join("weights/.tmpFolder").is_dir());
        Ok(())
    }
}
