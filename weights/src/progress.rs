//! How long work tells what it has done.

/// Hears about downloads.
pub trait DownloadProgress {
    /// A download of `total` bytes (where known) begins or is continued; `done` bytes were there already.
    fn start(&mut self, name: &str, total: Option<u64>, done: u64);
    /// `bytes` more have arrived.
    fn advance(&mut self, bytes: u64);
    /// The download ended, well or not.
    fn finish(&mut self);
    /// Something that a waiting user should know.
    fn message(&mut self, _text: &str) {}
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl DownloadProgress for NoProgress {
    fn start(&mut self, _: &str, _: Option<u64>, _: u64) {}
    fn advance(&mut self, _: u64) {}
    fn finish(&mut self) {}
}
