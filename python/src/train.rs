//! Training.

mod tasks;

use std::path::PathBuf;

use ghostzoo::candle_vision::train::distributed::Communicator;
use ghostzoo::train::{
    self, Callbacks, ClassificationTask, DetectionTask, End, EpochReport, FitOptions, FitReport, Message, SavedRun,
    StepReport, TrainTask,
};
use ghostzoo::{Error, Result};
use pyo3::prelude::*;
use serde_json::{Value, json};

use crate::error::{exception, line, raised};
use crate::group::communicator;
use crate::long::{self, Caller};
use crate::options::{Given, RunOptions};
use crate::progress::{Progress, log};
use crate::threads::Pool;
use tasks::{Make, classifier, detector};

/// The options of a run's record that say how Python began it.
const RECORD: &str = "python";
/// Those of them that name files: they lie beside it, where checkpoints, which may be given away, keep of a path the last part.
const FILES: [&str; 5] = ["data", "model", "arch", "pretrained", "teacher"];

/// Trains a detector, or goes on with a run; what came of it as JSON. `options` is a JSON object.
#[pyfunction]
#[pyo3(signature = (folder, options, resumes, threads = None, progress = None, group = None))]
pub(crate) fn train_detector(
    py: Python<'_>,
    folder: PathBuf,
    options: &str,
    resumes: bool,
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
    group: Option<(Py<PyAny>, bool)>,
) -> PyResult<String> {
    let call = Call::new(py, folder, resumes, group)?;
    run::<DetectionTask>(py, &call, options, threads, progress, detector)
}

/// Trains a classifier, or goes on with a run; what came of it as JSON. `options` is a JSON object.
#[pyfunction]
#[pyo3(signature = (folder, options, resumes, threads = None, progress = None, group = None))]
pub(crate) fn train_classifier(
    py: Python<'_>,
    folder: PathBuf,
    options: &str,
    resumes: bool,
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
    group: Option<(Py<PyAny>, bool)>,
) -> PyResult<String> {
    let call = Call::new(py, folder, resumes, group)?;
    run::<ClassificationTask>(py, &call, options, threads, progress, classifier)
}

/// A training that is called for.
struct Call {
    folder: PathBuf,
    resumes: bool,
    /// The processes that train together.
    group: Option<Communicator>,
    sync_bn: bool,
}

fn run<T: TrainTask>(
    py: Python<'_>,
    call: &Call,
    options: &str,
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
    make: Make<T>,
) -> PyResult<String> {
    let pool = Pool::new(threads)?;
    let progress = Progress::new(progress);
    let work = |caller: &Caller| {
        let mut told = Told { caller, progress: &progress };
        let given = Given::new(options).map_err(raised);
        let result = given.and_then(|given| match call.resumes {
            true => resume(call, given, make, &mut told),
            false => begin(call, given, make, &mut told),
        });
        // The others wait for this process from the first exchange on, which it may not come to.
        if let (Err(error), Some(group)) = (&result, call.group.as_ref().filter(|group| !group.has_agreed())) {
            group.abort(&line(error));
        }
        result
    };
    match long::run(py, &pool, work)? {
        Ok(report) => Ok(as_json(&report).to_string()),
        Err(error) => Err(exception(error)),
    }
}

impl Call {
    /// `group` has whether batch norms are synchronised too.
    fn new(py: Python<'_>, folder: PathBuf, resumes: bool, group: Option<(Py<PyAny>, bool)>) -> PyResult<Self> {
        let (group, sync_bn) = group.unzip();
        Ok(Self { folder, resumes, group: communicator(py, group)?, sync_bn: sync_bn.unwrap_or(false) })
    }

    /// How the library runs it.
    fn fit(&self, run: &RunOptions) -> FitOptions {
        run.fit(&self.folder).group(self.group.clone()).sync_bn(self.sync_bn)
    }
}

/// A run from its beginning.
fn begin<T: TrainTask>(call: &Call, mut given: Given, make: Make<T>, told: &mut Told<'_>) -> Result<FitReport> {
    let device = given.device().map_err(raised)?;
    let record = Value::Object(given.all().clone());
    let (mut task, run) = make(given, device, None, told)?;
    let record = of_run(&task, &run, record)?;
    let options = call.fit(&run).record(record).stop(told.caller.stop().clone());
    train::fit(&mut task, &options, told)
}

/// A run that was stopped, with other values of options that may change.
fn resume<T: TrainTask>(call: &Call, mut given: Given, make: Make<T>, told: &mut Told<'_>) -> Result<FitReport> {
    let (device, folder) = (given.device().map_err(raised)?, &call.folder);
    let saved = SavedRun::open_in::<T>(folder, call.group.as_ref())?;
    let Some(Value::Object(mut before)) = saved.record().get(RECORD).cloned() else {
        let text = format!("{} was not begun from Python: `ghostzoo train --resume` goes on with it", folder.display());
        return Err(Error::Request(text));
    };
    for name in FILES {
        if let Some(value) = saved.record().get(name).filter(|value| !value.is_null()) {
            before.insert(name.to_owned(), value.clone());
        }
    }
    let changeable = |name: &&String| !train::CHANGEABLE.contains(&name.as_str()) && *name != "accept_changed_data";
    if let Some(name) = given.all().keys().filter(changeable).find(|name| given.all().get(*name) != before.get(*name)) {
        let text = format!(
            "`{name}` cannot change in a run that goes on: leave it out, or begin a run from this one's weights"
        );
        return Err(Error::Request(text));
    }
    let given = Given::of(before).extend(given);
    let record = Value::Object(given.all().clone());
    let (mut task, run) = make(given, device, Some(saved.decided()), told)?;
    let record = of_run(&task, &run, record)?;
    let options = call.fit(&run).record(record).stop(told.caller.stop().clone());
    saved.resume(&mut task, &options, told)
}

/// What the files of a run keep of its options: those of the task, and those that were given.
fn of_run<T: TrainTask>(task: &T, run: &RunOptions, mut given: Value) -> Result<Value> {
    let mut record = task.record()?;
    for name in FILES {
        if let Some(value) = given.as_object_mut().and_then(|given| given.remove(name)) {
            record[name] = value;
        }
    }
    record["epochs"] = run.epochs.into();
    record["patience"] = run.patience.into();
    record["time"] = run.time.into();
    record["single_cls"] = given.get("single_cls").cloned().unwrap_or(false.into());
    record[RECORD] = given;
    Ok(record)
}

/// What came of a run, for Python.
fn as_json(report: &FitReport) -> Value {
    let FitReport { end, folder, epochs, best_epoch, best, last, seconds, results, .. } = report;
    let [folder, best, last] = [folder, best, last].map(|path| path.to_string_lossy());
    json!({
        "save_dir": folder, "epochs": epochs, "best_epoch": best_epoch, "best": best, "last": last, "seconds": seconds,
        "finished": *end == End::Finished, "names": results.names(), "rows": results.rows(),
    })
}

/// Tells Python how a run goes.
pub(crate) struct Told<'a> {
    pub(crate) caller: &'a Caller,
    progress: &'a Progress,
}

impl Told<'_> {
    /// Logs messages of the library.
    pub(crate) fn log(&self, messages: &[Message]) {
        let line = |message: &Message| (matches!(message, Message::Warning(_)), message.text().to_owned());
        log(self.caller, messages.iter().map(line).collect());
    }
}

impl<T: TrainTask> Callbacks<T> for Told<'_> {
    fn on_step(&mut self, task: &T, report: &StepReport<'_>) -> Result<()> {
        let losses = task.columns().0.iter().zip(report.loss_sums);
        let losses = losses.map(|(name, sum)| ((*name).to_owned(), json!(sum / report.batch as f64)));
        let losses: serde_json::Map<String, Value> = losses.collect();
        // Where it says stop, the flag is set.
        self.progress.tell(
            self.caller,
            json!({ "event": "step", "step": report.batch, "steps": report.batches, "losses": losses }),
        );
        Ok(())
    }

    fn on_epoch_end(&mut self, _: &T, report: &EpochReport<'_>) -> Result<()> {
        let row = report.columns.iter().cloned().zip(report.row.iter().map(|value| json!(value)));
        let row: serde_json::Map<String, Value> = row.collect();
        self.progress.tell(
            self.caller,
            json!({
                "event": "epoch", "epoch": report.epoch, "epochs": report.epochs, "is_best": report.is_best, "results": row,
            }),
        );
        Ok(())
    }

    fn message(&mut self, message: &Message) {
        self.log(std::slice::from_ref(message));
    }
}
