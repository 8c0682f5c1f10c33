//! The frames of videos as images.

use std::collections::VecDeque;

use candle_vision::image::Decoded;
use ghostzoo::video::{Frame, FrameSource, FrameSources, SourceEvent, VideoError, VideoInfo, VideoOptions};

use super::{Batch, File, Opened, Prepare, Step, item};
use crate::source::{Source, SourceEntry};

/// A frame's place in its video.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct VideoFrame {
    /// From 1, of those that are looked at.
    pub(crate) number: u64,
    /// How many are looked at, where the video says.
    pub(crate) total: Option<u64>,
    /// Seconds from the video's beginning.
    pub(crate) time_s: f64,
    /// Frames per second, where the video says.
    pub(crate) rate: Option<f64>,
    /// Whether it is of a camera or a stream.
    pub(crate) is_live: bool,
}

/// A frame as an image of its entry.
fn opened(entry: usize, source: &Source, info: Option<&VideoInfo>, frame: Result<Frame, VideoError>) -> Opened {
    let image = frame.map_err(anyhow::Error::from).map(|Frame { image, index, time_s, .. }| {
        let place = VideoFrame {
            number: index + 1,
            total: info.and_then(|info| info.frames),
            time_s,
            rate: info.and_then(|info| info.frame_rate),
            is_live: info.is_some_and(|info| info.is_live),
        };
        (source.clone(), Decoded { image, warning: None, frames: 1 }, Some(place))
    });
    Opened { entry, label: source.label(), follows: false, image }
}

/// A video that is opened when its first frame is asked for.
pub(super) struct VideoFiles {
    number: usize,
    entry: SourceEntry,
    options: VideoOptions,
    frames: Option<FrameSource>,
    /// What comes before the next frame.
    waiting: VecDeque<Step>,
    is_over: bool,
}

impl VideoFiles {
    pub(super) fn new(number: usize, entry: SourceEntry, options: VideoOptions) -> Self {
        Self { number, entry, options, frames: None, waiting: VecDeque::new(), is_over: false }
    }

    /// The next frame or error, which is the last.
    fn frame(&mut self) -> Option<Result<Frame, VideoError>> {
        if self.frames.is_none() {
            match FrameSource::open(self.entry.source.as_ref().ok()?.video()?, &self.options) {
                Ok(frames) => self.frames = Some(frames),
                Err(error) => return Some(Err(error)),
            }
        }
        self.frames.as_mut()?.next()
    }
}

impl Iterator for VideoFiles {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if let Some(step) = self.waiting.pop_front() {
            return Some(step);
        }
        if self.is_over {
            return None;
        }
        let frame = self.frame();
        if let Some(frames) = &mut self.frames {
            let notes = frames.take_notes().into_iter();
            self.waiting.extend(notes.map(|note| Step::Note(self.entry.label.clone(), note)));
        }
        self.is_over = !matches!(frame, Some(Ok(_)));
        let source = self.entry.source.as_ref().ok()?;
        let info = self.frames.as_ref().and_then(FrameSource::info);
        let of_frame = |frame| Step::Image(File::Frame(opened(self.number, source, info.as_ref(), frame)));
        self.waiting.extend(frame.map(of_frame));
        if self.is_over {
            self.frames = None;
            self.waiting.push_back(Step::End(self.number));
        }
        self.waiting.pop_front()
    }
}

/// Cameras and streams, which are read from the start on, and looked at when the model has time for them.
pub(super) struct Streams {
    entries: Vec<(usize, Source)>,
    sources: FrameSources,
}

impl Streams {
    pub(super) fn start(entries: Vec<(usize, SourceEntry)>, options: &VideoOptions) -> Self {
        let entries: Vec<(usize, Source)> =
            entries.into_iter().filter_map(|(number, entry)| Some((number, entry.source.ok()?))).collect();
        let inputs: Vec<_> = entries.iter().filter_map(|(_, source)| source.video().cloned()).collect();
        Self { entries, sources: FrameSources::start(&inputs, options) }
    }

    /// The newest frame of each that has one; waits until one has. `None` when all are over.
    pub(super) fn batch<T>(&mut self, prepare: &Prepare<T>) -> Option<Batch<T>> {
        let skipped: Vec<u64> = (0..self.entries.len()).map(|place| self.sources.skipped(place)).collect();
        let events = self.sources.round();
        if events.is_empty() {
            return None;
        }
        let mut batch = Batch::default();
        for (place, event) in events {
            let (entry, source) = &self.entries[place];
            let frame = match event {
                SourceEvent::Frame(frame) => Ok(frame),
                SourceEvent::Note(note) => {
                    batch.notes.push((source.label(), note));
                    continue;
                }
                SourceEvent::End(end) => {
                    batch.ended.push((*entry, skipped[place]));
                    match end {
                        Ok(()) => continue,
                        Err(error) => Err(error),
                    }
                }
                _ => continue,
            };
            let info = self.sources.info(place);
            batch.items.push(item(opened(*entry, source, info.as_ref(), frame), prepare));
        }
        Some(batch)
    }
}
