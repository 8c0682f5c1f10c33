//! Batches of augmented images, made on threads beside the training.
//!
//! Everything that is drawn depends on the seed, the epoch and the image's number: batches are the same for any
//! number of threads, and an epoch may begin at any of its batches.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use candle_core::{Device, Tensor};
use candle_vision::data::{LoaderError, PREFETCH, PrefetchIter, Prefetcher};
use candle_vision::train::distributed::{BatchShard, Shard};
use candle_vision::train::{Stream, stream};
use rand::Rng;
use rand::seq::SliceRandom;
use rayon::prelude::*;

use super::Target;
use super::augment::{AugmentOptions, SamplePlan};
use super::dataset::DetectionDataset;
use super::image_cache::ImageCache;
use super::multi_scale::resize_bilinear;
use super::rect::Rect;

/// Places of the random numbers.
const ORDER: u64 = u64::from_be_bytes(*b"det-ordr");
const SAMPLE: u64 = u64::from_be_bytes(*b"det-samp");
/// Most threads by default.
const MOST_WORKERS: usize = 8;
/// A mosaic's images are among this many batches of the last ones,
const NEIGHBOUR_BATCHES: usize = 8;
/// and among this many images, as with Ultralytics.
const MOST_NEIGHBOURS: usize = 1000;

/// How batches are made.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LoaderOptions {
    /// Images per batch; the last one of an epoch may have fewer.
    pub batch: usize,
    /// Threads that make batches ahead; 0 makes them when they are asked for.
    pub workers: usize,
    /// Of all random numbers.
    pub seed: u64,
    /// How images are changed.
    pub augment: AugmentOptions,
    /// Batches of images of similar shapes, in one order and without mosaics and mixtures, whose sides are multiples of
    /// this, at least; nothing makes square ones.
    pub rect: Option<usize>,
    /// Of each batch, the images that are made: those of one process of several.
    pub shard: Shard,
}

impl Default for LoaderOptions {
    fn default() -> Self {
        let workers = thread::available_parallelism().map_or(1, usize::from).min(MOST_WORKERS);
        Self { batch: 16, workers, seed: 0, augment: AugmentOptions::default(), rect: None, shard: Shard::default() }
    }
}

impl LoaderOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Images per batch; the last one of an epoch may have fewer.
    #[must_use]
    pub fn batch(self, batch: usize) -> Self {
        Self { batch, ..self }
    }

    /// Threads that make batches ahead; 0 makes them when they are asked for.
    #[must_use]
    pub fn workers(self, workers: usize) -> Self {
        Self { workers, ..self }
    }

    /// Of all random numbers.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// How images are changed.
    #[must_use]
    pub fn augment(self, augment: AugmentOptions) -> Self {
        Self { augment, ..self }
    }

    /// Batches of images of similar shapes, of sides that are multiples of this: see the [field](field@LoaderOptions::rect).
    #[must_use]
    pub fn rect(self, rect: impl Into<Option<usize>>) -> Self {
        Self { rect: rect.into(), ..self }
    }

    /// Of each batch, the images that are made: those of one process of several, whose batches are `batch` together.
    #[must_use]
    pub fn shard(self, shard: Shard) -> Self {
        Self { shard, ..self }
    }
}

/// Images with their objects, as a training step takes them.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Levels of shape (images, 3, height, width): red, green, blue.
    pub images: Vec<u8>,
    /// [height, width] of the images in pixels.
    pub size: [usize; 2],
    /// All objects, by image.
    pub targets: Vec<Target>,
    /// The files, or the names of images without one; of mosaics that of the image at the top left.
    pub paths: Vec<PathBuf>,
}

impl Batch {
    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether there is no image.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Levels / 255 as f32 of shape (images, 3, height, width).
    ///
    /// # Errors
    /// If the tensor cannot be allocated on `device`.
    pub fn tensor(&self, device: &Device) -> candle_core::Result<Tensor> {
        Tensor::from_vec(self.values(), (self.len(), 3, self.size[0], self.size[1]), device)
    }

    /// The same, scaled to `shape` = [height, width] as [`MultiScale`](super::MultiScale) wants it.
    ///
    /// # Errors
    /// If the tensor cannot be allocated on `device`.
    pub fn scaled(&self, shape: [usize; 2], device: &Device) -> candle_core::Result<Tensor> {
        if shape == self.size {
            return self.tensor(device);
        }
        let values = resize_bilinear(&self.values(), self.size, shape);
        Tensor::from_vec(values, (self.len(), 3, shape[0], shape[1]), device)
    }

    fn values(&self) -> Vec<f32> {
        let mut values = vec![0f32; self.images.len()];
        let chunk = 1 << 16;
        values.par_chunks_mut(chunk).zip(self.images.par_chunks(chunk)).for_each(|(values, levels)| {
            values.iter_mut().zip(levels).for_each(|(value, &level)| *value = f32::from(level) / 255.);
        });
        values
    }
}

/// The batches of an epoch in order.
pub type EpochIter = PrefetchIter<Batch, LoaderError>;

/// Makes the batches of all epochs.
#[derive(Debug, Clone)]
pub struct DataLoader {
    set: Arc<DetectionDataset>,
    recent: Arc<ImageCache>,
    rect: Option<Arc<Rect>>,
    options: LoaderOptions,
    ahead: Prefetcher,
}

impl DataLoader {
    /// Of a data set.
    ///
    /// # Errors
    /// Threads that the system refuses.
    pub fn new(set: Arc<DetectionDataset>, options: LoaderOptions) -> Result<Self, LoaderError> {
        let options = LoaderOptions { batch: options.batch.clamp(1, set.len()), ..options };
        // The last ones of the order, and those that are made ahead.
        let capacity = neighbours(&set, &options) + (PREFETCH + 2) * options.batch;
        let ahead = Prefetcher::new(options.workers)?;
        let sizes = || -> Vec<[usize; 2]> { (0..set.len()).map(|index| set.size(index)).collect() };
        let rect = options.rect.map(|stride| Arc::new(Rect::new(&sizes(), options.batch, set.imgsz(), stride.max(1))));
        Ok(Self { recent: Arc::new(ImageCache::new(capacity)), rect, set, options, ahead })
    }

    /// Number of batches of an epoch.
    #[must_use]
    pub fn batches_per_epoch(&self) -> usize {
        self.set.len().div_ceil(self.options.batch)
    }

    /// The images that are made of a batch of an epoch, from 0.
    #[must_use]
    pub fn shard(&self, batch: usize) -> BatchShard {
        let before = batch * self.options.batch;
        self.options.shard.of(self.options.batch.min(self.set.len().saturating_sub(before)))
    }

    /// The data set.
    #[must_use]
    pub fn set(&self) -> &Arc<DetectionDataset> {
        &self.set
    }

    /// The batches of an epoch, counted from 0, from the batch `first` on. Without `joined`, as in the last epochs, no
    /// images are joined to mosaics and mixtures. Threads begin at once: an epoch may be asked for before it is
    /// needed.
    ///
    /// # Errors
    /// Threads that the system refuses.
    pub fn epoch(&self, epoch: usize, joined: bool, first: usize) -> Result<EpochIter, LoaderError> {
        let joined = joined && self.rect.is_none();
        let augment = if joined { self.options.augment.clone() } else { self.options.augment.of_single_images() };
        let mut order: Vec<usize> = match &self.rect {
            Some(rect) => rect.order().to_vec(),
            None => (0..self.set.len()).collect(),
        };
        if self.rect.as_ref().is_none_or(|rect| rect.is_uniform()) {
            order.shuffle(&mut stream(self.options.seed, &[ORDER, epoch as u64]));
        }
        let Self { set, recent, rect, options, .. } = self.clone();
        let neighbours = neighbours(&self.set, &options);
        let work = Work { set, recent, rect, neighbours, options, augment, order, epoch };
        let batches = first..self.batches_per_epoch().max(first);
        self.ahead.start(epoch, batches, move |number, stop| Ok(work.batch(number, stop)))
    }
}

/// Number of images that a mosaic's partners are drawn from.
fn neighbours(set: &DetectionDataset, options: &LoaderOptions) -> usize {
    (NEIGHBOUR_BATCHES * options.batch).min(MOST_NEIGHBOURS).min(set.len())
}

/// What the threads of an epoch share.
struct Work {
    set: Arc<DetectionDataset>,
    recent: Arc<ImageCache>,
    rect: Option<Arc<Rect>>,
    options: LoaderOptions,
    augment: AugmentOptions,
    order: Vec<usize>,
    neighbours: usize,
    epoch: usize,
}

impl Work {
    /// A batch; an unfinished one where it was stopped.
    fn batch(&self, number: usize, stop: &AtomicBool) -> Batch {
        let size = self.rect.as_ref().map_or([self.set.imgsz(); 2], |rect| rect.shape(number));
        let first = number * self.options.batch;
        let own = self.options.shard.of(self.options.batch.min(self.order.len() - first)).images;
        let places = first + own.start..first + own.end;
        let make = |place: usize| {
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            let index = self.order[place];
            Some((index, self.plan(place).apply(index, &|index| self.recent.scene(&self.set, index), size)))
        };
        let samples: Vec<_> = places.into_par_iter().filter_map(make).collect();
        let images = Vec::with_capacity(samples.len() * 3 * size[0] * size[1]);
        let mut batch = Batch { images, size, targets: Vec::new(), paths: Vec::with_capacity(samples.len()) };
        for (image, (index, sample)) in samples.into_iter().enumerate() {
            batch.images.extend_from_slice(&sample.planes);
            let target = |object: super::augment::BoxTarget| Target { image, class: object.class, xywhn: object.xywhn };
            batch.targets.extend(sample.objects.into_iter().map(target));
            batch.paths.push(self.set.path(index).to_path_buf());
        }
        batch
    }

    /// What is drawn for the sample at a place of the order. A mosaic's images are among the last ones of the
    /// order; at its begin, of its end.
    fn plan(&self, place: usize) -> SamplePlan {
        let images = self.order.len();
        let mut neighbour = |stream: &mut Stream| {
            let back = stream.random_range(0..self.neighbours as u64) as usize;
            self.order[(place + images - back) % images]
        };
        let mut any = |stream: &mut Stream| stream.random_range(0..images as u64) as usize;
        let mut stream = stream(self.options.seed, &[SAMPLE, self.epoch as u64, self.order[place] as u64]);
        SamplePlan::draw(&self.augment, self.set.imgsz(), &mut stream, &mut neighbour, &mut any)
    }
}

#[cfg(test)]
#[path = "loader_tests.rs"]
mod tests;
