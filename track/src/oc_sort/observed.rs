//! What was observed of an object, apart from what its filter estimates.

use std::collections::VecDeque;
use std::f32::consts::PI;

/// Least displacement that has a direction, in pixels.
const LEAST_DISPLACEMENT: f32 = 1e-6;

/// The newest boxes (left, top, right, bottom) that an object was seen in, with their frames.
#[derive(Debug, Clone)]
pub(super) struct ObservedBoxes {
    /// Frames, at least, between the boxes that give the direction of motion.
    delta_t: u64,
    last: (u64, [f32; 4]),
    /// Those before the last, by frame.
    earlier: VecDeque<(u64, [f32; 4])>,
    /// Direction of motion: from the newest box that is `delta_t` or more frames older than the last, or else from the
    /// oldest, to the last. Zero at rest; none before the second box.
    direction: Option<[f32; 2]>,
}

impl ObservedBoxes {
    /// The box that begins an object.
    pub(super) fn new(delta_t: u32, frame: u64, xyxy: [f32; 4]) -> Self {
        Self { delta_t: delta_t.into(), last: (frame, xyxy), earlier: VecDeque::new(), direction: None }
    }

    /// Adds the box of a later frame.
    pub(super) fn push(&mut self, frame: u64, xyxy: [f32; 4]) {
        self.earlier.push_back(std::mem::replace(&mut self.last, (frame, xyxy)));
        // Fewer than `delta_t` frames lie nearer than that: the oldest that is kept is far enough.
        if self.earlier.len() as u64 > self.delta_t {
            self.earlier.pop_front();
        }
        let far = self.earlier.iter().rev().find(|(earlier, _)| earlier + self.delta_t <= frame);
        let from = far.or(self.earlier.front());
        self.direction = from.map(|(_, from)| direction(from, &xyxy).unwrap_or_default());
    }

    /// Frame and box of the last observation.
    pub(super) fn last(&self) -> (u64, [f32; 4]) {
        self.last
    }

    /// Whether the last box does not begin left of the image.
    pub(super) fn is_in_image(&self) -> bool {
        self.last.1[0] >= 0.0
    }

    /// Angle between the direction of motion and the one from the last box to `xyxy`, in units of π: from 0 to 1. A half for
    /// an object at rest; 0 for a box in the same place, before the second box, and where the last begins left of the image.
    pub(super) fn angle_to(&self, xyxy: &[f32; 4]) -> f32 {
        let motion = self.direction.filter(|_| self.is_in_image());
        let (Some(motion), Some(way)) = (motion, direction(&self.last.1, xyxy)) else { return 0.0 };
        (way[0] * motion[0] + way[1] * motion[1]).clamp(-1.0, 1.0).acos() / PI
    }
}

/// Unit vector between the centres of two boxes.
fn direction(from: &[f32; 4], to: &[f32; 4]) -> Option<[f32; 2]> {
    let centre = |xyxy: &[f32; 4]| [(xyxy[0] + xyxy[2]) / 2.0, (xyxy[1] + xyxy[3]) / 2.0];
    let (from, to) = (centre(from), centre(to));
    let (x, y) = (to[0] - from[0], to[1] - from[1]);
    let length = (x * x + y * y).sqrt();
    (length > LEAST_DISPLACEMENT).then(|| [x / length, y / length])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(x: f32, y: f32) -> [f32; 4] {
        // Well within an image.
        [x + 95.0, y + 95.0, x + 105.0, y + 105.0]
    }

    fn walk(delta_t: u32, centres: &[(u64, f32, f32)]) -> ObservedBoxes {
        let (frame, x, y) = centres[0];
        let mut boxes = ObservedBoxes::new(delta_t, frame, square(x, y));
        centres[1..].iter().for_each(|&(frame, x, y)| boxes.push(frame, square(x, y)));
        boxes
    }

    #[test]
    fn an_object_seen_once_prefers_no_direction() {
        assert_eq!(walk(3, &[(1, 0.0, 0.0)]).angle_to(&square(3.0, 4.0)), 0.0);
    }

    #[test]
    fn the_angle_goes_from_ahead_over_aside_to_behind() {
        let boxes = walk(1, &[(1, 0.0, 0.0), (2, 8.0, 0.0)]);
        for (to, angle) in [(square(9.0, 0.0), 0.0), (square(8.0, 7.0), 0.5), (square(1.0, 0.0), 1.0)] {
            assert!((boxes.angle_to(&to) - angle).abs() < 1e-6, "{to:?}");
        }
    }

    #[test]
    fn the_direction_comes_from_delta_t_frames_back_where_they_were_seen() {
        // Down for two frames, then to the right: three frames back is the beginning, one frame back the corner.
        let centres = [(1, 0.0, 0.0), (2, 0.0, 8.0), (3, 0.0, 16.0), (4, 16.0, 16.0)];
        assert_eq!(walk(1, &centres).direction, Some([1.0, 0.0]));
        let diagonal = 0.5f32.sqrt();
        assert_eq!(walk(3, &centres).direction, direction(&square(0.0, 0.0), &square(16.0, 16.0)));
        assert!((walk(3, &centres).direction.unwrap()[0] - diagonal).abs() < 1e-6);
        // Frames 3 and 4 were missed: the newest that is old enough is frame 2.
        assert_eq!(walk(3, &[(1, 0.0, 0.0), (2, 0.0, 8.0), (5, 8.0, 8.0)]).direction, Some([1.0, 0.0]));
        // Nothing is old enough: the oldest.
        assert_eq!(walk(30, &centres).direction, walk(3, &centres).direction);
    }

    #[test]
    fn an_object_at_rest_is_halfway_between_all_directions() {
        assert_eq!(walk(2, &[(1, 4.0, 4.0), (2, 4.0, 4.0)]).angle_to(&square(9.0, 4.0)), 0.5);
    }

    #[test]
    fn an_object_left_of_the_image_prefers_no_direction() {
        let boxes = walk(1, &[(1, -90.0, 0.0), (2, -96.0, 0.0)]);
        assert_eq!(boxes.angle_to(&square(0.0, 0.0)), 0.0);
    }

    #[test]
    fn no_more_boxes_are_kept_than_the_direction_can_need() {
        let mut boxes = walk(3, &[(1, 0.0, 0.0)]);
        (2..100).for_each(|frame| boxes.push(frame, square(frame as f32, 0.0)));
        assert_eq!(boxes.earlier.len(), 3);
    }
}
