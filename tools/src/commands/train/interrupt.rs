//! Ctrl-C: the first asks the run to end after its step, the second ends it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the user asked the run to end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from now on.
    pub(crate) fn listen() -> Self {
        let interrupt = Self::default();
        let asked = interrupt.0.clone();
        let handler = move || {
            if asked.swap(true, Ordering::SeqCst) {
                std::process::exit(crate::error::INTERRUPTED.into());
            }
            say!("note: finishing the step, then saving; Ctrl-C again leaves at once");
        };
        if let Err(error) = ctrlc::set_handler(handler) {
            say!("note: Ctrl-C ends the run without saving: {error}");
        }
        interrupt
    }

    /// Whether it was asked.
    pub(crate) fn asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
