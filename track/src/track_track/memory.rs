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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::Detection;

    fn square(x: f32, y: f32) -> Observation {
        let detection = Detection { class_id: 0, confidence: 0.75, xyxy: [x, y, x + 16.0, y + 16.0] };
        Observation::new(0, &detection).unwrap()
    }

    fn walk(steps: &[(u64, f32, f32)]) -> Memory {
        let (frame, x, y) = steps[0];
        let mut memory = Memory::new(0.5, frame, square(x, y).xyxy().map(f64::from));
        steps[1..].iter().for_each(|&(frame, x, y)| memory.found(&square(x, y), frame, 0.5));
        memory
    }

    /// Unit vectors to the right and downwards count that much in the motion of the corners.
    fn assert_motion(memory: &Memory, right: f64, down: f64) {
        let mut expected = CornerDirections::default();
        expected.add(&CornerDirections::between(&[0.0; 4], &[64.0, 0.0, 64.0, 0.0]), right);
        expected.add(&CornerDirections::between(&[0.0; 4], &[0.0, 64.0, 0.0, 64.0]), down);
        let (motion, expected) = (format!("{:.5?}", memory.motion), format!("{expected:.5?}"));
        assert_eq!(motion, expected);
    }

    #[test]
    fn the_nearer_of_three_frames_counts_more_in_the_motion() {
        // To the right for long enough: (1 + 1/2 + 1/3) / 3.
        assert_motion(&walk(&[(1, 0.0, 0.0), (2, 64.0, 0.0), (3, 128.0, 0.0), (4, 192.0, 0.0)]), 11.0 / 18.0, 0.0);
        // The frame before is missing: 1/2 and 1/3 of it are left.
        assert_motion(&walk(&[(1, 0.0, 0.0), (2, 0.0, 0.0), (4, 64.0, 0.0)]), 5.0 / 18.0, 0.0);
        // Only the frame before: 1.
        assert_motion(&walk(&[(1, 0.0, 0.0), (2, 0.0, 64.0)]), 0.0, 1.0 / 3.0);
    }

    #[test]
    fn a_score_is_expected_to_go_on_as_it_did() {
        let memory = walk(&[(1, 0.0, 0.0), (2, 0.0, 0.0)]);
        assert_eq!(memory.expected_score(0.625), 0.75);
    }

    #[test]
    fn an_object_that_is_found_again_keeps_its_motion_and_counts_anew() {
        let mut memory = walk(&[(1, 0.0, 0.0), (2, 64.0, 0.0), (3, 128.0, 0.0)]);
        let motion = memory.motion;
        assert!(memory.was_found_for(3) && !memory.was_found_for(4));
        memory.found_again([500.0, 0.0, 516.0, 16.0], 9, 0.5);
        assert_eq!(memory.motion, motion);
        assert!(memory.was_found_for(1) && !memory.was_found_for(2));
    }

    #[test]
    fn the_way_to_a_detection_begins_three_frames_back_or_at_the_newest_box() {
        let memory = walk(&[(1, 0.0, 0.0), (2, 64.0, 0.0), (3, 128.0, 0.0)]);
        assert_eq!(memory.earlier_box(4)[0], 0.0);
        assert_eq!(memory.earlier_box(6)[0], 128.0);
        assert_eq!(memory.earlier_box(9)[0], 128.0);
    }
}
