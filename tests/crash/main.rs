//! Kills and I/O errors at chosen file operations of every command that writes files: what has its final name is whole, who
//! goes on ends where the undisturbed run ends, and the next start sweeps what was half-written.
//!
//! `GHOSTZOO_CRASH_KILLS` and `GHOSTZOO_CRASH_ERRORS` are the most points of each command, `GHOSTZOO_CRASH_SEED` chooses them,
//! `GHOSTZOO_CRASH_ONLY` names one command, `GHOSTZOO_CRASH_PROGRAM` another build of the program. A point that fails is
//! printed with its command line, number, kind and path.
#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod attack;
mod checks;
mod commands;
#[path = "../../weights/tests/support/mod.rs"]
mod hub;
#[allow(dead_code, reason = "a part of it is used")]
#[path = "../cli/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use attack::{Blow, Operation, Stage};
use commands::{COMMANDS, Command};
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// What came of a command's points.
#[derive(Default)]
struct ClassificationMetrics {
    kills: usize,
    errors: usize,
    /// I/O errors after which the work went on to its whole outcome.
    outlived: usize,
    failures: Vec<String>,
    taken: Duration,
}

/// The operations to strike at: of the writes into one file in a row the first, one in the middle and the last.
fn points(operations: &[Operation]) -> Vec<Operation> {
    let runs = operations.chunk_by(|a, b| a.kind == "write" && b.kind == "write" && a.path == b.path);
    let chosen = runs.flat_map(|run| {
        let mut chosen = vec![0, run.len() / 2, run.len() - 1];
        chosen.dedup();
        chosen.into_iter().map(|index| run[index].clone())
    });
    chosen.collect()
}

/// A kill, in the middle of a write where it is one.
fn kill(operation: &Operation) -> Blow {
    if operation.kind == "write" { Blow::HalfThenKill } else { Blow::Kill }
}

/// An error that a file system gives for such an operation, once or from then on.
fn error(operation: &Operation, random: &mut ChaCha8Rng) -> Blow {
    let codes: &[i32] = match operation.kind.as_str() {
        "write" | "sync" | "copy" | "truncate" => &[libc::ENOSPC, libc::EIO, libc::EDQUOT],
        "open" => &[libc::EACCES, libc::ENOSPC, libc::EROFS, libc::EMFILE],
        "mkdir" | "link" | "symlink" => &[libc::EACCES, libc::ENOSPC, libc::EROFS],
        _ => &[libc::EACCES, libc::EIO, libc::EROFS],
    };
    let code = *codes.choose(random).unwrap();
    Blow::Error { code, stays: random.random_bool(0.5) }
}

/// One point: the blow, what it left, and the start after it.
fn strike(
    stage: &Stage,
    (command, line): (&Command, &str),
    operation: &Operation,
    blow: Blow,
    tally: &mut ClassificationMetrics,
) {
    let mut wrong = Vec::new();
    stage.restore();
    let struck = stage.run(line, operation.number, blow);
    let Some(met) = struck.operations.iter().find(|met| met.number == operation.number) else {
        // Threads and the clock may spare an operation.
        return;
    };
    match blow {
        Blow::Kill | Blow::HalfThenKill => {
            tally.kills += 1;
            if struck.code.is_some() {
                wrong.push(format!("outlived SIGKILL with {:?}", struck.code));
            }
        }
        Blow::Error { .. } => {
            tally.errors += 1;
            if struck.code == Some(0) {
                tally.outlived += 1;
                wrong.extend(checks::differences(stage, command, false));
            } else {
                wrong.extend(checks::message(&struck, met));
            }
        }
        Blow::Nothing => unreachable!("a point has a blow"),
    }
    wrong.extend(checks::unreadable(stage));
    wrong.extend(checks::lost(stage, command));
    if struck.code != Some(0) {
        let again = (command.again)(stage, command.line);
        let after = stage.run(&again, 0, Blow::Nothing);
        if after.code != Some(0) && !after.stderr.contains("is finished") {
            wrong.push(format!("`{again}` ends with {:?}: {}", after.code, after.stderr.trim()));
        }
        wrong.extend(checks::unreadable(stage));
        wrong.extend(checks::differences(stage, command, again == line));
        wrong.extend(checks::leftovers(stage));
    }
    if !wrong.is_empty() {
        let Operation { number, kind, bytes, path } = met;
        let wrong = wrong.join("\n    ");
        let name = command.name;
        tally.failures.push(format!(
            "{name}: {blow:?} at operation {number}, {kind} {bytes} {path}\n    in `{line}`\n    {wrong}"
        ));
    }
}

fn attack(command: &Command, kills: usize, errors: usize, seed: u64) -> (usize, usize, ClassificationMetrics) {
    let begun = Instant::now();
    let mut stage = Stage::new(command.inputs);
    for line in command.before {
        stage.prepare(line);
    }
    if let Some(cut) = command.cut {
        stage.cut(command.line, cut);
    }
    stage.keep();
    let line = if stage.is_cut { (command.again)(&stage, command.line) } else { command.line.to_owned() };
    let whole = stage.run(&line, 0, Blow::Nothing);
    assert_eq!(whole.code, Some(0), "{}: `{line}`: {}", command.name, whole.stderr);
    assert_eq!(checks::unreadable(&stage), [""; 0], "{}", command.name);
    stage.remember(checks::contents(&stage, command, false));
    let all = points(&whole.operations);
    let mut tally = ClassificationMetrics::default();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut order = all.clone();
    order.shuffle(&mut random);
    for operation in order.iter().take(kills) {
        strike(&stage, (command, &line), operation, kill(operation), &mut tally);
    }
    order.shuffle(&mut random);
    for operation in order.iter().take(errors) {
        let blow = error(operation, &mut random);
        strike(&stage, (command, &line), operation, blow, &mut tally);
    }
    tally.taken = begun.elapsed();
    (whole.operations.len(), all.len(), tally)
}

#[test]
fn a_kill_or_an_error_at_any_file_operation_loses_nothing() {
    let [kills, errors] = ["KILLS", "ERRORS"].map(|kind| setting(&format!("GHOSTZOO_CRASH_{kind}"), 1) as usize);
    let seed = setting("GHOSTZOO_CRASH_SEED", 1);
    let only = std::env::var("GHOSTZOO_CRASH_ONLY").unwrap_or_default();
    let is_asked = |kind: &&str| std::env::var_os(format!("GHOSTZOO_CRASH_{kind}")).is_some();
    let are_all = ["KILLS", "ERRORS"].iter().any(is_asked);
    let (mut failures, mut ran) = (Vec::new(), 0);
    for command in COMMANDS {
        let is_struck = if only.is_empty() { are_all || !command.is_slow } else { only == command.name };
        if !is_struck {
            continue;
        }
        let (operations, points, tally) = attack(command, kills, errors, seed);
        let ClassificationMetrics { kills, errors, outlived, taken, .. } = &tally;
        println!(
            "{:22} {operations:5} operations, {points:4} points: {kills:4} kills, {errors:3} I/O errors ({outlived} outlived), {} \
             wrong, {taken:.0?}",
            command.name,
            tally.failures.len(),
        );
        assert!(operations > 0, "{}: the shim sees nothing", command.name);
        tally.failures.iter().for_each(|failure| println!("  {failure}"));
        failures.extend(tally.failures);
        ran += 1;
    }
    assert!(ran > 0, "GHOSTZOO_CRASH_ONLY={only}: no such command");
    assert!(failures.is_empty(), "{} points: {:#?}", failures.len(), &failures[..failures.len().min(20)]);
}

#[test]
fn classify_writes_no_file() {
    let stage = Stage::new(commands::classifier);
    let ran = stage.run("classify cls/val/a/4.png --json --topk 2 -m c.safetensors --threads 1", 0, Blow::Nothing);
    assert_eq!((ran.code, ran.operations.len()), (Some(0), 0), "{}", ran.stderr);
}
