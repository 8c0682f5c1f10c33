//! Work that takes long: it runs on threads of its own, while the calling one runs the callbacks and hears Ctrl-C.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread;
use std::time::Duration;

use ghostzoo::train::StopFlag;
use pyo3::prelude::*;

use crate::threads::Pool;

/// How long Ctrl-C may go unheard.
const PATIENCE: Duration = Duration::from_millis(50);

/// A call of Python's; whether the work is to go on.
type Call = Box<dyn FnOnce(Python<'_>) -> PyResult<bool> + Send>;

/// What work has to reach the thread that waits for it.
pub(crate) struct Caller {
    calls: Sender<(Call, SyncSender<bool>)>,
    stop: StopFlag,
}

impl Caller {
    /// Runs `call` on the waiting thread; whether the work is to go on. An exception ends it, and is raised when it has ended.
    pub(crate) fn call(&self, call: impl FnOnce(Python<'_>) -> PyResult<bool> + Send + 'static) -> bool {
        let (reply, answer) = mpsc::sync_channel(1);
        let sent = self.calls.send((Box::new(call), reply)).is_ok();
        sent && answer.recv().unwrap_or(false) && !self.stop.is_set()
    }

    /// What is set where the work is to end.
    pub(crate) fn stop(&self) -> &StopFlag {
        &self.stop
    }
}

/// Runs `work` on as many threads as the pool has, of its own, so that callbacks may wait for the pool's. Callbacks that give
/// `False` or raise an exception, and signals that do, set its flag to stop.
///
/// # Errors
/// The exception, when the work has ended; where there are no threads.
pub(crate) fn run<R: Send>(py: Python<'_>, pool: &Pool, work: impl FnOnce(&Caller) -> R + Send) -> PyResult<R> {
    let threads = pool.more()?;
    let (calls, mut received) = mpsc::channel();
    let caller = Caller { calls, stop: StopFlag::new() };
    let stop = caller.stop.clone();
    let mut raised = None;
    let result = thread::scope(|scope| {
        let work = scope.spawn(move || threads.run(move || work(&caller)));
        loop {
            let (call, again) = py.detach(move || next(received));
            received = again;
            let heard = match call {
                Ok((call, reply)) => {
                    let heard = call(py);
                    // Work that was cut off needs no answer.
                    let _ = reply.send(matches!(heard, Ok(true)));
                    heard.and_then(|goes_on| py.check_signals().map(|()| goes_on))
                }
                Err(RecvTimeoutError::Timeout) => py.check_signals().map(|()| true),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if !matches!(heard, Ok(true)) {
                stop.set();
            }
            raised = raised.take().or(heard.err());
        }
        py.detach(|| work.join())
    });
    match (raised, result) {
        (Some(raised), _) => Err(raised),
        (None, Ok(result)) => Ok(result),
        (None, Err(panic)) => std::panic::resume_unwind(panic),
    }
}

type Calls = Receiver<(Call, SyncSender<bool>)>;

/// The next call, and where the one after that comes from.
fn next(received: Calls) -> (Result<(Call, SyncSender<bool>), RecvTimeoutError>, Calls) {
    (received.recv_timeout(PATIENCE), received)
}
