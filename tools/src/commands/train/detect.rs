//! Training a detector.

mod setup;
mod task;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use candle_vision::image;

use self::setup::Setup;
use self::task::DetectTask;
use super::cycle::{BEST, Cycle, End, LAST, Task as _, columns};
use super::interrupt::Interrupt;
use super::progress::{Reader, Shown};
use super::results::Results;
use super::state::{self, Progress};
use super::{arguments, place};
use crate::cli::{DetectTrainArgs, Float, GlobalArgs};
use crate::error::{Interrupted, usage};
use crate::files;

/// Where runs go unless told otherwise.
const PROJECT: &str = "runs/detect";

pub(super) fn run(args: &DetectTrainArgs, global: &GlobalArgs, explicit: &[String]) -> Result<()> {
    if global.dtype.is_some_and(|dtype| dtype != Float::F32) {
        return Err(usage("--dtype: a training computes in f32"));
    }
    match args.resume.as_deref() {
        Some(named) if named != "false" => {
            let project = args.run.project.clone().unwrap_or_else(|| PathBuf::from(PROJECT));
            let folder = place::resumed(named, &project)?;
            resume(&folder, args, global, explicit)
        }
        _ => begin(args, global),
    }
}

fn begin(args: &DetectTrainArgs, global: &GlobalArgs) -> Result<()> {
    let args = &absolute(args)?;
    let setup = Setup::of(args, global, None)?;
    let facts = setup.facts()?;
    let mut task = setup.task(args, global, true)?;
    let folder = place::create(&args.run, PROJECT)?;
    let values = serde_json::to_value(args)?;
    files::write(&folder.path().join("args.yaml"), arguments::yaml("detect", &values)?.as_bytes())?;
    if args.run.plots {
        image::save(&task.draw_labels()?, &folder.path().join("labels.jpg"))?;
    }
    let results = Results::new(columns(&task, task.rates().len()));
    let progress = Progress::new("detect", values, facts, results.text());
    finish(args, global, folder.path(), progress, results, &mut task)
}

fn resume(folder: &Path, given: &DetectTrainArgs, global: &GlobalArgs, explicit: &[String]) -> Result<()> {
    let path = place::state_file(folder);
    let (mut progress, tensors) = state::read(&path)?;
    if progress.task != "detect" {
        bail!("{} is a run of `train {}`", folder.display(), progress.task);
    }
    let args: DetectTrainArgs = arguments::resumed(&progress.args, given, explicit)?;
    let before: DetectTrainArgs = serde_json::from_value(progress.args.clone())?;
    if args.run.epochs <= progress.epoch || (progress.finished && args.run.epochs <= before.run.epochs) {
        bail!(
            "{} is finished, after {} epochs: a larger --epochs than {} goes on with it",
            folder.display(),
            progress.epoch,
            before.run.epochs
        );
    }
    let setup = Setup::of(&args, global, Some(&progress.decided))?;
    let [data, _] = setup.facts()?;
    if data != progress.data {
        return Err(usage(format!(
            "the data are not those that the run began with ({} then, {} now): put them back, or begin a run from its weights",
            progress.data, data
        )));
    }
    let extension = setup.extension(&before, &args, progress.epoch);
    let mut task = setup.task(&args, global, false)?;
    task.load_state(&tensors, &progress.counters)
        .with_context(|| format!("{} does not fit the run's arguments", path.display()))?;
    if args.run.epochs != before.run.epochs && !global.quiet {
        say!("note: {extension}");
    }
    if !global.quiet {
        say!("note: going on with {} at epoch {}, step {}", folder.display(), progress.epoch + 1, progress.batch + 1);
    }
    progress.finished = false;
    progress.args = serde_json::to_value(&args)?;
    files::write(&folder.join("args.yaml"), arguments::yaml("detect", &progress.args)?.as_bytes())?;
    files::write(&folder.join("results.csv"), progress.results.as_bytes())?;
    let results = Results::from_text(&progress.results)?;
    finish(&args, global, folder, progress, results, &mut task)
}

/// The same arguments with files by their whole paths, so that a run can go on from any folder.
fn absolute(args: &DetectTrainArgs) -> Result<DetectTrainArgs> {
    let whole =
        |path: &Path| std::path::absolute(path).with_context(|| format!("cannot tell where {} is", path.display()));
    let file = |text: &str| match Path::new(text).is_file() {
        true => whole(Path::new(text)).map(|path| path.to_string_lossy().into_owned()),
        false => Ok(text.to_owned()),
    };
    let data = args.data.as_deref().map(whole).transpose()?;
    Ok(DetectTrainArgs { data, model: file(&args.model)?, pretrained: file(&args.pretrained)?, ..args.clone() })
}

/// Runs to the end, then shows what came of it.
fn finish(
    args: &DetectTrainArgs,
    global: &GlobalArgs,
    folder: &Path,
    progress: Progress,
    results: Results,
    task: &mut DetectTask,
) -> Result<()> {
    let reader = match () {
        () if args.run.json => Reader::Program,
        () if global.quiet => Reader::Nobody,
        () => Reader::Person,
    };
    let before = progress.seconds;
    let (interrupt, shown, start) = (Interrupt::listen(), Shown::new(reader), Instant::now());
    let mut cycle = Cycle { args: &args.run, folder, progress, results, interrupt, shown, start, before };
    place::sweep(folder)?;
    cycle.save_state(task)?;
    if cycle.run(task)? == End::Interrupted {
        return Err(
            Interrupted(format!("stopped; `ghostzoo train detect --resume {}` goes on", folder.display())).into()
        );
    }
    let seconds = cycle.seconds();
    if args.run.plots && cycle.results.len() > 0 {
        image::save(&cycle.results.draw()?, &folder.join("results.png"))?;
    }
    let [best, last] = [BEST, LAST].map(|name| folder.join("weights").join(name));
    let best = if best.is_file() { best } else { last };
    let (epoch, epochs) = (cycle.progress.stopping.epoch, cycle.progress.epoch);
    task.show(&best, folder, reader, args.run.plots)?;
    if reader == Reader::Person {
        say!("note: {epochs} epochs in {:.2} hours, the best was {epoch}: {}", seconds / 3600., best.display());
    }
    Ok(())
}
