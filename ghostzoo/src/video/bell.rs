use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Wakes all who wait for anything to change. A change that comes between a look and a wait is not missed, since the wait is
/// for a number other than the one before the look.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Mutex<u64>,
    changed: Condvar,
}

impl Bell {
    /// The number of changes so far.
    pub(super) fn count(&self) -> u64 {
        *lock(&self.rung)
    }

    /// Tells of a change.
    pub(super) fn ring(&self) {
        *lock(&self.rung) += 1;
        self.changed.notify_all();
    }

    /// Waits for a change after the first `seen`, no longer than `most`.
    pub(super) fn wait(&self, seen: u64, most: Duration) {
        let rung = lock(&self.rung);
        // Whether it was rung is the caller's next look to find out.
        drop(self.changed.wait_timeout_while(rung, most, |rung| *rung == seen));
    }
}

/// What a mutex holds, also after a panic of another thread: each change of it is whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
