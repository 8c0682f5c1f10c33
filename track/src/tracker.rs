//! One tracker of any type.

use crate::byte_track::ByteTrack;
use crate::config::{TrackerConfig, TrackerType};
use crate::detection::{Detection, Track};
use crate::error::TrackError;
use crate::motion::GrayFrame;
use crate::oc_sort::OcSort;
use crate::track_track::TrackTrack;

/// Gives the detections of consecutive frames identities.
#[derive(Debug, Clone)]
pub struct Tracker {
    config: TrackerConfig,
    method: Method,
}

#[derive(Debug, Clone)]
enum Method {
    ByteTrack(ByteTrack),
    OcSort(OcSort),
    TrackTrack(TrackTrack),
}

impl Method {
    fn new(config: &TrackerConfig) -> Self {
        match config.tracker_type {
            TrackerType::ByteTrack | TrackerType::BotSort => Self::ByteTrack(ByteTrack::new(config)),
            TrackerType::OcSort => Self::OcSort(OcSort::new(config)),
            TrackerType::TrackTrack => Self::TrackTrack(TrackTrack::new(config)),
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
        Ok(Self { method: Method::new(&config), config })
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
        self.update_with_suppressed(detections, &[], frame)
    }

    /// As [`update`](Self::update), with what a detector's non-maximum suppression removed at its IoU and would have kept at a
    /// looser one, of which TrackTrack makes use. In [`Track::detection_index`] they count on from `detections`.
    ///
    /// Ultralytics takes those that an IoU of 0.95 keeps and that overlap no detection by 0.97 or more.
    pub fn update_with_suppressed(
        &mut self,
        detections: &[Detection],
        suppressed: &[Detection],
        frame: Option<&GrayFrame>,
    ) -> Vec<Track> {
        match &mut self.method {
            Method::ByteTrack(tracker) => tracker.update(detections, frame),
            Method::OcSort(tracker) => tracker.update(detections),
            Method::TrackTrack(tracker) => tracker.update(detections, suppressed, frame),
        }
    }

    /// Forgets all frames: the next is the first of a video, and identities begin at 1 again.
    pub fn reset(&mut self) {
        match &mut self.method {
            Method::ByteTrack(tracker) => tracker.reset(),
            Method::OcSort(tracker) => tracker.reset(),
            Method::TrackTrack(tracker) => tracker.reset(),
        }
    }
}
