//! What carries numbers between processes.

use std::fmt;

/// Processes that train together, seen from one of them: PyTorch's `ProcessGroup`.
///
/// All processes call the same operations in the same order with as many values; an operation returns when all have called
/// it. A transport's errors say which process failed, where it knows, and none waits for ever.
pub trait ProcessGroup: fmt::Debug + Send + Sync {
    /// Which of the processes this is, from 0. The first one writes the files of a training.
    fn rank(&self) -> usize;
    /// How many there are.
    fn world_size(&self) -> usize;
    /// Replaces values by their sums over all processes, element by element. The sums are the same on all processes to the
    /// bit, and at every call with the same values.
    ///
    /// # Errors
    /// Why the others' values do not come.
    fn all_reduce_f32(&self, values: &mut [f32]) -> Result<(), GroupError>;
    /// The same in double precision. A sum of one value and of zeros is that value.
    ///
    /// # Errors
    /// As [`ProcessGroup::all_reduce_f32`].
    fn all_reduce_f64(&self, values: &mut [f64]) -> Result<(), GroupError>;
    /// Replaces bytes by those of the process `root`.
    ///
    /// # Errors
    /// As [`ProcessGroup::all_reduce_f32`].
    fn broadcast(&self, root: usize, bytes: &mut [u8]) -> Result<(), GroupError>;
    /// Waits until all processes are here.
    ///
    /// # Errors
    /// As [`ProcessGroup::all_reduce_f32`].
    fn barrier(&self) -> Result<(), GroupError> {
        self.all_reduce_f64(&mut [0.])
    }
    /// Tells the others that this process takes part no more, and why. Transports that notice its end by themselves need not.
    fn abort(&self, reason: &str) {
        let _ = reason;
    }
}

/// Why the processes of a group do not go on together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// A process ended, or failed.
    #[error("rank {rank} of {world_size} is gone{}", because(reason))]
    Gone {
        /// Which.
        rank: usize,
        /// How many there were.
        world_size: usize,
        /// What it said.
        reason: Option<String>,
    },
    /// A process did not come in time.
    #[error(
        "rank {rank} of {world_size} did not come within {seconds} s: see whether it runs, or give the group more time"
    )]
    TimedOut {
        /// Which, the first of them.
        rank: usize,
        /// How many there are.
        world_size: usize,
        /// How long the others waited.
        seconds: u64,
    },
    /// Processes do not do the same.
    #[error("rank {rank} gives {found}, and rank 0 {expected}: the processes do not do the same")]
    Differs {
        /// Which, the first of them.
        rank: usize,
        /// What it gave.
        found: String,
        /// What rank 0 gave.
        expected: String,
    },
    /// What a transport says.
    #[error("{0}")]
    Transport(String),
}

fn because(reason: &Option<String>) -> String {
    reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default()
}

impl From<GroupError> for candle_core::Error {
    fn from(error: GroupError) -> Self {
        Self::wrap(error)
    }
}
