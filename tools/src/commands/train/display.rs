//! A run as it is shown and drawn.

use anyhow::Result;
use candle_vision::image;
use ghostzoo::Error;
use ghostzoo::train::{Callbacks, EpochReport, FitOptions, Message, RunStart, StepReport, TrainTask};
use serde_json::{Map, Value, json};

use super::args_yaml;
use super::progress::{OutputMode, ProgressDisplay};
use super::run::{Files, Training, print, reader};
use crate::cli::GlobalArgs;
use crate::files;
use crate::interrupt;
use crate::output::Stdout;

/// What the command does while a run goes.
pub(super) struct RunDisplay<'a, T: Training> {
    drawn: &'a T,
    /// Names and texts of files that tell the parts of the data.
    files: Files,
    options: &'a FitOptions,
    plots: bool,
    quiet: bool,
    reader: OutputMode,
    shown: ProgressDisplay,
    /// Images per second of the epoch, and the share of its time that was spent waiting for them.
    pace: [f64; 2],
}

impl<'a, T: Training> RunDisplay<'a, T> {
    pub(super) fn new(
        drawn: &'a T,
        args: &T::Args,
        files: Files,
        options: &'a FitOptions,
        global: &GlobalArgs,
    ) -> Self {
        let run = T::run_args(args);
        let reader = reader(run, global);
        let shown = ProgressDisplay::new(reader);
        Self { drawn, files, options, plots: run.plots, quiet: global.quiet, reader, shown, pace: [0.; 2] }
    }

    fn begin(&self, task: &T::Task, start: &RunStart<'_>) -> Result<()> {
        interrupt::listen(&self.options.stop, "finishing the step, then saving");
        if self.plots
            && start.is_first
            && let Some(labels) = self.drawn.draw_labels(task)?
        {
            image::save(&labels, &start.folder.join("labels.jpg"))?;
        }
        let record = self.options.record.as_ref().unwrap_or(&Value::Null);
        let text = args_yaml::text(T::Task::NAME, record)?;
        files::write(&start.folder.join("args.yaml"), text.as_bytes())?;
        self.files.iter().try_for_each(|(name, text)| files::write(&start.folder.join(name), text.as_bytes()))
    }

    fn step(&mut self, task: &T::Task, report: &StepReport<'_>) -> Result<()> {
        self.shown.step(report);
        if self.plots && drawn_steps(report.batches, self.drawn.closes_at()).contains(&report.number) {
            let path = self.options.folder.join(format!("train_batch{}.jpg", report.number));
            image::save(&self.drawn.draw_batch(task)?, &path)?;
        }
        Ok(())
    }

    fn end(&mut self, task: &T::Task, report: &EpochReport<'_>) -> Result<()> {
        self.shown.end(self.pace, report, task.columns().1)?;
        if self.reader == OutputMode::Json {
            Stdout::beside_the_work().json(&json_row(report))?;
        }
        if let (Some(best), OutputMode::Human) = (report.out_of_patience, self.reader) {
            status!(
                "note: no better epoch than {best} in {} epochs: the run ends; --patience 0 goes on to the last",
                self.options.patience
            );
        }
        Ok(())
    }
}

impl<T: Training> Callbacks<T::Task> for RunDisplay<'_, T> {
    fn on_run_begin(&mut self, task: &T::Task, start: &RunStart<'_>) -> Result<(), Error> {
        self.begin(task, start).map_err(callback)
    }

    fn on_epoch_begin(&mut self, task: &T::Task, epoch: usize, epochs: usize) -> Result<(), Error> {
        self.shown.begin(epoch, epochs, task.columns().0);
        Ok(())
    }

    fn on_step(&mut self, task: &T::Task, report: &StepReport<'_>) -> Result<(), Error> {
        self.step(task, report).map_err(callback)
    }

    fn on_steps_end(&mut self, _: &T::Task) -> Result<(), Error> {
        self.pace = self.shown.trained();
        Ok(())
    }

    fn on_epoch_end(&mut self, task: &T::Task, report: &EpochReport<'_>) -> Result<(), Error> {
        self.end(task, report).map_err(callback)
    }

    fn message(&mut self, message: &Message) {
        print(message, self.quiet);
    }
}

/// The command's error as the library passes it on.
pub(super) fn callback(error: anyhow::Error) -> Error {
    Error::Callback(error.into())
}

/// The steps, counted over all epochs from 0, whose batches are drawn: the first three of the run, and of the epoch from
/// which on images are prepared in another way.
fn drawn_steps(batches: usize, closes_at: Option<usize>) -> Vec<usize> {
    std::iter::once(0).chain(closes_at.map(|epoch| epoch * batches)).flat_map(|first| first..first + 3).collect()
}

/// One epoch's row for programs.
fn json_row(report: &EpochReport<'_>) -> Value {
    let number = |value: &f64| if value.is_finite() { json!(value) } else { Value::Null };
    let value = |name: &str, value: &f64| if name == "epoch" { json!(*value as u64) } else { number(value) };
    let pairs = report.columns.iter().zip(report.row).map(|(name, number)| (name.clone(), value(name, number)));
    Value::Object(pairs.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Measured by `tests/oracle/train_run.py`.
    #[test]
    fn batches_are_drawn_by_steps_from_0() -> Result<()> {
        let golden: Value = serde_json::from_str(include_str!("../../../../tests/golden/train/run.json"))?;
        let files = &golden["files"];
        let name = |step: usize, steps: usize| (step < steps).then(|| format!("train_batch{step}.jpg"));
        let drawn = |batches: usize, epochs: usize, close: usize| {
            let closes_at = epochs.checked_sub(close).filter(|_| close > 0);
            let mut names: Vec<String> =
                drawn_steps(batches, closes_at).into_iter().filter_map(|step| name(step, batches * epochs)).collect();
            names.sort();
            names.dedup();
            names
        };
        let all = files["names"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let mut expected: Vec<&str> = all.filter(|name| name.contains("train_batch")).collect();
        expected.sort_unstable();
        assert_eq!((drawn(3, 4, 2), expected.len()), (expected.iter().map(|name| (*name).to_owned()).collect(), 6));
        assert_eq!(json!(drawn(1, 3, 1)), files["one_step_an_epoch_three_epochs_the_last_closed"]);
        assert_eq!(json!(drawn(3, 1, 10)), files["one_epoch_close_mosaic_10"]);
        Ok(())
    }
}
