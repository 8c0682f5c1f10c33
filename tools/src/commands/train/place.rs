//! Where runs are: a new folder, or that of a run to go on with.

use std::fs::DirEntry;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ghostzoo::train::state_file;

use crate::cli::RunArgs;
use crate::error::usage;
use crate::run_dir::{RunDir, asked, project_folder};

/// A new run's folder, with its folder of weights. Both go again if the run leaves them empty.
pub(crate) fn create(args: &RunArgs, task: &str) -> Result<RunDir> {
    let mut folder = RunDir::create(&asked(task, "train", args.project.as_deref(), Some(&args.name)), args.exist_ok)?;
    folder.make_part("weights")?;
    Ok(folder)
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
