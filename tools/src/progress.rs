//! A download's bar on stderr.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use ghostzoo_weights::Progress;

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

impl Progress for Bar {
    fn start(&mut self, name: &str, total: Option<u64>, done: u64) {
        let target = if self.hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(total, target).with_message(name.to_owned());
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
