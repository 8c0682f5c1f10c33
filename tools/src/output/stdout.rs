//! Lines on stdout.

use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use serde::Serialize;

use super::safe;
use crate::error::StdoutClosed;

/// Stdout, flushed after each piece of output. A reader that goes away ends the command quietly, or nothing but the output
/// where that is not what the command is for.
pub(crate) struct Stdout {
    out: BufWriter<StdoutLock<'static>>,
    is_beside_the_work: bool,
}

/// Whether it was said that output is lost.
static SAID: AtomicBool = AtomicBool::new(false);

impl Stdout {
    pub(crate) fn new() -> Self {
        Self { out: BufWriter::new(io::stdout().lock()), is_beside_the_work: false }
    }

    /// For work that goes on when its output cannot be written: that is said once.
    pub(crate) fn beside_the_work() -> Self {
        Self { is_beside_the_work: true, ..Self::new() }
    }

    /// Writes `text` for people, what would steer a terminal escaped, and a line feed.
    pub(crate) fn line(&mut self, text: &str) -> Result<()> {
        self.text(&format!("{}\n", safe(text)))
    }

    /// Writes a value as one line of JSON. All control characters are escaped, as a terminal may show it too.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_string(value)?;
        // Those below a blank are escaped already; these, which JSON lets stand, are within strings only.
        if text.contains(char::is_control) {
            let escape = |given: char| match given.is_control() {
                true => format!("\\u{:04x}", u32::from(given)),
                false => given.to_string(),
            };
            text = text.chars().map(escape).collect();
        }
        text.push('\n');
        self.text(&text)
    }

    /// Writes `text` as it is.
    pub(crate) fn text(&mut self, text: &str) -> Result<()> {
        match self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()) {
            Err(error) if self.is_beside_the_work => {
                if !SAID.swap(true, Ordering::Relaxed) {
                    status!("note: cannot write to stdout ({error}): the work goes on without");
                }
                // What is left in the buffer would be tried again.
                self.out = BufWriter::new(io::stdout().lock());
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(StdoutClosed.into()),
            done => done.context("cannot write to stdout"),
        }
    }
}
