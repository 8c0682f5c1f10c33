//! The folder that a run writes into.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::error::usage;
use crate::files;

/// A folder of one run's own. It goes again if the run leaves it empty.
#[derive(Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
    made: bool,
    names: HashSet<String>,
}

impl RunDir {
    /// Makes `base`, or where it exists the first free of `base2`, `base3`, …; two runs never get the same one. With
    /// `exist_ok`, takes `base` as it is.
    pub(crate) fn create(base: &Path, exist_ok: bool) -> Result<Self> {
        let parent = base.parent().filter(|parent| !parent.as_os_str().is_empty());
        files::make_folder(parent.unwrap_or(Path::new(".")))?;
        let Some(name) = base.file_name().map(ToOwned::to_owned) else {
            if exist_ok && base.is_dir() {
                return Ok(Self { path: base.to_path_buf(), made: false, names: HashSet::new() });
            }
            return Err(usage(format!(
                "--save-dir {} names no new folder; --exist-ok takes it as it is",
                base.display()
            )));
        };
        let mut number = 1;
        loop {
            let mut name = name.clone();
            if number > 1 {
                name.push(number.to_string());
            }
            let path = base.with_file_name(name);
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path, made: true, names: HashSet::new() }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists && exist_ok && path.is_dir() => {
                    tempfile::tempfile_in(&path)
                        .with_context(|| format!("cannot write into the folder {}", path.display()))?;
                    return Ok(Self { path, made: false, names: HashSet::new() });
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists && !exist_ok => number += 1,
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot make the folder {}", path.display()));
                }
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// `stem`, or where this run has used it already `stem-2`, `stem-3`, …, so that pictures of one name in different
    /// folders do not overwrite each other's results.
    pub(crate) fn unique(&mut self, stem: &str) -> String {
        let mut name = stem.to_owned();
        let mut number = 1;
        while !self.names.insert(name.clone()) {
            number += 1;
            name = format!("{stem}-{number}");
        }
        name
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if self.made {
            // Fails, as it should, where there is anything in the folder.
            let _ = fs::remove_dir(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_numbered_from_two() -> Result<()> {
        let root = tempfile::tempdir()?;
        let base = root.path().join("runs/detect/predict");
        let runs: Vec<RunDir> = (0..3).map(|_| RunDir::create(&base, false)).collect::<Result<_>>()?;
        let names: Vec<_> = runs.iter().map(|run| run.path().file_name().unwrap_or_default().to_owned()).collect();
        assert_eq!(names, ["predict", "predict2", "predict3"]);
        assert_eq!(RunDir::create(&base, true)?.path(), base);
        fs::write(runs[1].path().join("kept"), "")?;
        drop(runs);
        assert!(!base.exists() && base.with_file_name("predict2").exists(), "empty folders go, others stay");
        Ok(())
    }

    #[test]
    fn runs_at_the_same_time_never_share_a_folder() -> Result<()> {
        let root = tempfile::tempdir()?;
        let base = root.path().join("predict");
        let runs = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| RunDir::create(&base, false))).collect();
            starts.into_iter().map(|start| start.join().expect("no panic")).collect::<Result<Vec<_>>>()
        })?;
        let paths: HashSet<_> = runs.iter().map(RunDir::path).collect();
        assert_eq!(paths.len(), 8);
        Ok(())
    }

    #[test]
    fn a_file_in_the_way_is_an_error() -> Result<()> {
        let root = tempfile::tempdir()?;
        fs::write(root.path().join("file"), "")?;
        let error = RunDir::create(&root.path().join("file/out"), false).expect_err("a file is no folder");
        assert!(error.to_string().starts_with("cannot make the folder"), "{error}");
        assert!(RunDir::create(&root.path().join("file"), true).is_err());
        assert!(RunDir::create(&root.path().join(".."), false).is_err(), "no folder called 2 above it");
        assert_eq!(RunDir::create(&root.path().join(".."), true)?.path(), root.path().join(".."));
        Ok(())
    }
}
