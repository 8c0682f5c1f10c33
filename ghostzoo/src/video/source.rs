use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::bell::{Bell, lock};
use super::error::VideoError;
use super::feed::Feed;
use super::frame::{Frame, VideoInfo};
use super::input::VideoInput;
use super::options::VideoOptions;
use super::program;
use super::state::Shared;

/// How long who waits for a frame sleeps before it looks at the clock and the stop flag.
const NAP: Duration = Duration::from_millis(50);
/// How long the thread may take to notice that its program was killed.
const GRACE: Duration = Duration::from_secs(2);

/// The frames of a video, a camera or a stream, in their order.
///
/// A file's are decoded a little ahead. A live source is read whether its frames are taken or not, and gives the newest; where it
/// breaks off it is opened again, which [`FrameSource::take_notes`] tells. An error is the last item. Dropped, it ends ffmpeg.
#[derive(Debug)]
pub struct FrameSource {
    input: VideoInput,
    options: VideoOptions,
    shared: Arc<Shared>,
    is_over: bool,
    /// When the program of a source that stalled was killed.
    killed: Option<Instant>,
    given: u64,
}

impl FrameSource {
    /// Opens a source, and waits until its size is known.
    ///
    /// # Errors
    /// Where there is no ffmpeg, no such file, camera or address, no video in it, or nothing comes within the time-out.
    pub fn open(input: &VideoInput, options: &VideoOptions) -> Result<Self, VideoError> {
        let mut source = Self::start(input, options)?;
        loop {
            let seen = source.shared.bell.count();
            let state = lock(&source.shared.state);
            if state.info.is_some() {
                break;
            }
            if let Some(Err(error)) = &state.end {
                return Err(error.clone());
            }
            if state.end.is_some() || options.stop.is_set() {
                break;
            }
            drop(state);
            source.watch();
            source.shared.bell.wait(seen, NAP);
        }
        Ok(source)
    }

    /// Opens a source without waiting for it: its first frame, or its first error, tells whether that succeeded.
    ///
    /// # Errors
    /// Where there is no such file, or no thread.
    pub fn start(input: &VideoInput, options: &VideoOptions) -> Result<Self, VideoError> {
        Self::start_with(input, options, Arc::default())
    }

    /// [`FrameSource::start`] with what wakes the caller.
    pub(super) fn start_with(input: &VideoInput, options: &VideoOptions, bell: Arc<Bell>) -> Result<Self, VideoError> {
        if let VideoInput::File(path) = input {
            match std::fs::metadata(path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(VideoError::NoFile),
                Err(error) => return Err(VideoError::NotAVideo { reason: error.to_string() }),
                Ok(metadata) if !metadata.is_file() => return Err(VideoError::NotAFile),
                Ok(_) => {}
            }
        }
        let shared = Arc::new(Shared::new(bell));
        let feed =
            Feed { input: input.clone(), options: options.clone(), shared: shared.clone(), opened: Instant::now() };
        program::spawn("video", move || feed.run())?;
        let (input, options) = (input.clone(), options.clone());
        Ok(Self { input, options, shared, is_over: false, killed: None, given: 0 })
    }

    /// What the source is, as soon as that is known.
    #[must_use]
    pub fn info(&self) -> Option<VideoInfo> {
        lock(&self.shared.state).info.clone()
    }

    /// What to call it in output; of an address without name and password.
    #[must_use]
    pub fn name(&self) -> String {
        self.input.name()
    }

    /// Frames of a live source that came and were never given, as newer ones came before they were taken.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        lock(&self.shared.state).skipped
    }

    /// What happened since this was last asked that is no error: a stream that broke off and is tried again.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut lock(&self.shared.state).notes)
    }

    /// The next frame if it is here, without waiting; `Ready(None)` at the end.
    pub fn poll(&mut self) -> Poll<Option<Result<Frame, VideoError>>> {
        let is_enough = self.options.max_frames.is_some_and(|most| self.given >= most);
        if self.is_over || is_enough || self.options.stop.is_set() {
            self.close();
            return Poll::Ready(None);
        }
        let mut state = lock(&self.shared.state);
        if let Some(mut frame) = state.frames.pop_front() {
            drop(state);
            self.shared.bell.ring();
            frame.index = self.given;
            self.given += 1;
            return Poll::Ready(Some(Ok(frame)));
        }
        let end = state.end.take();
        drop(state);
        match end {
            Some(end) => {
                self.close();
                Poll::Ready(end.err().map(Err))
            }
            None => {
                self.watch();
                Poll::Pending
            }
        }
    }

    /// Kills the program of a source from which nothing comes; where even that does not end it, the source is given up.
    fn watch(&mut self) {
        let mut state = lock(&self.shared.state);
        if state.end.is_some() || (state.stalled && self.killed.is_none_or(|killed| killed.elapsed() < GRACE)) {
            return;
        }
        if state.stalled {
            state.end = Some(Err(self.options.stalled(&self.input, state.came)));
            state.stopped = true;
        } else if state.progress.elapsed() > self.options.patience(&self.input) {
            state.stalled = true;
            state.process.iter_mut().for_each(program::Process::kill);
            self.killed = Some(Instant::now());
        }
        drop(state);
        self.shared.bell.ring();
    }

    /// Lets the thread and its program end.
    fn close(&mut self) {
        self.is_over = true;
        let mut state = lock(&self.shared.state);
        state.stopped = true;
        state.frames.clear();
        let process = state.process.take();
        drop(state);
        drop(process);
        self.shared.bell.ring();
    }
}

impl Iterator for FrameSource {
    type Item = Result<Frame, VideoError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let seen = self.shared.bell.count();
            match self.poll() {
                Poll::Ready(frame) => return frame,
                Poll::Pending => self.shared.bell.wait(seen, NAP),
            }
        }
    }
}

impl Drop for FrameSource {
    fn drop(&mut self) {
        self.close();
    }
}
