//! What reading a file may take: twice its length and 64 MB, whatever is in it, and seconds.

#[path = "../pickles/mod.rs"]
mod pickles;
mod safetensors;
mod torch;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ghostzoo_weights::{Checkpoint, Error, read};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Bytes that a reader may take beside twice the file.
const SPARE_BYTES: usize = 64 << 20;
/// The allocator counts for the whole program: one test at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// What each test holds from its first line on.
fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads `path`, and says what is wrong with the memory and the time that it took.
fn measured(what: &str, path: &Path) -> (Result<Checkpoint, Error>, Option<String>) {
    let length = path.metadata().expect("a file").len() as usize;
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let begun = Instant::now();
    let result = read(path);
    let (taken, peak) = (begun.elapsed(), ALLOCATOR.peak_usage().saturating_sub(before));
    let line = result.as_ref().map_or_else(ToString::to_string, |read| format!("{} tensors", read.tensors.len()));
    println!("{what:28} {length:9} bytes: at most {:6.1} MB, {taken:8.1?}: {line}", peak as f64 / f64::from(1 << 20));
    assert!(!line.contains('\n'), "{what}: {line}");
    let is_slow = taken > Duration::from_secs(10);
    let wrong = (peak > 2 * length + SPARE_BYTES || is_slow).then(|| {
        format!("{what}: {length} bytes took {peak}, allowed are {}, in {taken:.1?}", 2 * length + SPARE_BYTES)
    });
    (result, wrong)
}

/// Reads each file that `make` writes under its name; what holds of the result is for `check` to say.
fn hold<T>(cases: Vec<(&'static str, T)>, make: impl Fn(&Path, T), check: impl Fn(&str, Result<Checkpoint, Error>)) {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("model.pt");
    let mut wrong = Vec::new();
    for (what, case) in cases {
        make(&path, case);
        let (result, too_much) = measured(what, &path);
        wrong.extend(too_much);
        check(what, result);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
