//! Batch norms whose moments are those of several processes' batches.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use candle_core::Result;

/// What batch norms of several processes tell each other.
pub trait AllGather: fmt::Debug + Send + Sync {
    /// The values that every process gave, in the order of processes. All give as many, and call it as often.
    ///
    /// # Errors
    /// Why the others' values do not come.
    fn all_gather(&self, values: Vec<f64>) -> Result<Vec<Vec<f64>>>;
}

thread_local! {
    static GROUP: RefCell<Option<Arc<dyn AllGather>>> = const { RefCell::new(None) };
}

/// Puts back what was there before.
struct Scope(Option<Arc<dyn AllGather>>);

impl Drop for Scope {
    fn drop(&mut self) {
        GROUP.replace(self.0.take());
    }
}

/// Runs `f`, whose batch norms in training on this thread take the moments of all processes' batches together, as
/// PyTorch's `SyncBatchNorm`. Their gradients keep to it, wherever they are computed.
///
/// Every process runs the same network on images of one size; numbers of images may differ.
pub fn with_sync_batch_norm<R>(group: Arc<dyn AllGather>, f: impl FnOnce() -> R) -> R {
    let _scope = Scope(GROUP.replace(Some(group)));
    f()
}

/// The processes that this thread's batch norms go by.
pub(crate) fn group() -> Option<Arc<dyn AllGather>> {
    GROUP.with_borrow(Clone::clone)
}
