//! The sequences of a run.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use candle_vision::image::RgbImage;
use candle_yolov8::Detection;
use ghostzoo_files::Pending;

use super::options::TrackOptions;
use super::sequence::Sequence;
use crate::cli::DetectArgs;
use crate::files;
use crate::output::{Stdout, Tracked, file_name};

/// Folder of MOTChallenge's files in a run's.
const MOT: &str = "mot";

/// What is tracked in a run: each video apart, and all images as one sequence in their order.
pub(crate) struct Sequences {
    options: TrackOptions,
    /// The run's folder.
    folder: Option<PathBuf>,
    /// By the video's label; `None` for images.
    open: BTreeMap<Option<String>, Open>,
    /// What is written, without endings.
    names: HashSet<OsString>,
}

struct Open {
    sequence: Sequence,
    mot: Option<Pending>,
}

/// How summaries are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SummaryForm {
    Json,
    Text,
    None,
}

impl SummaryForm {
    /// As the arguments say.
    pub(crate) fn of(args: &DetectArgs, quiet: bool) -> Self {
        match (args.json, args.csv || quiet) {
            (true, _) => Self::Json,
            (false, true) => Self::None,
            (false, false) => Self::Text,
        }
    }
}

impl Sequences {
    pub(crate) fn new(options: TrackOptions, folder: Option<&Path>) -> Self {
        Self { options, folder: folder.map(Path::to_path_buf), open: BTreeMap::new(), names: HashSet::new() }
    }

    /// How they are tracked.
    pub(crate) fn options(&self) -> &TrackOptions {
        &self.options
    }

    /// Takes what was found in the next image, of `size` [width, height], and what a looser suppression would have kept, of a video of
    /// that label or among the images; gives the tracked objects in its place. `stem` names what is written of the sequence.
    pub(crate) fn update(
        &mut self,
        video: Option<&str>,
        stem: &OsStr,
        found: [&[Detection]; 2],
        size: [u32; 2],
        image: Option<&RgbImage>,
    ) -> Result<(Vec<Detection>, Tracked)> {
        let key = video.map(str::to_owned);
        if !self.open.contains_key(&key) {
            let name = self.unique(stem);
            let mot = self.folder.as_deref().filter(|_| self.options.save_mot).map(|folder| begin(folder, &name));
            self.open.insert(key.clone(), Open { sequence: self.options.sequence()?, mot: mot.transpose()? });
        }
        let open = self.open.get_mut(&key).context("a sequence that was not begun; this is a bug of ghostzoo")?;
        let tracked = open.sequence.update(found, size, image);
        if let Some(mot) = &mut open.mot {
            mot.write_all(open.sequence.mot().as_bytes())
                .context("cannot write the tracks in MOTChallenge's format")?;
        }
        Ok(tracked)
    }

    /// The name of one more file.
    fn unique(&mut self, stem: &OsStr) -> OsString {
        let numbered = (2..).map(|number| file_name(stem, &format!("-{number}")));
        let free = std::iter::once(stem.to_owned()).chain(numbered).find(|name| !self.names.contains(name));
        let name = free.unwrap_or_default();
        self.names.insert(name.clone());
        name
    }

    /// Draws what the last image of a sequence shows beside its boxes.
    pub(crate) fn draw(&self, video: Option<&str>, image: &mut RgbImage, line_width: Option<u32>) {
        if let Some(open) = self.open.get(&video.map(str::to_owned)) {
            open.sequence.draw(image, line_width);
        }
    }

    /// Ends a sequence: writes what is to be written, and says what it held.
    pub(crate) fn end(
        &mut self,
        video: Option<&str>,
        names: &[String],
        form: SummaryForm,
        out: &mut Stdout,
    ) -> Result<()> {
        let Some(Open { sequence, mot }) = self.open.remove(&video.map(str::to_owned)) else { return Ok(()) };
        if let Some(mot) = mot {
            mot.finish().context("cannot write the tracks in MOTChallenge's format")?;
        }
        let summary = sequence.summary(video.unwrap_or("images"), names);
        match form {
            SummaryForm::Json => out.json(&summary.json()),
            SummaryForm::Text => summary.lines().iter().try_for_each(|line| out.line(line)),
            SummaryForm::None => Ok(()),
        }
    }

    /// Ends all sequences.
    pub(crate) fn end_all(&mut self, names: &[String], form: SummaryForm, out: &mut Stdout) -> Result<()> {
        let keys: Vec<Option<String>> = self.open.keys().cloned().collect();
        keys.iter().try_for_each(|key| self.end(key.as_deref(), names, form, out))
    }
}

fn begin(folder: &Path, stem: &OsStr) -> Result<Pending> {
    let folder = folder.join(MOT);
    files::make_folder(&folder)?;
    let path = folder.join(file_name(stem, ".txt"));
    Pending::create(&path).with_context(|| format!("cannot write {}", path.display()))
}
