//! What TrackTrack remembers of an object.

use std::collections::VecDeque;

use super::corner::CornerDirections;
use crate::observation::Observation;

/// Frames over which the motion of the corners is taken.
const MOTION_FRAMES: u64 = 3;

/// What an object remembers.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    /// Score of the detection before the last.
    earlier_score: f32,
    /// Where its corners went.
    pub(super) motion: CornerDirections,
    /// The newest boxes (left, top, right, bottom) by frame.
    boxes: VecDeque<(u64, [f64; 4])>,
    /// In how many frames it was found after the one that it began in, or that it was found again in.
    times_found: u32,
}

impl Memory {
    /// An object that begins with a box, as estimated.
    pub(super) fn new(score: f32, frame: u64, xyxy: [f64; 4]) -> Self {
        let boxes = VecDeque::from([(frame, xyxy)]);
        Self { earlier_score: score, motion: CornerDirections::default(), boxes, times_found: 0 }
    }

    /// The score to expect after `score`, were it to change as it did last.
    pub(super) fn expected_score(&self, score: f32) -> f32 {
        score + (score - self.earlier_score)
    }

    /// The box that the way to a detection of frame `frame` is taken from.
    pub(super) fn earlier_box(&self, frame: u64) -> [f64; 4] {
        self.box_before(frame, MOTION_FRAMES)
    }

    /// Whether the object has now been found in as many frames as `frames`, the first among them.
    pub(super) fn was_found_for(&self, frames: u32) -> bool {
        self.times_found.saturating_add(1) >= frames
    }

    /// Takes in the detection of an object that was not lost. `score` is that of the detection before.
    pub(super) fn found(&mut self, seen: &Observation, frame: u64, score: f32) {
        self.earlier_score = score;
        self.times_found = self.times_found.saturating_add(1);
        let xyxy = seen.xyxy().map(f64::from);
        self.push(frame, xyxy);
        self.motion = CornerDirections::default();
        for frames in 1..=MOTION_FRAMES {
            let directions = CornerDirections::between(&self.box_before(frame, frames), &xyxy);
            self.motion.add(&directions, 1.0 / (frames * MOTION_FRAMES) as f64);
        }
    }

    /// Takes in the estimate of an object that was lost.
    pub(super) fn found_again(&mut self, xyxy: [f64; 4], frame: u64, score: f32) {
        self.earlier_score = score;
        self.times_found = 0;
        self.push(frame, xyxy);
    }

    /// The box of `frames` frames before `frame`, or else the newest.
    fn box_before(&self, frame: u64, frames: u64) -> [f64; 4] {
        let wanted = self.boxes.iter().find(|(earlier, _)| earlier + frames == frame);
        wanted.or(self.boxes.back()).map(|(_, xyxy)| *xyxy).unwrap_or_default()
    }

    fn push(&mut self, frame: u64, xyxy: [f64; 4]) {
        self.boxes.push_back((frame, xyxy));
        if self.boxes.len() as u64 > MOTION_FRAMES + 1 {
            self.boxes.pop_front();
        }
    }
}
