//! A run from its arguments to its last file: one that begins, or one that goes on.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use candle_vision::image;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::fingerprints::{self, Item};
use super::interrupt::Interrupt;
use super::progress::{OutputMode, ProgressDisplay};
use super::results::Results;
use super::state::{self, Progress};
use super::train_loop::{BEST, End, LAST, Task, TrainLoop, columns, planned};
use super::{args_yaml, arguments, checks, place};
use crate::cli::{Float, GlobalArgs, RunArgs};
use crate::error::{Interrupted, usage};
use crate::files;

/// The last file of a run.
const CURVES: &str = "results.png";

/// A kind of training: all that is known before the first step, from its arguments.
pub(super) trait Training: Sized {
    /// `detect` or `classify`.
    const NAME: &'static str;
    type Args: Serialize + DeserializeOwned;
    type Task: Task;

    /// The arguments that every training has.
    fn run_args(args: &Self::Args) -> &RunArgs;
    /// The same, to change.
    fn run_args_mut(args: &mut Self::Args) -> &mut RunArgs;
    /// The same arguments with files by their whole paths, so that a run can go on from any folder.
    fn absolute(args: &Self::Args) -> Result<Self::Args>;
    /// Reads the data and the model that the arguments name; says what is wrong with either. A run that goes on has
    /// `decided` what [`Training::facts`] gave.
    fn of(args: &Self::Args, global: &GlobalArgs, decided: Option<&Value>) -> Result<Self>;
    /// The model that the arguments name.
    fn model(args: &Self::Args) -> &str;
    /// The hours that the run is limited to.
    fn hours(args: &Self::Args) -> Option<f64>;
    /// What a run that goes on must find again: its data, and what was decided when it began.
    fn facts(&self) -> Result<[Value; 2]>;
    /// Names and texts of the files of the run's folder that tell the parts of its data.
    fn files(&self) -> &[(String, String)];
    /// The images of both splits, in order.
    fn images(&self) -> [Vec<Item>; 2];
    /// What other arguments do to the rates of an epoch, from 0, that is the next.
    fn extension(&self, before: &Self::Args, after: &Self::Args, epoch: usize) -> Result<String>;
    /// The task; `is_new` loads the first weights and tells how it starts.
    fn task(self, args: &Self::Args, global: &GlobalArgs, is_new: bool) -> Result<Self::Task>;
}

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
            let folder = place::resumed(named, T::NAME, run.project.as_deref())?;
            let is_own = names_model && place::is_same(&folder, &place::resumed(model, T::NAME, None));
            let explicit: Vec<String> = explicit.iter().filter(|name| !is_own || *name != "model").cloned().collect();
            resume::<T>(&folder, &T::absolute(args)?, global, &explicit)
        }
        _ => begin::<T>(&T::absolute(args)?, global),
    }
}

fn begin<T: Training>(args: &T::Args, global: &GlobalArgs) -> Result<()> {
    let setup = T::of(args, global, None)?;
    let facts = setup.facts()?;
    let files = setup.images().map(|items| fingerprints::of(&items));
    let lists = setup.files().to_vec();
    let task = setup.task(args, global, true)?;
    let folder = place::create(T::run_args(args), T::NAME)?;
    let lock = place::lock(folder.path())?;
    let values = serde_json::to_value(args)?;
    let results = Results::new(columns(&task, task.rates().len()));
    let mut progress = Progress::new(T::NAME, values, facts, results.text());
    progress.files = files;
    finish::<T>(args, global, (folder.path(), lists), progress, results, task)?;
    drop(lock);
    Ok(())
}

fn resume<T: Training>(folder: &Path, given: &T::Args, global: &GlobalArgs, explicit: &[String]) -> Result<()> {
    let lock = place::lock(folder)?;
    let path = place::state_file(folder);
    let (mut progress, tensors) = state::read(&path)?;
    if progress.task != T::NAME {
        bail!("{} is a run of `train {}`", folder.display(), progress.task);
    }
    if global.arch.is_some() {
        return Err(usage("--arch: a run goes on with the architecture that it began with; leave it out"));
    }
    let mut args: T::Args = arguments::resumed(&progress.args, given, explicit)?;
    T::run_args_mut(&mut args).json = T::run_args(given).json;
    let edited = |error: anyhow::Error| state::edited(&path, &error);
    let before: T::Args = serde_json::from_value(progress.args.clone()).map_err(|error| edited(error.into()))?;
    let [epochs_before, epochs] = [&before, &args].map(|args| T::run_args(args).epochs);
    let [hours_before, hours] = [&before, &args].map(T::hours);
    if hours != hours_before {
        let is_begun = progress.epoch > 0;
        progress.planned = hours.filter(|_| is_begun).map(|hours| planned(hours, progress.seconds, progress.epoch));
    }
    let end = progress.end(epochs, T::run_args(&args).patience, hours);
    let lacks_plots = progress.finished && T::run_args(&args).plots && !folder.join(CURVES).exists();
    if let Some(end) = end.as_ref().filter(|_| !lacks_plots) {
        return Err(end.error(&folder.display().to_string(), &progress));
    }
    let setup = T::of(&args, global, Some(&progress.decided))?;
    let ([data, decided], items) = (setup.facts()?, setup.images());
    checks::decided(&progress.decided, &decided).map_err(edited)?;
    let mut differing = arguments::differing(&progress.data, &data);
    let files = items.each_ref().map(|items| fingerprints::of(items));
    for (split, [then, now], items) in [
        ("training", [&progress.files[0], &files[0]], &items[0]),
        ("validation", [&progress.files[1], &files[1]], &items[1]),
    ] {
        differing.extend(fingerprints::differing(split, then, now, items));
    }
    if !differing.is_empty() {
        let (other, accepts) = (differing.join(", "), T::run_args(given).accept_changed_data);
        let has_other_classes = progress.data["classes"] != data["classes"];
        let said = format!("the data are not those that the run began with: other {other}");
        match accepts {
            true if has_other_classes => {
                return Err(usage(format!("{said}; with other classes no run goes on: begin one from its weights")));
            }
            true if global.quiet => {}
            true => status!("note: {said}; the run goes on with them"),
            false => {
                return Err(usage(format!(
                    "{said}; put them back, go on with them by --accept-changed-data, or begin a run from its weights"
                )));
            }
        }
    }
    let is_changed = !differing.is_empty();
    (progress.data, progress.files) = (data, files);
    let extension = setup.extension(&before, &args, progress.epoch)?;
    let lists = setup.files().to_vec();
    let mut task = setup.task(&args, global, false)?;
    let expected = Results::new(columns(&task, task.rates().len()));
    if is_changed && progress.batch > 0 {
        // The epoch's steps so far are those of other images.
        progress.batch = 0;
        progress.losses.clear();
        if !global.quiet {
            status!("note: epoch {} begins again", progress.epoch + 1);
        }
    }
    checks::of_task(&progress, task.batches(), task.columns().0.len(), &expected).map_err(edited)?;
    task.load_state(&tensors, &progress.counters)
        .with_context(|| format!("{} does not fit the run's arguments", path.display()))?;
    if let Some(epochs) = progress.planned {
        task.replan(epochs);
    }
    let is_over = end.is_some();
    if epochs != epochs_before && !global.quiet {
        status!("note: {extension}");
    }
    if !global.quiet && !is_over {
        status!(
            "note: going on with {} at epoch {}, step {}",
            folder.display(),
            progress.epoch + 1,
            progress.batch + 1
        );
    }
    progress.finished = is_over;
    progress.args = serde_json::to_value(&args)?;
    let results = Results::from_text(&progress.results)?;
    finish::<T>(&args, global, (folder, lists), progress, results, task)?;
    drop(lock);
    Ok(())
}

/// Runs to the end, then shows what came of it. The folder has `lists` of its data.
fn finish<T: Training>(
    args: &T::Args,
    global: &GlobalArgs,
    (folder, lists): (&Path, Vec<(String, String)>),
    progress: Progress,
    results: Results,
    mut task: T::Task,
) -> Result<()> {
    let run = T::run_args(args);
    let reader = match () {
        () if run.json => OutputMode::Json,
        () if global.quiet => OutputMode::Quiet,
        () => OutputMode::Human,
    };
    let (before, hours) = (progress.seconds, T::hours(args));
    let (interrupt, shown, start) = (Interrupt::listen(), ProgressDisplay::new(reader), Instant::now());
    let clock = Box::new(move || before + start.elapsed().as_secs_f64());
    let mut cycle = TrainLoop { args: run, hours, folder, progress, results, interrupt, shown, clock };
    cycle.take_over(&task)?;
    files::write(&folder.join("args.yaml"), args_yaml::text(T::NAME, &cycle.progress.args)?.as_bytes())?;
    for (name, text) in &lists {
        files::write(&folder.join(name), text.as_bytes())?;
    }
    if cycle.run(&mut task)? == End::Interrupted {
        let shown = folder.display().to_string();
        let word = shlex::try_quote(&shown).unwrap_or(Cow::Borrowed(&shown));
        let again = format!("stopped; `ghostzoo train {} --resume {word}` goes on", T::NAME);
        return Err(Interrupted(again).into());
    }
    let seconds = cycle.seconds();
    let [best, last] = [BEST, LAST].map(|name| folder.join("weights").join(name));
    let best = if best.is_file() { best } else { last };
    let (epoch, epochs) = (cycle.progress.best_epoch(), cycle.progress.epoch);
    task.show(&best, folder, reader, run.plots)?;
    if run.plots && cycle.results.len() > 0 {
        image::save(&cycle.results.draw()?, &folder.join(CURVES))?;
    }
    if reader == OutputMode::Human {
        status!("note: {epochs} epochs in {:.2} hours, the best was {epoch}: {}", seconds / 3600., best.display());
    } else if reader == OutputMode::Json && !global.quiet {
        status!("note: results saved to {}", folder.display());
    }
    Ok(())
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
