//! Code that is not ours, and may panic on a hostile file, or never return from it.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

thread_local! {
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`. A panic within it is the result, and nothing of it is printed.
///
/// # Errors
/// What `work` panicked with.
pub fn guard<R>(work: impl FnOnce() -> R) -> thread::Result<R> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_GUARDED.get() {
                print(info);
            }
        }));
    });
    let outer = IS_GUARDED.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    IS_GUARDED.set(outer);
    result
}

/// What [`watched`] work says.
enum Said<T> {
    Alive,
    Done(T),
}

/// By which [`watched`] work says that it gets on.
#[derive(Debug)]
pub struct Pulse<T>(Sender<Said<T>>);

impl<T> Pulse<T> {
    /// Says that the work got on.
    pub fn beat(&self) {
        // Nobody listens any more once the work was given up.
        let _ = self.0.send(Said::Alive);
    }
}

/// Slices in which patience is spent: while the process is stopped one of them passes at most.
const SLICES: u32 = 20;

/// Runs `work` on a thread of its own. `None` if it gave neither a [`Pulse::beat`] nor a result for as long as
/// `patience`; the thread is then left alone. Panics of `work` go on here.
///
/// # Errors
/// The operating system starts no thread.
pub fn watched<T: Send + 'static>(
    patience: Duration,
    work: impl FnOnce(&Pulse<T>) -> T + Send + 'static,
) -> std::io::Result<Option<T>> {
    let (sender, said) = mpsc::channel();
    let body = move || {
        let pulse = Pulse(sender);
        let result = work(&pulse);
        let _ = pulse.0.send(Said::Done(result));
    };
    let worker = thread::Builder::new().name("watched".into()).spawn(body)?;
    let mut silent = 0;
    while silent < SLICES {
        match said.recv_timeout(patience / SLICES) {
            Ok(Said::Done(result)) => return Ok(Some(result)),
            Ok(Said::Alive) => silent = 0,
            Err(RecvTimeoutError::Timeout) => silent += 1,
            Err(RecvTimeoutError::Disconnected) => match worker.join() {
                Err(panic) => panic::resume_unwind(panic),
                Ok(()) => return Ok(None),
            },
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    #[ignore = "what the next test runs as a process of its own"]
    fn panics() {
        let caught = guard(|| panic!("within")).expect_err("a panic");
        assert_eq!(caught.downcast_ref::<&str>(), Some(&"within"));
        assert_eq!(guard(|| 1).ok(), Some(1));
        panic!("outside");
    }

    #[test]
    fn work_is_given_up_when_it_says_nothing_for_too_long() {
        let patience = Duration::from_millis(400);
        assert_eq!(watched(patience, |_| 7).ok().flatten(), Some(7));
        let slow = move |pulse: &Pulse<i32>| {
            for _ in 0..4 {
                thread::sleep(patience / 3);
                pulse.beat();
            }
            8
        };
        assert_eq!(watched(patience, slow).ok().flatten(), Some(8), "longer than that in all");
        let begun = std::time::Instant::now();
        assert_eq!(watched(patience, move |_| thread::sleep(patience * 20)).ok().flatten(), None);
        assert!(begun.elapsed() < patience * 10, "{:?}", begun.elapsed());
        assert!(guard(|| watched(patience, |_| guard(|| ()).map(|()| panic!("within")))).is_err());
    }

    #[test]
    fn a_panic_is_printed_outside_of_a_guard_only() {
        let program = std::env::current_exe().expect("this program");
        let child =
            Command::new(program).args(["guard::tests::panics", "--exact", "--ignored", "--nocapture"]).output();
        let child = child.expect("a process");
        let told = String::from_utf8_lossy(&child.stderr);
        assert!(!child.status.success() && told.contains("outside") && !told.contains("within"), "{told}");
    }
}
