//! Pruning.

use std::ffi::OsString;
use std::path::PathBuf;

use ghostzoo::prune::{
    Criterion, PruneCallbacks, PruneOptions, PruneTarget, Scope, Source, Taylor, prune, prune_by, prune_within,
};
use ghostzoo::train::Message;
use ghostzoo::weights::{NoProgress, ResolveOptions};
use ghostzoo::{Error, LabelledData, Result, model, shown, weights};
use pyo3::prelude::*;
use serde_json::{Value, json};

use crate::detector::sides;
use crate::error::{exception, refuse};
use crate::long::{self, Caller};
use crate::progress::{Progress, log};
use crate::threads::Pool;

/// Prunes a model; the report as JSON. One of `ratio`, `target_gflops` and `target_ms` is given, or `max_drop`.
#[pyfunction]
#[pyo3(signature = (model, output, *, ratio, target_gflops, target_ms, max_drop, val_split, criterion, data, split, images, scope,
    round_to, min_channels, imgsz, arch, threads, progress))]
#[expect(clippy::too_many_arguments, reason = "each has its name in Python")]
pub(crate) fn prune_model(
    py: Python<'_>,
    model: OsString,
    output: PathBuf,
    ratio: Option<f64>,
    target_gflops: Option<f64>,
    target_ms: Option<f64>,
    max_drop: Option<f64>,
    val_split: String,
    criterion: Option<&str>,
    data: Option<PathBuf>,
    split: Option<String>,
    images: usize,
    scope: &str,
    round_to: usize,
    min_channels: usize,
    imgsz: Option<[usize; 2]>,
    arch: Option<OsString>,
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let target = match (ratio, target_gflops, target_ms) {
        (Some(ratio), None, None) => PruneTarget::Ratio(ratio),
        (None, Some(most), None) => PruneTarget::Gflops(most),
        (None, None, Some(most)) => PruneTarget::Millis(most),
        (None, None, None) if max_drop.is_some() => PruneTarget::NEARLY_ALL,
        _ => {
            return Err(refuse(
                "say how much to remove by one of `ratio`, `target_gflops` and `target_ms`, or by `max_drop` with `data`",
            ));
        }
    };
    if max_drop.is_some() && data.is_none() {
        return Err(refuse("`max_drop` measures on labels: give them as `data`"));
    }
    let criterion = criterion.unwrap_or(if data.is_some() { "taylor" } else { "l2" });
    let labels = max_drop.zip(data.clone());
    let (criterion, data) = match (criterion, data) {
        ("l1" | "l2" | "bn", Some(_)) if labels.is_none() => {
            return Err(refuse("`data` is for `criterion=\"taylor\"`: leave one of them out"));
        }
        ("l1", _) => (Criterion::L1, None),
        ("l2", _) => (Criterion::L2, None),
        ("bn", _) => (Criterion::BatchNorm, None),
        ("taylor", Some(data)) => (Criterion::default(), Some(data)),
        ("taylor", None) => {
            return Err(refuse("`criterion` \"taylor\" looks at labelled images: give them as `data`"));
        }
        _ => {
            return Err(refuse(format!("`criterion` is {criterion:?}: give \"l1\", \"l2\", \"bn\" or \"taylor\"")));
        }
    };
    let scope = match scope {
        "global" => Scope::Global,
        "uniform" => Scope::Uniform,
        _ => return Err(refuse(format!("`scope` is {scope:?}: give \"global\" or \"uniform\""))),
    };
    let imgsz = imgsz.map(sides).transpose()?;
    let options = PruneOptions::new(target)
        .criterion(criterion)
        .scope(scope)
        .round_to(round_to)
        .min_channels(min_channels)
        .imgsz(imgsz);
    let (pool, progress) = (Pool::new(threads)?, Progress::new(progress));
    let work = |caller: &Caller| {
        let found = model::find(&model, &ResolveOptions::default(), &mut NoProgress)?;
        let source = Source::new(&shown(&model), model::read(&found)?, arch.as_deref())?;
        let mut told = Told { caller, progress: &progress };
        let open = |(most, data): &(f64, PathBuf)| {
            Ok::<_, Error>((*most, LabelledData::open(&source, data, &val_split, imgsz)?))
        };
        let within = labels.as_ref().map(open).transpose()?;
        for text in within.iter().flat_map(|(_, labelled)| labelled.messages()) {
            told.message(&Message::Note(text.clone()));
        }
        let of_data = |data: &PathBuf| Taylor::of_data(&source, data, split.as_deref(), images, imgsz, &mut told);
        let taylor = data.as_ref().map(of_data).transpose()?;
        let pruned = match (&within, &taylor) {
            (Some((most, labelled)), taylor) => {
                let mut measure = |model| {
                    going_on(!caller.stop().is_set())?;
                    labelled.measure(model)
                };
                prune_within(&source, taylor.as_ref(), &options, *most, &mut measure, &mut told)?
            }
            (None, Some(taylor)) => prune_by(&source, taylor, &options)?,
            (None, None) => prune(&source, &options)?,
        };
        let report = pruned.report;
        if report.layers.is_empty() {
            let text = format!(
                "nothing is removed: `min_channels` {min_channels} and `round_to` {round_to} leave each layer as it is"
            );
            told.message(&Message::Note(text));
        }
        going_on(!caller.stop().is_set())?;
        weights::write(&output, &pruned.checkpoint)?;
        Ok::<Value, Error>(json!({
            "file": shown(&output), "channels": report.channels, "parameters": report.parameters, "gflops": report.gflops,
            "imgsz": report.imgsz, "millis": report.millis, "metric": report.metric, "layers": report.layers,
        }))
    };
    match long::run(py, &pool, work)? {
        Ok(report) => Ok(report.to_string()),
        Err(error) => Err(exception(error)),
    }
}

struct Told<'a> {
    caller: &'a Caller,
    progress: &'a Progress,
}

impl PruneCallbacks for Told<'_> {
    fn on_image(&mut self, done: usize, total: usize) -> Result<()> {
        going_on(self.progress.tell(self.caller, json!({ "event": "image", "done": done, "total": total })))
    }

    fn message(&mut self, message: &Message) {
        log(self.caller, vec![(matches!(message, Message::Warning(_)), message.text().to_owned())]);
    }
}

/// Ends work that is to stop.
fn going_on(goes_on: bool) -> Result<()> {
    match goes_on {
        true => Ok(()),
        false => Err(Error::Callback("stopped by `progress`".into())),
    }
}
