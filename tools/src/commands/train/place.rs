//! Where runs are: a new folder, or that of a run to go on with.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::state;
use crate::cli::RunArgs;
use crate::error::usage;
use crate::files;
use crate::run_dir::RunDir;

/// A new run's folder, with its folder of weights.
pub(crate) fn create(args: &RunArgs, default_project: &str) -> Result<RunDir> {
    let project = args.project.clone().unwrap_or_else(|| PathBuf::from(default_project));
    let folder = RunDir::create(&project.join(&args.name), args.exist_ok)?;
    files::make_folder(&folder.path().join("weights"))?;
    Ok(folder)
}

/// Keeps other processes from training in a folder, as long as the lock lives.
pub(crate) fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("weights").join(".lock");
    let shown = path.display();
    let file = File::create(&path).with_context(|| format!("cannot write {shown}"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(usage(format!(
            "{} is in use by another process: wait for its end, or give --name another folder",
            folder.display()
        ))),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {shown}")),
    }
}

/// Beginnings of the names of a run's files, in its folder and among its weights.
const OWN: [(&str, &[&str]); 2] = [
    ("", &["results.", "labels.", "confusion_matrix", "train_batch", "val_batch", "BoxP", "BoxR", "BoxF1"]),
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

/// Removes what a killed run left half-written among its weights: nothing else has names of this form.
pub(crate) fn sweep(folder: &Path) -> Result<()> {
    let weights = folder.join("weights");
    for entry in std::fs::read_dir(&weights).with_context(|| format!("cannot read {}", weights.display()))?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(".tmp") {
            let path = entry.path();
            std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// The folder of the run that `--resume` names: a folder, a file of its weights, or nothing for the latest in `project`.
pub(crate) fn resumed(named: &str, project: &Path) -> Result<PathBuf> {
    if matches!(named, "" | "true") {
        return latest(project)?.with_context(|| {
            format!("no run to go on with in {}: name its folder, --resume FOLDER", project.display())
        });
    }
    let path = Path::new(named);
    let whole = std::path::absolute(path).with_context(|| format!("cannot tell where {named} is"))?;
    let folder = if path.is_file() { whole.parent().and_then(Path::parent).unwrap_or(&whole) } else { path };
    if state_file(folder).is_file() {
        return Ok(folder.to_path_buf());
    }
    let expected = state_file(folder);
    Err(usage(format!("--resume {named}: there is no run, whose state would be {}", expected.display())))
}

/// The state of the run in `folder`.
pub(crate) fn state_file(folder: &Path) -> PathBuf {
    folder.join("weights").join(state::FILE)
}

/// The folder in `project` whose state was written last.
fn latest(project: &Path) -> Result<Option<PathBuf>> {
    let Ok(entries) = std::fs::read_dir(project) else { return Ok(None) };
    let written = |folder: &PathBuf| state_file(folder).metadata().and_then(|file| file.modified()).ok();
    let folders = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut runs: Vec<_> = folders.filter_map(|folder| Some((written(&folder)?, folder))).collect();
    runs.sort();
    Ok(runs.pop().map(|(_, folder)| folder))
}

#[cfg(test)]
mod tests {
    use super::*;
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
    fn a_run_is_named_by_its_folder_a_file_of_it_or_not_at_all() -> Result<()> {
        let root = tempfile::tempdir()?;
        let project = root.path().join("runs");
        assert!(resumed("", &project).is_err_and(|error| error.to_string().starts_with("no run to go on with")));
        for (name, age) in [("train", 5), ("train2", 50), ("train3", 10)] {
            let state = state_file(&project.join(name));
            files::make_folder(state.parent().expect("it has a folder"))?;
            std::fs::write(&state, "")?;
            std::fs::File::open(&state)?.set_modified(SystemTime::now() - Duration::from_secs(age))?;
        }
        std::fs::create_dir(project.join("empty"))?;
        assert_eq!(resumed("", &project)?, project.join("train"), "the latest");
        let train2 = project.join("train2");
        for named in [train2.clone(), state_file(&train2)] {
            assert_eq!(resumed(&named.to_string_lossy(), &project)?, train2);
        }
        let error = resumed(&project.join("empty").to_string_lossy(), &project).expect_err("no state");
        assert!(error.to_string().contains("there is no run"), "{error}");
        Ok(())
    }
}
