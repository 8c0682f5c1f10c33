//! One tracker of any type.

use crate::byte_track::ByteTrack;
use crate::config::{TrackerConfig, TrackerType};
use crate::detection::{Detection, Track};
use crate::error::TrackError;
use crate::motion::GrayFrame;

/// Gives the detections of consecutive frames identities.
#[derive(Debug, Clone)]
pub struct Tracker {
    config: TrackerConfig,
    method: Method,
}

#[derive(Debug, Clone)]
enum Method {
    ByteTrack(ByteTrack),
}

impl Method {
    fn new(config: &TrackerConfig) -> Result<Self, TrackError> {
        match config.tracker_type {
            TrackerType::ByteTrack | TrackerType::BotSort => Ok(Self::ByteTrack(ByteTrack::new(config))),
            other => Err(TrackError::UnknownTracker { name: other.name().to_owned() }),
        }
    }
}

impl Tracker {
    /// A tracker that has seen no frame.
    ///
    /// # Errors
    /// [`TrackError::BadValue`] for a field out of range.
    pub fn new(config: TrackerConfig) -> Result<Self, TrackError> {
        config.check()?;
        Ok(Self { method: Method::new(&config)?, config })
    }

    /// The settings.
    pub fn config(&self) -> &TrackerConfig {
        &self.config
    }

    /// Takes the detections of the next frame, and the frame itself where the motion of the camera shall be estimated;
    /// without it the camera is taken to stand still. Returns the tracks that the frame shows, each with the detection
    /// that it was matched with.
    ///
    /// A box whose width or height is not positive or not finite, and a score that is not finite, match nothing.
    pub fn update(&mut self, detections: &[Detection], frame: Option<&GrayFrame>) -> Vec<Track> {
        match &mut self.method {
            Method::ByteTrack(tracker) => tracker.update(detections, frame),
        }
    }

    /// Forgets all frames: the next is the first of a video, and identities begin at 1 again.
    pub fn reset(&mut self) {
        match &mut self.method {
            Method::ByteTrack(tracker) => tracker.reset(),
        }
    }
}
