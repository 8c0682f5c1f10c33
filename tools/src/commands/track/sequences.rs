//! The sequences of a run.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::OsStr;
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
use crate::run_dir::UniqueNames;

/// Folder of MOTChallenge's files in a run's.
const MOT: &str = "mot";

/// What is tracked in a run: each video apart, and all images as one sequence in their order.
///
/// `K` tells the videos of a run apart, of which two may have one name.
pub(crate) struct Sequences<K> {
    options: TrackOptions,
    /// The run's folder.
    folder: Option<PathBuf>,
    /// By the video; `None` for images.
    open: BTreeMap<Option<K>, Open>,
    /// Of what is written.
    names: UniqueNames,
}

/// A sequence of a run, as it is called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SequenceName<'a> {
    /// In output.
    pub(crate) label: &'a str,
    /// Of files, without their endings.
    pub(crate) stem: &'a OsStr,
}

struct Open {
    label: String,
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

impl<K: Ord + Clone> Sequences<K> {
    pub(crate) fn new(options: TrackOptions, folder: Option<&Path>) -> Self {
        Self { options, folder: folder.map(Path::to_path_buf), open: BTreeMap::new(), names: UniqueNames::default() }
    }

    /// How they are tracked.
    pub(crate) fn options(&self) -> &TrackOptions {
        &self.options
    }

    /// Takes what was found in the next image, of `size` [width, height], and what a looser suppression would have kept, of a video or
    /// among the images; gives the tracked objects in its place.
    pub(crate) fn update(
        &mut self,
        video: Option<K>,
        name: SequenceName<'_>,
        found: [&[Detection]; 2],
        size: [u32; 2],
        image: Option<&RgbImage>,
    ) -> Result<(Vec<Detection>, Tracked)> {
        let open = match self.open.entry(video) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(place) => {
                let folder = self.folder.as_deref().filter(|_| self.options.save_mot);
                let mot = folder.map(|folder| begin(folder, &self.names.unique(name.stem))).transpose()?;
                place.insert(Open { label: name.label.to_owned(), sequence: self.options.sequence()?, mot })
            }
        };
        let tracked = open.sequence.update(found, size, image);
        if let Some(mot) = &mut open.mot {
            mot.write_all(open.sequence.mot().as_bytes())
                .context("cannot write the tracks in MOTChallenge's format")?;
        }
        Ok(tracked)
    }

    /// Draws what the last image of a sequence shows beside its boxes.
    pub(crate) fn draw(&self, video: Option<K>, image: &mut RgbImage, line_width: Option<u32>) {
        if let Some(open) = self.open.get(&video) {
            open.sequence.draw(image, line_width);
        }
    }

    /// Ends a sequence: writes what is to be written, and says what it held.
    pub(crate) fn end(
        &mut self,
        video: Option<K>,
        names: &[String],
        form: SummaryForm,
        out: &mut Stdout,
    ) -> Result<()> {
        let Some(Open { label, sequence, mot }) = self.open.remove(&video) else { return Ok(()) };
        if let Some(mot) = mot {
            mot.finish().context("cannot write the tracks in MOTChallenge's format")?;
        }
        let summary = sequence.summary(&label, names);
        match form {
            SummaryForm::Json => out.json(&summary.json()),
            SummaryForm::Text => summary.lines().iter().try_for_each(|line| out.line(line)),
            SummaryForm::None => Ok(()),
        }
    }

    /// Ends all sequences.
    pub(crate) fn end_all(&mut self, names: &[String], form: SummaryForm, out: &mut Stdout) -> Result<()> {
        let videos: Vec<Option<K>> = self.open.keys().cloned().collect();
        videos.into_iter().try_for_each(|video| self.end(video, names, form, out))
    }
}

fn begin(folder: &Path, stem: &OsStr) -> Result<Pending> {
    let folder = folder.join(MOT);
    files::make_folder(&folder)?;
    let path = folder.join(file_name(stem, ".txt"));
    Pending::create(&path).with_context(|| format!("cannot write {}", path.display()))
}
