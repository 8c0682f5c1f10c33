//! The loop over epochs: steps, validation, files.

use std::path::Path;
use std::time::{Duration, Instant};

use super::callbacks::{Callbacks, EpochReport, RunStart, StepReport};
use super::fit::tell;
use super::half::halved;
use super::messages::Message;
use super::options::FitOptions;
use super::ranks::{self, Ranks};
use super::results::Results;
use super::state::{self, Progress};
use super::task::{TrainTask, Validation};
use super::{record, run_folder};
use crate::error::{Context as _, Result, ensure, invalid, io};

/// The newest weights, and those of the best epoch.
pub(super) const LAST: &str = "last.safetensors";
pub(super) const BEST: &str = "best.safetensors";
/// Time between states within an epoch.
const BETWEEN_STATES: Duration = Duration::from_secs(600);

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// All epochs, or enough of them, or all of the time.
    Finished,
    /// It was asked to end; the state is saved.
    Interrupted,
}

/// The columns of `results.csv` behind epoch and time.
pub(super) fn columns<T: TrainTask>(task: &T, groups: usize) -> impl Iterator<Item = String> {
    let ((losses, metrics), val_losses) = (task.columns(), task.val_losses());
    let of =
        |kind: &'static str, names: &'static [&'static str]| names.iter().map(move |name| format!("{kind}/{name}"));
    let rates = (0..groups).map(|group| format!("lr/pg{group}"));
    of("train", losses).chain(of("metrics", metrics)).chain(of("val", val_losses)).chain(rates)
}

/// A run in its folder.
pub(super) struct TrainLoop<'a> {
    pub(super) options: &'a FitOptions,
    pub(super) folder: &'a Path,
    pub(super) progress: Progress,
    pub(super) results: Results,
    /// Seconds spent on the run so far, by all processes.
    pub(super) clock: Box<dyn Fn() -> f64 + 'a>,
}

impl<'a> TrainLoop<'a> {
    /// A run whose clock goes on from here.
    pub(super) fn new(options: &'a FitOptions, folder: &'a Path, progress: Progress, results: Results) -> Self {
        let (before, start) = (progress.seconds, Instant::now());
        let clock = Box::new(move || before + start.elapsed().as_secs_f64());
        Self { options, folder, progress, results, clock }
    }

    /// Takes the folder over. What an older run left in it goes once this run's state is whole, and not before; a run that is
    /// still at its first step, having been killed there, does so again.
    pub(super) fn take_over<T: TrainTask>(&mut self, task: &T, callbacks: &mut impl Callbacks<T>) -> Result<()> {
        let is_first = (self.progress.epoch, self.progress.batch) == (0, 0);
        if self.ranks().is_main() {
            run_folder::sweep(self.folder)?;
            self.save_state(task)?;
            if is_first {
                run_folder::clear(self.folder)?;
            } else {
                self.write_results()?;
            }
        }
        callbacks.on_run_begin(task, &RunStart { folder: self.folder, is_first })
    }

    /// Runs to the end, or to where it is asked to.
    pub(super) fn run<T: TrainTask>(&mut self, task: &mut T, callbacks: &mut impl Callbacks<T>) -> Result<End> {
        while self.progress.epoch < self.epochs() && !self.progress.finished {
            if self.epoch(task, callbacks)? == End::Interrupted {
                return Ok(End::Interrupted);
            }
        }
        Ok(End::Finished)
    }

    /// Epochs of the whole run, as far as it is known.
    fn epochs(&self) -> usize {
        self.progress.planned.unwrap_or(self.options.epochs)
    }

    /// The processes that take part.
    fn ranks(&self) -> Ranks<'a> {
        Ranks::of(self.options)
    }

    /// Whether the run's time is over.
    fn is_late(&self) -> bool {
        self.options.hours.is_some_and(|hours| self.seconds() > hours * 3600.)
    }

    fn epoch<T: TrainTask>(&mut self, task: &mut T, callbacks: &mut impl Callbacks<T>) -> Result<End> {
        let (epoch, batches) = (self.progress.epoch, task.batches());
        let mut since_state = Instant::now();
        let (start, traffic, first) = (Instant::now(), self.ranks().traffic(), self.progress.batch);
        task.begin(epoch, self.progress.batch)?;
        callbacks.on_epoch_begin(task, epoch + 1, self.epochs())?;
        while self.progress.batch < batches {
            let step = task.step();
            tell(task, callbacks);
            let step = step?;
            let batch = self.progress.batch;
            if let Some(loss) = step.losses.iter().find(|loss| !loss.is_finite()) {
                invalid!(
                    "the loss became {loss} in epoch {}, step {}: begin again with a lower `options.{}` or a longer `options.warmup_epochs`",
                    epoch + 1,
                    batch + 1,
                    T::RATE
                );
            }
            if self.progress.losses.is_empty() {
                self.progress.losses = vec![0.; step.losses.len()];
            }
            self.progress.losses.iter_mut().zip(&step.losses).for_each(|(sum, loss)| *sum += loss);
            self.progress.batch += 1;
            let report = StepReport {
                number: epoch * batches + batch,
                batch: self.progress.batch,
                batches,
                loss_sums: &self.progress.losses,
                step: &step,
            };
            callbacks.on_step(task, &report)?;
            let by_clock = [since_state.elapsed() > BETWEEN_STATES, self.is_late()];
            let (asked, [is_due, is_late]) = self.ranks().signs(self.options.stop.is_set(), by_clock)?;
            if asked || is_due {
                self.save_state(task)?;
                since_state = Instant::now();
            }
            if asked {
                return Ok(End::Interrupted);
            }
            if step.moved && is_late {
                break;
            }
        }
        if let (Some(before), Some(after), true) = (traffic, self.ranks().traffic(), self.ranks().is_main()) {
            let cost = ranks::cost([before, after], self.progress.batch - first, start.elapsed().as_secs_f64());
            callbacks.message(&Message::Note(format!("epoch {}: {cost}", epoch + 1)));
        }
        if self.end_epoch(task, callbacks)? == End::Interrupted {
            return Ok(End::Interrupted);
        }
        let (is_asked, _) = self.ranks().signs(self.options.stop.is_set(), [false; 2])?;
        Ok(if is_asked && !self.progress.finished { End::Interrupted } else { End::Finished })
    }

    /// Measures and writes what the epoch's steps came to. Interrupted, it has written the state before the validation, which
    /// whoever goes on begins again.
    fn end_epoch<T: TrainTask>(&mut self, task: &mut T, callbacks: &mut impl Callbacks<T>) -> Result<End> {
        let epoch = self.progress.epoch + 1;
        callbacks.on_steps_end(task)?;
        let (losses, metrics) = (task.val_losses(), task.columns().1);
        let mean = |sum: &f64| sum / self.progress.batch.max(1) as f64;
        let means: Vec<f64> = self.progress.losses.iter().map(mean).collect();
        let (_, [is_late, _]) = self.ranks().signs(false, [self.is_late(), false])?;
        let is_last = epoch >= self.epochs() || is_late;
        let mut validation = None;
        if self.options.validate || is_last {
            self.save_state(task)?;
            validation = self.validate(task, callbacks)?;
            if validation.is_none() {
                return Ok(End::Interrupted);
            }
        }
        let fitness = validation.as_ref().map(|validation| validation.fitness);
        let stops = fitness.is_some_and(|fitness| self.progress.stopping.stops(epoch, fitness, self.options.patience));
        let is_equal = fitness.is_some_and(|fitness| fitness >= self.progress.stopping.best);
        let is_best = self.progress.stopping.epoch == epoch || (T::LAST_OF_EQUALS && is_equal);
        if is_best {
            self.progress.best = epoch;
        }
        let unknown =
            Validation { metrics: vec![f64::NAN; metrics.len()], losses: vec![f64::NAN; losses.len()], fitness: 0. };
        let validation = validation.unwrap_or(unknown);
        let rounded = |value: &f64| (value * 1e5).round() / 1e5;
        let mut values: Vec<f64> =
            means.iter().chain(&validation.metrics).chain(&validation.losses).map(rounded).collect();
        values.extend(task.rates());
        self.results.push(epoch, self.seconds(), &values)?;
        if self.ranks().is_main() {
            self.write_epoch(task, callbacks, epoch, is_best)?;
        }
        self.progress.results = self.results.text();
        let (_, [is_late, _]) = self.ranks().signs(false, [self.is_late(), false])?;
        self.progress.finished = stops || is_last || is_late;
        if let Some(hours) = self.options.hours {
            let seconds = self.ranks().numbers(|| Ok(vec![self.seconds()]))?.first().copied().unwrap_or_default();
            let epochs = planned(hours, seconds, epoch);
            self.progress.planned = Some(epochs);
            // Source: Ultralytics, which counts from 0 and ends an epoch later than planned.
            self.progress.finished |= epoch > epochs;
            task.replan(epochs);
        }
        (self.progress.epoch, self.progress.batch) = (epoch, 0);
        self.progress.losses.clear();
        // The last of the epoch's files: whoever goes on from an older state writes the others again, to the same bytes.
        self.save_state(task)?;
        let report = EpochReport {
            epoch,
            epochs: self.epochs(),
            losses: &means,
            metrics: &validation.metrics,
            is_best,
            out_of_patience: (stops && !is_last).then_some(self.progress.stopping.epoch),
            columns: self.results.names(),
            row: self.results.last().unwrap_or_default(),
        };
        callbacks.on_epoch_end(task, &report)?;
        Ok(End::Finished)
    }

    /// What the processes, or the first of them, measure; nothing where they were asked to end.
    fn validate<T: TrainTask>(&self, task: &mut T, callbacks: &mut impl Callbacks<T>) -> Result<Option<Validation>> {
        let (losses, metrics) = (task.val_losses(), task.columns().1);
        let is_shared = task.validates_together();
        let mut measure = || {
            let validated = task.validate(&self.options.stop);
            tell(task, callbacks);
            let found = validated?.map(|found| [vec![found.fitness], found.metrics, found.losses].concat());
            Ok(found.unwrap_or_default())
        };
        let numbers = match is_shared {
            // The first one's, where processors round otherwise.
            true => measure().and_then(|found| self.ranks().numbers(|| Ok(found)))?,
            false => self.ranks().numbers(measure)?,
        };
        let Some((&fitness, measured)) = numbers.split_first() else { return Ok(None) };
        let (found, expected) = (measured.len(), metrics.len() + losses.len());
        ensure!(found == expected, "a validation gave {found} metrics and losses, not {expected}");
        let (metrics, losses) = measured.split_at(metrics.len());
        Ok(Some(Validation { metrics: metrics.to_vec(), losses: losses.to_vec(), fitness }))
    }

    /// Writes the checkpoints and the table of an epoch.
    fn write_epoch<T: TrainTask>(
        &self,
        task: &T,
        callbacks: &mut impl Callbacks<T>,
        epoch: usize,
        is_best: bool,
    ) -> Result<()> {
        let weights = self.folder.join("weights");
        let mut checkpoint = task.checkpoint(epoch)?;
        checkpoint.metadata.train_args = Some(record::without_folders(&self.progress.args)?);
        let (checkpoint, note) = halved(&checkpoint)?;
        note.into_iter().for_each(|note| callbacks.message(&Message::Warning(format!("epoch {epoch}: {note}"))));
        if is_best {
            ghostzoo_weights::write(&weights.join(BEST), &checkpoint)?;
        }
        ghostzoo_weights::write(&weights.join(LAST), &checkpoint)?;
        // Ultralytics counts from 0.
        let number = epoch - 1;
        let period = self.options.save_period;
        if period > 0 && number.is_multiple_of(period) {
            ghostzoo_weights::write(&weights.join(format!("epoch{number}.safetensors")), &checkpoint)?;
        }
        self.write_results()
    }

    fn write_results(&self) -> Result<()> {
        let path = self.folder.join("results.csv");
        ghostzoo_files::write(&path, self.results.text().as_bytes())
            .map_err(io(format!("cannot write {}", path.display())))
    }

    /// The whole run so far.
    pub(super) fn seconds(&self) -> f64 {
        (self.clock)()
    }

    /// Writes the state, whole or not at all, where this is the process that writes.
    pub(super) fn save_state(&mut self, task: &impl TrainTask) -> Result<()> {
        if !self.ranks().is_main() {
            return Ok(());
        }
        let (tensors, counters) = task.state()?;
        self.progress.counters = counters;
        self.progress.seconds = self.seconds();
        state::save(&self.folder.join("weights").join(state::FILE), &self.progress, &tensors)
            .context("the state of the run could not be saved; one that was saved before is whole")
    }
}

/// The epochs of a run of so many hours, by the mean of those that are done in so many seconds.
///
/// Source: Ultralytics 8.4.190's rule.
pub(super) fn planned(hours: f64, seconds: f64, done: usize) -> usize {
    (hours * 3600. / (seconds / done as f64)).ceil() as usize
}

#[cfg(test)]
#[path = "train_loop_tests.rs"]
mod tests;
