//! A run from its beginning.

use std::path::{Path, PathBuf};

use candle_vision::train::distributed::Traffic;

use super::callbacks::Callbacks;
use super::options::FitOptions;
use super::ranks::{self, Ranks};
use super::record;
use super::results::Results;
use super::run_folder::{self, RunFolder, lock};
use super::state::Progress;
use super::task::TrainTask;
use super::train_loop::{BEST, End, LAST, TrainLoop, columns};
use super::{checks, fingerprints, messages::Message};
use crate::error::{Result, request};

/// What came of a run.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FitReport {
    /// Whether it came to its end or was stopped.
    pub end: End,
    /// The run's folder.
    pub folder: PathBuf,
    /// Epochs that are done.
    pub epochs: usize,
    /// The best of them, from 1; 0 before the first.
    pub best_epoch: usize,
    /// The checkpoint of the best epoch.
    pub best: PathBuf,
    /// The checkpoint of the last epoch.
    pub last: PathBuf,
    /// Time spent on the run, by all processes.
    pub seconds: f64,
    /// What was measured, a row per epoch.
    pub results: Results,
    /// What this process gave to the others, where there are others.
    pub traffic: Option<Traffic>,
}

/// Trains from the beginning, in a new folder.
///
/// A step allocates the maps of the step before again: a program that does little else calls
/// [`retain_heap`](ghostzoo_kernels::retain_heap) once at its start, so that the system does not clear each page of them anew.
///
/// # Errors
/// [`Error::Group`](crate::Error::Group) where another process is lost: the state that was last saved is whole.
/// [`Error::Request`](crate::Error::Request) where the options do not go together, or the folder holds a run already, files
/// that a run would replace, or is in use; what is wrong with the data or the model; where a file cannot be written; where the loss is no number any more.
pub fn fit<T: TrainTask>(task: &mut T, options: &FitOptions, callbacks: &mut impl Callbacks<T>) -> Result<FitReport> {
    Ranks::of(options).guarded(|| begin(task, options, callbacks))
}

fn begin<T: TrainTask>(task: &mut T, options: &FitOptions, callbacks: &mut impl Callbacks<T>) -> Result<FitReport> {
    let (folder, ranks) = (&options.folder, Ranks::of(options));
    let checks_folder = ranks.is_main() && !options.exist_ok;
    ranks.together(if checks_folder { run_folder::check_free(folder) } else { Ok(()) })?;
    ranks.check_equal(task, options)?;
    ranks.together(prepare(task, options, callbacks))?;
    ranks.check_decided(&task.decided()?)?;
    let results = Results::new(columns(task, task.rates().len()));
    let (progress, tensors) = ranks.share(|| {
        let files = task.images().map(|items| fingerprints::of(&items));
        let record = record::of(task, options)?;
        let mut progress = Progress::new(T::NAME, record, [task.data(), task.decided()?], results.text());
        progress.files = files;
        (progress.processes, progress.sync_bn) = ranks::processes(options);
        let (tensors, counters) = match ranks.is_alone() {
            true => Default::default(),
            false => task.state()?,
        };
        progress.counters = counters;
        Ok((progress, tensors))
    })?;
    if !ranks.is_main() {
        // They begin at the same weights, wherever those came from.
        task.load_state(&tensors, &progress.counters)?;
        return run(task, options, folder, (progress, results), callbacks);
    }
    // What could not be gone on from is refused before the first step.
    checks::fields(&serde_json::to_value(&progress)?)
        .map_err(|error| request(format!("a run cannot keep these options: {error}")))?;
    let made = RunFolder::create(folder)?;
    let (lock, note) = lock(folder)?;
    note.into_iter().for_each(|note| callbacks.message(&Message::Warning(note)));
    let report = run(task, options, folder, (progress, results), callbacks);
    drop((lock, made));
    report
}

/// Does what [`fit()`] does first: all that can go wrong before a file is written.
///
/// # Errors
/// As [`TrainTask::prepare`].
pub fn prepare<T: TrainTask>(task: &mut T, options: &FitOptions, callbacks: &mut impl Callbacks<T>) -> Result<()> {
    if options.epochs == 0 {
        return Err(request("a run has at least one epoch"));
    }
    task.distribute(options.group.as_ref(), options.sync_bn)?;
    let prepared = task.prepare(&options.plan(), None);
    tell(task, callbacks);
    prepared
}

/// Passes a task's messages on.
pub(super) fn tell<T: TrainTask>(task: &T, callbacks: &mut impl Callbacks<T>) {
    task.take_messages().iter().for_each(|message| callbacks.message(message));
}

/// Runs to the end, or to where it is stopped.
pub(super) fn run<T: TrainTask>(
    task: &mut T,
    options: &FitOptions,
    folder: &Path,
    (progress, results): (Progress, Results),
    callbacks: &mut impl Callbacks<T>,
) -> Result<FitReport> {
    let mut run = TrainLoop::new(options, folder, progress, results);
    run.take_over(task, callbacks)?;
    let end = run.run(task, callbacks)?;
    let [best, last] = [BEST, LAST].map(|name| folder.join("weights").join(name));
    Ok(FitReport {
        end,
        folder: folder.to_path_buf(),
        epochs: run.progress.epoch,
        best_epoch: run.progress.best_epoch(),
        best: if best.is_file() { best } else { last.clone() },
        last,
        seconds: run.seconds(),
        results: run.results,
        traffic: Ranks::of(options).traffic(),
    })
}
