//! What a training does with a group of processes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ghostzoo_kernels::AllGather;

use super::process_group::{GroupError, ProcessGroup};
use super::shard::Shard;

/// A handle on a group of processes, which counts what is sent. Clones are of the same group.
#[derive(Debug, Clone)]
pub struct Communicator {
    group: Arc<dyn ProcessGroup>,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    bytes: AtomicU64,
    nanoseconds: AtomicU64,
    failed: Mutex<Option<GroupError>>,
    agreed: AtomicBool,
}

/// What a process gave to the others so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes that it gave to be added or sent; how often a transport sends them is its own affair.
    pub bytes: u64,
    /// Time in the operations of the group: waiting for the others, and the way there and back.
    pub time: Duration,
}

impl Communicator {
    /// Of a group, which other handles may hold too.
    #[must_use]
    pub fn new(group: impl ProcessGroup + 'static) -> Self {
        Self { group: Arc::new(group), counters: Arc::default() }
    }

    /// Which of the processes this is, from 0.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.group.rank()
    }

    /// How many there are.
    #[must_use]
    pub fn world_size(&self) -> usize {
        self.group.world_size()
    }

    /// Whether this is the process that writes.
    #[must_use]
    pub fn is_main(&self) -> bool {
        self.rank() == 0
    }

    /// Whose images of a batch are this process's.
    #[must_use]
    pub fn shard(&self) -> Shard {
        Shard::new(self.rank(), self.world_size())
    }

    /// Whether both are of one group.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.group, &other.group)
    }

    /// The values that every process gave, in the order of ranks; all give as many.
    ///
    /// # Errors
    /// Why the others' values do not come.
    pub fn gather(&self, values: &[f64]) -> Result<Vec<Vec<f64>>, GroupError> {
        let mut all = vec![0.; values.len() * self.world_size()];
        let own = self.rank() * values.len();
        all[own..own + values.len()].copy_from_slice(values);
        // Of each there is one that may differ from zero, so that no sum is rounded.
        self.all_reduce_f64(&mut all)?;
        Ok((0..self.world_size()).map(|rank| all[rank * values.len()..][..values.len()].to_vec()).collect())
    }

    /// Sums over all processes, added in the order of ranks.
    ///
    /// # Errors
    /// As [`Communicator::gather`].
    pub fn sum(&self, values: &[f64]) -> Result<Vec<f64>, GroupError> {
        let all = self.gather(values)?;
        Ok((0..values.len()).map(|at| all.iter().map(|values| values[at]).sum()).collect())
    }

    /// The bytes of one process, of any number. What the others give means nothing.
    ///
    /// # Errors
    /// As [`Communicator::gather`].
    pub fn broadcast(&self, root: usize, bytes: Vec<u8>) -> Result<Vec<u8>, GroupError> {
        let mut length = (bytes.len() as u64).to_le_bytes();
        self.measured(length.len(), |group| group.broadcast(root, &mut length))?;
        let mut bytes = bytes;
        bytes.resize(u64::from_le_bytes(length) as usize, 0);
        self.measured(bytes.len(), |group| group.broadcast(root, &mut bytes))?;
        Ok(bytes)
    }

    /// Replaces values by their sums: see [`ProcessGroup::all_reduce_f32`].
    ///
    /// # Errors
    /// As [`Communicator::gather`].
    pub fn all_reduce_f32(&self, values: &mut [f32]) -> Result<(), GroupError> {
        self.measured(size_of_val(values), |group| group.all_reduce_f32(values))
    }

    /// Replaces values by their sums: see [`ProcessGroup::all_reduce_f64`].
    ///
    /// # Errors
    /// As [`Communicator::gather`].
    pub fn all_reduce_f64(&self, values: &mut [f64]) -> Result<(), GroupError> {
        self.measured(size_of_val(values), |group| group.all_reduce_f64(values))
    }

    /// Tells the others that this process takes part no more.
    pub fn abort(&self, reason: &str) {
        self.group.abort(reason);
    }

    /// What was given so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let Counters { bytes, nanoseconds, .. } = &*self.counters;
        let time = Duration::from_nanos(nanoseconds.load(Ordering::Relaxed));
        Traffic { bytes: bytes.load(Ordering::Relaxed), time }
    }

    /// Keeps in mind that all processes know why they end: none needs to be told.
    pub fn agree(&self) {
        self.counters.agreed.store(true, Ordering::Relaxed);
    }

    /// Whether [`Communicator::agree`] was called.
    #[must_use]
    pub fn has_agreed(&self) -> bool {
        self.counters.agreed.load(Ordering::Relaxed)
    }

    /// Why an operation failed, the first that did.
    #[must_use]
    pub fn failed(&self) -> Option<GroupError> {
        self.counters.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn measured(
        &self,
        bytes: usize,
        operation: impl FnOnce(&dyn ProcessGroup) -> Result<(), GroupError>,
    ) -> Result<(), GroupError> {
        let start = Instant::now();
        let result = operation(&*self.group);
        if let Err(error) = &result {
            let mut failed = self.counters.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.get_or_insert_with(|| error.clone());
        }
        self.counters.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.counters.nanoseconds.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        result
    }
}

impl AllGather for Communicator {
    fn all_gather(&self, values: Vec<f64>) -> candle_core::Result<Vec<Vec<f64>>> {
        Ok(self.gather(&values)?)
    }
}
