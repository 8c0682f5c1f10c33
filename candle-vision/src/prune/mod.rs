//! Structured pruning: whole channels are removed from a network, with all that depends on them.
//!
//! A network is traced by [`ChannelGraph::trace`], which gives its [`Dependencies`]: what can be removed, and what goes with it.
//! [`Dependencies::importance`] says how much each channel counts, [`Dependencies::select`] which to remove, and
//! [`Dependencies::prune`] removes them from the network's tensors. [`Channels`] has a network read the smaller tensors.

mod channels;
mod dependencies;
mod graph;
mod importance;
mod select;

pub use channels::Channels;
pub use dependencies::Dependencies;
pub use graph::ChannelGraph;
pub use importance::Criterion;
pub use select::{PruneRule, Scope};
