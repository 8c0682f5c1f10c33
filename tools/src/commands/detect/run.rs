use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context, Result};
use candle_vision::image::RgbImage;
use candle_yolov8::{Detection, Detector, NmsOptions, Prediction, PreparedImage};
use ghostzoo::plot::BoxStyle;
use ghostzoo::train::StopFlag;

use super::rows::{self, RowFiles};
use super::source_state::SourceState;
use super::tiles::TiledImages;
use crate::cli::{DetectArgs, bytes};
use crate::commands::track::{SequenceName, Sequences, SummaryForm};
use crate::error::{self, Interrupted, SomeFailed};
use crate::output::{
    self, CocoResults, CsvRows, Found, FrameNotes, JsonDetections, JsonError, JsonRecord, MeanSpeed, Speed, Stdout,
    annotated, counts, milliseconds, shown,
};
use crate::part::PartFile;
use crate::progress::FrameBar;
use crate::reader::{Batch, Item, Ready};
use crate::run_dir::RunDir;
use crate::source::Source;

/// The state of a run over all images.
pub(super) struct Run<'a> {
    pub(super) args: &'a DetectArgs,
    pub(super) quiet: bool,
    pub(super) names: &'a [String],
    pub(super) annotation: BoxStyle,
    pub(super) detector: Detector,
    pub(super) tiled: Option<TiledImages>,
    pub(super) nms: NmsOptions,
    /// What is tracked, where something is.
    pub(super) sequences: Option<Sequences<usize>>,
    pub(super) folder: Option<RunDir>,
    pub(super) coco: CocoResults,
    pub(super) rows: RowFiles,
    /// The part's file, where it is one.
    pub(super) part: Option<&'a Path>,
    pub(super) out: Stdout,
    pub(super) csv: CsvRows,
    pub(super) total: usize,
    pub(super) done: usize,
    pub(super) failed: usize,
    pub(super) speeds: MeanSpeed,
    pub(super) last_shape: [usize; 4],
    pub(super) frames: FrameNotes,
    /// The videos that have begun, by their places among the entries.
    pub(super) videos: BTreeMap<usize, SourceState>,
    pub(super) bar: FrameBar,
}

impl Run<'_> {
    /// All batches, or those before somebody asks to stop; then what is written at the end.
    pub(super) fn all(
        mut self,
        batches: impl Iterator<Item = Result<Batch<Option<PreparedImage>>>>,
        stop: &StopFlag,
    ) -> Result<()> {
        if self.args.csv {
            let header = self.csv.header()?;
            self.out.text(&header)?;
        }
        for batch in batches {
            let batch = batch?;
            if stop.is_set() {
                self.rows.stop();
            }
            self.batch(batch)?;
            if stop.is_set() {
                break;
            }
        }
        while let Some((entry, video)) = self.videos.pop_first() {
            self.finish(entry, video)?;
        }
        if let Some(sequences) = &mut self.sequences {
            self.bar.clear();
            sequences.end_all(self.names, SummaryForm::of(self.args, self.quiet), &mut self.out)?;
        }
        self.frames.close();
        if let (true, Some(folder)) = (self.args.coco_json, &self.folder) {
            self.coco.save(folder.path())?;
        }
        std::mem::take(&mut self.rows).finish()?;
        self.close()?;
        if stop.is_set() {
            return Err(Interrupted("stopped; what was found until then is written".to_owned()).into());
        }
        let failed = match self.part {
            Some(path) => {
                let part = PartFile::finished(path)?;
                rows::write_table(&[part], self.args.parquet.as_deref(), |_| Ok(()))?.failed
            }
            None => self.failed,
        };
        if failed > 0 { Err(SomeFailed.into()) } else { Ok(()) }
    }

    /// The images that could be read through the model, then all results in order.
    fn batch(&mut self, Batch { items, notes, ended }: Batch<Option<PreparedImage>>) -> Result<()> {
        for (label, note) in notes.iter().filter(|_| !self.quiet) {
            self.bar.aside(|| status!("note: {}: {note}", shown(label)));
        }
        self.total += items.iter().filter(|item| item.follows).count();
        let prepared: Vec<&PreparedImage> =
            items.iter().filter_map(|item| item.ready.as_ref().ok()?.prepared.as_ref()).collect();
        let predictions = match &self.tiled {
            Some(tiled) => tiled.predict(&self.detector, &items)?,
            None => self.detector.predict_prepared(&prepared, &self.nms)?,
        };
        if let Some(last) = predictions.last() {
            let shared = predictions.iter().filter(|found| found.input == last.input).count();
            self.last_shape = [shared, 3, last.input[0], last.input[1]];
        }
        let mut predictions = predictions.into_iter();
        for Item { entry, label, ready, .. } in items {
            let found = ready.and_then(|ready| {
                self.say_of(&label, &ready);
                let prediction = predictions.next().context("an image without a result; this is a bug of ghostzoo")?;
                if prediction.dropped > 0 && !self.quiet {
                    let (label, dropped) = (shown(&label), prediction.dropped);
                    status!("note: {label}: the {dropped} least confident candidates were left out; raise --conf");
                }
                Ok(found(&label, ready, prediction))
            });
            self.begin(entry, found.as_ref().ok().map(|(source, found, _)| (source, found)));
            let found =
                found.and_then(|(source, found, suppressed)| Ok((source, self.tracked(entry, found, &suppressed)?)));
            match found.and_then(|(source, found)| self.save(entry, &source, &found).map(|()| found)) {
                Ok(found) => self.show(entry, &found)?,
                // The next images would fail too.
                Err(error) if error::is_out_of_memory(&error::text(&error)) => return Err(error),
                Err(error) => self.fail(entry, &label, &error)?,
            }
        }
        for (entry, skipped) in ended {
            self.rows.end(entry)?;
            let Some(video) = self.videos.remove(&entry) else { continue };
            if skipped > 0 && !self.quiet {
                status!("note: {}: {skipped} frames were skipped, as newer ones came", shown(&video.label));
            }
            self.finish(entry, video)?;
        }
        self.rows.flush()
    }

    /// What the user should know of an image.
    fn say_of(&mut self, label: &str, ready: &Ready<Option<PreparedImage>>) {
        if self.quiet {
            return;
        }
        if let Some(warning) = ready.warning {
            status!("note: {}: {warning}", shown(label));
        }
        self.frames.add(label, ready.frames);
    }

    /// Counts an image, or a video at its first frame.
    fn begin(&mut self, entry: usize, found: Option<(&Source, &Found)>) {
        if self.videos.contains_key(&entry) {
            return;
        }
        self.done += 1;
        let Some((source, found)) = found.filter(|(_, found)| found.frame.is_some()) else { return };
        let stem = match &mut self.folder {
            Some(folder) => folder.unique_video(&source.stem()),
            None => source.stem(),
        };
        self.videos.insert(entry, SourceState::new(self.done, found.path.clone(), stem));
    }

    /// The objects that are tracked in place of what was found, where objects are tracked.
    fn tracked(&mut self, entry: usize, found: Found, suppressed: &[Detection]) -> Result<Found> {
        let Some(sequences) = &mut self.sequences else { return Ok(found) };
        let images = SequenceName { label: "images", stem: OsStr::new("images") };
        let video = self.videos.get(&entry);
        let name = video.map_or(images, |video| SequenceName { label: &video.label, stem: video.stem() });
        let (detections, tracked) = sequences.update(
            video.map(|_| entry),
            name,
            [&found.detections, suppressed],
            [found.image.width(), found.image.height()],
            Some(&found.image),
        )?;
        Ok(Found { detections, tracked: Some(tracked), ..found })
    }

    /// The image with what is drawn into it.
    fn drawn(&self, entry: usize, found: &Found) -> RgbImage {
        let mut image = annotated(found, &self.annotation);
        if let Some(sequences) = &self.sequences {
            let video = self.videos.contains_key(&entry).then_some(entry);
            sequences.draw(video, &mut image, self.args.line_width);
        }
        image
    }

    fn save(&mut self, entry: usize, source: &Source, found: &Found) -> Result<()> {
        if self.folder.is_none() {
            return Ok(());
        }
        let image = (!self.args.no_save).then(|| self.drawn(entry, found));
        let Some(folder) = &mut self.folder else { return Ok(()) };
        let video = self.videos.get_mut(&entry).zip(found.frame);
        let stem = match &video {
            Some((video, frame)) => video.frame_stem(*frame),
            None => folder.unique(&source.stem()),
        };
        let (path, folder) = (folder.path(), &*folder);
        let mut failure = None;
        match (image, video) {
            (None, _) => {}
            (Some(image), None) => output::save_annotated(&image, &found.path, folder, &stem)?,
            (Some(image), Some((video, frame))) => {
                if self.args.video.save_frames {
                    video.save_frame(folder, &image, &stem)?;
                }
                failure = video.write(folder, image, frame).err();
            }
        }
        if self.args.save_txt {
            output::save_txt(found, path, &stem, self.args.save_conf)?;
        }
        if self.args.save_crop {
            output::save_crops(found, path, &stem, self.names)?;
        }
        if self.args.coco_json {
            let name = if found.frame.is_some() { stem } else { source.stem() };
            self.coco.add(found, bytes::shown(name));
        }
        // What is found is still told.
        failure.map_or(Ok(()), |error| self.fail(entry, &found.path, &error.into()))
    }

    /// Gives a video that is written its name.
    fn finish(&mut self, entry: usize, video: SourceState) -> Result<()> {
        self.bar.clear();
        let label = video.label.clone();
        if let Some(sequences) = &mut self.sequences {
            let form = SummaryForm::of(self.args, self.quiet);
            sequences.end(Some(entry), self.names, form, &mut self.out)?;
        }
        video.finish().or_else(|error| self.fail(entry, &label, &error.into()))
    }

    fn show(&mut self, entry: usize, found: &Found) -> Result<()> {
        self.speeds.add(found.speed);
        self.rows.add(entry, || JsonRecord::new(&found.record(), self.names))?;
        if let Some((frame, total)) = found.frame.and_then(|frame| Some((frame, frame.total?))) {
            self.bar.show(&found.path, frame.number, total);
        }
        let Self { args, bar, out, names, csv, .. } = self;
        if args.json {
            return bar.aside(|| out.json(&JsonDetections::new(&found.record(), names)));
        }
        if args.csv {
            let rows = csv.of(&found.record(), names)?;
            return bar.aside(|| out.text(&rows));
        }
        let place = match (self.videos.get(&entry), found.frame) {
            (Some(video), Some(frame)) => {
                let kind = if frame.is_live { "stream" } else { "video" };
                let of = frame.total.map(|total| format!("/{total}")).unwrap_or_default();
                format!("{kind} {}/{} (frame {}{of})", video.number, self.total, frame.number)
            }
            _ => format!("image {}/{}", self.done, self.total),
        };
        let [height, width] = found.input_size;
        let line = format!(
            "{place} {}: {height}x{width} {}, {:.1} ms",
            shown(&found.path),
            counts(&found.detections, names),
            found.speed.inference,
        );
        bar.aside(|| out.line(&line))
    }

    fn fail(&mut self, entry: usize, label: &str, error: &anyhow::Error) -> Result<()> {
        self.failed += 1;
        let error = error::text(error);
        self.rows.add(entry, || JsonRecord::failed(label, &error))?;
        self.bar.aside(|| status!("error: {}: {error}", shown(label)));
        if self.args.json {
            self.out.json(&JsonError { path: label, error: &error })?;
        }
        Ok(())
    }

    /// The last lines for people.
    fn close(&mut self) -> Result<()> {
        if self.quiet {
            return Ok(());
        }
        let saved = self.folder.as_ref().map(RunDir::path).filter(|folder| !is_empty(folder));
        let saved = saved.map(|folder| bytes::shown(folder.as_os_str()));
        if self.args.json || self.args.csv {
            saved.iter().for_each(|folder| status!("note: results saved to {folder}"));
            return Ok(());
        }
        if !self.speeds.is_empty() {
            self.out.line(&self.speeds.line(self.last_shape))?;
        }
        saved.iter().try_for_each(|folder| self.out.line(&format!("Results saved to {folder}")))
    }
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut files| files.next().is_none())
}

/// What was found, and what a looser suppression would have kept.
fn found(label: &str, ready: Ready<Option<PreparedImage>>, prediction: Prediction) -> (Source, Found, Vec<Detection>) {
    let speed = Speed {
        preprocess: milliseconds(ready.preprocess + prediction.preprocess),
        inference: milliseconds(prediction.inference),
        postprocess: milliseconds(prediction.postprocess),
    };
    let Prediction { detections, suppressed, input, .. } = prediction;
    let Ready { source, image, frame, .. } = ready;
    let found = Found { path: label.to_owned(), image, frame, detections, tracked: None, input_size: input, speed };
    (source, found, suppressed)
}
