//! A table of lies: what a Hub, a proxy or a network can answer in place of a file, and what becomes of each.
//!
//! After each kind the same holds: an answer in time; the whole right file, or an error of one printable line; nothing in the
//! cache but whole right files and, where a transfer broke, the one partial file that the next run goes on with; and that run,
//! from an honest Hub, gets the right file.

mod body_lies;
mod head_lies;
mod liar;

use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Instant;

use super::*;
use liar::{Asked, Sent, honest};

/// What becomes of a lie.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    /// The file is placed.
    Good,
    /// An error that says this; nothing stays.
    Refused(&'static str),
    /// An error that says this; the next run may go on where it stopped.
    Broken(&'static str),
    /// The file or an error that says this, by how the bytes are split into packets.
    Either(&'static str),
}

use Outcome::{Broken, Either, Good, Refused};

/// Its name, what becomes of it, and what is sent.
type Lie = (&'static str, Outcome, fn(&Asked) -> Sent);

/// How long one kind may take: two waits for a silent Hub, and what busy machines add.
const DEADLINE: Duration = Duration::from_secs(20);
/// Bytes that all kinds at once may take in this program, the Hubs' included.
const MOST_BYTES: usize = 128 << 20;
/// Longest line of an error: a header of a megabyte is not repeated.
const MOST_LINE: usize = 600;

fn settings(endpoint: &str, cache: &Path) -> HubConfig {
    config(endpoint, cache)
        .retries(1)
        .timeout(Duration::from_millis(1000))
        .rate_window(Duration::from_millis(600))
        .least_bytes(20_000)
        .most_unannounced(1 << 20)
        .longest_wait(Duration::from_millis(50))
}

/// What is wrong with the outcome of one kind.
fn tried((name, outcome, script): Lie) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("folder");
    let cache = folder.path().join("cache");
    let (done, result) = mpsc::channel();
    let settings_of = settings(&liar::start(script), &cache);
    let begun = Instant::now();
    std::thread::spawn(move || drop(done.send(fetch(&settings_of, &place(), None, &mut NoProgress))));
    let Ok(result) = result.recv_timeout(DEADLINE) else {
        return Err(format!("{name}: it panics, or takes more than {DEADLINE:?}"));
    };
    let taken = begun.elapsed();
    let left = files(folder.path());
    let is_partial = |path: &PathBuf| path.to_string_lossy().ends_with(".ghostzoo.incomplete");
    let partials = left.iter().filter(|path| is_partial(path)).count();
    match (&result, outcome) {
        (Ok(path), Good | Either(_))
            if std::fs::read(path).ok() == Some(body()) && path.starts_with(&cache) && partials == 0 => {}
        (Err(error), Refused(part) | Broken(part) | Either(part)) => {
            let line = error.to_string();
            if !line.contains(part) {
                return Err(format!("{name}: `{line}` lacks `{part}`"));
            }
            if line.contains(char::is_control) || line.len() > MOST_LINE {
                return Err(format!("{name}: no line for a terminal, {} bytes: {line:?}", line.len()));
            }
            if partials > usize::from(matches!(outcome, Broken(_))) || left.len() > partials {
                return Err(format!("{name}: {left:?} stays"));
            }
        }
        (result, outcome) => return Err(format!("{name}: {result:?}, {outcome:?} is expected, and {left:?} is there")),
    }
    // Names: blobs and snapshots hold the file; a ref holds a commit.
    for path in left.iter().filter(|path| !is_partial(path)) {
        let content = std::fs::read(path).expect("readable");
        let is_ref = path.starts_with(cache.join("models--org--model/refs")) && content.len() <= 64;
        if !path.starts_with(&cache) || !(content == body() || is_ref) {
            return Err(format!("{name}: {} is not whole", path.display()));
        }
    }
    println!("{name:44} {taken:8.1?} {}", result.map_or_else(|error| error.to_string(), |_| "placed".to_owned()));
    // No lie spoils what comes after it.
    let next = fetch(&settings(&liar::start(|asked| honest(asked).into()), &cache), &place(), None, &mut NoProgress);
    match next.map(|path| std::fs::read(path).ok()) {
        Ok(Some(content)) if content == body() => Ok(()),
        other => Err(format!("{name}: the next run has {:?}", other.map(|content| content.map(|c| c.len())))),
    }
}

#[test]
fn every_kind_of_lie_gives_the_right_file_or_one_line_and_spoils_nothing() {
    let lies: Vec<Lie> = [head_lies::LIES, body_lies::LIES].concat();
    assert_eq!(lies.len(), 145, "kinds");
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let (next, wrong) = (Mutex::new(lies.into_iter()), Mutex::new(Vec::new()));
    let one = || next.lock().expect("no panic").next();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while let Some(lie) = one() {
                    wrong.lock().expect("no panic").extend(tried(lie).err());
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no panic");
    assert!(wrong.is_empty(), "{}: {wrong:#?}", wrong.len());
    let peak = ALLOCATOR.peak_usage().saturating_sub(before);
    println!("at most {peak} bytes");
    assert!(peak < MOST_BYTES, "{peak} bytes");
}
