//! Objects that cross a line.

use std::collections::BTreeMap;

use super::Recent;
use crate::{Track, TrackError};

/// Which way an object crosses a line, seen by who stands at its first point and looks at the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crossing {
    /// From the left to the right.
    In,
    /// From the right to the left.
    Out,
}

/// How often objects of a class crossed a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Crossings {
    /// From the line's left to its right.
    pub r#in: u64,
    /// From the line's right to its left.
    pub out: u64,
}

/// Counts the objects whose centre crosses a line between its two ends.
///
/// A centre that lies on the line has not crossed it yet. Who trembles about the line is counted each time, both ways.
///
/// ```
/// use ghostzoo_track::{Crossing, LineCounter, Track};
///
/// let at = |y: f32| Track { track_id: 1, detection_index: 0, class_id: 0, confidence: 0.9, xyxy: [40., y - 5., 60., y + 5.] };
/// let mut line = LineCounter::new([0., 100., 200., 100.])?;
/// assert!(line.update(&[at(90.)]).is_empty());
/// assert_eq!(line.update(&[at(110.)]), [(1, Crossing::In)]);
/// # Ok::<(), ghostzoo_track::TrackError>(())
/// ```
#[derive(Debug, Clone)]
pub struct LineCounter {
    line: [f64; 4],
    /// The last centre off the line.
    centres: Recent<[f64; 2]>,
    counts: BTreeMap<usize, Crossings>,
}

impl LineCounter {
    /// A line from (x1, y1) to (x2, y2), in pixels of the frame.
    ///
    /// # Errors
    /// Where the two points are one, or a number is not finite.
    pub fn new(line: [f64; 4]) -> Result<Self, TrackError> {
        let [x1, y1, x2, y2] = line;
        if !line.iter().all(|at| at.is_finite()) || (x1, y1) == (x2, y2) {
            return Err(TrackError::Line(format!("{x1},{y1},{x2},{y2}")));
        }
        Ok(Self { line, centres: Recent::default(), counts: BTreeMap::new() })
    }

    /// The ends: x1, y1, x2, y2.
    pub fn line(&self) -> [f64; 4] {
        self.line
    }

    /// Takes what a frame shows, and gives the identities that crossed since the frame in which they were last seen.
    pub fn update(&mut self, tracks: &[Track]) -> Vec<(u64, Crossing)> {
        self.centres.next_frame();
        let [x1, y1, x2, y2] = self.line;
        let mut crossed = Vec::new();
        for track in tracks {
            let centre = track.centre();
            let side = turn([x1, y1], [x2, y2], centre);
            if side == 0. {
                continue;
            }
            let before = self.centres.seen(track.track_id, || centre);
            let (from, to) = (turn([x1, y1], [x2, y2], *before), side);
            let (start, end) = (turn(*before, centre, [x1, y1]), turn(*before, centre, [x2, y2]));
            *before = centre;
            // The path's ends lie on two sides of the line, the line's ends not on one side of the path.
            if from * to < 0. && start * end <= 0. {
                let count = self.counts.entry(track.class_id).or_default();
                // The vertical axis points down: what is to the right turns by a positive angle.
                let crossing = if to > 0. { Crossing::In } else { Crossing::Out };
                match crossing {
                    Crossing::In => count.r#in += 1,
                    Crossing::Out => count.out += 1,
                }
                crossed.push((track.track_id, crossing));
            }
        }
        crossed
    }

    /// Crossings by class number.
    pub fn counts(&self) -> &BTreeMap<usize, Crossings> {
        &self.counts
    }

    /// Crossings of all classes.
    pub fn total(&self) -> Crossings {
        let add = |sum: Crossings, of: &Crossings| Crossings { r#in: sum.r#in + of.r#in, out: sum.out + of.out };
        self.counts.values().fold(Crossings::default(), add)
    }
}

/// Twice the area of the triangle of three points: positive where `point` is to the right of the way from `a` to `b` on a screen.
fn turn(a: [f64; 2], b: [f64; 2], point: [f64; 2]) -> f64 {
    (b[0] - a[0]) * (point[1] - a[1]) - (b[1] - a[1]) * (point[0] - a[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(track_id: u64, class_id: usize, [x, y]: [f32; 2]) -> Track {
        Track { track_id, detection_index: 0, class_id, confidence: 0.5, xyxy: [x - 2., y - 2., x + 2., y + 2.] }
    }

    fn crossings(line: [f64; 4], path: &[[f32; 2]]) -> Crossings {
        let mut counter = LineCounter::new(line).expect("a line");
        for place in path {
            counter.update(&[at(7, 3, *place)]);
        }
        assert_eq!(counter.total(), counter.counts().get(&3).copied().unwrap_or_default());
        counter.total()
    }

    #[test]
    fn a_path_counts_where_it_meets_the_line_between_its_ends() {
        let line = [10., 10., 30., 10.];
        for (path, r#in, out) in [
            (&[[20., 0.], [20., 20.]][..], 1, 0),
            (&[[20., 20.], [20., 0.]], 0, 1),
            (&[[20., 0.], [20., 20.], [20., 0.], [25., 20.]], 2, 1),
            // Beside the line, along it, and around its end.
            (&[[5., 0.], [5., 20.]], 0, 0),
            (&[[12., 5.], [28., 5.]], 0, 0),
            (&[[20., 0.], [40., 0.], [40., 20.], [20., 20.]], 0, 0),
            // Through its very end.
            (&[[10., 0.], [10., 20.]], 1, 0),
            // On the line, then on or back.
            (&[[20., 0.], [20., 10.], [20., 20.]], 1, 0),
            (&[[20., 0.], [20., 10.], [20., 0.]], 0, 0),
            // On the line at first: it came from neither side.
            (&[[20., 10.], [20., 20.]], 0, 0),
        ] {
            assert_eq!(crossings(line, path), Crossings { r#in, out }, "{path:?}");
        }
        assert_eq!(crossings([30., 10., 10., 10.], &[[20., 0.], [20., 20.]]), Crossings { r#in: 0, out: 1 });
    }

    #[test]
    fn identities_and_classes_are_counted_apart() {
        let mut counter = LineCounter::new([0., 10., 100., 10.]).expect("a line");
        counter.update(&[at(1, 0, [10., 5.]), at(2, 1, [20., 15.])]);
        // Not seen for a while.
        for _ in 0..50 {
            assert!(counter.update(&[]).is_empty());
        }
        let crossed = counter.update(&[at(1, 0, [10., 15.]), at(2, 1, [20., 5.]), at(3, 1, [30., 5.])]);
        assert_eq!(crossed, [(1, Crossing::In), (2, Crossing::Out)]);
        let expected = [(0, Crossings { r#in: 1, out: 0 }), (1, Crossings { r#in: 0, out: 1 })];
        assert_eq!(counter.counts().iter().map(|(class, count)| (*class, *count)).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_point_is_no_line() {
        for line in [[1., 2., 1., 2.], [f64::NAN, 0., 1., 1.], [0., 0., f64::INFINITY, 1.]] {
            assert!(LineCounter::new(line).is_err(), "{line:?}");
        }
    }
}
