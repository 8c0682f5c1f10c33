//! How the command ends when something went wrong.

use std::fmt;
use std::process::ExitCode;

use crate::wording;

/// The command line asks for something that does not exist or does not go together: exit code 2.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// An error of the command line.
pub(crate) fn usage(message: impl fmt::Display) -> anyhow::Error {
    Usage(message.to_string()).into()
}

/// Some images failed and were reported when they did; the others are done: exit code 1.
#[derive(Debug)]
pub(crate) struct SomeFailed;

impl fmt::Display for SomeFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("some images failed")
    }
}

impl std::error::Error for SomeFailed {}

/// What a shell reports for a program that Ctrl-C ended.
pub(crate) const INTERRUPTED: u8 = 130;

/// The user ended a long run, which saved what it has: exit code [`INTERRUPTED`].
#[derive(Debug)]
pub(crate) struct Interrupted(pub(crate) String);

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Interrupted {}

/// What a shell reports for a program that SIGPIPE ended.
const STDOUT_CLOSED: u8 = 141;

/// The reader of stdout went away, as `head` does: no error is printed.
#[derive(Debug)]
pub(crate) struct StdoutClosed;

impl fmt::Display for StdoutClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stdout was closed")
    }
}

impl std::error::Error for StdoutClosed {}

/// Prints an error, where it is one, and gives the exit code. `batch` is what the command was told to do at once.
pub(crate) fn report(error: &anyhow::Error, batch: Option<usize>) -> ExitCode {
    if error.is::<StdoutClosed>() {
        return ExitCode::from(STDOUT_CLOSED);
    }
    if error.is::<Interrupted>() {
        status!("note: {error}");
        return ExitCode::from(INTERRUPTED);
    }
    if !error.is::<SomeFailed>() {
        let text = text(error);
        status!("error: {}", out_of_memory(&text, batch).unwrap_or(text));
    }
    ExitCode::from(if is_usage(error) { 2 } else { 1 })
}

/// Whether an error is one of the command line.
fn is_usage(error: &anyhow::Error) -> bool {
    error.is::<Usage>() || error.downcast_ref().is_some_and(ghostzoo::Error::is_request)
}

/// An error and its causes in one line (a checkpoint that does not fit has one more per tensor), without the stack
/// traces that candle puts into its messages, and without causes that the message before them already ends with.
pub(crate) fn text(error: &anyhow::Error) -> String {
    let mut out = String::new();
    for cause in error.chain() {
        let text = without_backtrace(&cause.to_string());
        // The command's own errors have its words.
        let cause = if cause.is::<Usage>() { text } else { wording::of_command(&text) };
        if !out.ends_with(&cause) {
            if !out.is_empty() {
                out.push_str(": ");
            }
            out.push_str(&cause);
        }
    }
    out
}

/// Whether an error's text says that a GPU's memory did not suffice.
pub(crate) fn is_out_of_memory(text: &str) -> bool {
    ["CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED"].iter().any(|code| text.contains(code))
}

/// What to do where a GPU's memory did not suffice, from an error's text.
fn out_of_memory(text: &str, batch: Option<usize>) -> Option<String> {
    is_out_of_memory(text).then(|| match batch {
        Some(batch) if batch > 1 => {
            format!("the GPU's memory does not suffice for --batch {batch}: try --batch {}", batch / 2)
        }
        _ => {
            "the GPU's memory does not suffice, for one image at a time: try smaller images, or --dtype f16".to_owned()
        }
    })
}

/// `message` up to the first line that starts a stack frame, `   0: symbol`.
fn without_backtrace(message: &str) -> String {
    let is_frame = |line: &&str| {
        let line = line.trim_start();
        let digits = line.bytes().take_while(u8::is_ascii_digit).count();
        digits > 0 && line[digits..].starts_with(": ")
    };
    let first = message.lines().next().unwrap_or_default();
    let rest = message.lines().skip(1).take_while(|line| !is_frame(line));
    let lines: Vec<&str> = std::iter::once(first).chain(rest).map(str::trim_end).collect();
    lines.join("\n").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stack_frames_are_cut_and_lists_are_kept() {
        let traced =
            "shape mismatch\n   0: candle_core::error::Error::bt\n             at /src/error.rs:1:2\n   1: main";
        assert_eq!(without_backtrace(traced), "shape mismatch");
        let list = "2 missing, 0 unexpected\n  missing    a.weight\n  missing    b.weight";
        assert_eq!(without_backtrace(list), list);
    }

    #[test]
    fn a_gpu_without_memory_is_told_a_smaller_batch() {
        let error = anyhow::anyhow!("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")\n   0: candle_core::bt");
        let error = error.context("a batch of 64 needs 70000 MB more on the GPU");
        let line = |batch| out_of_memory(&text(&error), batch).expect("it is out of memory");
        assert_eq!(line(Some(64)), "the GPU's memory does not suffice for --batch 64: try --batch 32");
        assert!(line(Some(1)).contains("smaller images") && line(None).contains("smaller images"));
        assert_eq!(out_of_memory("no such file", Some(64)), None);
    }

    #[test]
    fn causes_follow_once_each() {
        let error = anyhow::anyhow!("no such file").context("cannot read a.pt: no such file").context("loading");
        assert_eq!(text(&error), "loading: cannot read a.pt: no such file");
    }
}
