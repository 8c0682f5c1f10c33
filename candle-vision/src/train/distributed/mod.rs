//! One training by several processes, each of which learns from a part of every batch.
//!
//! A [`ProcessGroup`] carries numbers between the processes; which way is not said here. [`LocalGroup`] is one of threads. What
//! a training does with it is a [`Communicator`]'s: sums of losses and gradients, and what batch norms tell each other. A
//! [`Shard`] says which images of a batch are whose.
//!
//! Every process calls the same operations in the same order, from one thread at a time. What they give is the same on all
//! of them to the bit, so that weights which began equal stay equal.

mod communicator;
mod gradients;
mod local;
#[cfg(test)]
mod local_tests;
mod process_group;
mod shard;

pub use communicator::{Communicator, Traffic};
pub use local::LocalGroup;
pub use process_group::{GroupError, ProcessGroup};
pub use shard::{BatchShard, Shard};
