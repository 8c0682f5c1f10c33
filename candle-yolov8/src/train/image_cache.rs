//! The images that were decoded last, where not all are in memory.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::augment::RawSample;
use super::dataset::DetectionDataset;

/// Keeps a number of images, the first in being the first out.
#[derive(Debug)]
pub(super) struct ImageCache {
    capacity: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    scenes: HashMap<usize, RawSample>,
    order: VecDeque<usize>,
}

impl ImageCache {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, held: Mutex::default() }
    }

    /// An image of the set, decoded if it is not held.
    pub(super) fn scene(&self, set: &DetectionDataset, index: usize) -> RawSample {
        if set.is_cached() {
            return set.scene(index);
        }
        if let Some(scene) = self.lock().scenes.get(&index) {
            return scene.clone();
        }
        let scene = set.scene(index);
        let mut held = self.lock();
        if held.scenes.insert(index, scene.clone()).is_none() {
            held.order.push_back(index);
        }
        if held.order.len() > self.capacity {
            let oldest = held.order.pop_front();
            oldest.and_then(|oldest| held.scenes.remove(&oldest));
        }
        scene
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
