//! What a run tells while it goes.

use std::path::Path;

use super::messages::Message;
use super::task::{Step, TrainTask};
use crate::error::Result;

/// What a program does while a run goes; `()` does nothing. An error ends the run: its state is that of the last save.
///
/// ```
/// use ghostzoo::train::{Callbacks, EpochReport, TrainTask};
///
/// struct Print;
///
/// impl<T: TrainTask> Callbacks<T> for Print {
///     fn on_epoch_end(&mut self, _: &T, report: &EpochReport<'_>) -> ghostzoo::Result<()> {
///         println!("epoch {} of {}: {:?}", report.epoch, report.epochs, report.metrics);
///         Ok(())
///     }
/// }
/// ```
#[expect(unused_variables, reason = "the names say what a callback is given")]
pub trait Callbacks<T: TrainTask + ?Sized> {
    /// The run has its folder and its first state.
    ///
    /// # Errors
    /// What ends the run.
    fn on_run_begin(&mut self, task: &T, start: &RunStart<'_>) -> Result<()> {
        Ok(())
    }

    /// An epoch begins, from 1, of so many.
    ///
    /// # Errors
    /// What ends the run.
    fn on_epoch_begin(&mut self, task: &T, epoch: usize, epochs: usize) -> Result<()> {
        Ok(())
    }

    /// A step was made.
    ///
    /// # Errors
    /// What ends the run.
    fn on_step(&mut self, task: &T, report: &StepReport<'_>) -> Result<()> {
        Ok(())
    }

    /// The epoch's steps are made; validation follows, where it is asked for.
    ///
    /// # Errors
    /// What ends the run.
    fn on_steps_end(&mut self, task: &T) -> Result<()> {
        Ok(())
    }

    /// An epoch is over, and its files are written.
    ///
    /// # Errors
    /// What ends the run.
    fn on_epoch_end(&mut self, task: &T, report: &EpochReport<'_>) -> Result<()> {
        Ok(())
    }

    /// A line for whoever trains.
    fn message(&mut self, message: &Message) {}
}

impl<T: TrainTask + ?Sized> Callbacks<T> for () {}

/// Where a run begins or goes on.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct RunStart<'a> {
    /// Its folder.
    pub folder: &'a Path,
    /// Whether no step was made yet.
    pub is_first: bool,
}

/// A step.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct StepReport<'a> {
    /// Its number in the run, from 0.
    pub number: usize,
    /// Its number in the epoch, from 1.
    pub batch: usize,
    /// Steps of the epoch.
    pub batches: usize,
    /// Sums of the losses of the epoch's steps so far.
    pub loss_sums: &'a [f64],
    /// What it gave.
    pub step: &'a Step,
}

/// An epoch.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct EpochReport<'a> {
    /// Its number, from 1.
    pub epoch: usize,
    /// Epochs of the run, as far as it is known.
    pub epochs: usize,
    /// Means of the losses of its steps.
    pub losses: &'a [f64],
    /// What validation measured, NaN where there was none.
    pub metrics: &'a [f64],
    /// Whether it is the best so far.
    pub is_best: bool,
    /// The best epoch so far, where none better came for as long as patience lasts: the run ends.
    pub out_of_patience: Option<usize>,
    /// Names of the columns of `results.csv`.
    pub columns: &'a [String],
    /// The epoch's row of it.
    pub row: &'a [f64],
}
