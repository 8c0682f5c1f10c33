//! Code that is not ours, and may panic on a hostile file.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::thread;

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
    fn a_panic_is_printed_outside_of_a_guard_only() {
        let program = std::env::current_exe().expect("this program");
        let child =
            Command::new(program).args(["guard::tests::panics", "--exact", "--ignored", "--nocapture"]).output();
        let child = child.expect("a process");
        let told = String::from_utf8_lossy(&child.stderr);
        assert!(!child.status.success() && told.contains("outside") && !told.contains("within"), "{told}");
    }
}
