//! Mutated files of every format that is read: none may panic, hang, or take much more memory than it has bytes.
//!
//! `GHOSTZOO_FUZZ_CASES` is how many of each format, `GHOSTZOO_FUZZ_SEED` from which stream, `GHOSTZOO_FUZZ_ONLY` which
//! format. A case that fails is kept below `target/tmp/fuzz` and named.

mod formats;
mod mutate;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use candle_vision::guard::{guard, watched};
use peak_alloc::PeakAlloc;

use formats::{FORMATS, Format};
use mutate::Mutator;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Bytes a reader may take beside twice the file.
const SPARE_BYTES: usize = 64 << 20;
/// How long a case may take: longer than the Parquet reader is waited for.
const DEADLINE: Duration = Duration::from_secs(90);
/// Cases of each format in a plain `cargo test`.
const CASES: u64 = 400;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// What is measured of a format's cases.
#[derive(Default)]
struct ClassificationMetrics {
    read: u64,
    refused: u64,
    most_bytes: usize,
    slowest: Duration,
    failures: Vec<String>,
}

/// Runs one case; what is wrong with it, if anything.
fn run(
    format: &'static Format,
    file: &Arc<PathBuf>,
    bytes: Vec<u8>,
    tally: &mut ClassificationMetrics,
) -> Option<String> {
    std::fs::write(file.as_path(), &bytes).expect("the case is written");
    let allowed = 2 * bytes.len() + SPARE_BYTES;
    let path = file.clone();
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let begun = Instant::now();
    let done = watched(DEADLINE, move |_| guard(|| (format.read)(&path, &bytes)));
    let taken = begun.elapsed();
    let peak = ALLOCATOR.peak_usage().saturating_sub(before);
    tally.slowest = tally.slowest.max(taken);
    tally.most_bytes = tally.most_bytes.max(peak);
    match done.expect("a thread") {
        None => return Some(format!("does not return in {} s", DEADLINE.as_secs())),
        Some(Err(_)) => return Some("panics".to_owned()),
        Some(Ok(true)) => tally.read += 1,
        Some(Ok(false)) => tally.refused += 1,
    }
    (peak > allowed).then(|| format!("takes {peak} bytes, allowed are {allowed}"))
}

fn cases_of(format: &'static Format, cases: u64, seed: u64, root: &Path) -> ClassificationMetrics {
    let seeds = (format.seeds)();
    let mut tally = ClassificationMetrics::default();
    let file = Arc::new(root.join(format.file_name));
    for (number, whole) in seeds.iter().enumerate() {
        if let Some(wrong) = run(format, &file, whole.clone(), &mut tally) {
            tally.failures.push(format!("{} seed file {number}: {wrong}", format.name));
        }
    }
    assert_eq!(tally.refused, 0, "{}: a seed file is refused", format.name);
    for case in 0..cases {
        let bytes = Mutator::new(format.name, seed, case).mutate(&seeds, format.repeats);
        let kept = bytes.clone();
        if let Some(wrong) = run(format, &file, bytes, &mut tally) {
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
            std::fs::create_dir_all(&folder).expect("a folder for failures");
            let name = format!("{}-{seed}-{case}", format.name);
            std::fs::write(folder.join(&name), kept).expect("the failure is written");
            tally.failures.push(format!("{name}: {wrong}"));
        }
    }
    tally
}

#[test]
fn mutated_files_do_no_harm() {
    let (cases, seed) = (setting("GHOSTZOO_FUZZ_CASES", CASES), setting("GHOSTZOO_FUZZ_SEED", 1));
    let only = std::env::var("GHOSTZOO_FUZZ_ONLY").unwrap_or_default();
    let root = tempfile::tempdir().expect("a folder");
    let (mut failures, mut ran) = (Vec::new(), 0);
    for format in FORMATS.iter().filter(|format| only.is_empty() || only == format.name) {
        let tally = cases_of(format, cases, seed, root.path());
        let ClassificationMetrics { read, refused, most_bytes, slowest, .. } = &tally;
        let most = *most_bytes as f64 / f64::from(1 << 20);
        println!("{:12} read {read}, refused {refused}, at most {most:.1} MB, slowest {slowest:.1?}", format.name);
        failures.extend(tally.failures);
        ran += 1;
    }
    assert!(ran > 0, "GHOSTZOO_FUZZ_ONLY={only}: no such format");
    assert!(failures.is_empty(), "{} of {}: {:#?}", failures.len(), cases * ran, &failures[..failures.len().min(20)]);
}
