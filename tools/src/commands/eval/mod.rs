//! `ghostzoo eval`: how often classifiers are right, also from parts.

mod evaluator;
mod models;
mod npy;
mod report;
mod shard;
mod subset;

use std::ops::Range;
use std::path::Path;

use anyhow::{Result, bail};
use candle_vision::data::{self, DatasetOptions, ImageIndex, RealLabels};

use crate::cli::{EvalArgs, GlobalArgs, MergeArgs};
use crate::error::{SomeFailed, usage};
use crate::files;

use evaluator::{Evaluator, LabelSource};
use models::EvalModel;
use npy::Npy;
use shard::{EvalManifest, EvalShard};
use subset::Subset;

/// Evaluates classifiers on labelled images.
pub(crate) fn run(args: &EvalArgs, global: &GlobalArgs) -> Result<()> {
    let shard = crate::shard::part(args.parts.shard, global.quiet)?;
    let device = global.open(global.quiet)?;
    let outputs: Vec<_> =
        [&args.results_file, &args.confusion, &args.logits, &args.parts.part].into_iter().flatten().collect();
    for (index, path) in outputs.iter().enumerate() {
        files::check_place(path)?;
        if outputs[..index].contains(path) {
            return Err(usage(format!("{} is named for two outputs", path.display())));
        }
    }
    let candidates = models::load(args, global, &device)?;
    let [first, ..] = candidates.as_slice() else { bail!("there is no model") };
    let num_classes = first.num_classes();
    let options = DatasetOptions::new(num_classes)
        .class_names(first.classifier.class_names())
        .split(args.split.as_deref())
        .labels(args.labels.as_deref())
        .class_map(args.class_map.as_deref())
        .order(args.label_order.map(Into::into));
    let set = ImageIndex::open(&args.data, &options)?;
    let selection = Subset::new(set.len(), args.limit);
    let real_labels = args.real_labels.as_deref().map(|path| {
        let labels = RealLabels::read(path)?;
        labels.check(&set, path).map(|()| labels)
    });
    let real_labels = real_labels.transpose()?;
    let valid = valid_labels(args, &set, num_classes)?;
    let subject = EvalManifest {
        data: set.fingerprint(),
        order: set.order().to_owned(),
        total: selection.total(),
        num_classes,
        valid_labels: valid.clone(),
        real_labels: args.real_labels.as_deref().map(files::checksum).transpose()?,
        models: candidates.iter().map(|candidate| candidate.row.clone()).collect(),
    };
    let logits = match (&args.logits, candidates.len()) {
        (None, _) => None,
        (Some(path), 1) => Some(Npy::create(path, selection.total(), num_classes)?),
        (Some(_), _) => return Err(usage("--logits is for one model")),
    };
    let part = start(args, subject, selection.shard(shard))?;
    if !global.quiet {
        set.notes().iter().for_each(|note| status!("note: {note}"));
        status!("note: {} images; {}", set.len(), set.order());
    }
    let truth = LabelSource { real_labels, valid };
    let pass = Evaluator { args, global, candidates: &candidates, set: &set, selection, truth };
    let part = pass.run(part, logits)?;
    finish(&part, Outputs::of_eval(args), global, &names(&candidates))
}

/// Adds up the parts of an evaluation.
pub(crate) fn merge(args: &MergeArgs, global: &GlobalArgs) -> Result<()> {
    for path in [&args.results_file, &args.confusion].into_iter().flatten() {
        files::check_place(path)?;
    }
    let part = EvalShard::merge(&args.parts)?;
    finish(&part, Outputs::of_merge(args), global, &ghostzoo::imagenet_class_names(part.subject.num_classes))
}

/// Where results go.
struct Outputs<'a> {
    results_file: Option<&'a Path>,
    confusion: Option<&'a Path>,
    json: bool,
}

impl<'a> Outputs<'a> {
    fn of_eval(args: &'a EvalArgs) -> Self {
        Self { results_file: args.results_file.as_deref(), confusion: args.confusion.as_deref(), json: args.json }
    }

    fn of_merge(args: &'a MergeArgs) -> Self {
        Self { results_file: args.results_file.as_deref(), confusion: args.confusion.as_deref(), json: args.json }
    }
}

fn names(candidates: &[EvalModel]) -> Vec<String> {
    candidates.first().map_or_else(Vec::new, |candidate| candidate.classifier.class_names().to_vec())
}

/// A new part, or the one that a run left.
fn start(args: &EvalArgs, subject: EvalManifest, positions: Range<usize>) -> Result<EvalShard> {
    let new = EvalShard::new(subject, positions);
    let Some(path) = &args.parts.part else { return Ok(new) };
    if !path.exists() {
        new.write(path)?;
        return Ok(new);
    }
    if !args.parts.resume {
        return Err(usage(format!("{} exists; --resume goes on with it", path.display())));
    }
    let found = EvalShard::read(path)?;
    if let Some(difference) = new.subject.difference(&found.subject) {
        return Err(usage(format!("--resume: this run is not the one that wrote {}: {difference}", path.display())));
    }
    if (found.start, found.end) != (new.start, new.end) {
        return Err(usage(format!(
            "--resume: {} is of images {} to {}, and this --shard of {} to {}",
            path.display(),
            found.start,
            found.end,
            new.start,
            new.end
        )));
    }
    Ok(found)
}

/// The classes that may be predicted, where not all.
fn valid_labels(args: &EvalArgs, set: &ImageIndex, num_classes: usize) -> Result<Option<Vec<usize>>> {
    let valid = match args.valid_labels.as_deref() {
        None => return Ok(None),
        Some(name) if name == "data" => set.classes().to_vec(),
        Some(name) => data::subset(name, num_classes)?,
    };
    if let Some(class) = valid.iter().find(|class| **class >= num_classes) {
        return Err(usage(format!("--valid-labels holds {class}, and the models have {num_classes} classes")));
    }
    let beyond = set.classes().iter().filter(|class| !valid.contains(class)).count();
    if beyond > 0 {
        return Err(usage(format!(
            "--valid-labels leaves out {beyond} classes that have images: these could never be right"
        )));
    }
    Ok(Some(valid))
}

/// Prints and writes the results.
fn finish(part: &EvalShard, outputs: Outputs, global: &GlobalArgs, names: &[String]) -> Result<()> {
    if part.tallies.iter().all(|tally| tally.images() == 0) {
        bail!("no image counts: {} could not be read, {} have no label", part.unreadable.len(), part.unlabelled);
    }
    let results = report::results(part);
    // None of the three keeps the others back.
    let printed = report::print(part, &results, outputs.json, global.quiet, names);
    let saved = outputs.results_file.map_or(Ok(()), |path| report::save(path, &results));
    let confusion = outputs.confusion.map_or(Ok(()), |path| report::save_confusion(path, part, names));
    saved.and(confusion)?;
    if part.unreadable.is_empty() { printed } else { Err(SomeFailed.into()) }
}
