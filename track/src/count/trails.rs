//! Where objects came from.

use std::collections::VecDeque;

use super::Recent;
use crate::Track;

/// The last centres of each object, to be drawn.
#[derive(Debug, Clone)]
pub struct Trails {
    length: usize,
    centres: Recent<VecDeque<[f64; 2]>>,
}

impl Trails {
    /// The centres of the last `length` frames that showed an object.
    pub fn new(length: usize) -> Self {
        Self { length, centres: Recent::default() }
    }

    /// Takes what a frame shows.
    pub fn update(&mut self, tracks: &[Track]) {
        self.centres.next_frame();
        for track in tracks {
            let centres = self.centres.seen(track.track_id, VecDeque::new);
            if centres.len() == self.length {
                centres.pop_front();
            }
            if self.length > 0 {
                centres.push_back(track.centre());
            }
        }
    }

    /// The path of an object that the last frame shows, the oldest point first.
    pub fn of(&self, track_id: u64) -> impl Iterator<Item = [f64; 2]> + '_ {
        self.centres.shown(track_id).into_iter().flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trail_is_as_long_as_was_asked_for() {
        for (length, expected) in [(0, &[][..]), (2, &[[4., 5.], [5., 5.]]), (9, &[[3., 5.], [4., 5.], [5., 5.]])] {
            let mut trails = Trails::new(length);
            for x in 3_u8..6 {
                let x = f32::from(x);
                let xyxy = [x - 1., 4., x + 1., 6.];
                trails.update(&[Track { track_id: 1, detection_index: 0, class_id: 0, confidence: 1., xyxy }]);
            }
            assert_eq!(trails.of(1).collect::<Vec<_>>(), expected);
            assert!(trails.of(2).next().is_none());
            trails.update(&[]);
            assert!(trails.of(1).next().is_none(), "only what the last frame shows");
        }
    }
}
