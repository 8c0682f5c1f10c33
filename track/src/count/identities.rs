//! How many objects there were.

use std::collections::BTreeMap;

use super::Recent;
use crate::Track;

/// Counts distinct identities by class: each for the class that it was taken for most often.
#[derive(Debug, Clone, Default)]
pub struct IdentityCounter {
    /// Frames by class number.
    recent: Recent<BTreeMap<usize, u64>>,
    /// Of identities that are not recent.
    counts: BTreeMap<usize, u64>,
}

impl IdentityCounter {
    /// Nothing counted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what a frame shows.
    pub fn update(&mut self, tracks: &[Track]) {
        for frames in self.recent.next_frame() {
            *self.counts.entry(most(&frames)).or_default() += 1;
        }
        for track in tracks {
            *self.recent.seen(track.track_id, BTreeMap::new).entry(track.class_id).or_default() += 1;
        }
    }

    /// Identities by class number.
    pub fn counts(&self) -> BTreeMap<usize, u64> {
        let mut counts = self.counts.clone();
        for frames in self.recent.values() {
            *counts.entry(most(frames)).or_default() += 1;
        }
        counts
    }
}

/// The class of most frames, of equal ones the first.
fn most(frames: &BTreeMap<usize, u64>) -> usize {
    let best = frames.iter().max_by(|a, b| a.1.cmp(b.1).then(b.0.cmp(a.0)));
    best.map_or(0, |(class_id, _)| *class_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(track_id: u64, class_id: usize) -> Track {
        Track { track_id, detection_index: 0, class_id, confidence: 0.5, xyxy: [0., 0., 1., 1.] }
    }

    #[test]
    fn an_identity_counts_once_for_its_commonest_class() {
        let mut counter = IdentityCounter::new();
        counter.update(&[track(1, 0), track(2, 5)]);
        counter.update(&[track(1, 0), track(2, 6), track(3, 0)]);
        counter.update(&[track(1, 5), track(2, 6)]);
        assert_eq!(counter.counts(), BTreeMap::from([(0, 2), (6, 1)]));
    }

    #[test]
    fn identities_of_long_ago_stay_counted_and_are_not_kept() {
        let mut counter = IdentityCounter::new();
        for track_id in 0..10_000 {
            counter.update(&[track(track_id, 1)]);
        }
        assert_eq!(counter.counts(), BTreeMap::from([(1, 10_000)]));
        assert!(counter.recent.values().count() < 1100);
    }
}
