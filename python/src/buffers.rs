//! Memory for images that calls give back: to ask the system for it and to clear it takes as long as to fill it.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most bytes that are kept.
const MOST: usize = 32 << 20;

/// What calls gave back. It is used by threads that hold Python's lock, which therefore never wait here.
#[derive(Debug, Default)]
pub(crate) struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    /// So many bytes, of any values.
    pub(crate) fn take(&self, len: usize) -> Vec<u8> {
        let mut kept = self.kept();
        // One that is as large, so that images of several sizes do not make each grow.
        let place = kept.iter().position(|buffer| buffer.len() == len);
        place.map_or_else(|| vec![0; len], |place| kept.swap_remove(place))
    }

    /// Keeps memory for a later call; the oldest goes where it is too much.
    pub(crate) fn give(&self, buffer: Vec<u8>) {
        let mut kept = self.kept();
        kept.push(buffer);
        while kept.iter().map(Vec::capacity).sum::<usize>() > MOST {
            kept.remove(0);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
