//! The loop over epochs: steps, validation, files.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use candle_core::Tensor;
use candle_vision::image::{self, RgbImage};
use ghostzoo_weights::Checkpoint;
use serde_json::{Map, Value, json};

use super::half::halved;
use super::interrupt::Interrupt;
use super::place;
use super::progress::{OutputMode, ProgressDisplay};
use super::results::Results;
use super::state::{self, Progress};
use crate::cli::RunArgs;
use crate::files;
use crate::output::Stdout;

/// The newest weights, and those of the best epoch.
pub(crate) const LAST: &str = "last.safetensors";
pub(crate) const BEST: &str = "best.safetensors";
/// Time between states within an epoch.
const BETWEEN_STATES: Duration = Duration::from_secs(600);

/// What is trained.
pub(crate) trait Task {
    /// The option that sets the learning rate.
    const RATE: &'static str;
    /// Whether the best of equal epochs is the last, as Ultralytics has it, or the first, as timm has it.
    const LAST_OF_EQUALS: bool;
    /// Names of the losses, in the order of [`Step::losses`], and of the metrics, of [`Validation::metrics`].
    fn columns(&self) -> (&'static [&'static str], &'static [&'static str]);
    /// Steps of an epoch.
    fn batches(&self) -> usize;
    /// Prepares the batches of an epoch from one of them on.
    fn begin(&mut self, epoch: usize, batch: usize) -> Result<()>;
    /// Learns from the next batch.
    fn step(&mut self) -> Result<Step>;
    /// Takes up another number of epochs, of which the rates of those to come follow.
    fn replan(&mut self, epochs: usize);
    /// The epoch, from 0, from which on images are prepared in another way, where there is one.
    fn closes_at(&self) -> Option<usize>;
    /// The labels of the data at a glance, where there is something to draw.
    fn draw_labels(&self) -> Result<Option<RgbImage>>;
    /// The batch of the last step with what is known about it.
    fn draw_batch(&self) -> Result<RgbImage>;
    /// Learning rates by group.
    fn rates(&self) -> Vec<f64>;
    /// Measures the averaged weights. Asked to end, it does so after a batch, with nothing.
    fn validate(&mut self, interrupt: &Interrupt) -> Result<Option<Validation>>;
    /// The averaged weights after so many epochs, in f32.
    fn checkpoint(&self, epochs: usize) -> Result<Checkpoint>;
    /// All that decides the next step: tensors, and counters.
    fn state(&self) -> Result<(BTreeMap<String, Tensor>, Value)>;
    /// Restores [`Task::state`].
    fn load_state(&mut self, tensors: &BTreeMap<String, Tensor>, counters: &Value) -> Result<()>;
    /// Measures the best weights as they were written, prints what comes of it and draws it into the run's folder.
    fn show(&self, best: &Path, folder: &Path, reader: OutputMode, plots: bool) -> Result<()>;
}

/// What a step gave.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// Per image.
    pub(crate) losses: Vec<f64>,
    /// How many images.
    pub(crate) images: usize,
    /// Whether the weights moved; else the gradients are kept for a later step.
    pub(crate) moved: bool,
    /// Time spent waiting for them.
    pub(crate) waited: Duration,
}

/// What a validation gave.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Validation {
    pub(crate) metrics: Vec<f64>,
    /// As many as a step has.
    pub(crate) losses: Vec<f64>,
    /// What the best epoch has most of.
    pub(crate) fitness: f64,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// All epochs, or enough of them, or all of the time.
    Finished,
    /// Ctrl-C; the state is saved.
    Interrupted,
}

/// The columns of `results.csv` behind epoch and time.
pub(crate) fn columns<T: Task>(task: &T, groups: usize) -> impl Iterator<Item = String> {
    let (losses, metrics) = task.columns();
    let of =
        |kind: &'static str, names: &'static [&'static str]| names.iter().map(move |name| format!("{kind}/{name}"));
    let rates = (0..groups).map(|group| format!("lr/pg{group}"));
    of("train", losses).chain(of("metrics", metrics)).chain(of("val", losses)).chain(rates)
}

/// A run in its folder.
pub(crate) struct TrainLoop<'a> {
    pub(crate) args: &'a RunArgs,
    /// Hours after which it ends.
    pub(crate) hours: Option<f64>,
    pub(crate) folder: &'a Path,
    pub(crate) progress: Progress,
    pub(crate) results: Results,
    pub(crate) interrupt: Interrupt,
    pub(crate) shown: ProgressDisplay,
    /// Seconds spent on the run so far, by all processes.
    pub(crate) clock: Box<dyn Fn() -> f64 + 'a>,
}

impl TrainLoop<'_> {
    /// Takes the folder over. What an older run left in it goes once this run's state is whole, and not before; a run that is
    /// still at its first step, having been killed there, does so again.
    pub(crate) fn take_over(&mut self, task: &impl Task) -> Result<()> {
        place::sweep(self.folder)?;
        self.save_state(task)?;
        if (self.progress.epoch, self.progress.batch) == (0, 0) {
            place::clear(self.folder)?;
            if let (true, Some(labels)) = (self.args.plots, task.draw_labels()?) {
                image::save(&labels, &self.folder.join("labels.jpg"))?;
            }
        } else {
            files::write(&self.folder.join("results.csv"), self.results.text().as_bytes())?;
        }
        Ok(())
    }

    /// Runs to the end, or to Ctrl-C.
    pub(crate) fn run<T: Task>(&mut self, task: &mut T) -> Result<End> {
        while self.progress.epoch < self.epochs() && !self.progress.finished {
            if self.epoch(task)? == End::Interrupted {
                return Ok(End::Interrupted);
            }
        }
        Ok(End::Finished)
    }

    /// Epochs of the whole run, as far as it is known.
    fn epochs(&self) -> usize {
        self.progress.planned.unwrap_or(self.args.epochs)
    }

    /// Whether the run's time is over.
    fn is_late(&self) -> bool {
        self.hours.is_some_and(|hours| self.seconds() > hours * 3600.)
    }

    fn epoch<T: Task>(&mut self, task: &mut T) -> Result<End> {
        let (epoch, batches) = (self.progress.epoch, task.batches());
        let drawn = drawn_steps(batches, task.closes_at());
        let mut since_state = Instant::now();
        task.begin(epoch, self.progress.batch)?;
        self.shown.begin(epoch + 1, self.epochs(), task.columns().0);
        while self.progress.batch < batches {
            let step = task.step()?;
            let batch = self.progress.batch;
            if let Some(loss) = step.losses.iter().find(|loss| !loss.is_finite()) {
                bail!(
                    "the loss became {loss} in epoch {}, step {}: begin again with a lower {} or a longer --warmup-epochs",
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
            self.shown.step(self.progress.batch, batches, &self.progress.losses, &step);
            let number = epoch * batches + batch;
            if self.args.plots && drawn.contains(&number) {
                let path = self.folder.join(format!("train_batch{number}.jpg"));
                image::save(&task.draw_batch()?, &path)?;
            }
            let asked = self.interrupt.asked();
            if asked || since_state.elapsed() > BETWEEN_STATES {
                self.save_state(task)?;
                since_state = Instant::now();
            }
            if asked {
                return Ok(End::Interrupted);
            }
            if step.moved && self.is_late() {
                break;
            }
        }
        if self.end_epoch(task)? == End::Interrupted {
            return Ok(End::Interrupted);
        }
        let is_asked = self.interrupt.asked() && !self.progress.finished;
        Ok(if is_asked { End::Interrupted } else { End::Finished })
    }

    /// Measures and writes what the epoch's steps came to. Interrupted, it has written the state before the validation, which
    /// whoever goes on begins again.
    fn end_epoch<T: Task>(&mut self, task: &mut T) -> Result<End> {
        let epoch = self.progress.epoch + 1;
        let pace = self.shown.trained();
        let (losses, metrics) = task.columns();
        let mean = |sum: &f64| sum / self.progress.batch.max(1) as f64;
        let means: Vec<f64> = self.progress.losses.iter().map(mean).collect();
        let is_last = epoch >= self.epochs() || self.is_late();
        let mut validation = None;
        if self.args.val || is_last {
            self.save_state(task)?;
            validation = task.validate(&self.interrupt)?;
            if validation.is_none() {
                return Ok(End::Interrupted);
            }
        }
        let fitness = validation.as_ref().map(|validation| validation.fitness);
        let stops = fitness.is_some_and(|fitness| self.progress.stopping.stops(epoch, fitness, self.args.patience));
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
        self.results.push(epoch, self.seconds(), &values);
        let weights = self.folder.join("weights");
        let (checkpoint, note) = halved(&task.checkpoint(epoch)?)?;
        note.iter().for_each(|note| status!("note: epoch {epoch}: {note}"));
        if is_best {
            ghostzoo_weights::write(&weights.join(BEST), &checkpoint)?;
        }
        ghostzoo_weights::write(&weights.join(LAST), &checkpoint)?;
        // Ultralytics counts from 0.
        let number = epoch - 1;
        if usize::try_from(self.args.save_period).is_ok_and(|period| period > 0 && number.is_multiple_of(period)) {
            ghostzoo_weights::write(&weights.join(format!("epoch{number}.safetensors")), &checkpoint)?;
        }
        files::write(&self.folder.join("results.csv"), self.results.text().as_bytes())?;
        self.progress.results = self.results.text();
        self.progress.finished = stops || is_last || self.is_late();
        if let Some(hours) = self.hours {
            let epochs = planned(hours, self.seconds(), epoch);
            self.progress.planned = Some(epochs);
            // Source: Ultralytics, which ends an epoch later than planned.
            self.progress.finished |= number >= epochs;
            task.replan(epochs);
        }
        (self.progress.epoch, self.progress.batch) = (epoch, 0);
        self.progress.losses.clear();
        // The last of the epoch's files: whoever goes on from an older state writes the others again, to the same bytes.
        self.save_state(task)?;
        self.shown.end(pace, &means, &validation, metrics, is_best)?;
        if self.shown.reader() == OutputMode::Json {
            Stdout::beside_the_work().json(&json_row(&self.results))?;
        }
        if stops && !is_last && self.shown.reader() == OutputMode::Human {
            status!(
                "note: no better epoch than {} in {} epochs: the run ends; --patience 0 goes on to the last",
                self.progress.stopping.epoch,
                self.args.patience
            );
        }
        Ok(End::Finished)
    }

    /// The whole run so far.
    pub(crate) fn seconds(&self) -> f64 {
        (self.clock)()
    }

    /// Writes the state, whole or not at all.
    pub(crate) fn save_state(&mut self, task: &impl Task) -> Result<()> {
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
pub(crate) fn planned(hours: f64, seconds: f64, done: usize) -> usize {
    (hours * 3600. / (seconds / done as f64)).ceil() as usize
}

/// The steps, counted over all epochs from 0, whose batches are drawn: the first three of the run, and of the epoch from
/// which on images are prepared in another way.
fn drawn_steps(batches: usize, closes_at: Option<usize>) -> Vec<usize> {
    std::iter::once(0).chain(closes_at.map(|epoch| epoch * batches)).flat_map(|first| first..first + 3).collect()
}

/// One epoch's row for programs.
fn json_row(results: &Results) -> Value {
    let row = results.last().unwrap_or_default();
    let number = |value: &f64| if value.is_finite() { json!(value) } else { Value::Null };
    let value = |name: &str, value: &f64| if name == "epoch" { json!(*value as u64) } else { number(value) };
    let pairs = results.names().iter().zip(row).map(|(name, number)| (name.clone(), value(name, number)));
    Value::Object(pairs.collect::<Map<_, _>>())
}

#[cfg(test)]
#[path = "train_loop_tests.rs"]
mod tests;
