//! A run that goes on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use candle_vision::train::distributed::Communicator;
use serde_json::Value;

use super::callbacks::Callbacks;
use super::fingerprints::ImageRecord;
use super::fit::{FitReport, run, tell};
use super::messages::Message;
use super::options::FitOptions;
use super::ranks::{self, Ranks};
use super::results::Results;
use super::run_folder::{self, Lock, state_file};
use super::state::{self, Over, Progress, Saved};
use super::task::TrainTask;
use super::train_loop::{columns, planned};
use super::{checks, fingerprints, record};
use crate::error::{Context as _, Error, Result, invalid, request};

/// Goes on with the run in a folder, from its last save: the files end in the bytes of a run that was never stopped.
///
/// The task has to be made of the same data and the same options; epochs, patience and hours may be others.
///
/// # Errors
/// As [`fit()`](super::fit()); [`Error::Request`] where data or options are not those that the run began with; where the
/// folder holds no run, or one that is at its end.
pub fn resume<T: TrainTask>(
    task: &mut T,
    options: &FitOptions,
    callbacks: &mut impl Callbacks<T>,
) -> Result<FitReport> {
    Ranks::of(options)
        .guarded(|| SavedRun::open_in::<T>(&options.folder, options.group.as_ref())?.resume(task, options, callbacks))
}

/// A run to go on with, its folder locked against other processes.
#[derive(Debug)]
pub struct SavedRun {
    folder: PathBuf,
    progress: Progress,
    tensors: BTreeMap<String, Tensor>,
    /// What to say of a file system without locks.
    note: Option<String>,
    /// Of the process that writes.
    _lock: Option<Lock>,
}

impl SavedRun {
    /// Reads the state of a run of tasks `T`.
    ///
    /// # Errors
    /// A folder that is in use, or holds no run of such tasks; a state that no run wrote, by the name of the field.
    pub fn open<T: TrainTask>(folder: impl AsRef<Path>) -> Result<Self> {
        Self::open_in::<T>(folder, None)
    }

    /// The same for the processes of a group, which all call it; the first alone reads the folder. As many of them may go on
    /// as have a part of each batch, whatever their number was before: a state is that of the whole batch.
    ///
    /// # Errors
    /// As [`SavedRun::open`]; why the others do not come.
    pub fn open_in<T: TrainTask>(folder: impl AsRef<Path>, group: Option<&Communicator>) -> Result<Self> {
        let folder = folder.as_ref().to_path_buf();
        let mut own = None;
        let (progress, tensors) = Ranks::new(group).share(|| {
            let (saved, lock, note) = Self::read::<T>(&folder)?;
            own = Some((lock, note));
            Ok(saved)
        })?;
        let (lock, note) = own.unzip();
        Ok(Self { folder, progress, tensors, note: note.flatten(), _lock: lock })
    }

    fn read<T: TrainTask>(folder: &Path) -> Result<(Saved, Lock, Option<String>)> {
        if !state_file(folder).is_file() {
            return Err(request(format!("there is no run in {} to go on with", folder.display())));
        }
        let (lock, note) = run_folder::lock(folder)?;
        let (progress, tensors) = state::read(&state_file(folder))?;
        if progress.task != T::NAME {
            invalid!("{} is a run of the task `{}`", folder.display(), progress.task);
        }
        T::check_decided(&progress.decided).map_err(|error| state::edited(&state_file(folder), &error))?;
        Ok(((progress, tensors), lock, note))
    }

    /// How the run was started: see [`FitOptions::record`].
    pub fn record(&self) -> &Value {
        &self.progress.args
    }

    /// What the task decided when the run began: see [`TrainTask::decided`].
    pub fn decided(&self) -> &Value {
        &self.progress.decided
    }

    /// Whether the run came to its end.
    pub fn is_finished(&self) -> bool {
        self.progress.finished
    }

    /// Why the run has nothing left to do under these options.
    pub fn over(&self, options: &FitOptions) -> Option<Over> {
        let planned = self.planned(options);
        self.progress.end(planned, options.epochs, options.patience, options.hours)
    }

    /// What to say where it has not.
    pub fn over_error(&self, over: Over) -> Error {
        over.error(&self.folder.display().to_string(), &self.progress)
    }

    /// What to say of a state that is not as a run wrote it.
    pub fn edited(&self, error: &dyn std::error::Error) -> Error {
        state::edited(&state_file(&self.folder), error)
    }

    /// The epochs of a run of limited time, by the limit of the options.
    fn planned(&self, options: &FitOptions) -> Option<usize> {
        let Progress { args, planned: before, epoch, seconds, .. } = &self.progress;
        if options.hours == args["time"].as_f64() {
            return *before;
        }
        options.hours.filter(|_| *epoch > 0).map(|hours| planned(hours, *seconds, *epoch))
    }

    /// Goes on: see [`resume`].
    ///
    /// # Errors
    /// As [`resume`].
    pub fn resume<T: TrainTask>(
        self,
        task: &mut T,
        options: &FitOptions,
        callbacks: &mut impl Callbacks<T>,
    ) -> Result<FitReport> {
        Ranks::of(options).guarded(|| self.go_on(task, options, callbacks))
    }

    fn go_on<T: TrainTask>(
        mut self,
        task: &mut T,
        options: &FitOptions,
        callbacks: &mut impl Callbacks<T>,
    ) -> Result<FitReport> {
        self.note.take().into_iter().for_each(|note| callbacks.message(&Message::Warning(note)));
        self.progress.planned = self.planned(options);
        let over = self.over(options);
        if let Some(over) = over.filter(|over| !options.accept_finished || *over == Over::Beyond) {
            return Err(self.over_error(over));
        }
        let is_over = over.is_some();
        let ranks = Ranks::of(options);
        ranks.check_equal(task, options)?;
        let record = record::of(task, options)?;
        if options.record.is_none() {
            record::check(&self.progress.args, &record)?;
        }
        let items = task.images();
        let files = items.each_ref().map(|items| fingerprints::of(items));
        let changed = self.changed(&task.data(), &items, &files);
        if let Some(said) = &changed {
            match options.accept_changed_data {
                true if self.progress.data["classes"] != task.data()["classes"] => {
                    return Err(request(format!(
                        "{said}; with other classes no run goes on: begin one from its weights"
                    )));
                }
                true => warn(callbacks, format!("{said}; the run goes on with them")),
                false => {
                    return Err(request(format!(
                        "{said}; put them back, go on with them by `options.accept_changed_data`, or begin a run from its weights"
                    )));
                }
            }
        }
        task.distribute(options.group.as_ref(), options.sync_bn)?;
        let prepared = task.prepare(&options.plan(), Some(&self.progress.decided));
        tell(task, callbacks);
        ranks.together(prepared)?;
        let decided = task.decided()?;
        checks::decided(&self.progress.decided, &decided).map_err(|error| self.edited(&error))?;
        (self.progress.data, self.progress.files) = (task.data(), files);
        let expected = Results::new(columns(task, task.rates().len()));
        let progress = &mut self.progress;
        if changed.is_some() && progress.batch > 0 {
            // The epoch's steps so far are those of other images.
            progress.batch = 0;
            progress.losses.clear();
            warn(callbacks, format!("epoch {} begins again", progress.epoch + 1));
        }
        checks::of_task(&self.progress, task.batches(), task.columns().0.len(), &expected)
            .map_err(|error| self.edited(&error))?;
        let Self { folder, mut progress, tensors, _lock, .. } = self;
        task.load_state(&tensors, &progress.counters)
            .with_context(|| format!("{} does not fit the run's arguments", state_file(&folder).display()))?;
        if let Some(epochs) = progress.planned {
            task.replan(epochs);
        }
        let before = progress.args["epochs"].as_u64().map_or(options.epochs, |epochs| epochs as usize);
        if options.epochs != before {
            let text = task.extension([before, options.epochs], progress.epoch)?;
            note(callbacks, text);
        }
        let processes = (progress.processes, progress.sync_bn);
        ranks::changed(processes, ranks::processes(options)).into_iter().for_each(|text| note(callbacks, text));
        (progress.processes, progress.sync_bn) = ranks::processes(options);
        if !is_over {
            let (epoch, step) = (progress.epoch + 1, progress.batch + 1);
            let text = format!("going on with {} at epoch {epoch}, step {step}", folder.display());
            note(callbacks, text);
        }
        progress.finished = is_over;
        progress.args = record;
        let results = Results::from_text(&progress.results)?;
        run(task, options, &folder, (progress, results), callbacks)
    }

    /// What to say of data that are not those that the run began with.
    fn changed(&self, data: &Value, items: &[Vec<ImageRecord>; 2], files: &[Value; 2]) -> Option<String> {
        let mut differing = record::differing(&self.progress.data, data);
        for (number, split) in ["training", "validation"].into_iter().enumerate() {
            let (then, now) = (&self.progress.files[number], &files[number]);
            differing.extend(fingerprints::differing(split, then, now, &items[number]));
        }
        let differing = (!differing.is_empty()).then(|| differing.join(", "));
        differing.map(|other| format!("the data are not those that the run began with: other {other}"))
    }
}

/// Says what is other than the run expected.
fn warn<T: TrainTask>(callbacks: &mut impl Callbacks<T>, text: String) {
    callbacks.message(&Message::Warning(text));
}

/// Says how the run goes.
fn note<T: TrainTask>(callbacks: &mut impl Callbacks<T>, text: String) {
    callbacks.message(&Message::Note(text));
}
