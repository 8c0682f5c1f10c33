//! Ctrl-C, SIGTERM and SIGHUP: the first asks a run to end where it can, such as a training after its step or after a batch of its
//! validation; the second ends it at once. What was ignored when the program started, as `nohup` has it for SIGHUP, stays ignored.

use ghostzoo::train::StopFlag;

/// Listens from now on. `doing` says what the run ends with.
pub(crate) fn listen(stop: &StopFlag, doing: &'static str) {
    let stop = stop.clone();
    let handle = move || {
        if stop.set() {
            std::process::exit(crate::error::INTERRUPTED.into());
        }
        status!("note: {doing}; Ctrl-C again leaves at once");
    };
    if let Err(error) = on_signals(handle) {
        status!("note: Ctrl-C ends the run without saving: {error}");
    }
}

/// Calls `handle` at each signal, from a thread of its own.
#[cfg(unix)]
fn on_signals(handle: impl Fn() + Send + 'static) -> std::io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let heeded = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| !is_ignored(&status, *signal));
    let mut signals = signal_hook::iterator::Signals::new(heeded)?;
    std::thread::Builder::new().name("signals".into()).spawn(move || signals.forever().for_each(|_| handle()))?;
    Ok(())
}

#[cfg(not(unix))]
fn on_signals(handle: impl Fn() + Send + 'static) -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(handle)
}

/// Whether a process ignores a signal, by Linux' `/proc/PID/status`; elsewhere none is known to be.
#[cfg(unix)]
fn is_ignored(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(all(test, unix))]
mod tests {
    use super::is_ignored;

    #[test]
    fn ignored_signals_are_read_from_the_mask() {
        // Of a process under `nohup`: bit 0 is SIGHUP.
        let status = "Name:\tghostzoo\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000004002\n";
        assert_eq!([1, 2, 13, 15].map(|signal| is_ignored(status, signal)), [true, false, true, false]);
        assert!(!is_ignored("", 1) && !is_ignored("SigIgn:\tword\n", 1));
    }
}
