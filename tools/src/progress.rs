//! Progress on stderr.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use ghostzoo_weights::DownloadProgress;

use crate::output::safe;

/// A bar, drawn only where stderr is a terminal and nobody asked for quiet.
pub(crate) struct Bar {
    bar: Option<ProgressBar>,
    hidden: bool,
}

impl Bar {
    pub(crate) fn new(hidden: bool) -> Self {
        Self { bar: None, hidden }
    }
}

impl DownloadProgress for Bar {
    fn start(&mut self, name: &str, total: Option<u64>, done: u64) {
        let target = if self.hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(total, target).with_message(safe(name).into_owned());
        let template = match total {
            Some(_) => "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            None => "{msg} {spinner} {bytes} {bytes_per_sec}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_position(done);
        self.bar = Some(bar);
    }

    fn advance(&mut self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }

    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// How far a long run is: a bar on a terminal, else a line now and then.
pub(crate) struct Count {
    bar: ProgressBar,
    name: &'static str,
    hidden: bool,
    last: Instant,
}

/// Time between lines where stderr is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(30);

impl Count {
    pub(crate) fn new(name: &'static str, hidden: bool) -> Self {
        let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target).with_message(name);
        if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} {per_sec:.1} {eta} {prefix}") {
            bar.set_style(style);
        }
        Self { bar, name, hidden, last: Instant::now() }
    }

    /// `done` of `total` images, and what is known so far.
    pub(crate) fn show(&mut self, done: usize, total: usize, so_far: &str) {
        self.bar.set_length(total as u64);
        self.bar.set_position(done as u64);
        self.bar.set_prefix(so_far.to_owned());
        if !self.hidden && self.bar.is_hidden() && self.last.elapsed() >= BETWEEN_LINES {
            self.last = Instant::now();
            status!("note: {} {done}/{total} {so_far}", self.name);
        }
    }

    pub(crate) fn finish(self) {
        self.bar.finish_and_clear();
    }
}

/// How far a video is: a bar on a terminal, with its frames per second and the time that is left.
pub(crate) struct FrameBar {
    bar: ProgressBar,
    hidden: bool,
}

impl FrameBar {
    pub(crate) fn new(hidden: bool) -> Self {
        Self { bar: ProgressBar::hidden(), hidden }
    }

    /// Frame `number` of `total` of a video.
    pub(crate) fn show(&mut self, label: &str, number: u64, total: u64) {
        if self.hidden {
            return;
        }
        if number <= 1 {
            self.bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let template = "{msg} {bar:30} {pos}/{len} {per_sec:.1} {eta}";
            self.bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
            self.bar.set_message(safe(label).into_owned());
        }
        self.bar.set_length(total.max(number));
        self.bar.set_position(number);
    }

    /// Writes something else, in lines above the bar.
    pub(crate) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }

    pub(crate) fn clear(&mut self) {
        self.bar.finish_and_clear();
        self.bar = ProgressBar::hidden();
    }
}
