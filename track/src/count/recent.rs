//! What is known of identities that were seen not long ago.

use std::collections::HashMap;

/// Frames after which an identity that was not seen is forgotten: more than trackers keep lost ones.
const FORGOTTEN_AFTER: u64 = 1000;

/// A value per identity, of those that were seen in the last frames: its size does not grow with the length of a film.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Recent<T> {
    frame: u64,
    values: HashMap<u64, (u64, T)>,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { frame: 0, values: HashMap::new() }
    }
}

impl<T> Recent<T> {
    /// Begins the next frame, and gives the values of the identities that are forgotten with it.
    pub(super) fn next_frame(&mut self) -> Vec<T> {
        self.frame += 1;
        let oldest = self.frame.saturating_sub(FORGOTTEN_AFTER);
        self.values.extract_if(|_, (seen, _)| *seen < oldest).map(|(_, (_, value))| value).collect()
    }

    /// The value of an identity that this frame shows; a new one where there is none.
    pub(super) fn seen(&mut self, track_id: u64, new: impl FnOnce() -> T) -> &mut T {
        let (seen, value) = self.values.entry(track_id).or_insert_with(|| (self.frame, new()));
        *seen = self.frame;
        value
    }

    /// The values that are known.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.values.values().map(|(_, value)| value)
    }

    /// The value of an identity, where this frame shows it.
    pub(super) fn shown(&self, track_id: u64) -> Option<&T> {
        self.values.get(&track_id).filter(|(seen, _)| *seen == self.frame).map(|(_, value)| value)
    }
}
