//! Batches of a dataset, made ahead on threads of their own.
//!
//! What a batch holds depends on the seed, the epoch and its place in it alone: not on the number of threads, nor on the
//! epochs before. So a run that is resumed anywhere sees the batches of the run that was not interrupted.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::seq::SliceRandom;
use rayon::prelude::*;

use super::mixup::{MixParams, Mixup, mix_images, mixed_targets};
use super::{AugmentError, Batch, TrainTransform};
use crate::data::{ClassificationItem, Dataset, ImageReadError, ItemError, PrefetchIter, Prefetcher};
use crate::image::{EvalTransform, write_planes};
use crate::train::distributed::{BatchShard, Shard};
use crate::train::stream;

/// Places of [`stream`]: the order of an epoch, the changes of an image, the mixing of a batch.
const ORDER: u64 = u64::from_le_bytes(*b"cls-ordr");
const SAMPLE: u64 = u64::from_le_bytes(*b"cls-smpl");
const MIXING: u64 = u64::from_le_bytes(*b"cls-mixi");

/// Images in a row that may be unreadable before an epoch fails; timm's number.
const MAX_UNREADABLE: usize = 50;

/// How batches are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoaderOptions {
    /// Images of a batch.
    pub batch: usize,
    /// Threads that make batches ahead; 0 makes them when they are asked for, on rayon's global threads.
    pub workers: usize,
    /// Whether training leaves out a last batch of fewer images, unless it is the only one, as timm does.
    pub drop_last: bool,
    /// Seed of everything random.
    pub seed: u64,
    /// Of each batch, the images that are made: those of one process of several.
    pub shard: Shard,
}

impl Default for LoaderOptions {
    /// 128 images, two workers, without the last, seed 0.
    fn default() -> Self {
        Self { batch: 128, workers: 2, drop_last: true, seed: 0, shard: Shard::default() }
    }
}

impl LoaderOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Images of a batch.
    #[must_use]
    pub fn batch(self, batch: usize) -> Self {
        Self { batch, ..self }
    }

    /// Threads that make batches ahead; 0 makes them when they are asked for, on rayon's global threads.
    #[must_use]
    pub fn workers(self, workers: usize) -> Self {
        Self { workers, ..self }
    }

    /// Whether training leaves out a last batch of fewer images, unless it is the only one, as timm does.
    #[must_use]
    pub fn drop_last(self, drop_last: bool) -> Self {
        Self { drop_last, ..self }
    }

    /// Seed of everything random.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Of each batch, the images that are made: those of one process of several, whose batches are `batch` together.
    #[must_use]
    pub fn shard(self, shard: Shard) -> Self {
        Self { shard, ..self }
    }
}

/// What becomes of the images.
enum View {
    /// Random changes, in random order; the place of an image that cannot be read goes to the next that can, as in timm.
    Train { transform: Box<TrainTransform>, mixing: Option<Mixup>, num_classes: usize },
    /// Resize and crop, in the set's order; images that cannot be read are left out.
    Eval { transform: EvalTransform, tables: Box<[[f32; 256]; 3]> },
}

/// What all threads share.
struct Source {
    set: Arc<dyn Dataset<Item = ClassificationItem>>,
    view: View,
    options: LoaderOptions,
    /// Why images could not be had, by their index.
    unreadable: Mutex<BTreeMap<usize, String>>,
}

/// Makes the batches of any epoch.
pub struct DataLoader {
    source: Arc<Source>,
    ahead: Prefetcher,
}

impl std::fmt::Debug for DataLoader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataLoader").field("options", &self.source.options).finish_non_exhaustive()
    }
}

impl DataLoader {
    /// Batches to train on, of `num_classes` classes. The place of an image that the dataset cannot give goes to the next that
    /// it can; [`unreadable`](Self::unreadable) tells of it.
    ///
    /// # Errors
    /// A dataset without images, an option out of its range, or threads that the system refuses.
    pub fn train(
        set: Arc<dyn Dataset<Item = ClassificationItem>>,
        transform: TrainTransform,
        num_classes: usize,
        options: LoaderOptions,
    ) -> Result<Self, AugmentError> {
        let mixing = transform.options().mixing();
        Self::new(set, View::Train { transform: Box::new(transform), mixing, num_classes }, options)
    }

    /// Batches to evaluate on: all images in order, as [`EvalTransform`] has them, without those that the dataset cannot give,
    /// of which [`unreadable`](Self::unreadable) tells. The seed and `drop_last` mean nothing.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    pub fn eval(
        set: Arc<dyn Dataset<Item = ClassificationItem>>,
        transform: EvalTransform,
        options: LoaderOptions,
    ) -> Result<Self, AugmentError> {
        let tables = Box::new(transform.tables());
        Self::new(set, View::Eval { transform, tables }, LoaderOptions { drop_last: false, ..options })
    }

    fn new(
        set: Arc<dyn Dataset<Item = ClassificationItem>>,
        view: View,
        options: LoaderOptions,
    ) -> Result<Self, AugmentError> {
        if options.batch == 0 {
            return Err(AugmentError::Option { name: "batch", found: "0".into(), expected: "it has to be at least 1" });
        }
        if set.is_empty() {
            return Err(AugmentError::Empty);
        }
        let ahead = Prefetcher::new(options.workers)?;
        Ok(Self { source: Arc::new(Source { set, view, options, unreadable: Mutex::default() }), ahead })
    }

    /// The images that the dataset could not give so far, by their index, and why.
    #[must_use]
    pub fn unreadable(&self) -> Vec<ImageReadError> {
        let failures = self.source.failures();
        let error = |(&index, reason): (&usize, &String)| ImageReadError {
            index,
            name: self.source.set.name(index),
            reason: reason.clone(),
        };
        failures.iter().map(error).collect()
    }

    /// Number of batches of an epoch.
    #[must_use]
    pub fn batches(&self) -> usize {
        let LoaderOptions { batch, drop_last, .. } = self.source.options;
        let images = self.source.set.len();
        if drop_last { (images / batch).max(1) } else { images.div_ceil(batch) }
    }

    /// The images that are made of a batch of an epoch, from 0.
    #[must_use]
    pub fn shard(&self, batch: usize) -> BatchShard {
        self.source.options.shard.of(self.source.places(batch).len())
    }

    /// The batches of an epoch, counted from 0. Making them begins at once, where there are workers.
    ///
    /// # Errors
    /// Threads that the system refuses.
    pub fn epoch(&self, epoch: usize) -> Result<EpochIter, AugmentError> {
        self.epoch_from(epoch, 0)
    }

    /// The batches of an epoch from `first` on, those before it not made: where a run that stopped in it goes on.
    ///
    /// # Errors
    /// As [`epoch`](Self::epoch).
    pub fn epoch_from(&self, epoch: usize, first: usize) -> Result<EpochIter, AugmentError> {
        let work = Work { source: Arc::clone(&self.source), order: self.source.order(epoch), epoch };
        let batches = first.min(self.batches())..self.batches();
        Ok(EpochIter(self.ahead.start(epoch, batches, move |number, stop| work.batch(number, stop))?))
    }
}

impl Source {
    /// The images of an epoch in their order.
    fn order(&self, epoch: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.set.len()).collect();
        if let View::Train { .. } = self.view {
            order.shuffle(&mut stream(self.options.seed, &[ORDER, epoch as u64]));
        }
        order
    }

    /// The places of a batch in an epoch's order.
    fn places(&self, number: usize) -> Range<usize> {
        let first = number * self.options.batch;
        first..(first + self.options.batch).min(self.set.len())
    }

    fn size(&self) -> [usize; 2] {
        match &self.view {
            View::Train { transform, .. } => transform.input_size(),
            View::Eval { transform, .. } => transform.input_size,
        }
    }

    fn failures(&self) -> MutexGuard<'_, BTreeMap<usize, String>> {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An image with pixels; one that there is none of is remembered.
    fn item(&self, index: usize) -> Result<ClassificationItem, ItemError> {
        let item = self.set.get(index).and_then(|item| ItemError::check_pixels(&item.image).map(|()| item));
        if let Err(error) = &item {
            self.failures().insert(index, error.to_string());
        }
        item
    }

    /// Writes the input that an image becomes to `out`. Gives the index and the class of the image that it is, if there is
    /// one.
    fn sample(&self, epoch: usize, index: usize, out: &mut [f32]) -> Result<Option<[usize; 2]>, AugmentError> {
        match &self.view {
            View::Eval { transform, tables } => Ok(self.item(index).ok().map(|item| {
                write_planes(&transform.resize_crop(&item.image), tables, out);
                [index, item.class]
            })),
            View::Train { transform, .. } => {
                let images = self.set.len();
                let mut tries = (0..MAX_UNREADABLE).map(|skipped| (index + skipped) % images);
                let mut last = None;
                let found = tries.find_map(|index| match self.item(index) {
                    Ok(item) => Some((index, item)),
                    Err(error) => {
                        last = Some((index, error));
                        None
                    }
                });
                match (found, last) {
                    (Some((found, ClassificationItem { image, class })), _) => {
                        let mut rng = stream(self.options.seed, &[SAMPLE, epoch as u64, index as u64]);
                        let size = [image.height() as usize, image.width() as usize];
                        transform.apply(&transform.draw(&mut rng, size), &image, out);
                        Ok(Some([found, class]))
                    }
                    (None, Some((last, error))) => {
                        let (name, reason) = (self.set.name(last), error.to_string());
                        Err(AugmentError::Unreadable { count: MAX_UNREADABLE, name, reason })
                    }
                    (None, None) => unreachable!("at least one image was tried"),
                }
            }
        }
    }
}

/// The making of one epoch.
struct Work {
    source: Arc<Source>,
    order: Vec<usize>,
    epoch: usize,
}

impl Work {
    /// A batch; an unfinished one where it was stopped.
    fn batch(&self, number: usize, stop: &AtomicBool) -> Result<Batch, AugmentError> {
        let source = &self.source;
        let size = source.size();
        let length = 3 * size[0] * size[1];
        let whole = source.places(number);
        let shard = source.options.shard.of(whole.len());
        let mixes = self.mixes(number, whole.len(), size);
        // Mixed images need their partners too, from the end of the batch: places that mirror each other.
        let made: Vec<usize> = match &mixes {
            None => shard.images.clone().collect(),
            Some(_) => {
                let is_own = |place: &usize| shard.images.contains(place);
                (0..whole.len()).filter(|place| is_own(place) || is_own(&(whole.len() - 1 - place))).collect()
            }
        };
        let wanted: Vec<usize> = made.iter().map(|place| self.order[whole.start + place]).collect();
        let mut images = vec![0.; wanted.len() * length];
        let found: Vec<Option<[usize; 2]>> = images
            .par_chunks_exact_mut(length.max(1))
            .zip(&wanted)
            .map(|(out, &index)| match stop.load(Ordering::Relaxed) {
                true => Ok(None),
                false => source.sample(self.epoch, index, out),
            })
            .collect::<Result<_, _>>()?;
        let (indices, classes): (Vec<usize>, Vec<usize>) =
            found.iter().flatten().map(|&[index, class]| (index, class)).unzip();
        if indices.len() < found.len() {
            let mut present = found.iter().map(Option::is_some);
            images = images
                .chunks_exact(length.max(1))
                .filter(|_| present.next() == Some(true))
                .flatten()
                .copied()
                .collect();
        }
        let mut batch = Batch { images, size, classes, indices, soft: None };
        if let (View::Train { num_classes, transform, .. }, Some(mixes)) = (&source.view, mixes)
            && batch.classes.len() == made.len()
        {
            let mixes: Vec<MixParams> = made.iter().map(|place| mixes[*place]).collect();
            mix_images(&mut batch.images, size, &mixes);
            let smoothing = transform.options().smoothing;
            batch.soft = Some(mixed_targets(&batch.classes, &mixes, *num_classes, smoothing));
            let first = made.iter().position(|place| *place == shard.images.start).unwrap_or_default();
            batch.keep(first..first + shard.images.len());
        }
        Ok(batch)
    }

    /// What happens to each image of a whole batch, where images are mixed.
    fn mixes(&self, number: usize, count: usize, size: [usize; 2]) -> Option<Vec<MixParams>> {
        let View::Train { mixing: Some(mixing), .. } = &self.source.view else { return None };
        let mut rng = stream(self.source.options.seed, &[MIXING, self.epoch as u64, number as u64]);
        Some(mixing.draw(&mut rng, count, size))
    }
}

/// The batches of one epoch, in order; after an error there are none. Dropping it ends its threads' work.
#[derive(Debug)]
pub struct EpochIter(PrefetchIter<Batch, AugmentError>);

impl EpochIter {
    /// Time that the caller has spent waiting for batches.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.0.waited()
    }
}

impl Iterator for EpochIter {
    type Item = Result<Batch, AugmentError>;

    /// The next batch with an image that can be read.
    fn next(&mut self) -> Option<Self::Item> {
        self.0.find(|batch| !matches!(batch, Ok(batch) if batch.indices.is_empty()))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

#[cfg(test)]
#[path = "loader_tests.rs"]
mod tests;
