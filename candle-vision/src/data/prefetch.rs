//! Batches made ahead of the training that takes them, on threads of their own.

use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rayon::{ThreadPool, ThreadPoolBuilder};

/// Finished batches that wait for the caller, at most.
pub const PREFETCH: usize = 2;

/// Why there is no batch.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoaderError {
    /// The system gives no threads.
    #[error("cannot start the loader's threads: {reason}; ask for fewer workers, or 0")]
    Threads {
        /// The system's answer.
        reason: String,
    },
    /// The making of a batch panicked, which is a mistake in the program.
    #[error("making batch {batch} of epoch {epoch} failed: {reason}; please report it")]
    Panicked {
        /// The epoch, from 0.
        epoch: usize,
        /// The batch in it, from 0.
        batch: usize,
        /// What was said.
        reason: String,
    },
}

/// Threads that make batches, each batch on all of them.
#[derive(Debug, Clone)]
pub struct Prefetcher {
    pool: Option<Arc<ThreadPool>>,
}

impl Prefetcher {
    /// `workers` threads; 0 makes batches when they are asked for, on rayon's global threads.
    ///
    /// # Errors
    /// `Threads`.
    pub fn new(workers: usize) -> Result<Self, LoaderError> {
        let name = |worker: usize| format!("loader-{worker}");
        let pool = match workers {
            0 => None,
            workers => Some(ThreadPoolBuilder::new().num_threads(workers).thread_name(name).build()),
        };
        let pool = pool.transpose().map_err(|error| LoaderError::Threads { reason: error.to_string() })?;
        Ok(Self { pool: pool.map(Arc::new) })
    }

    /// The batches `range` of an epoch, in order. Making them begins at once where there are workers. `make` is given a
    /// batch's number, and a flag that tells that nobody waits for it any more: then it may give anything.
    ///
    /// # Errors
    /// `Threads`.
    pub fn start<T, E, M>(&self, epoch: usize, range: Range<usize>, make: M) -> Result<PrefetchIter<T, E>, LoaderError>
    where
        T: Send + 'static,
        E: From<LoaderError> + Send + 'static,
        M: Fn(usize, &AtomicBool) -> Result<T, E> + Send + Sync + 'static,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let work = Work { epoch, make: Box::new(make), stop: stop.clone() };
        let left = range.clone();
        let feed = match self.pool.clone() {
            None => Feed::Here(work),
            Some(pool) => {
                let (sender, receiver) = sync_channel(PREFETCH);
                let spawned = std::thread::Builder::new()
                    .name("loader".to_owned())
                    .spawn(move || work.feed(range, &pool, &sender))
                    .map_err(|error| LoaderError::Threads { reason: error.to_string() })?;
                Feed::Prefetcher(receiver, spawned)
            }
        };
        Ok(PrefetchIter { feed, left, waited: Duration::ZERO, stop })
    }
}

type Make<T, E> = dyn Fn(usize, &AtomicBool) -> Result<T, E> + Send + Sync;

/// The making of one epoch.
struct Work<T, E> {
    epoch: usize,
    make: Box<Make<T, E>>,
    stop: Arc<AtomicBool>,
}

impl<T: Send, E: From<LoaderError> + Send> Work<T, E> {
    /// A batch, with a panic as an error.
    fn batch(&self, number: usize) -> Result<T, E> {
        catch_unwind(AssertUnwindSafe(|| (self.make)(number, &self.stop))).unwrap_or_else(|panic| {
            Err(LoaderError::Panicked { epoch: self.epoch, batch: number, reason: said(panic.as_ref()) }.into())
        })
    }

    /// Sends batches in order, until one fails or nobody listens.
    fn feed(&self, range: Range<usize>, pool: &ThreadPool, sender: &SyncSender<Result<T, E>>) {
        for number in range {
            let batch = pool.install(|| self.batch(number));
            let is_last = batch.is_err();
            if self.stop.load(Ordering::Relaxed) || sender.send(batch).is_err() || is_last {
                return;
            }
        }
    }
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no reason was given".to_owned())
}

/// Where batches come from.
enum Feed<T, E> {
    Here(Work<T, E>),
    Prefetcher(Receiver<Result<T, E>>, JoinHandle<()>),
    Over,
}

/// The batches of an epoch in order; after an error there are none. Dropping it ends the work of its threads.
pub struct PrefetchIter<T, E> {
    feed: Feed<T, E>,
    left: Range<usize>,
    waited: Duration,
    stop: Arc<AtomicBool>,
}

impl<T, E> PrefetchIter<T, E> {
    /// Time that the caller has spent waiting.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Number of batches that are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.left.len()
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.left.start = self.left.end;
        if let Feed::Prefetcher(receiver, thread) = std::mem::replace(&mut self.feed, Feed::Over) {
            // A thread that waits to send sees that nobody listens.
            drop(receiver);
            // Its panics have become errors, so there is none to pass on.
            let _ = thread.join();
        }
    }
}

impl<T, E> std::fmt::Debug for PrefetchIter<T, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batches").field("left", &self.left).field("waited", &self.waited).finish_non_exhaustive()
    }
}

impl<T: Send, E: From<LoaderError> + Send> Iterator for PrefetchIter<T, E> {
    type Item = Result<T, E>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = Instant::now();
        let batch = self.left.next().and_then(|number| match &self.feed {
            Feed::Here(work) => Some(work.batch(number)),
            Feed::Prefetcher(receiver, _) => receiver.recv().ok(),
            Feed::Over => None,
        });
        self.waited += start.elapsed();
        if !matches!(batch, Some(Ok(_))) {
            self.end();
        }
        batch
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left.len()))
    }
}

impl<T, E> Drop for PrefetchIter<T, E> {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(workers: usize, range: Range<usize>) -> PrefetchIter<usize, LoaderError> {
        let make = |number: usize, _: &AtomicBool| {
            assert_ne!(number, 7, "seven is too much");
            Ok(number * number)
        };
        Prefetcher::new(workers).unwrap().start(3, range, make).unwrap()
    }

    #[test]
    fn batches_come_in_order_from_any_threads() {
        for workers in [0, 1, 3] {
            let mut batches = numbers(workers, 2..6);
            assert_eq!((batches.remaining(), batches.waited()), (4, Duration::ZERO));
            assert_eq!(batches.next().unwrap().unwrap(), 4);
            assert_eq!(batches.remaining(), 3);
            assert_eq!(batches.by_ref().map(Result::unwrap).collect::<Vec<_>>(), [9, 16, 25]);
            assert!(batches.waited() > Duration::ZERO);
            assert_eq!(numbers(workers, 6..6).count(), 0);
        }
    }

    #[test]
    fn a_panic_is_the_last_batch() {
        for workers in [0, 2] {
            let mut batches = numbers(workers, 6..20);
            assert_eq!(batches.next().unwrap().unwrap(), 36);
            let text = batches.next().unwrap().unwrap_err().to_string();
            assert!(text.starts_with("making batch 7 of epoch 3 failed: ") && text.contains("seven is too"), "{text}");
            assert!(batches.next().is_none());
        }
    }

    #[test]
    fn an_epoch_that_is_left_ends_its_work() {
        let held = Arc::new(());
        for taken in 0..3 {
            let kept = held.clone();
            let make = move |number: usize, _: &AtomicBool| {
                let _ = &kept;
                Ok::<_, LoaderError>(number)
            };
            let mut batches = Prefetcher::new(2).unwrap().start(0, 0..100, make).unwrap();
            batches.by_ref().take(taken).for_each(|batch| assert!(batch.is_ok()));
            drop(batches);
            assert_eq!(Arc::strong_count(&held), 1, "after {taken} batches nothing holds the work");
        }
    }
}
