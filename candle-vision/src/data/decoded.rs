//! The images of a set, decoded, and kept in memory as far as they fit.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::{ClassificationItem, Dataset, ImageIndex, ImageReadError, ItemError};
use crate::image::{DecodeOptions, RgbImage, decode_with};

/// The images of an [`ImageIndex`], decoded when they are asked for, from any thread. What it gives does not depend on what
/// it keeps.
#[derive(Debug)]
pub struct CachedDataset {
    set: ImageIndex,
    options: DecodeOptions,
    kept: Vec<OnceLock<Arc<RgbImage>>>,
    /// Bytes that may still be kept.
    room: AtomicU64,
    /// Why images could not be read, by their index.
    unreadable: Mutex<BTreeMap<usize, String>>,
}

impl CachedDataset {
    /// Keeps up to `cache_bytes` of decoded images; those that come first.
    #[must_use]
    pub fn new(set: ImageIndex, cache_bytes: u64) -> Self {
        let kept = (0..set.len()).map(|_| OnceLock::new()).collect();
        Self {
            set,
            options: DecodeOptions::stored(),
            kept,
            room: AtomicU64::new(cache_bytes),
            unreadable: Mutex::default(),
        }
    }

    /// The same set with another limit of pixels per image.
    #[must_use]
    pub fn with_max_pixels(mut self, max_pixels: u64) -> Self {
        self.options.max_pixels = max_pixels;
        self
    }

    /// Names, classes and notes.
    #[must_use]
    pub fn set(&self) -> &ImageIndex {
        &self.set
    }

    /// An image as PIL and torchvision's `ImageFolder` read it: [`DecodeOptions::stored`].
    ///
    /// # Errors
    /// It cannot be read or decoded, which [`unreadable`](Self::unreadable) remembers.
    ///
    /// # Panics
    /// If `index` is not below the set's length.
    pub fn image(&self, index: usize) -> Result<Arc<RgbImage>, ImageReadError> {
        if let Some(image) = self.kept[index].get() {
            return Ok(Arc::clone(image));
        }
        let known = self.failures().get(&index).cloned();
        let read = match known {
            Some(reason) => Err(reason),
            None => self.read(index),
        };
        let image = Arc::new(read.map_err(|reason| {
            self.failures().insert(index, reason.clone());
            ImageReadError { index, name: self.set.name(index).to_owned(), reason }
        })?);
        let bytes = image.len() as u64;
        let take = |room: u64| room.checked_sub(bytes);
        if self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
            && self.kept[index].set(Arc::clone(&image)).is_err()
        {
            // Another thread has kept it meanwhile.
            self.room.fetch_add(bytes, Ordering::Relaxed);
        }
        Ok(image)
    }

    /// The images that could not be read so far, by their index.
    #[must_use]
    pub fn unreadable(&self) -> Vec<ImageReadError> {
        let error = |(&index, reason): (&usize, &String)| ImageReadError {
            index,
            name: self.set.name(index).to_owned(),
            reason: reason.clone(),
        };
        self.failures().iter().map(error).collect()
    }

    /// How many images are kept.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.kept.iter().filter(|image| image.get().is_some()).count()
    }

    fn read(&self, index: usize) -> Result<RgbImage, String> {
        let image = match self.set.images(index..index + 1).next() {
            Some(image) => image.map_err(|error| error.reason)?,
            None => return Err("is beyond the set".to_owned()),
        };
        let bytes = image.read().map_err(|error| error.to_string())?;
        decode_with(&bytes, &self.options).map(|decoded| decoded.image).map_err(|error| error.to_string())
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, BTreeMap<usize, String>> {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dataset for CachedDataset {
    type Item = ClassificationItem;

    fn len(&self) -> usize {
        self.set.len()
    }

    fn get(&self, index: usize) -> Result<ClassificationItem, ItemError> {
        let image = self.image(index).map_err(|error| ItemError::other(error.reason))?;
        Ok(ClassificationItem { image, class: self.set.class_of(index) })
    }

    fn name(&self, index: usize) -> String {
        self.set.name(index).to_owned()
    }
}
