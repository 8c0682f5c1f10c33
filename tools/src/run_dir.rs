//! The folder that a run writes into.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::error::usage;
use crate::files;

/// The folder that a run of `task` asks for: `project/name`, below `runs/task` unless `project` is a whole path.
///
/// Source: measured on Ultralytics 8.4.190's `get_save_dir`; `mode` (`train`, `val`, `predict`) is the name that is used
/// where none is given.
pub(crate) fn asked(task: &str, mode: &str, project: Option<&Path>, name: Option<&str>) -> PathBuf {
    let name = name.filter(|name| !name.is_empty()).unwrap_or(mode);
    // `join` takes a whole path as it is. The parts without `.` and doubled slashes.
    project_folder(task, project).join(name).components().collect()
}

/// The folder that the runs of a project go into.
pub(crate) fn project_folder(task: &str, project: Option<&Path>) -> PathBuf {
    Path::new("runs").join(task).join(project.unwrap_or(Path::new("")))
}

/// Folders below a run's that files are in: `crops/CLASS`.
const DEPTH: usize = 2;

/// A folder of one run's own. It goes again if the run leaves it empty.
#[derive(Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
    made: bool,
    /// Folders in it that were made for this run.
    parts: Vec<PathBuf>,
    names: UniqueNames,
    /// What the run reads, by paths without links: nothing is written there.
    sources: HashSet<PathBuf>,
}

impl RunDir {
    /// Makes `base`, or where it exists the first free of `base-2`, `base-3`, …; two runs never get the same one. Where a file
    /// is in the way, the number stands before its extension. With `exist_ok`, takes `base` as it is.
    ///
    /// What killed runs left half-written in the folder, or in the one before it, goes.
    pub(crate) fn create(base: &Path, exist_ok: bool) -> Result<Self> {
        let parent = base.parent().filter(|parent| !parent.as_os_str().is_empty());
        files::make_folder(parent.unwrap_or(Path::new(".")))?;
        let Some(name) = base.file_name().map(ToOwned::to_owned) else {
            if exist_ok && base.is_dir() {
                return Ok(Self::new(base.to_path_buf(), false));
            }
            return Err(usage(format!(
                "--save-dir {} names no new folder; --exist-ok takes it as it is",
                base.display()
            )));
        };
        let (stem, extension) = match base.extension().filter(|_| base.is_file()) {
            Some(extension) => (base.file_stem().unwrap_or(&name), Some(extension)),
            None => (name.as_os_str(), None),
        };
        let (mut number, mut before) = (1, None::<PathBuf>);
        loop {
            let mut name = name.clone();
            if number > 1 {
                name = stem.to_owned();
                name.push(format!("-{number}"));
                if let Some(extension) = extension {
                    name.push(".");
                    name.push(extension);
                }
            }
            let path = base.with_file_name(name);
            match fs::create_dir(&path) {
                Ok(()) => {
                    before.iter().for_each(|folder| sweep(folder, DEPTH));
                    return Ok(Self::new(path, true));
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists && exist_ok && path.is_dir() => {
                    tempfile::tempfile_in(&path)
                        .with_context(|| format!("cannot write into the folder {}", path.display()))?;
                    sweep(&path, DEPTH);
                    return Ok(Self::new(path, false));
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists && !exist_ok => {
                    number += 1;
                    before = Some(path);
                }
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot make the folder {}", path.display()));
                }
            }
        }
    }

    fn new(path: PathBuf, made: bool) -> Self {
        Self { path, made, parts: Vec::new(), names: UniqueNames::default(), sources: HashSet::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes note of files that the run reads, which [`RunDir::refusal`] guards.
    pub(crate) fn guard<'a>(&mut self, sources: impl Iterator<Item = &'a Path>) {
        // None is in a folder that is new.
        if !self.made {
            self.sources.extend(sources.filter_map(|source| fs::canonicalize(source).ok()));
        }
    }

    /// Why a file is not to be written, where the run reads it.
    pub(crate) fn refusal(&self, path: &Path) -> Option<&'static str> {
        // What is not there is no source.
        let path = (!self.sources.is_empty()).then(|| fs::canonicalize(path).ok()).flatten()?;
        self.sources.contains(&path).then_some("it is a source of this run; give another --save-dir")
    }

    /// Makes a folder in it, unless it is there. It goes again if the run leaves it empty.
    pub(crate) fn make_part(&mut self, name: &str) -> Result<()> {
        let part = self.path.join(name);
        if !part.is_dir() {
            files::make_folder(&part)?;
            self.parts.push(part);
        }
        Ok(())
    }

    /// [`UniqueNames::unique`] among the run's.
    pub(crate) fn unique(&mut self, stem: &OsStr) -> OsString {
        self.names.unique(stem)
    }

    /// [`Self::unique`] for a video, so that no file of a frame, `NAME_NUMBER`, has the name of an image's either.
    pub(crate) fn unique_video(&mut self, stem: &OsStr) -> OsString {
        let is_frame = |name: &OsString, video: &OsStr| {
            let rest = name.as_encoded_bytes().strip_prefix(video.as_encoded_bytes());
            let number = rest.and_then(|rest| rest.strip_prefix(b"_"));
            number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
        };
        loop {
            let name = self.unique(stem);
            if !self.names.taken.iter().any(|taken| is_frame(taken, &name)) {
                return name;
            }
        }
    }
}

/// Names of files, without their endings, that a run has used.
#[derive(Debug, Default)]
pub(crate) struct UniqueNames {
    taken: HashSet<OsString>,
}

impl UniqueNames {
    /// `stem`, or where it was used already `stem-2`, `stem-3`, …, so that images of one name in different folders do not
    /// overwrite each other's results.
    pub(crate) fn unique(&mut self, stem: &OsStr) -> OsString {
        let mut name = stem.to_owned();
        let mut number = 1;
        while !self.taken.insert(name.clone()) {
            number += 1;
            name = stem.to_owned();
            name.push(format!("-{number}"));
        }
        name
    }
}

/// Removes what killed runs left half-written in a folder and in those below it.
fn sweep(folder: &Path, depth: usize) {
    // A courtesy: no run fails for what an older one left.
    let _ = ghostzoo_files::sweep_folder(folder, |_| true);
    if depth > 0 {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders.for_each(|below| sweep(&below.path(), depth - 1));
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        // Fails, as it should, where there is anything in a folder.
        for folder in self.parts.iter().chain(self.made.then_some(&self.path)) {
            let _ = fs::remove_dir(folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_frame_of_a_video_has_the_name_of_an_image() -> Result<()> {
        let place = tempfile::tempdir()?;
        let mut run = RunDir::create(&place.path().join("run"), false)?;
        let unique = |run: &mut RunDir, name: &str| run.unique(OsStr::new(name)).into_string().expect("UTF-8");
        for name in ["film_1", "film_x", "other_"] {
            assert_eq!(unique(&mut run, name), name);
        }
        let mut video = |name: &str| run.unique_video(OsStr::new(name)).into_string().expect("UTF-8");
        assert_eq!(video("film"), "film-2", "film_1 is an image's");
        assert_eq!((video("other"), video("film")), ("other".to_owned(), "film-3".to_owned()));
        Ok(())
    }

    #[test]
    fn folders_are_numbered_from_two() -> Result<()> {
        let root = tempfile::tempdir()?;
        let base = root.path().join("runs/detect/predict");
        let runs: Vec<RunDir> = (0..3).map(|_| RunDir::create(&base, false)).collect::<Result<_>>()?;
        let names: Vec<_> = runs.iter().map(|run| run.path().file_name().unwrap_or_default().to_owned()).collect();
        assert_eq!(names, ["predict", "predict-2", "predict-3"]);
        assert_eq!(RunDir::create(&base, true)?.path(), base);
        fs::write(runs[1].path().join("kept"), "")?;
        drop(runs);
        assert!(!base.exists() && base.with_file_name("predict-2").exists(), "empty folders go, others stay");
        Ok(())
    }

    /// Measured by `tests/oracle/train_run.py`.
    #[test]
    fn runs_go_where_ultralytics_puts_them() -> Result<()> {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/golden/train/run.json")).context("the golden file")?;
        let cases = golden["folders"].as_array().context("cases")?;
        assert_eq!(cases.len(), 43);
        for case in cases {
            let root = tempfile::tempdir()?;
            let text = |key: &str| case[key].as_str().map(|text| text.replace("HERE", &root.path().to_string_lossy()));
            for there in case["there"].as_array().context("paths")? {
                let path = root.path().join(there.as_str().unwrap_or_default());
                files::make_folder(path.parent().context("a parent")?)?;
                if path.extension().is_some_and(|extension| extension == "txt") {
                    fs::write(path, "")?;
                } else {
                    files::make_folder(&path)?;
                }
            }
            let [task, mode] = ["task", "mode"].map(|key| text(key).unwrap_or_default());
            let folder = asked(&task, &mode, text("project").as_deref().map(Path::new), text("name").as_deref());
            let run = RunDir::create(&root.path().join(folder), case["exist_ok"] == true)?;
            let expected = root.path().join(case["folder"].as_str().unwrap_or_default());
            assert_eq!(run.path().canonicalize()?, expected.canonicalize()?, "{case}");
        }
        Ok(())
    }

    #[test]
    fn what_a_killed_run_left_goes_when_the_next_starts() -> Result<()> {
        let root = tempfile::tempdir()?;
        let base = root.path().join("predict");
        let left = [".a.jpg.AbC123.tmp", "labels/.a.txt.AbC123.tmp", "crops/cat/.a.jpg.AbC123.tmp"];
        files::make_folder(&base.join("crops/cat"))?;
        files::make_folder(&base.join("labels"))?;
        for exist_ok in [true, false] {
            left.iter().try_for_each(|name| fs::write(base.join(name), "half"))?;
            fs::write(base.join("a.jpg"), "whole")?;
            RunDir::create(&base, exist_ok)?;
            assert!(left.iter().all(|name| !base.join(name).exists()) && base.join("a.jpg").exists(), "{exist_ok}");
        }
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
