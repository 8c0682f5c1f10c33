use std::time::Duration;

use candle_vision::image::MAX_PIXELS;

use super::error::VideoError;
use super::input::VideoInput;

use crate::train::StopFlag;

/// What of a source is read, and how.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct VideoOptions {
    /// Of so many frames the last is given.
    pub vid_stride: u32,
    /// Most frames that are given.
    pub max_frames: Option<u64>,
    /// Where to begin, in seconds.
    pub start: Option<f64>,
    /// Where to end, in seconds from the source's beginning.
    pub end: Option<f64>,
    /// Whether a live source keeps the frames that nobody has taken yet, thirty of them, instead of the newest alone.
    pub stream_buffer: bool,
    /// How long nothing may come while a frame is waited for.
    pub timeout: Duration,
    /// How often a live source that broke off is tried again, one try after another without a frame.
    pub reconnects: u32,
    /// The time before the first such try; it doubles with each, up to ten seconds.
    pub reconnect_delay: Duration,
    /// Most pixels of a frame.
    pub max_pixels: u64,
    /// Ends the source from another thread: no frame follows.
    pub stop: StopFlag,
}

impl Default for VideoOptions {
    fn default() -> Self {
        Self {
            vid_stride: 1,
            max_frames: None,
            start: None,
            end: None,
            stream_buffer: false,
            timeout: Duration::from_secs(20),
            reconnects: 5,
            reconnect_delay: Duration::from_millis(500),
            max_pixels: MAX_PIXELS,
            stop: StopFlag::new(),
        }
    }
}

impl VideoOptions {
    /// All frames, from the beginning to the end; the newest of live sources, which are tried again five times.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether not all frames are asked for, so that there may be none.
    pub(super) fn is_part(&self) -> bool {
        self.vid_stride > 1 || self.start.is_some()
    }

    /// Of so many frames the last is given, as Ultralytics 8.4.190 does it: frames 2, 5, 8, … (from 0) at 3. 0 is 1.
    #[must_use]
    pub fn vid_stride(mut self, vid_stride: u32) -> Self {
        self.vid_stride = vid_stride.max(1);
        self
    }

    /// Most frames that are given; all with `None`.
    #[must_use]
    pub fn max_frames(mut self, max_frames: impl Into<Option<u64>>) -> Self {
        self.max_frames = max_frames.into();
        self
    }

    /// Where to begin, in seconds from the source's beginning.
    #[must_use]
    pub fn start(mut self, start: impl Into<Option<f64>>) -> Self {
        self.start = start.into();
        self
    }

    /// Where to end, in seconds from the source's beginning.
    #[must_use]
    pub fn end(mut self, end: impl Into<Option<f64>>) -> Self {
        self.end = end.into();
        self
    }

    /// Whether a live source keeps the frames that nobody has taken yet, instead of the newest alone.
    #[must_use]
    pub fn stream_buffer(mut self, stream_buffer: bool) -> Self {
        self.stream_buffer = stream_buffer;
        self
    }

    /// How long nothing may come while a frame is waited for. A file gets three times as long, and a second more for each
    /// frame of a stride.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How often a live source that broke off is tried again, and the time before the first try.
    #[must_use]
    pub fn reconnects(mut self, reconnects: u32, delay: Duration) -> Self {
        (self.reconnects, self.reconnect_delay) = (reconnects, delay);
        self
    }

    /// Most pixels of a frame; a larger one is refused before it takes memory.
    #[must_use]
    pub fn max_pixels(mut self, max_pixels: u64) -> Self {
        self.max_pixels = max_pixels;
        self
    }

    /// A flag that ends the source from another thread.
    #[must_use]
    pub fn stop(mut self, stop: StopFlag) -> Self {
        self.stop = stop;
        self
    }

    /// How long nothing may come of an input.
    pub(super) fn patience(&self, input: &VideoInput) -> Duration {
        match input {
            VideoInput::File(_) => 3 * self.timeout + Duration::from_secs(u64::from(self.vid_stride.max(1)) - 1),
            _ => self.timeout,
        }
    }

    /// The error of an input of which nothing came for that long.
    pub(super) fn stalled(&self, input: &VideoInput, frames: u64) -> VideoError {
        VideoError::Stalled { seconds: self.patience(input).as_secs_f64().ceil() as u64, frames }
    }
}
