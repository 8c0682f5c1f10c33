//! All objects of a tracker, and what happens to them between frames.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};

use crate::boxes::overlaps;
use crate::detection::Track;
use crate::observation::Observation;
use crate::tracklet::{Status, Tracklet};

/// How many removals are remembered: an object removed once is not kept when it is lost again.
const REMOVED: usize = 1000;
/// Below this distance, one less the overlap, a tracked and a lost object are the same.
const DUPLICATE: f32 = 0.15;

/// The objects of a tracker. Tracked ones come first, in the order in which they are shown, then the lost ones.
#[derive(Debug, Clone)]
pub(crate) struct Pools<M> {
    tracklets: Vec<Tracklet<M>>,
    /// How many were tracked, and how many there were, before this frame.
    tracked: usize,
    before: usize,
    removed: RemovedIds,
    last_id: u64,
}

/// What one frame did to the objects, by their places and in order. A place holds until [`Pools::finish`].
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Tracked ones that were found, and new ones.
    pub(crate) activated: Vec<usize>,
    /// Lost or removed ones that were found.
    pub(crate) refound: Vec<usize>,
    /// Tracked ones that were not found.
    pub(crate) lost: Vec<usize>,
    /// Those that are given up.
    pub(crate) removed: Vec<usize>,
}

impl<M> Pools<M> {
    pub(crate) fn new() -> Self {
        Self { tracklets: Vec::new(), tracked: 0, before: 0, removed: RemovedIds::default(), last_id: 0 }
    }

    /// Places of the confirmed objects, the lost ones last, and places of the unconfirmed ones.
    pub(crate) fn split(&self) -> (Vec<usize>, Vec<usize>) {
        self.split_by(|tracklet| tracklet.confirmed)
    }

    /// Places of the objects that are so, the lost ones last, and places of the others.
    pub(crate) fn split_by(&self, is_so: impl Fn(&Tracklet<M>) -> bool) -> (Vec<usize>, Vec<usize>) {
        (0..self.before).partition(|place| is_so(&self.tracklets[*place]))
    }

    pub(crate) fn get(&self, place: usize) -> &Tracklet<M> {
        &self.tracklets[place]
    }

    pub(crate) fn get_mut(&mut self, place: usize) -> &mut Tracklet<M> {
        &mut self.tracklets[place]
    }

    /// Boxes of the objects at `places`.
    pub(crate) fn boxes(&self, places: &[usize]) -> Vec<[f32; 4]> {
        places.iter().map(|place| self.tracklets[*place].xyxy()).collect()
    }

    /// Moves all objects with the camera, as [`BoxState::warp`](crate::kalman::BoxState::warp) does.
    pub(crate) fn warp(&mut self, affine: &[f64; 6]) {
        self.tracklets.iter_mut().for_each(|tracklet| tracklet.state.warp(affine));
    }

    /// One object more, made from its identity.
    pub(crate) fn start(&mut self, make: impl FnOnce(u64) -> Tracklet<M>, changes: &mut Changes) {
        self.last_id += 1;
        changes.activated.push(self.tracklets.len());
        self.tracklets.push(make(self.last_id));
    }

    /// Takes a detection of frame `frame` in as the object at `place`. `confidence` is for the filter.
    pub(crate) fn update(
        &mut self,
        place: usize,
        seen: &Observation,
        frame: u64,
        confidence: Option<f64>,
        changes: &mut Changes,
    ) {
        let tracklet = &mut self.tracklets[place];
        let list = if tracklet.status == Status::Tracked { &mut changes.activated } else { &mut changes.refound };
        list.push(place);
        tracklet.update(seen, frame, confidence);
    }

    /// The tracked object at `place` was not found.
    pub(crate) fn lose(&mut self, place: usize, changes: &mut Changes) {
        self.tracklets[place].status = Status::Lost;
        changes.lost.push(place);
    }

    /// The object at `place` is given up.
    pub(crate) fn remove(&mut self, place: usize, changes: &mut Changes) {
        self.tracklets[place].status = Status::Removed;
        changes.removed.push(place);
    }

    /// Gives up the lost objects that were last seen more than `buffer` frames before frame `frame`.
    pub(crate) fn remove_stale(&mut self, frame: u64, buffer: u32, changes: &mut Changes) {
        for place in self.tracked..self.before {
            if frame - self.tracklets[place].last_frame > u64::from(buffer) {
                self.remove(place, changes);
            }
        }
    }

    /// Ends a frame. An object that is given up stays among the lost ones, and can be found, for one frame more.
    pub(crate) fn finish(&mut self, changes: Changes) {
        let mut is_tracked = vec![false; self.tracklets.len()];
        let still = (0..self.tracked).filter(|place| self.tracklets[*place].status == Status::Tracked);
        let candidates = still.chain(changes.activated).chain(changes.refound);
        let tracked: Vec<usize> =
            candidates.filter(|place| !std::mem::replace(&mut is_tracked[*place], true)).collect();
        let not_found = (self.tracked..self.before).filter(|place| !is_tracked[*place]);
        let kept = |place: &usize| !self.removed.contains(self.tracklets[*place].id);
        let lost: Vec<usize> = not_found.chain(changes.lost).filter(kept).collect();
        changes.removed.iter().for_each(|place| self.removed.push(self.tracklets[*place].id));

        let (tracked, lost) = self.without_duplicates(tracked, lost);
        let mut all: Vec<Option<Tracklet<M>>> = self.tracklets.drain(..).map(Some).collect();
        self.tracked = tracked.len();
        self.tracklets = tracked.into_iter().chain(lost).filter_map(|place| all[place].take()).collect();
        self.before = self.tracklets.len();
    }

    /// Of a tracked and a lost object in the same place, the one that was followed for longer; the lost one if that is even.
    fn without_duplicates(&self, tracked: Vec<usize>, lost: Vec<usize>) -> (Vec<usize>, Vec<usize>) {
        let age = |place: usize| self.tracklets[place].last_frame - self.tracklets[place].start_frame;
        let mut dropped = HashSet::new();
        for pair in overlaps(&self.boxes(&tracked), &self.boxes(&lost)) {
            if 1.0 - pair.iou < DUPLICATE {
                let (seen, unseen) = (tracked[pair.row], lost[pair.column]);
                dropped.insert(if age(seen) > age(unseen) { unseen } else { seen });
            }
        }
        let kept = |places: Vec<usize>| places.into_iter().filter(|place| !dropped.contains(place)).collect();
        (kept(tracked), kept(lost))
    }

    /// The confirmed ones of the tracked objects.
    pub(crate) fn shown(&self) -> Vec<Track> {
        self.tracklets[..self.tracked].iter().filter(|tracklet| tracklet.confirmed).map(Tracklet::shown).collect()
    }
}

/// The identities of the last removals.
#[derive(Debug, Clone, Default)]
struct RemovedIds {
    order: VecDeque<u64>,
    count: HashMap<u64, usize>,
}

impl RemovedIds {
    fn contains(&self, id: u64) -> bool {
        self.count.contains_key(&id)
    }

    fn push(&mut self, id: u64) {
        self.order.push_back(id);
        *self.count.entry(id).or_default() += 1;
        if self.order.len() > REMOVED
            && let Some(oldest) = self.order.pop_front()
            && let Entry::Occupied(mut entry) = self.count.entry(oldest)
        {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests;
