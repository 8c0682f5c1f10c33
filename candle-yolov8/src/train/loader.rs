//! Batches of augmented pictures, made on threads beside the training.
//!
//! Everything that is drawn depends on the seed, the epoch and the picture's number: batches are the same for any
//! number of threads, and an epoch may begin at any of its batches.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use candle_vision::train::{Stream, stream};
use rand::Rng;
use rand::seq::SliceRandom;
use rayon::prelude::*;

use super::Target;
use super::augment::{AugmentOptions, SamplePlan};
use super::dataset::TrainSet;
use super::recent::Recent;

/// Places of the random numbers.
const ORDER: u64 = u64::from_be_bytes(*b"det-ordr");
const SAMPLE: u64 = u64::from_be_bytes(*b"det-samp");
/// Most threads by default.
const MOST_WORKERS: usize = 8;
/// Batches ready ahead of the training, per thread.
const AHEAD: usize = 2;
/// A mosaic's pictures are among this many batches of the last ones,
const NEIGHBOUR_BATCHES: usize = 8;
/// and among this many pictures, as with Ultralytics.
const MOST_NEIGHBOURS: usize = 1000;

/// How batches are made.
#[derive(Debug, Clone, PartialEq)]
pub struct LoaderOptions {
    /// Pictures per batch; the last one of an epoch may have fewer.
    pub batch: usize,
    /// Threads that make batches; 0 for the caller's own.
    pub workers: usize,
    /// Of all random numbers.
    pub seed: u64,
    /// How pictures are changed.
    pub augment: AugmentOptions,
}

impl Default for LoaderOptions {
    fn default() -> Self {
        let workers = thread::available_parallelism().map_or(1, usize::from).min(MOST_WORKERS);
        Self { batch: 16, workers, seed: 0, augment: AugmentOptions::default() }
    }
}

/// Why a batch could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoaderError {
    /// The system gives no thread.
    #[error("no thread to load pictures on: {source}; lower `workers`")]
    Thread {
        /// The system's answer.
        source: std::io::Error,
    },
    /// A programming error.
    #[error("making batch {batch} of epoch {epoch} failed: {message}")]
    Panicked {
        /// Number of the epoch, from 0.
        epoch: usize,
        /// Number of the batch, from 0.
        batch: usize,
        /// What was said.
        message: String,
    },
}

/// Pictures with their objects, as a training step takes them.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Levels of shape (pictures, 3, imgsz, imgsz): red, green, blue.
    pub images: Vec<u8>,
    /// Side of the pictures in pixels.
    pub imgsz: usize,
    /// All objects, by picture.
    pub targets: Vec<Target>,
    /// The files, of mosaics that of the picture at the top left.
    pub paths: Vec<PathBuf>,
}

impl Batch {
    /// Number of pictures.
    #[must_use]
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether there is no picture.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Levels / 255 as f32 of shape (pictures, 3, imgsz, imgsz).
    ///
    /// # Errors
    /// If the tensor cannot be allocated on `device`.
    pub fn tensor(&self, device: &Device) -> candle_core::Result<Tensor> {
        let mut values = vec![0f32; self.images.len()];
        let chunk = 1 << 16;
        values.par_chunks_mut(chunk).zip(self.images.par_chunks(chunk)).for_each(|(values, levels)| {
            values.iter_mut().zip(levels).for_each(|(value, &level)| *value = f32::from(level) / 255.);
        });
        Tensor::from_vec(values, (self.len(), 3, self.imgsz, self.imgsz), device)
    }
}

/// Makes the batches of all epochs.
#[derive(Debug, Clone)]
pub struct Loader {
    set: Arc<TrainSet>,
    recent: Arc<Recent>,
    options: LoaderOptions,
}

impl Loader {
    /// Of a data set.
    #[must_use]
    pub fn new(set: Arc<TrainSet>, options: LoaderOptions) -> Self {
        let options = LoaderOptions { batch: options.batch.clamp(1, set.len()), ..options };
        // The last ones of the order, and those that are made ahead.
        let capacity = neighbours(&set, &options) + (AHEAD + 2) * options.workers.max(1) * options.batch;
        Self { recent: Arc::new(Recent::new(capacity)), set, options }
    }

    /// Number of batches of an epoch.
    #[must_use]
    pub fn batches_per_epoch(&self) -> usize {
        self.set.len().div_ceil(self.options.batch)
    }

    /// The data set.
    #[must_use]
    pub fn set(&self) -> &Arc<TrainSet> {
        &self.set
    }

    /// The batches of an epoch, counted from 0, from the batch `first` on. Without `joined`, as in the last epochs, no
    /// pictures are joined to mosaics and mixtures. Threads begin at once: an epoch may be asked for before it is
    /// needed.
    ///
    /// # Errors
    /// `Thread`.
    pub fn epoch(&self, epoch: usize, joined: bool, first: usize) -> Result<Epoch, LoaderError> {
        let augment = if joined { self.options.augment.clone() } else { self.options.augment.of_single_pictures() };
        let mut order: Vec<usize> = (0..self.set.len()).collect();
        order.shuffle(&mut stream(self.options.seed, &[ORDER, epoch as u64]));
        let Self { set, recent, options } = self.clone();
        let work = Work { set, recent, neighbours: neighbours(&self.set, &options), options, augment, order, epoch };
        Epoch::start(Arc::new(work), self.batches_per_epoch(), first)
    }
}

/// Number of pictures that a mosaic's partners are drawn from.
fn neighbours(set: &TrainSet, options: &LoaderOptions) -> usize {
    (NEIGHBOUR_BATCHES * options.batch).min(MOST_NEIGHBOURS).min(set.len())
}

/// What the threads of an epoch share.
struct Work {
    set: Arc<TrainSet>,
    recent: Arc<Recent>,
    options: LoaderOptions,
    augment: AugmentOptions,
    order: Vec<usize>,
    neighbours: usize,
    epoch: usize,
}

impl Work {
    /// Makes a batch, or turns a panic into an error. Nothing if it was stopped.
    fn batch(&self, number: usize, stop: &AtomicBool) -> Option<Result<Batch, LoaderError>> {
        let made = catch_unwind(AssertUnwindSafe(|| self.make(number, stop)));
        match made {
            Ok(batch) => batch.map(Ok),
            Err(panic) => {
                let message = panic_message(panic.as_ref());
                Some(Err(LoaderError::Panicked { epoch: self.epoch, batch: number, message }))
            }
        }
    }

    fn make(&self, number: usize, stop: &AtomicBool) -> Option<Batch> {
        let (size, imgsz) = (self.options.batch, self.set.imgsz());
        let places = number * size..((number + 1) * size).min(self.order.len());
        let images = Vec::with_capacity(places.len() * 3 * imgsz * imgsz);
        let mut batch = Batch { images, imgsz, targets: Vec::new(), paths: Vec::with_capacity(places.len()) };
        for (image, place) in places.enumerate() {
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            let index = self.order[place];
            let sample = self.plan(place).apply(index, &|index| self.recent.scene(&self.set, index), imgsz);
            batch.images.extend_from_slice(&sample.planes);
            let target = |object: super::augment::Object| Target { image, class: object.class, xywhn: object.xywhn };
            batch.targets.extend(sample.objects.into_iter().map(target));
            batch.paths.push(self.set.path(index).to_path_buf());
        }
        Some(batch)
    }

    /// What is drawn for the sample at a place of the order. A mosaic's pictures are among the last ones of the
    /// order; at its begin, of its end.
    fn plan(&self, place: usize) -> SamplePlan {
        let pictures = self.order.len();
        let mut neighbour = |stream: &mut Stream| {
            let back = stream.random_range(0..self.neighbours as u64) as usize;
            self.order[(place + pictures - back) % pictures]
        };
        let mut any = |stream: &mut Stream| stream.random_range(0..pictures as u64) as usize;
        let mut stream = stream(self.options.seed, &[SAMPLE, self.epoch as u64, self.order[place] as u64]);
        SamplePlan::draw(&self.augment, self.set.imgsz(), &mut stream, &mut neighbour, &mut any)
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no reason was given".into())
}

type Made = (usize, Result<Batch, LoaderError>);

/// The batches of an epoch in order. Its threads end with it.
pub struct Epoch {
    work: Arc<Work>,
    stop: Arc<AtomicBool>,
    receiver: Option<Receiver<Made>>,
    threads: Vec<JoinHandle<()>>,
    /// Batches that came before their turn.
    early: BTreeMap<usize, Result<Batch, LoaderError>>,
    next: usize,
    batches: usize,
    waited: Duration,
}

impl Epoch {
    fn start(work: Arc<Work>, batches: usize, first: usize) -> Result<Self, LoaderError> {
        let workers = work.options.workers;
        let mut epoch = Self {
            work,
            stop: Arc::default(),
            receiver: None,
            threads: Vec::new(),
            early: BTreeMap::new(),
            next: first,
            batches,
            waited: Duration::ZERO,
        };
        if workers == 0 {
            return Ok(epoch);
        }
        let (sender, receiver) = sync_channel(AHEAD * workers);
        epoch.receiver = Some(receiver);
        let turn = Arc::new(AtomicUsize::new(first));
        for number in 0..workers.min(batches.saturating_sub(first)) {
            let (work, stop, turn, sender) = (epoch.work.clone(), epoch.stop.clone(), turn.clone(), sender.clone());
            let run = move || run(&work, &stop, &turn, batches, &sender);
            let thread = thread::Builder::new().name(format!("pictures {number}")).spawn(run);
            epoch.threads.push(thread.map_err(|source| LoaderError::Thread { source })?);
        }
        Ok(epoch)
    }

    /// Number of batches that are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.batches.saturating_sub(self.next)
    }

    /// Time that the caller has waited for batches.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.waited
    }

    fn receive(&mut self) -> Result<Batch, LoaderError> {
        let number = self.next;
        let Some(receiver) = &self.receiver else {
            return self.work.batch(number, &self.stop).unwrap_or_else(|| Err(self.lost(number)));
        };
        loop {
            if let Some(batch) = self.early.remove(&number) {
                return batch;
            }
            match receiver.recv() {
                Ok((number, batch)) => self.early.insert(number, batch),
                Err(_) => return Err(self.lost(number)),
            };
        }
    }

    fn lost(&self, batch: usize) -> LoaderError {
        LoaderError::Panicked { epoch: self.work.epoch, batch, message: "its thread ended".into() }
    }
}

/// Makes batches in turn until there is none left or nobody takes them.
fn run(work: &Work, stop: &AtomicBool, turn: &AtomicUsize, batches: usize, sender: &SyncSender<Made>) {
    loop {
        let number = turn.fetch_add(1, Ordering::Relaxed);
        if number >= batches {
            return;
        }
        let Some(batch) = work.batch(number, stop) else { return };
        if sender.send((number, batch)).is_err() {
            return;
        }
    }
}

impl Iterator for Epoch {
    type Item = Result<Batch, LoaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.batches {
            return None;
        }
        let start = Instant::now();
        let batch = self.receive();
        self.waited += start.elapsed();
        self.next += 1;
        Some(batch)
    }
}

impl Drop for Epoch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.receiver = None;
        for thread in self.threads.drain(..) {
            // A panic was told as an error already.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
#[path = "loader_tests.rs"]
mod tests;
