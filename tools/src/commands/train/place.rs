//! Where runs are: a new folder, or that of a run to go on with.

use std::fs::{DirEntry, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::state;
use crate::cli::RunArgs;
use crate::error::usage;
use crate::run_dir::{RunDir, asked, project_folder};

/// A new run's folder, with its folder of weights. Both go again if the run leaves them empty.
pub(crate) fn create(args: &RunArgs, task: &str) -> Result<RunDir> {
    let mut folder = RunDir::create(&asked(task, "train", args.project.as_deref(), Some(&args.name)), args.exist_ok)?;
    folder.make_part("weights")?;
    Ok(folder)
}

/// What keeps other processes from training in a folder, as long as it lives. Of a start that came to no state it leaves no
/// file.
#[derive(Debug)]
pub(crate) struct Lock {
    folder: PathBuf,
    _file: File,
}

/// Locks a folder against other processes; says where its file system cannot.
pub(crate) fn lock(folder: &Path) -> Result<Lock> {
    let (lock, note) = lock_by(folder, File::try_lock)?;
    note.iter().for_each(|note| status!("note: {note}"));
    Ok(lock)
}

/// The lock that `try_lock` takes of a file in a folder, and what to say of a file system that has none.
fn lock_by(
    folder: &Path,
    try_lock: impl FnOnce(&File) -> std::result::Result<(), TryLockError>,
) -> Result<(Lock, Option<String>)> {
    let path = lock_file(folder);
    let shown = folder.display();
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let locked = try_lock(&file);
    let lock = || Lock { folder: folder.to_path_buf(), _file: file };
    match locked {
        Ok(()) => Ok((lock(), None)),
        Err(TryLockError::WouldBlock) => {
            Err(usage(format!("{shown} is in use by another process: wait for its end, or give --name another folder")))
        }
        Err(TryLockError::Error(error)) if has_no_locks(&error) => {
            let note = format!("{shown} is on a file system without locks: let no other process train in it");
            Ok((lock(), Some(note)))
        }
        Err(TryLockError::Error(error)) => {
            drop(lock());
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
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

/// Removes the results of an older run in the same folder: nothing of it may be taken for this one's.
pub(crate) fn clear(folder: &Path) -> Result<()> {
    for (part, beginnings) in OWN {
        let folder = folder.join(part);
        for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?.flatten()
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            if beginnings.iter().any(|beginning| name.starts_with(beginning)) {
                std::fs::remove_file(entry.path()).with_context(|| format!("cannot remove {name} of an older run"))?;
            }
        }
    }
    Ok(())
}

/// Removes the files that a killed run left half-written, in its folder and among its weights.
pub(crate) fn sweep(folder: &Path) -> Result<()> {
    for folder in [folder.to_path_buf(), folder.join("weights")] {
        let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries.flatten() {
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            if is_file && is_half_written(&entry.file_name().to_string_lossy()) {
                let path = entry.path();
                std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
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

/// The folder of the run that `--resume` names: a folder, a file of its weights, or nothing for the latest of a project of
/// `task`.
pub(crate) fn resumed(named: &str, task: &str, project: Option<&Path>) -> Result<PathBuf> {
    if matches!(named, "" | "true") {
        let folder = project_folder(task, project);
        // A relative project may lie beside `runs` too, where Ultralytics 8.3 puts it.
        let roots: Vec<&Path> = std::iter::once(folder.as_path()).chain(project).collect();
        return latest(&roots).with_context(|| {
            format!("no run to go on with in {}: name its folder, --resume FOLDER", folder.display())
        });
    }
    if let Some(folder) = of_file(Path::new(named))? {
        return Ok(folder);
    }
    let path = Path::new(named);
    if state_file(path).is_file() {
        return Ok(path.to_path_buf());
    }
    let folder = if path.is_file() { path.parent().and_then(Path::parent).unwrap_or(path) } else { path };
    let expected = state_file(folder);
    Err(usage(format!("--resume {named}: there is no run, whose state would be {}", expected.display())))
}

/// The folder of the run that a file of weights is in.
pub(crate) fn of_file(file: &Path) -> Result<Option<PathBuf>> {
    if !file.is_file() {
        return Ok(None);
    }
    let absolute_path =
        std::path::absolute(file).with_context(|| format!("cannot tell where {} is", file.display()))?;
    let folder = absolute_path.parent().and_then(Path::parent).map(Path::to_path_buf);
    Ok(folder.filter(|folder| state_file(folder).is_file()))
}

/// Whether both are one folder.
pub(crate) fn is_same(folder: &Path, other: &Result<PathBuf>) -> bool {
    let absolute_path = |path: &Path| path.canonicalize().ok();
    other.as_deref().is_ok_and(|other| absolute_path(folder).is_some_and(|folder| Some(folder) == absolute_path(other)))
}

/// The state of the run in `folder`.
pub(crate) fn state_file(folder: &Path) -> PathBuf {
    folder.join("weights").join(state::FILE)
}

/// The folder below `roots` whose state was written last.
fn latest(roots: &[&Path]) -> Option<PathBuf> {
    let mut runs = Vec::new();
    let mut folders: Vec<PathBuf> = roots.iter().map(|root| root.to_path_buf()).collect();
    while let Some(folder) = folders.pop() {
        if let Ok(written) = state_file(&folder).metadata().and_then(|file| file.modified()) {
            runs.push((written, folder));
            continue;
        }
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        // A link may be a run, and is not followed further: it could lead back.
        let is_folder = |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        let is_run = |entry: &DirEntry| state_file(&entry.path()).is_file();
        folders.extend(entries.filter(|entry| is_folder(entry) || is_run(entry)).map(|entry| entry.path()));
    }
    runs.sort();
    runs.pop().map(|(_, folder)| folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files;
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_folder_is_one_process_s_alone() -> Result<()> {
        let root = tempfile::tempdir()?;
        files::make_folder(&root.path().join("weights"))?;
        let held = lock(root.path())?;
        let error = lock(root.path()).expect_err("it is held");
        assert!(error.to_string().contains("is in use by another process"), "{error}");
        drop(held);
        lock(root.path()).map(drop)
    }

    #[test]
    fn a_file_system_without_locks_is_said_and_trained_on() -> Result<()> {
        let root = tempfile::tempdir()?;
        let failed = |error: std::io::Error| lock_by(root.path(), |_| Err(TryLockError::Error(error)));
        files::make_folder(&root.path().join("weights"))?;
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
    fn a_start_that_fails_leaves_no_folder() -> Result<()> {
        let root = tempfile::tempdir()?;
        let base = root.path().join("train");
        let begin = || -> Result<RunDir> {
            let mut folder = RunDir::create(&base, false)?;
            folder.make_part("weights")?;
            Ok(folder)
        };
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
    fn what_a_kill_left_half_written_goes_and_nothing_else() -> Result<()> {
        let root = tempfile::tempdir()?;
        let left = [".tmpAbC123", ".labels.jpg.AbC123.tmp", ".best.safetensors.000000.tmp"];
        let kept = [".tmp", ".tmp-mine12", ".tmpAbC1234", ".a.jpg.tmp", ".a.AbC-12.tmp", "a.jpg.AbC123.tmp", ".lock"];
        files::make_folder(&root.path().join("weights/.tmpFolder"))?;
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

    #[test]
    fn a_run_is_named_by_its_folder_a_file_of_it_or_not_at_all() -> Result<()> {
        let root = tempfile::tempdir()?;
        let project = root.path().join("runs");
        let latest = || resumed("", "detect", Some(&project));
        assert!(latest().is_err_and(|error| error.to_string().starts_with("no run to go on with")));
        // Of both numberings, and deeper.
        for (name, age) in [("train", 5), ("train2", 50), ("train-3", 10), ("a/b/train", 20)] {
            let state = state_file(&project.join(name));
            files::make_folder(state.parent().expect("it has a folder"))?;
            std::fs::write(&state, "")?;
            std::fs::File::open(&state)?.set_modified(SystemTime::now() - Duration::from_secs(age))?;
        }
        std::fs::create_dir(project.join("empty"))?;
        for name in ["train", "train-3", "a/b/train", "train2"] {
            assert_eq!(latest()?, project.join(name), "the latest that is left");
            let state = state_file(&project.join(name));
            for named in [project.join(name), state.clone()] {
                assert_eq!(resumed(&named.to_string_lossy(), "detect", None)?, project.join(name));
            }
            std::fs::remove_file(state)?;
        }
        let error = resumed(&project.join("empty").to_string_lossy(), "detect", None).expect_err("no state");
        assert!(error.to_string().contains("there is no run"), "{error}");
        Ok(())
    }
}
