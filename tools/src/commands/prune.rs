//! `ghostzoo prune`: a model with fewer channels.

use std::path::Path;

use anyhow::Result;
use ghostzoo::LabelledData;
use ghostzoo::prune::{
    PruneCallbacks, PruneMetric, PruneOptions, PruneReport, PruneTarget, PrunedLayer, Source, Taylor, prune, prune_by,
    prune_within,
};
use ghostzoo::train::Message;
use serde_json::json;

use crate::cli::{Float, GlobalArgs, Importance, PruneArgs, bytes};
use crate::device::Choice;
use crate::error::usage;
use crate::files;
use crate::model;
use crate::output::{Stdout, Table, grouped, notes};
use crate::progress::Count;

/// Prunes a model.
pub(crate) fn run(args: &PruneArgs, global: &GlobalArgs) -> Result<()> {
    if matches!(global.device, Choice::Cuda(_) | Choice::Metal) {
        return Err(usage("weights are compared on the CPU: leave --device out, or give --device cpu"));
    }
    if !matches!(global.dtype, None | Some(Float::F32)) {
        return Err(usage(
            "tensors keep the type that they have: leave --dtype out; `ghostzoo convert --dtype` changes it",
        ));
    }
    let target = match (args.ratio, args.target_gflops, args.target_ms) {
        (Some(ratio), ..) => PruneTarget::Ratio(ratio),
        (_, Some(most), _) => PruneTarget::Gflops(most),
        (.., Some(most)) => PruneTarget::Millis(most),
        _ if args.max_drop.is_some() => PruneTarget::NEARLY_ALL,
        _ => {
            return Err(usage(
                "say how much to remove: --ratio, --target-gflops, --target-ms or --max-drop with --data",
            ));
        }
    };
    if args.max_drop.is_some() && args.data.is_none() {
        return Err(usage("--max-drop measures on labels: give them with --data"));
    }
    let name = model::required(args.model.as_deref())?;
    let output = files::output(args.output.as_deref(), name, "-pruned", args.force)?;
    let found = model::find(name, global, args.json)?;
    files::check_not_model(&output, &found)?;
    let source = Source::new(&bytes::shown(name), ghostzoo::model::read(&found)?, global.arch.as_deref())?;
    let importance = args.criterion.unwrap_or(if args.data.is_some() { Importance::Taylor } else { Importance::L2 });
    let options = PruneOptions::new(target)
        .criterion(importance.criterion().unwrap_or_default())
        .scope(args.scope.scope())
        .round_to(args.round_to.into())
        .min_channels(args.min_channels.into())
        .imgsz(args.imgsz);
    let within = match args.max_drop.zip(args.data.as_deref()) {
        Some((most, data)) => Some((most, LabelledData::open(&source, data, &args.val_split, args.imgsz)?)),
        None => None,
    };
    let told = match &within {
        Some((_, labelled)) if !global.quiet => labelled.messages(),
        _ => &[],
    };
    let taylor = match (importance.criterion(), &args.data) {
        (Some(_), None) => None,
        (Some(_), Some(_)) if within.is_some() => {
            notes(told);
            None
        }
        (None, Some(data)) => Some(taylor(args, global, &source, data, told)?),
        (Some(_), Some(_)) => return Err(usage("--data is for --criterion taylor: leave one of them out")),
        (None, None) => return Err(usage("--criterion taylor looks at labelled images: give them with --data")),
    };
    let pruned = match (&within, &taylor) {
        (Some((most, labelled)), taylor) => {
            let mut measure = |model| labelled.measure(model);
            let mut steps = Steps { quiet: global.quiet };
            prune_within(&source, taylor.as_ref(), &options, *most, &mut measure, &mut steps)?
        }
        (None, Some(taylor)) => prune_by(&source, taylor, &options)?,
        (None, None) => prune(&source, &options)?,
    };
    if pruned.report.layers.is_empty() && !global.quiet {
        status!(
            "note: nothing is removed: --min-channels {} and --round-to {} leave each layer as it is",
            args.min_channels,
            args.round_to
        );
    }
    ghostzoo_weights::write(&output, &pruned.checkpoint)?;
    print(args, global, &output, &source, &pruned.report)
}

/// What labelled images say of the weights. `told` is said first, and not twice.
fn taylor(args: &PruneArgs, global: &GlobalArgs, source: &Source, data: &Path, told: &[String]) -> Result<Taylor> {
    let mut shown =
        Shown { count: Count::new("prune", global.quiet || args.json), quiet: global.quiet, notes: told.to_vec() };
    let found = Taylor::of_data(source, data, args.split.as_deref(), args.images as usize, args.imgsz, &mut shown);
    notes(&shown.notes);
    shown.count.finish();
    Ok(found?)
}

/// Shows how far the work is.
struct Shown {
    count: Count,
    quiet: bool,
    /// Of the data, each once, until the first image.
    notes: Vec<String>,
}

impl PruneCallbacks for Shown {
    fn on_image(&mut self, done: usize, total: usize) -> ghostzoo::Result<()> {
        notes(&std::mem::take(&mut self.notes));
        self.count.show(done, total, "");
        Ok(())
    }

    fn message(&mut self, message: &Message) {
        match message {
            _ if self.quiet => (),
            Message::Note(text) if self.notes.contains(text) => (),
            Message::Note(text) => self.notes.push(text.clone()),
            message => status!("note: {}", message.text()),
        }
    }
}

/// Says what each step of a search found.
struct Steps {
    quiet: bool,
}

impl PruneCallbacks for Steps {
    fn message(&mut self, message: &Message) {
        if !self.quiet {
            status!("note: {}", message.text());
        }
    }
}

fn print(args: &PruneArgs, global: &GlobalArgs, output: &Path, source: &Source, report: &PruneReport) -> Result<()> {
    let PruneReport { layers, channels, parameters, gflops, imgsz, millis, metric, .. } = report;
    if args.json {
        return Stdout::new().json(&json!({
            "file": bytes::shown(output.as_os_str()), "channels": channels, "parameters": parameters, "gflops": gflops,
            "imgsz": imgsz, "millis": millis, "metric": metric, "layers": layers,
        }));
    }
    if global.quiet {
        return Ok(());
    }
    let mut out = Stdout::new();
    let [height, width] = imgsz;
    out.line(&format!("{}: {} layers with fewer channels", output.display(), layers.len()))?;
    let mut table = Table::new(&["", "before", "after", "change"], 1);
    let change = |[before, after]: [f64; 2]| format!("{:+.2} %", (after - before) / before * 100.).replace('-', "−");
    for (what, pair) in [("channels that can be removed", channels), ("parameters", parameters)] {
        let shown = pair.map(grouped);
        table.row(vec![what.to_owned(), shown[0].clone(), shown[1].clone(), change(pair.map(|count| count as f64))]);
    }
    let decimals = [("GFLOPs", Some(*gflops)), ("milliseconds", *millis)];
    for (what, pair) in decimals.into_iter().filter_map(|(what, pair)| Some((what, pair?))) {
        let [before, after] = pair.map(|value| format!("{value:.3}"));
        table.row(vec![format!("{what} at {height}x{width}"), before, after, change(pair)]);
    }
    if let Some(PruneMetric { whole, pruned, .. }) = metric {
        let [before, after] = [whole, pruned].map(|value| format!("{value:.4}"));
        table.row(vec![source.spec().architecture.metric_name().to_owned(), before, after, change([*whole, *pruned])]);
    }
    table.lines().iter().try_for_each(|line| out.line(line))?;
    let mut table = Table::new(&["layer", "outputs", "", "inputs", ""], 1);
    for PrunedLayer { path, before, after, .. } in layers {
        let sides = [before[0], after[0], before[1], after[1]].map(|side| side.to_string());
        table.row([path.clone()].into_iter().chain(sides).collect());
    }
    if !layers.is_empty() {
        table.lines().iter().try_for_each(|line| out.line(line))?;
    }
    Ok(())
}
