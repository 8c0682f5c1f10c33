//! One object from frame to frame.

use crate::detection::Track;
use crate::kalman::{BoxForm, BoxState};
use crate::observation::Observation;

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// Seen in the last frame, but not in enough of them (TrackTrack).
    New,
    /// Seen in the last frame.
    Tracked,
    /// Not seen in the last frame.
    Lost,
    /// Given up.
    Removed,
}

/// One object: its identity, its state and where it was last seen. `M` is what a tracker remembers besides.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tracklet<M> {
    pub(crate) id: u64,
    pub(crate) status: Status,
    /// Whether it is shown. One that is not yet is removed unless the next frame confirms it.
    pub(crate) confirmed: bool,
    pub(crate) state: BoxState,
    pub(crate) start_frame: u64,
    /// The last frame that it was seen in.
    pub(crate) last_frame: u64,
    pub(crate) score: f32,
    class_id: usize,
    detection_index: usize,
    pub(crate) memory: M,
}

impl<M> Tracklet<M> {
    /// An object that appears in frame `frame`; those of the first frame, which is 1, are taken to be there.
    pub(crate) fn new(id: u64, form: BoxForm, seen: &Observation, frame: u64, memory: M) -> Self {
        Self {
            id,
            status: Status::Tracked,
            confirmed: frame == 1,
            state: BoxState::new(form, seen.measurement(form)),
            start_frame: frame,
            last_frame: frame,
            score: seen.score,
            class_id: seen.class_id,
            detection_index: seen.index,
            memory,
        }
    }

    /// One frame on. What is not seen keeps its size.
    pub(crate) fn predict(&mut self) {
        if self.status != Status::Tracked {
            self.state.keep_size();
        }
        self.state.predict();
    }

    /// Takes a detection of frame `frame` in, which confirms the object. `confidence` is for the filter.
    pub(crate) fn update(&mut self, seen: &Observation, frame: u64, confidence: Option<f64>) {
        self.state.update(seen.measurement(self.state.form()), confidence);
        self.status = Status::Tracked;
        self.confirmed = true;
        self.last_frame = frame;
        self.score = seen.score;
        self.class_id = seen.class_id;
        self.detection_index = seen.index;
    }

    /// Left, top, right, bottom, as estimated.
    pub(crate) fn xyxy(&self) -> [f32; 4] {
        self.state.xyxy().map(|value| value as f32)
    }

    /// What the user sees of it.
    pub(crate) fn shown(&self) -> Track {
        Track {
            track_id: self.id,
            detection_index: self.detection_index,
            class_id: self.class_id,
            confidence: self.score,
            xyxy: self.xyxy(),
        }
    }
}
