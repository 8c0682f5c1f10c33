use std::cell::Cell;
use std::collections::BTreeMap;
use std::error::Error;

use candle_core::{DType, Device, Tensor};
use candle_vision::train::optim::ParamKind;
use candle_vision::train::schedule::UltralyticsSchedule;
use ghostzoo_weights::Checkpoint;
use serde_json::{Value, json};

use super::*;
use crate::train::detect::five_digits;
use crate::train::{ImageRecord, Plan, Step, StopFlag};

type Done = std::result::Result<(), Box<dyn Error>>;

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

impl TrainTask for Told<'_> {
    const NAME: &'static str = "detect";
    const RATE: &'static str = "lr0";
    const LAST_OF_EQUALS: bool = true;

    fn prepare(&mut self, _: &Plan, _: Option<&Value>) -> Result<()> {
        Ok(())
    }

    fn record(&self) -> Result<Value> {
        Ok(json!({"batch": 2}))
    }

    fn data(&self) -> Value {
        Value::Null
    }

    fn decided(&self) -> Result<Value> {
        Ok(Value::Null)
    }

    fn images(&self) -> [Vec<ImageRecord>; 2] {
        Default::default()
    }

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

    fn rates(&self) -> Vec<f64> {
        [ParamKind::Weight, ParamKind::Weight, ParamKind::Bias]
            .map(|role| self.schedule.rate(role, 1., self.step - 1))
            .to_vec()
    }

    fn validate(&mut self, _: &StopFlag) -> Result<Option<Validation>> {
        if self.ends {
            return Ok(None);
        }
        let fitness = self.fitness.get(self.validated).copied().unwrap_or(0.);
        self.validated += 1;
        let fitness = five_digits(fitness);
        Ok(Some(Validation { metrics: vec![fitness], losses: vec![1.], fitness }))
    }

    fn checkpoint(&self, epochs: usize) -> Result<Checkpoint> {
        let tensors = BTreeMap::from([("epochs".to_owned(), Tensor::new(epochs as f32, &Device::Cpu)?)]);
        Ok(Checkpoint { tensors, ..Default::default() })
    }

    fn state(&self) -> Result<(BTreeMap<String, Tensor>, Value)> {
        crate::error::ensure!(!self.fails, "no room");
        Ok((self.checkpoint(0)?.tensors, Value::Null))
    }

    fn load_state(&mut self, _: &BTreeMap<String, Tensor>, _: &Value) -> Result<()> {
        Ok(())
    }
}

/// Options of so many epochs.
fn options(epochs: usize) -> FitOptions {
    FitOptions::new("").epochs(epochs)
}

/// A run that begins in a folder.
fn cycle<'a>(options: &'a FitOptions, folder: &'a Path, task: &Told<'a>) -> Result<TrainLoop<'a>> {
    let weights = folder.join("weights");
    std::fs::create_dir_all(&weights).map_err(io("cannot make the folder of weights"))?;
    let results = Results::new(columns(task, 3));
    let record = record::of(task, options)?;
    let progress = Progress::new("detect", record, [Value::Null, Value::Null], results.text());
    let clock = task.clock;
    Ok(TrainLoop { options, folder, progress, results, clock: Box::new(move || clock.get()) })
}

/// What a run left: its progress, its task, and the names of its files.
fn ran<'a>(
    options: &FitOptions,
    mut task: Told<'a>,
) -> std::result::Result<(Progress, Told<'a>, Vec<String>), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let mut cycle = cycle(options, folder.path(), &task)?;
    assert_eq!(cycle.run(&mut task, &mut ())?, End::Finished);
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
    Ok(serde_json::from_str(include_str!("../../../tests/golden/train/run.json"))?)
}

#[test]
fn the_best_epoch_is_the_last_of_equals_to_five_digits() -> Done {
    let golden = golden()?;
    let cases = golden["best"].as_array().context("cases")?;
    assert_eq!(cases.len(), 7);
    for case in cases {
        let clock = Cell::new(0.);
        let fitness = serde_json::from_value(case["fitness"].clone())?;
        let (progress, ..) = ran(&options(6).patience(3), Told { fitness, ..told(&clock, 6) })?;
        assert_eq!(
            (json!(progress.best), json!(progress.epoch)),
            (case["best"].clone(), case["epochs"].clone()),
            "{case}"
        );
    }
    Ok(())
}

#[test]
fn a_run_of_limited_time_plans_its_epochs_and_ends_as_ultralytics_does() -> Done {
    let golden = golden()?;
    let cases = golden["timed"].as_array().context("cases")?;
    assert_eq!(cases.len(), 4);
    for case in cases {
        let clock = Cell::new(0.);
        let number = |key: &str| case[key].as_u64().unwrap_or_default() as usize;
        let mut task = told(&clock, number("epochs"));
        task.schedule.is_cosine = case["cos_lr"] == true;
        let (progress, task, _) = ran(&options(number("epochs")).hours(case["hours"].as_f64()), task)?;
        assert_eq!(
            (task.step, progress.planned),
            (number("steps"), case["planned"].as_array().and_then(|all| all.last()?.as_u64()).map(|n| n as usize))
        );
        let first: Option<Value> = task.closed.first().map(|epoch| json!(epoch));
        assert_eq!(first.as_ref(), case["closed"].as_array().and_then(|closed| closed.first()), "{case}");
        let results = Results::from_text(&progress.results)?;
        let rates: Vec<Vec<f64>> = serde_json::from_value(case["rates"].clone())?;
        assert_eq!(results.rows().len(), rates.len());
        let text = |values: &[f64]| values.iter().map(|value| format!("{value:.6e}")).collect::<Vec<_>>();
        for (line, rates) in progress.results.lines().skip(1).zip(&rates) {
            let row: Vec<f64> = line.split(',').map(|value| value.parse().unwrap_or(f64::NAN)).collect();
            assert_eq!(text(&row[row.len() - 3..]), text(rates), "{case}");
        }
    }
    Ok(())
}

#[test]
fn checkpoints_that_stay_are_named_by_epochs_from_0() -> Done {
    let golden = golden()?;
    let clock = Cell::new(0.);
    let (.., names) = ran(&options(4).save_period(2), told(&clock, 4))?;
    let expected = golden["files"]["names"].as_array().context("names")?.iter().filter_map(Value::as_str);
    let expected = expected.filter_map(|name| name.strip_prefix("weights/epoch"));
    let mut expected: Vec<String> =
        expected.map(|name| format!("epoch{}", name.replace(".pt", ".safetensors"))).collect();
    expected.sort();
    let kept: Vec<String> = names.into_iter().filter(|name| name.starts_with("epoch")).collect();
    assert_eq!((kept, expected.len()), (expected, 2));
    Ok(())
}

#[test]
fn an_older_run_stays_until_the_new_one_has_a_state() -> Done {
    let (options, folder, clock) = (options(2), tempfile::tempdir()?, Cell::new(0.));
    let old = ["results.csv", "labels.jpg", "weights/best.safetensors", "weights/last.safetensors"];
    let there = || old.map(|name| folder.path().join(name).exists());
    let mut task = told(&clock, 2);
    let mut cycle = cycle(&options, folder.path(), &task)?;
    for name in old {
        std::fs::write(folder.path().join(name), "old")?;
    }
    task.fails = true;
    let error = cycle.take_over(&task, &mut ()).expect_err("no state");
    assert_eq!((error.to_string().as_str(), there()), ("no room", [true; 4]));
    task.fails = false;
    // Killed as soon as its state was whole, it clears when it goes on.
    cycle.save_state(&task)?;
    assert_eq!(there(), [true; 4]);
    cycle.take_over(&task, &mut ())?;
    assert_eq!(there(), [false; 4], "nothing of it may be taken for this one's");
    cycle.run(&mut task, &mut ())?;
    cycle.take_over(&task, &mut ())?;
    assert_eq!(there(), [true, false, true, true], "a run keeps its own");
    Ok(())
}

#[test]
fn an_end_in_a_validation_loses_no_step() -> Done {
    let (options, folder, clock) = (options(2), tempfile::tempdir()?, Cell::new(0.));
    let mut task = Told { ends: true, ..told(&clock, 2) };
    let mut run = cycle(&options, folder.path(), &task)?;
    assert_eq!(run.run(&mut task, &mut ())?, End::Interrupted);
    let (progress, _) = state::read(&folder.path().join("weights").join(state::FILE))?;
    assert_eq!((progress.epoch, progress.batch, progress.losses), (0, 3, vec![3.]), "before the validation");
    task.ends = false;
    let mut run = TrainLoop { progress: run.progress, ..cycle(&options, folder.path(), &task)? };
    assert_eq!(run.run(&mut task, &mut ())?, End::Finished);
    assert_eq!(
        (task.step, task.validated, run.results.rows().len()),
        (6, 2, 2),
        "no step twice, no validation left out"
    );
    Ok(())
}
