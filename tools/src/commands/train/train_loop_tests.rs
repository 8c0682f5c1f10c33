use std::cell::Cell;

use anyhow::ensure;
use candle_core::{DType, Device};
use candle_vision::train::optim::ParamKind;
use candle_vision::train::schedule::UltralyticsSchedule;
use clap::FromArgMatches;

use super::*;
use crate::cli::{Cli, Command, DetectTrainArgs, TrainTask, as_options, command};

/// A task of three steps an epoch whose validations find what is told, on a clock that a step moves on.
struct Told<'a> {
    fitness: Vec<f64>,
    schedule: UltralyticsSchedule,
    close_mosaic: usize,
    step: usize,
    validated: usize,
    /// Epochs that began with single images.
    closed: Vec<usize>,
    clock: &'a Cell<f64>,
    seconds: f64,
    /// Whether there is no room for a state.
    fails: bool,
    /// Whether the user asks to end in the midst of a validation.
    ends: bool,
}

impl Task for Told<'_> {
    const RATE: &'static str = "--lr0";
    const LAST_OF_EQUALS: bool = true;

    fn columns(&self) -> (&'static [&'static str], &'static [&'static str]) {
        (&["loss"], &["fitness"])
    }

    fn batches(&self) -> usize {
        self.schedule.batches
    }

    fn begin(&mut self, epoch: usize, batch: usize) -> Result<()> {
        self.step = epoch * self.batches() + batch;
        if epoch + self.close_mosaic >= self.schedule.epochs {
            self.closed.push(epoch);
        }
        Ok(())
    }

    fn step(&mut self) -> Result<Step> {
        self.clock.set(self.clock.get() + self.seconds);
        self.step += 1;
        Ok(Step { losses: vec![1.], images: 2, moved: true, waited: Duration::ZERO })
    }

    fn replan(&mut self, epochs: usize) {
        self.schedule.epochs = epochs;
    }

    fn closes_at(&self) -> Option<usize> {
        self.schedule.epochs.checked_sub(self.close_mosaic).filter(|_| self.close_mosaic > 0)
    }

    fn draw_labels(&self) -> Result<Option<RgbImage>> {
        Ok(None)
    }

    fn draw_batch(&self) -> Result<RgbImage> {
        Ok(RgbImage::new(1, 1))
    }

    fn rates(&self) -> Vec<f64> {
        [ParamKind::Weight, ParamKind::Weight, ParamKind::Bias]
            .map(|role| self.schedule.rate(role, 1., self.step - 1))
            .to_vec()
    }

    fn validate(&mut self, _: &Interrupt) -> Result<Option<Validation>> {
        if self.ends {
            return Ok(None);
        }
        let fitness = self.fitness.get(self.validated).copied().unwrap_or(0.);
        self.validated += 1;
        let fitness = crate::commands::train::detect::five_digits(fitness);
        Ok(Some(Validation { metrics: vec![fitness], losses: vec![1.], fitness }))
    }

    fn checkpoint(&self, epochs: usize) -> Result<Checkpoint> {
        let tensors = BTreeMap::from([("epochs".to_owned(), Tensor::new(epochs as f32, &Device::Cpu)?)]);
        Ok(Checkpoint { tensors, metadata: Default::default() })
    }

    fn state(&self) -> Result<(BTreeMap<String, Tensor>, Value)> {
        ensure!(!self.fails, "no room");
        Ok((self.checkpoint(0)?.tensors, Value::Null))
    }

    fn load_state(&mut self, _: &BTreeMap<String, Tensor>, _: &Value) -> Result<()> {
        Ok(())
    }

    fn show(&self, _: &Path, _: &Path, _: OutputMode, _: bool) -> Result<()> {
        Ok(())
    }
}

/// The arguments that these words give.
fn arguments(words: &str) -> Result<DetectTrainArgs> {
    let words =
        as_options(format!("ghostzoo train detect data=d.yaml {words}").split(' ').map(str::to_owned), &command())?;
    let Command::Train(train) = Cli::from_arg_matches(&command().try_get_matches_from(words)?)?.command else {
        bail!("")
    };
    let TrainTask::Detect(args) = train.task else { bail!("another task") };
    Ok(*args)
}

/// A run that begins in a folder.
fn cycle<'a>(args: &'a DetectTrainArgs, folder: &'a Path, task: &Told<'a>) -> Result<TrainLoop<'a>> {
    files::make_folder(&folder.join("weights"))?;
    let results = Results::new(columns(task, 3));
    let values = json!({"epochs": args.run.epochs, "batch": args.batch});
    let progress = Progress::new("detect", values.clone(), [Value::Null, json!({"recipe": values})], results.text());
    let (interrupt, shown, clock) = (Interrupt::default(), ProgressDisplay::new(OutputMode::Quiet), task.clock);
    let clock = Box::new(move || clock.get());
    Ok(TrainLoop { args: &args.run, hours: args.time, folder, progress, results, interrupt, shown, clock })
}

/// What a run left: its progress, its task, and the names of its files.
fn ran<'a>(words: &str, task: Told<'a>) -> Result<(Progress, Told<'a>, Vec<String>)> {
    let args = arguments(words)?;
    let (folder, mut task) = (tempfile::tempdir()?, task);
    let mut cycle = cycle(&args, folder.path(), &task)?;
    assert_eq!(cycle.run(&mut task)?, End::Finished);
    let progress = cycle.progress;
    let mut names = Vec::new();
    for part in ["", "weights"] {
        for entry in std::fs::read_dir(folder.path().join(part))? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    let best = ghostzoo_weights::read(&folder.path().join("weights").join(BEST))?;
    assert_eq!(
        best.tensors["epochs"].to_dtype(DType::F32)?.to_scalar::<f32>()? as usize,
        progress.best,
        "the file is the best epoch's"
    );
    Ok((progress, task, names))
}

fn told(clock: &Cell<f64>, epochs: usize) -> Told<'_> {
    let schedule = UltralyticsSchedule {
        learning_rate: 0.01,
        final_fraction: 0.01,
        is_cosine: false,
        momentum: 0.937,
        warmup_epochs: 1.,
        warmup_momentum: 0.8,
        warmup_bias_rate: 0.1,
        epochs,
        batches: 3,
        batch: 2,
        nominal_batch: 2,
    };
    let close_mosaic = 1;
    Told {
        fitness: Vec::new(),
        schedule,
        close_mosaic,
        step: 0,
        validated: 0,
        closed: Vec::new(),
        clock,
        seconds: 36.,
        fails: false,
        ends: false,
    }
}

/// Measured by `tests/oracle/train_run.py`.
fn golden() -> Result<Value> {
    Ok(serde_json::from_str(include_str!("../../../../tests/golden/train/run.json"))?)
}

#[test]
fn the_best_epoch_is_the_last_of_equals_to_five_digits() -> Result<()> {
    let golden = golden()?;
    let cases = golden["best"].as_array().context("cases")?;
    assert_eq!(cases.len(), 7);
    for case in cases {
        let clock = Cell::new(0.);
        let fitness = serde_json::from_value(case["fitness"].clone())?;
        let (progress, ..) = ran("epochs=6 patience=3 plots=False", Told { fitness, ..told(&clock, 6) })?;
        assert_eq!(
            (json!(progress.best), json!(progress.epoch)),
            (case["best"].clone(), case["epochs"].clone()),
            "{case}"
        );
    }
    Ok(())
}

#[test]
fn a_run_of_limited_time_plans_its_epochs_and_ends_as_ultralytics_does() -> Result<()> {
    let golden = golden()?;
    let cases = golden["timed"].as_array().context("cases")?;
    assert_eq!(cases.len(), 4);
    for case in cases {
        let clock = Cell::new(0.);
        let number = |key: &str| case[key].as_u64().unwrap_or_default() as usize;
        let mut task = told(&clock, number("epochs"));
        task.schedule.is_cosine = case["cos_lr"] == true;
        let words = format!("epochs={} time={} plots=False", number("epochs"), case["hours"]);
        let (progress, task, _) = ran(&words, task)?;
        assert_eq!(
            (task.step, progress.planned),
            (number("steps"), case["planned"].as_array().and_then(|all| all.last()?.as_u64()).map(|n| n as usize))
        );
        let first: Option<Value> = task.closed.first().map(|epoch| json!(epoch));
        assert_eq!(first.as_ref(), case["closed"].as_array().and_then(|closed| closed.first()), "{case}");
        let results = Results::from_text(&progress.results)?;
        let rates: Vec<Vec<f64>> = serde_json::from_value(case["rates"].clone())?;
        assert_eq!(results.len(), rates.len());
        let text = |values: &[f64]| values.iter().map(|value| format!("{value:.6e}")).collect::<Vec<_>>();
        for (line, rates) in progress.results.lines().skip(1).zip(&rates) {
            let row: Vec<f64> = line.split(',').map(|value| value.parse().unwrap_or(f64::NAN)).collect();
            assert_eq!(text(&row[row.len() - 3..]), text(rates), "{case}");
        }
    }
    Ok(())
}

#[test]
fn files_are_named_by_steps_and_epochs_from_0() -> Result<()> {
    let golden = golden()?;
    let clock = Cell::new(0.);
    let (.., names) = ran("epochs=4 save_period=2 close_mosaic=2", Told { close_mosaic: 2, ..told(&clock, 4) })?;
    let expected = golden["files"]["names"].as_array().context("names")?;
    let expected = expected
        .iter()
        .filter_map(Value::as_str)
        .filter(|name| name.contains("train_batch") || name.contains("/epoch"));
    let expected: Vec<String> =
        expected.map(|name| name.replace("weights/", "").replace(".pt", ".safetensors")).collect();
    let drawn = |names: &[String]| {
        names
            .iter()
            .filter(|name| name.starts_with("train_batch") || name.starts_with("epoch"))
            .cloned()
            .collect::<Vec<_>>()
    };
    let mut sorted = expected.clone();
    sorted.sort();
    assert_eq!((drawn(&names), sorted.len()), (sorted, 8));
    let mut few = told(&clock, 3);
    few.schedule.batches = 1;
    let (.., names) = ran("epochs=3", few)?;
    assert_eq!(json!(drawn(&names)), golden["files"]["one_step_an_epoch_three_epochs_the_last_closed"]);
    let (.., names) = ran("epochs=1", Told { close_mosaic: 10, ..told(&clock, 1) })?;
    assert_eq!(json!(drawn(&names)), golden["files"]["one_epoch_close_mosaic_10"]);
    Ok(())
}

#[test]
fn an_older_run_stays_until_the_new_one_has_a_state() -> Result<()> {
    let (args, folder, clock) = (arguments("epochs=2 plots=False")?, tempfile::tempdir()?, Cell::new(0.));
    let old = ["results.csv", "labels.jpg", "weights/best.safetensors", "weights/last.safetensors"];
    let there = || old.map(|name| folder.path().join(name).exists());
    let mut task = told(&clock, 2);
    let mut cycle = cycle(&args, folder.path(), &task)?;
    for name in old {
        std::fs::write(folder.path().join(name), "old")?;
    }
    task.fails = true;
    let error = cycle.take_over(&task).expect_err("no state");
    assert_eq!((error.to_string().as_str(), there()), ("no room", [true; 4]));
    task.fails = false;
    // Killed as soon as its state was whole, it clears when it goes on.
    cycle.save_state(&task)?;
    assert_eq!(there(), [true; 4]);
    cycle.take_over(&task)?;
    assert_eq!(there(), [false; 4], "nothing of it may be taken for this one's");
    cycle.run(&mut task)?;
    cycle.take_over(&task)?;
    assert_eq!(there(), [true, false, true, true], "a run keeps its own");
    Ok(())
}

#[test]
fn an_end_in_a_validation_loses_no_step() -> Result<()> {
    let (args, folder, clock) = (arguments("epochs=2 plots=False")?, tempfile::tempdir()?, Cell::new(0.));
    let mut task = Told { ends: true, ..told(&clock, 2) };
    let mut run = cycle(&args, folder.path(), &task)?;
    assert_eq!(run.run(&mut task)?, End::Interrupted);
    let (progress, _) = state::read(&folder.path().join("weights").join(state::FILE))?;
    assert_eq!((progress.epoch, progress.batch, progress.losses), (0, 3, vec![3.]), "before the validation");
    task.ends = false;
    let mut run = TrainLoop { progress: run.progress, ..cycle(&args, folder.path(), &task)? };
    assert_eq!(run.run(&mut task)?, End::Finished);
    assert_eq!((task.step, task.validated, run.results.len()), (6, 2, 2), "no step twice, no validation left out");
    Ok(())
}
