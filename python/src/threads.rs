//! The threads that a model computes on.

use std::process;
use std::sync::{Arc, Mutex, PoisonError};

use ghostzoo::Threads;
use pyo3::prelude::*;

use crate::error::refuse;

/// Most threads that a model may be given.
const MOST: usize = 4096;

/// Threads that are started when they are needed first, and again in a process that was forked off: threads do not live on in those.
#[derive(Debug)]
pub(crate) struct Pool {
    /// 0 for one per core.
    count: usize,
    started: Mutex<Option<(u32, Arc<Threads>)>>,
}

/// Those of all models that were not told how many to use.
static SHARED: Pool = Pool { count: 0, started: Mutex::new(None) };

impl Pool {
    /// So many threads.
    ///
    /// # Errors
    /// None, or too many.
    pub(crate) fn new(count: Option<usize>) -> PyResult<Self> {
        match count {
            Some(count) if !(1..=MOST).contains(&count) => {
                Err(refuse(format!("`threads` is {count}: give 1 to {MOST}, or None for one per core")))
            }
            count => Ok(Self { count: count.unwrap_or(0), started: Mutex::new(None) }),
        }
    }

    /// Runs `work` on the threads, while other threads of Python run.
    ///
    /// # Errors
    /// Where the system gives no threads.
    pub(crate) fn run<R: Send>(&self, py: Python<'_>, work: impl FnOnce() -> R + Send) -> PyResult<R> {
        let threads = self.threads()?;
        Ok(py.detach(|| threads.run(work)))
    }

    /// As many threads besides: work on those may wait for what runs on these.
    ///
    /// # Errors
    /// Where the system gives none.
    pub(crate) fn more(&self) -> PyResult<Threads> {
        let failed = |error| refuse(format!("the system gives no {} threads: {error}", self.count));
        Threads::new(self.count).map_err(failed)
    }

    /// The threads, started.
    ///
    /// # Errors
    /// Where the system gives none.
    fn threads(&self) -> PyResult<Arc<Threads>> {
        if self.count == 0 && !std::ptr::eq(self, &SHARED) {
            return SHARED.threads();
        }
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        let own = process::id();
        if let Some((_, threads)) = started.as_ref().filter(|(id, _)| *id == own) {
            return Ok(threads.clone());
        }
        let threads = Arc::new(self.more()?);
        // Those of the process before are not there to be ended.
        std::mem::forget(started.replace((own, threads.clone())));
        Ok(threads)
    }
}
