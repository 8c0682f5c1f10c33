//! A run from its arguments to its last file: one that begins, or one that goes on.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use candle_vision::image::{self, RgbImage};
use ghostzoo::train::{self, End, FitOptions, FitReport, Message, Messages, SavedRun, StopFlag, TrainTask};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::display::RunDisplay;
use super::progress::OutputMode;
use super::{arguments, place};
use crate::cli::{Float, GlobalArgs, RunArgs};
use crate::error::{Interrupted, usage};
use crate::wording;
use ghostzoo::plot;

/// The last file of a run.
const CURVES: &str = "results.png";

/// A kind of training: from its arguments to a task of the library, and how that is drawn.
pub(super) trait Training: Sized {
    type Args: Serialize + DeserializeOwned;
    type Task: TrainTask;

    /// The arguments that every training has.
    fn run_args(args: &Self::Args) -> &RunArgs;
    /// The same, to change.
    fn run_args_mut(args: &mut Self::Args) -> &mut RunArgs;
    /// The same arguments with files by their whole paths, so that a run can go on from any folder.
    fn absolute(args: &Self::Args) -> Result<Self::Args>;
    /// The model that the arguments name.
    fn model(args: &Self::Args) -> &str;
    /// The hours that the run is limited to.
    fn hours(args: &Self::Args) -> Option<f64>;
    /// The task, and names and texts of files that tell the parts of its data. A run that goes on has what was
    /// [`decided`](TrainTask::decided).
    fn task(args: &Self::Args, global: &GlobalArgs, decided: Option<&Value>) -> Result<(Self::Task, Files)>;
    /// What draws it.
    fn drawn(args: &Self::Args, task: &Self::Task, global: &GlobalArgs) -> Self;

    /// The epoch, from 0, from which on images are prepared in another way, where there is one.
    fn closes_at(&self) -> Option<usize>;
    /// The labels of the data at a glance, where there is something to draw.
    fn draw_labels(&self, task: &Self::Task) -> Result<Option<RgbImage>>;
    /// The batch of the last step with what is known about it.
    fn draw_batch(&self, task: &Self::Task) -> Result<RgbImage>;
    /// Measures the best weights as they were written, prints what comes of it and draws it into the run's folder.
    fn show(&self, task: &Self::Task, best: &Path, folder: &Path, reader: OutputMode, plots: bool) -> Result<()>;
}

/// Names and texts of files.
pub(super) type Files = Vec<(String, String)>;

/// Trains what the arguments say. `explicit` names the options that were given.
pub(super) fn run<T: Training>(args: &T::Args, global: &GlobalArgs, explicit: &[String]) -> Result<()> {
    if global.dtype.is_some_and(|dtype| dtype != Float::F32) {
        return Err(usage("--dtype: a training computes in f32"));
    }
    let run = T::run_args(args);
    if let Err(error) = serde_json::to_value(T::absolute(args)?) {
        return Err(usage(format!("a training keeps its arguments as text, the folders above --data too: {error}")));
    }
    match run.resume.as_deref() {
        Some(named) if named != "false" => {
            let (names_model, model) = (explicit.iter().any(|name| name == "model"), T::model(args));
            // `yolo` names the run by the file of its weights: resume=True model=RUN/weights/last.safetensors.
            let named = if matches!(named, "" | "true") && names_model { model } else { named };
            let folder = place::resumed(named, T::Task::NAME, run.project.as_deref())?;
            let is_own = names_model && place::is_same(&folder, &place::resumed(model, T::Task::NAME, None));
            let explicit: Vec<String> = explicit.iter().filter(|name| !is_own || *name != "model").cloned().collect();
            resume::<T>(&folder, &T::absolute(args)?, global, &explicit)
        }
        _ => begin::<T>(&T::absolute(args)?, global),
    }
}

fn begin<T: Training>(args: &T::Args, global: &GlobalArgs) -> Result<()> {
    let (mut task, files) = T::task(args, global, None)?;
    let mut options = options::<T>(args, Path::new(""))?.exist_ok(true);
    train::prepare(&mut task, &options, &mut Printed { quiet: global.quiet })?;
    let drawn = T::drawn(args, &task, global);
    let folder = place::create(T::run_args(args), T::Task::NAME)?;
    options.folder = folder.path().to_path_buf();
    let mut display = RunDisplay::new(&drawn, args, files, &options, global);
    let report = train::fit(&mut task, &options, &mut display)?;
    finish(&drawn, args, global, &task, &report)
}

fn resume<T: Training>(folder: &Path, given: &T::Args, global: &GlobalArgs, explicit: &[String]) -> Result<()> {
    let saved = SavedRun::open::<T::Task>(folder)?;
    if global.arch.is_some() {
        return Err(usage("--arch: a run goes on with the architecture that it began with; leave it out"));
    }
    let mut args: T::Args = arguments::resumed(saved.record(), given, explicit)?;
    T::run_args_mut(&mut args).json = T::run_args(given).json;
    serde_json::from_value::<T::Args>(saved.record().clone()).map_err(|error| saved.edited(&error))?;
    let options = options::<T>(&args, folder)?.accept_changed_data(T::run_args(given).accept_changed_data);
    let over = saved.over(&options);
    let lacks_plots = saved.is_finished() && T::run_args(&args).plots && !folder.join(CURVES).exists();
    if let Some(over) = over.filter(|_| !lacks_plots) {
        return Err(saved.over_error(over).into());
    }
    let options = options.accept_finished(true);
    let (mut task, files) = T::task(&args, global, Some(saved.decided()))?;
    let drawn = T::drawn(&args, &task, global);
    let mut display = RunDisplay::new(&drawn, &args, files, &options, global);
    let report = saved.resume(&mut task, &options, &mut display)?;
    finish(&drawn, &args, global, &task, &report)
}

/// How the library runs what the arguments say.
fn options<T: Training>(args: &T::Args, folder: &Path) -> Result<FitOptions> {
    let run = T::run_args(args);
    let options = FitOptions::new(folder)
        .epochs(run.epochs)
        .patience(run.patience)
        .hours(T::hours(args))
        .save_period(usize::try_from(run.save_period).unwrap_or(0))
        .validate(run.val)
        .record(serde_json::to_value(args)?)
        .stop(StopFlag::new());
    Ok(options)
}

/// Who reads what a run prints.
pub(super) fn reader(run: &RunArgs, global: &GlobalArgs) -> OutputMode {
    match () {
        () if run.json => OutputMode::Json,
        () if global.quiet => OutputMode::Quiet,
        () => OutputMode::Human,
    }
}

/// Shows what came of a run.
fn finish<T: Training>(
    drawn: &T,
    args: &T::Args,
    global: &GlobalArgs,
    task: &T::Task,
    report: &FitReport,
) -> Result<()> {
    let (run, folder) = (T::run_args(args), &report.folder);
    if report.end == End::Interrupted {
        let shown = folder.display().to_string();
        let word = shlex::try_quote(&shown).unwrap_or(Cow::Borrowed(&shown));
        let again = format!("stopped; `ghostzoo train {} --resume {word}` goes on", T::Task::NAME);
        return Err(Interrupted(again).into());
    }
    let reader = reader(run, global);
    let shown = drawn.show(task, &report.best, folder, reader, run.plots);
    task.take_messages().iter().for_each(|message| print(message, global.quiet));
    shown?;
    if run.plots && !report.results.rows().is_empty() {
        image::save(&curves(&report.results)?, &folder.join(CURVES))?;
    }
    if reader == OutputMode::Human {
        let FitReport { epochs, best_epoch, seconds, best, .. } = report;
        status!("note: {epochs} epochs in {:.2} hours, the best was {best_epoch}: {}", seconds / 3600., best.display());
    } else if reader == OutputMode::Json && !global.quiet {
        status!("note: results saved to {}", folder.display());
    }
    Ok(())
}

/// `results.png`.
fn curves(results: &train::Results) -> Result<RgbImage> {
    let column = |index: usize| results.rows().iter().map(|row| row[index]).collect::<Vec<f64>>();
    let columns: Vec<Vec<f64>> = (0..results.names().len()).map(column).collect();
    let named: Vec<(&str, &[f64])> =
        results.names().iter().zip(&columns).map(|(name, values)| (name.as_str(), values.as_slice())).collect();
    Ok(plot::training_curves(columns.first().context("no columns")?, &named)?)
}

/// Prints what the library has to say; with `quiet` only what may be wrong.
pub(super) fn print(message: &Message, quiet: bool) {
    if !(quiet && matches!(message, Message::Note(_))) {
        status!("note: {}", wording::of_command(message.text()));
    }
}

/// [`print`] for all that waits.
pub(super) fn print_all(messages: &Messages, quiet: bool) {
    messages.take().iter().for_each(|message| print(message, quiet));
}

/// A run that only prints what the library has to say.
struct Printed {
    quiet: bool,
}

impl<T: TrainTask> train::Callbacks<T> for Printed {
    fn message(&mut self, message: &Message) {
        print(message, self.quiet);
    }
}

/// The whole path of a file or folder.
pub(super) fn absolute_path(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot tell where {} is", path.display()))
}

/// The whole path of what names a file, and other text as it is.
pub(super) fn absolute_file(text: &str) -> Result<String> {
    match Path::new(text).is_file() {
        true => absolute_path(Path::new(text)).map(|path| path.to_string_lossy().into_owned()),
        false => Ok(text.to_owned()),
    }
}
