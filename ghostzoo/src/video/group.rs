use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::bell::Bell;
use super::error::VideoError;
use super::frame::{Frame, VideoInfo};
use super::input::VideoInput;
use super::options::VideoOptions;
use super::source::FrameSource;

/// How long a round waits before it looks at the clock and the stop flag.
const NAP: Duration = Duration::from_millis(50);

/// What came of a source in a round.
#[derive(Debug)]
#[non_exhaustive]
pub enum SourceEvent {
    /// A frame.
    Frame(Frame),
    /// It ended, whole or with an error. Nothing follows.
    End(Result<(), VideoError>),
    /// What happened that is no error.
    Note(String),
}

/// Several sources read side by side, such as the cameras of a building. None waits for another.
#[derive(Debug)]
pub struct FrameSources {
    slots: Vec<Slot>,
    bell: Arc<Bell>,
    options: VideoOptions,
}

#[derive(Debug)]
enum Slot {
    Open(FrameSource),
    Refused(VideoError),
    Over,
}

impl FrameSources {
    /// Opens sources without waiting for them. One that cannot be opened ends in the first round.
    #[must_use]
    pub fn start(inputs: &[VideoInput], options: &VideoOptions) -> Self {
        let bell: Arc<Bell> = Arc::default();
        let slot = |input| match FrameSource::start_with(input, options, bell.clone()) {
            Ok(source) => Slot::Open(source),
            Err(error) => Slot::Refused(error),
        };
        let slots = inputs.iter().map(slot).collect();
        Self { slots, bell, options: options.clone() }
    }

    /// What a source is, as soon as that is known, by its place among the inputs.
    #[must_use]
    pub fn info(&self, number: usize) -> Option<VideoInfo> {
        match self.slots.get(number)? {
            Slot::Open(source) => source.info(),
            _ => None,
        }
    }

    /// Frames of a live source that were never given; none where it is over.
    #[must_use]
    pub fn skipped(&self, number: usize) -> u64 {
        match self.slots.get(number) {
            Some(Slot::Open(source)) => source.skipped(),
            _ => 0,
        }
    }

    /// What came of the sources, with their places among the inputs: at most one frame of each, the newest of live ones. Waits
    /// until there is something. Nothing once all are over, or where the stop flag is set.
    pub fn round(&mut self) -> Vec<(usize, SourceEvent)> {
        let mut events = Vec::new();
        loop {
            let seen = self.bell.count();
            for (number, slot) in self.slots.iter_mut().enumerate() {
                let end = match slot {
                    Slot::Over => continue,
                    Slot::Refused(error) => Err(error.clone()),
                    Slot::Open(source) => {
                        events.extend(source.take_notes().into_iter().map(|note| (number, SourceEvent::Note(note))));
                        match source.poll() {
                            Poll::Pending => continue,
                            Poll::Ready(Some(Ok(frame))) => {
                                events.push((number, SourceEvent::Frame(frame)));
                                continue;
                            }
                            Poll::Ready(Some(Err(error))) => Err(error),
                            Poll::Ready(None) => Ok(()),
                        }
                    }
                };
                *slot = Slot::Over;
                events.push((number, SourceEvent::End(end)));
            }
            let is_over = self.slots.iter().all(|slot| matches!(slot, Slot::Over));
            if !events.is_empty() || is_over || self.options.stop.is_set() {
                return events;
            }
            self.bell.wait(seen, NAP);
        }
    }
}
