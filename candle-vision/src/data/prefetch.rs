//! Values made ahead of who takes them, on threads of their own: images before a network, batches before a training.
//!
//! A [`Prefetcher`] makes numbered batches on a pool of threads. [`PrefetchIter::spawn`] and [`PrefetchIter::spawn_scoped`]
//! run an iterator on a thread of its own, which may spread its work over rayon's. Values come in order, few of them wait,
//! and a panic becomes the last of them, an error.

use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle, Scope};
use std::time::{Duration, Instant};

use rayon::{ThreadPool, ThreadPoolBuilder};

/// Batches of a [`Prefetcher`] that wait finished, at most.
pub const PREFETCH: usize = 2;
/// Values of an iterator that wait finished, at most.
const WAITING: usize = 1;

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
    /// The making of a batch panicked, which is a mistake in the program, or in a dataset of its own.
    #[error("making batch {batch}{} failed: {reason}", of(epoch))]
    Panicked {
        /// The epoch, from 0, where there are epochs.
        epoch: Option<usize>,
        /// The batch in it, from 0.
        batch: usize,
        /// What was said.
        reason: String,
    },
}

fn of(epoch: &Option<usize>) -> String {
    epoch.map(|epoch| format!(" of epoch {epoch}")).unwrap_or_default()
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
    /// batch's number, and a flag that tells that nobody waits for it any more: then it may give anything. Dropping the
    /// iterator waits for the batch that is being made.
    ///
    /// # Errors
    /// `Threads`.
    pub fn start<T, E, M>(&self, epoch: usize, range: Range<usize>, make: M) -> Result<PrefetchIter<T, E>, LoaderError>
    where
        T: Send + 'static,
        E: From<LoaderError> + Send + 'static,
        M: Fn(usize, &AtomicBool) -> Result<T, E> + Send + 'static,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let (first, flag) = (range.start, stop.clone());
        let items = range.map(move |number| make(number, &flag));
        let mut work = Work::new(items, stop);
        (work.epoch, work.number) = (Some(epoch), first);
        let Some(pool) = self.pool.clone() else {
            let (left, stop) = (work.left(), work.stop.clone());
            return Ok(PrefetchIter { feed: Feed::Here(work), left, waited: Duration::ZERO, stop });
        };
        work.pool = Some(pool);
        let (sender, mut batches) = PrefetchIter::listen(&work, PREFETCH);
        let thread = thread("loader").spawn(move || work.feed(&sender)).map_err(LoaderError::threads)?;
        batches.feed.join_at_end(thread);
        Ok(batches)
    }
}

impl LoaderError {
    fn threads(error: std::io::Error) -> Self {
        Self::Threads { reason: error.to_string() }
    }
}

fn thread(name: &str) -> Builder {
    Builder::new().name(name.to_owned())
}

/// What is made, and where.
struct Work<'a, T, E> {
    items: Box<dyn Iterator<Item = Result<T, E>> + Send + 'a>,
    pool: Option<Arc<ThreadPool>>,
    epoch: Option<usize>,
    /// Of the next batch.
    number: usize,
    stop: Arc<AtomicBool>,
}

impl<'a, T: Send, E: From<LoaderError> + Send> Work<'a, T, E> {
    fn new(items: impl Iterator<Item = Result<T, E>> + Send + 'a, stop: Arc<AtomicBool>) -> Self {
        Self { items: Box::new(items), pool: None, epoch: None, number: 0, stop }
    }

    /// Most values that may come.
    fn left(&self) -> Option<usize> {
        self.items.size_hint().1
    }

    /// The next value, with a panic as an error.
    fn next(&mut self) -> Option<Result<T, E>> {
        let Self { items, pool, epoch, number, .. } = self;
        let batch = *number;
        *number += 1;
        let mut make = || catch_unwind(AssertUnwindSafe(|| items.next()));
        let made = match pool {
            Some(pool) => pool.install(make),
            None => make(),
        };
        made.unwrap_or_else(|panic| {
            let reason = said(panic.as_ref());
            Some(Err(LoaderError::Panicked { epoch: *epoch, batch, reason }.into()))
        })
    }

    /// Sends values in order, until one fails or nobody listens.
    fn feed(mut self, sender: &SyncSender<Result<T, E>>) {
        while !self.stop.load(Ordering::Relaxed) {
            let Some(value) = self.next() else { return };
            let is_last = value.is_err();
            if self.stop.load(Ordering::Relaxed) || sender.send(value).is_err() || is_last {
                return;
            }
        }
    }
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no reason was given".to_owned())
}

/// Where values come from.
enum Feed<T, E> {
    Here(Work<'static, T, E>),
    /// A thread, which is waited for at the end where its handle is here.
    Thread(Receiver<Result<T, E>>, Option<JoinHandle<()>>),
    Over,
}

impl<T, E> Feed<T, E> {
    fn join_at_end(&mut self, thread: JoinHandle<()>) {
        if let Self::Thread(_, handle) = self {
            *handle = Some(thread);
        }
    }
}

/// Values in order; after an error there are none. Dropping it ends the work of its threads.
pub struct PrefetchIter<T, E> {
    feed: Feed<T, E>,
    /// Most values that may come, where that is known.
    left: Option<usize>,
    waited: Duration,
    stop: Arc<AtomicBool>,
}

impl<T: Send, E: From<LoaderError> + Send> PrefetchIter<T, E> {
    /// What a thread of its own takes from `items`: one value waits finished while another is made. Dropping the iterator
    /// does not wait for the thread, which may be held up, as by a stream; it ends with the value that it is making.
    ///
    /// # Errors
    /// `Threads`.
    pub fn spawn(items: impl Iterator<Item = Result<T, E>> + Send + 'static) -> Result<Self, LoaderError>
    where
        T: 'static,
        E: 'static,
    {
        let work = Work::new(items, Arc::default());
        let (sender, values) = Self::listen(&work, WAITING);
        thread("reader").spawn(move || work.feed(&sender)).map_err(LoaderError::threads)?;
        Ok(values)
    }

    /// [`PrefetchIter::spawn`] on a thread that may borrow: `scope` waits for it. The iterator has to be dropped within.
    ///
    /// # Errors
    /// `Threads`.
    pub fn spawn_scoped<'scope>(
        scope: &'scope Scope<'scope, '_>,
        items: impl Iterator<Item = Result<T, E>> + Send + 'scope,
    ) -> Result<Self, LoaderError>
    where
        T: 'scope,
        E: 'scope,
    {
        let work = Work::new(items, Arc::default());
        let (sender, values) = Self::listen(&work, WAITING);
        thread("reader").spawn_scoped(scope, move || work.feed(&sender)).map_err(LoaderError::threads)?;
        Ok(values)
    }

    /// The other end of a thread that is not yet started.
    fn listen(work: &Work<'_, T, E>, bound: usize) -> (SyncSender<Result<T, E>>, Self) {
        let (sender, receiver) = sync_channel(bound);
        let (left, stop) = (work.left(), work.stop.clone());
        (sender, Self { feed: Feed::Thread(receiver, None), left, waited: Duration::ZERO, stop })
    }
}

impl<T, E> PrefetchIter<T, E> {
    /// Time that the caller has spent waiting.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.waited
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.left = Some(0);
        if let Feed::Thread(receiver, thread) = std::mem::replace(&mut self.feed, Feed::Over) {
            // A thread that waits to send sees that nobody listens.
            drop(receiver);
            // Its panics have become errors, so there is none to pass on.
            let _ = thread.map(JoinHandle::join);
        }
    }
}

impl<T, E> std::fmt::Debug for PrefetchIter<T, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrefetchIter").field("left", &self.left).field("waited", &self.waited).finish_non_exhaustive()
    }
}

impl<T: Send, E: From<LoaderError> + Send> Iterator for PrefetchIter<T, E> {
    type Item = Result<T, E>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = Instant::now();
        let value = match &mut self.feed {
            Feed::Here(work) => work.next(),
            Feed::Thread(receiver, _) => receiver.recv().ok(),
            Feed::Over => None,
        };
        self.left = self.left.map(|left| left.saturating_sub(1));
        self.waited += start.elapsed();
        if !matches!(value, Some(Ok(_))) {
            self.end();
        }
        value
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, self.left)
    }
}

impl<T, E> Drop for PrefetchIter<T, E> {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
#[path = "prefetch_tests.rs"]
mod tests;
