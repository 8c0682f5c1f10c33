//! What a run shows: a bar within an epoch, a line for each.

use std::time::{Duration, Instant};

use anyhow::Result;
use candle_vision::sysinfo;
use ghostzoo::train::{EpochReport, StepReport};
use indicatif::{FormattedDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Stdout;

/// Who reads the run's progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputMode {
    /// Someone at a terminal.
    Human,
    /// A program: rows of JSON on stdout.
    Json,
    /// Nobody.
    Quiet,
}

/// A run on the terminal.
pub(crate) struct ProgressDisplay {
    reader: OutputMode,
    bar: ProgressBar,
    losses: &'static [&'static str],
    epoch: [usize; 2],
    start: Instant,
    /// When the process took the run up, and after how many epochs.
    taken_up: Option<(Instant, f64)>,
    images: usize,
    waited: Duration,
    has_header: bool,
}

impl ProgressDisplay {
    pub(crate) fn new(reader: OutputMode) -> Self {
        Self {
            reader,
            bar: ProgressBar::hidden(),
            losses: &[],
            epoch: [0; 2],
            start: Instant::now(),
            taken_up: None,
            images: 0,
            waited: Duration::ZERO,
            has_header: false,
        }
    }

    /// An epoch, from 1, of so many.
    pub(crate) fn begin(&mut self, epoch: usize, epochs: usize, losses: &'static [&'static str]) {
        let target =
            if self.reader == OutputMode::Human { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        self.bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:20} {pos}/{len} {msg}") {
            self.bar.set_style(style);
        }
        self.bar.set_prefix(format!("{epoch}/{epochs}"));
        (self.losses, self.epoch, self.start) = (losses, [epoch, epochs], Instant::now());
        (self.images, self.waited) = (0, Duration::ZERO);
    }

    /// A step.
    pub(crate) fn step(&mut self, report: &StepReport<'_>) {
        let StepReport { batch, batches, loss_sums: sums, step, .. } = *report;
        self.images += step.images;
        self.waited += step.waited;
        self.bar.set_length(batches as u64);
        self.bar.set_position(batch as u64);
        let losses = self.losses.iter().zip(sums).map(|(name, sum)| format!("{name} {:.4}", sum / batch as f64));
        let memory = sysinfo::resident().map_or_else(String::new, |bytes| format!(", {:.2} GB", bytes as f64 / 1e9));
        let losses = losses.collect::<Vec<_>>().join(" ");
        let left = self.left(batch as f64 / batches.max(1) as f64);
        let left = left.map_or_else(String::new, |left| format!(", {} left", FormattedDuration(left)));
        self.bar.set_message(format!("{losses}, {:.1} images/s{memory}{left}", self.rate()));
    }

    /// What is left of the run, after this share of the epoch: as long as what was done, in proportion.
    fn left(&mut self, share: f64) -> Option<Duration> {
        let [epoch, epochs] = self.epoch.map(|epoch| epoch as f64);
        let done = epoch - 1. + share;
        let (since, before) = *self.taken_up.get_or_insert((Instant::now(), done));
        let remaining = since.elapsed().as_secs_f64() * (epochs - done) / (done - before);
        // Whole seconds; none behind the first step.
        Duration::try_from_secs_f64(remaining.round()).ok()
    }

    /// Images per second of this epoch.
    fn rate(&self) -> f64 {
        self.images as f64 / self.start.elapsed().as_secs_f64().max(1e-9)
    }

    /// Ends the bar of the steps: what follows is validation.
    pub(crate) fn trained(&mut self) -> [f64; 2] {
        self.bar.finish_and_clear();
        let elapsed = self.start.elapsed().as_secs_f64().max(1e-9);
        [self.rate(), self.waited.as_secs_f64() / elapsed]
    }

    /// An epoch's line, whose metrics have these names.
    pub(crate) fn end(&mut self, [rate, waiting]: [f64; 2], report: &EpochReport<'_>, metrics: &[&str]) -> Result<()> {
        if self.reader != OutputMode::Human {
            return Ok(());
        }
        let mut out = Stdout::beside_the_work();
        if !self.has_header {
            let names = self.losses.iter().chain(metrics).map(|name| format!("{:>1$}", short(name), width(name)));
            out.line(&format!(
                "{:>9}{}{:>10}{:>8}{:>9}",
                "epoch",
                names.collect::<String>(),
                "images/s",
                "wait %",
                "memory"
            ))?;
            self.has_header = true;
        }
        let [epoch, epochs] = self.epoch;
        let number = |(name, value): (&&str, &f64)| match value.is_nan() {
            true => format!("{:>1$}", "-", width(name)),
            false => format!("{value:>0$.4}", width(name)),
        };
        let values = self.losses.iter().chain(metrics).zip(report.losses.iter().chain(report.metrics));
        let values = values.map(number).collect::<String>();
        let memory = sysinfo::resident().map_or_else(|| "-".to_owned(), |bytes| format!("{:.2}GB", bytes as f64 / 1e9));
        let best = if report.is_best { " best" } else { "" };
        let place = format!("{epoch}/{epochs}");
        out.line(&format!("{place:>9}{values}{rate:>10.1}{:>8.1}{memory:>9}{best}", 100. * waiting))
    }
}

/// Characters that a column takes, with the space before it.
fn width(name: &str) -> usize {
    (short(name).len() + 1).max(11)
}

/// A column's name without what all of its kind have.
fn short(name: &str) -> &str {
    let name = name.strip_suffix("(B)").unwrap_or(name);
    name.strip_prefix("accuracy_").unwrap_or(name)
}
