//! Objects within a part of the frame.

use std::collections::BTreeMap;

use super::Recent;
use crate::{Track, TrackError};

/// Who is in a zone in one frame, and what changed since the frame before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ZoneChange {
    /// Identities whose centre is in the zone.
    pub present: Vec<u64>,
    /// Identities whose centre is in the zone and was not in the frame before, or that are seen for the first time.
    pub entered: Vec<u64>,
    /// Identities that a frame shows outside, and that were in the zone when they were last seen.
    pub left: Vec<u64>,
}

/// What a zone holds of one class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Presence {
    /// Objects in it in the last frame.
    pub now: usize,
    /// Most objects in it at one time.
    pub most: usize,
    /// Times that an object came in.
    pub entered: u64,
    /// Frames of all its objects: divided by the frame rate, the seconds that objects spent in it.
    pub frames: u64,
}

/// A polygon in which objects are counted by their centres.
///
/// ```
/// use ghostzoo_track::{Track, Zone};
///
/// let mut zone = Zone::new(vec![[0., 0.], [100., 0.], [100., 100.], [0., 100.]])?;
/// let object = Track { track_id: 4, detection_index: 0, class_id: 0, confidence: 0.9, xyxy: [40., 40., 60., 60.] };
/// assert_eq!(zone.update(&[object]).entered, [4]);
/// # Ok::<(), ghostzoo_track::TrackError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Zone {
    polygon: Vec<[f64; 2]>,
    inside: Recent<bool>,
    presence: BTreeMap<usize, Presence>,
}

impl Zone {
    /// A polygon's corners in order, in pixels of the frame; where its sides cross, a point is inside that an odd number of sides
    /// surrounds.
    ///
    /// # Errors
    /// Of fewer than three corners, or where a number is not finite.
    pub fn new(polygon: Vec<[f64; 2]>) -> Result<Self, TrackError> {
        if polygon.len() < 3 || !polygon.iter().flatten().all(|at| at.is_finite()) {
            return Err(TrackError::Zone(polygon.len()));
        }
        Ok(Self { polygon, inside: Recent::default(), presence: BTreeMap::new() })
    }

    /// The corners.
    pub fn polygon(&self) -> &[[f64; 2]] {
        &self.polygon
    }

    /// Whether a point is inside.
    pub fn contains(&self, [x, y]: [f64; 2]) -> bool {
        let sides = self.polygon.iter().zip(self.polygon.iter().cycle().skip(1));
        let crossed =
            sides.filter(|([ax, ay], [bx, by])| (*ay > y) != (*by > y) && x < (bx - ax) * (y - ay) / (by - ay) + ax);
        crossed.count() % 2 == 1
    }

    /// Takes what a frame shows.
    pub fn update(&mut self, tracks: &[Track]) -> ZoneChange {
        self.inside.next_frame();
        self.presence.values_mut().for_each(|presence| presence.now = 0);
        let mut change = ZoneChange::default();
        for track in tracks {
            let is_in = self.contains(track.centre());
            let was_in = std::mem::replace(self.inside.seen(track.track_id, || false), is_in);
            if is_in {
                change.present.push(track.track_id);
                let presence = self.presence.entry(track.class_id).or_default();
                presence.now += 1;
                presence.most = presence.most.max(presence.now);
                presence.frames += 1;
                presence.entered += u64::from(!was_in);
            }
            match (was_in, is_in) {
                (false, true) => change.entered.push(track.track_id),
                (true, false) => change.left.push(track.track_id),
                _ => {}
            }
        }
        change
    }

    /// What it holds, by class number.
    pub fn presence(&self) -> &BTreeMap<usize, Presence> {
        &self.presence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(track_id: u64, class_id: usize, [x, y]: [f32; 2]) -> Track {
        Track { track_id, detection_index: 0, class_id, confidence: 0.5, xyxy: [x - 2., y - 2., x + 2., y + 2.] }
    }

    #[test]
    fn points_are_in_a_polygon_or_not() {
        let l_shape =
            Zone::new(vec![[0., 0.], [20., 0.], [20., 10.], [10., 10.], [10., 20.], [0., 20.]]).expect("a zone");
        for (point, expected) in [
            ([5., 5.], true),
            ([15., 5.], true),
            ([5., 15.], true),
            ([15., 15.], false),
            ([-1., 5.], false),
            ([5., 21.], false),
            ([19.9, 9.9], true),
        ] {
            assert_eq!(l_shape.contains(point), expected, "{point:?}");
        }
        // Each point of the plane belongs to one of two zones that share a side.
        let halves = [[0., 10.], [10., 20.]]
            .map(|[left, right]| Zone::new(vec![[left, 0.], [right, 0.], [right, 10.], [left, 10.]]).expect("a zone"));
        for x in 0..20 {
            let count = halves.iter().filter(|half| half.contains([f64::from(x), 5.])).count();
            assert_eq!(count, 1, "{x}");
        }
    }

    #[test]
    fn objects_come_stay_and_leave() {
        let mut zone = Zone::new(vec![[0., 0.], [10., 0.], [10., 10.], [0., 10.]]).expect("a zone");
        let frames: [(&[Track], &[u64], &[u64]); 5] = [
            (&[at(1, 0, [5., 5.]), at(2, 0, [50., 5.])], &[1], &[]),
            (&[at(1, 0, [6., 5.]), at(2, 0, [8., 5.])], &[2], &[]),
            // Not seen: neither in nor out.
            (&[at(2, 0, [8., 5.])], &[], &[]),
            (&[at(1, 0, [6., 5.]), at(2, 0, [18., 5.])], &[], &[2]),
            (&[at(2, 0, [8., 5.])], &[2], &[]),
        ];
        for (tracks, entered, left) in frames {
            let change = zone.update(tracks);
            assert_eq!((&change.entered[..], &change.left[..]), (entered, left));
            let inside = tracks.iter().filter(|track| zone.contains(track.centre())).map(|track| track.track_id);
            assert_eq!(change.present, inside.collect::<Vec<_>>());
        }
        assert_eq!(zone.presence()[&0], Presence { now: 1, most: 2, entered: 3, frames: 6 });
    }

    #[test]
    fn two_corners_are_no_zone() {
        assert!(Zone::new(vec![[0., 0.], [1., 1.]]).is_err());
        assert!(Zone::new(vec![[0., 0.], [1., 1.], [f64::NAN, 0.]]).is_err());
    }
}
