//! What `eval` prints and writes.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use candle_vision::metrics::ClassificationMetrics;
use serde::Serialize;
use serde_json::json;

use super::shard::{EvalManifest, EvalShard, ModelRow};
use crate::files;
use crate::output::{Stdout, Table, class_name, grouped, shown};

/// Classes that are printed as the worst.
const WORST: usize = 5;
/// Images from which on accuracy near chance means something.
const MEANINGFUL: u64 = 50;
/// Classes below which it does not.
const FEW: usize = 7;
/// How many times chance is near it.
const NEAR: f64 = 3.;

/// One model's row, with the columns of timm's `validate.py`; accuracies in per cent.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    model: String,
    top1: f64,
    top1_err: f64,
    top5: f64,
    top5_err: f64,
    /// Millions.
    param_count: f64,
    img_size: usize,
    crop_pct: f64,
    interpolation: String,
}

/// The rows, the best first.
pub(super) fn results(part: &EvalShard) -> Vec<(Row, &ModelRow, &ClassificationMetrics)> {
    let round = |value: f64, digits: i32| (value * 10f64.powi(digits)).round() / 10f64.powi(digits);
    let mut rows: Vec<_> = part
        .subject
        .models
        .iter()
        .zip(&part.tallies)
        .map(|(model, tally)| {
            let [top1, top5] = [tally.top1(), tally.top5()].map(|share| round(100. * share, 4));
            let row = Row {
                model: model.name.clone(),
                top1,
                top1_err: round(100. - top1, 4),
                top5,
                top5_err: round(100. - top5, 4),
                param_count: round(model.param_count as f64 / 1e6, 2),
                img_size: model.img_size[1],
                crop_pct: model.crop_pct,
                interpolation: model.interpolation.clone(),
            };
            (row, model, tally)
        })
        .collect();
    rows.sort_by(|a, b| b.0.top1.total_cmp(&a.0.top1));
    rows
}

/// Writes the rows as json where the file's name ends so, else as csv.
pub(super) fn save(path: &Path, results: &[(Row, &ModelRow, &ClassificationMetrics)]) -> Result<()> {
    let rows = results.iter().map(|(row, ..)| row);
    let bytes = match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => {
            let mut text = serde_json::to_vec_pretty(&rows.collect::<Vec<_>>())?;
            text.push(b'\n');
            text
        }
        _ => {
            let mut writer = csv::Writer::from_writer(Vec::new());
            rows.into_iter().try_for_each(|row| writer.serialize(row))?;
            writer.into_inner()?
        }
    };
    files::write(path, &bytes)
}

/// Writes a row per pair of classes that came: model, true class, predicted class, images.
pub(super) fn save_confusion(path: &Path, part: &EvalShard, names: &[String]) -> Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["model", "label", "label_name", "predicted", "predicted_name", "pictures"])?;
    for (model, tally) in part.subject.models.iter().zip(&part.tallies) {
        for ((label, predicted), count) in tally.confusion() {
            let [label_name, predicted_name] = [label, predicted].map(|class| class_name(names, class));
            let numbers = [label.to_string(), predicted.to_string(), count.to_string()];
            let [label, predicted, count] = &numbers;
            writer.write_record([&model.name, label, &label_name, predicted, &predicted_name, count])?;
        }
    }
    files::write(path, &writer.into_inner()?)
}

/// Prints the results.
pub(super) fn print(
    part: &EvalShard,
    results: &[(Row, &ModelRow, &ClassificationMetrics)],
    json: bool,
    quiet: bool,
    names: &[String],
) -> Result<()> {
    let mut out = Stdout::new();
    let looked = part.next - part.start;
    let rate = looked as f64 / part.seconds.max(f64::MIN_POSITIVE);
    if json {
        for (row, _, tally) in results {
            let mut object = serde_json::to_value(row)?;
            object["loss"] = json!(tally.loss());
            object["calibration_error"] = json!(tally.calibration_error());
            object["pictures"] = json!(tally.images());
            object["unreadable"] = json!(part.unreadable.len());
            object["without_real_label"] = json!(part.unlabelled);
            object["not_finite"] = json!(tally.not_finite());
            object["predicted_classes"] = json!(tally.predicted_classes());
            object["class_order"] = json!(part.subject.order);
            object["images_per_second"] = json!(rate);
            out.json(&object)?;
        }
    } else {
        let mut table =
            Table::new(&["model", "top-1", "top-5", "loss", "ECE", "images", "M params", "size", "crop"], 1);
        for (row, model, tally) in results {
            table.row(vec![
                row.model.clone(),
                format!("{:.3}", row.top1),
                format!("{:.3}", row.top5),
                format!("{:.4}", tally.loss()),
                format!("{:.4}", tally.calibration_error()),
                grouped(tally.images() as usize),
                format!("{:.2}", row.param_count),
                format!("{}x{}", model.img_size[0], model.img_size[1]),
                format!("{} {}", row.crop_pct, row.interpolation),
            ]);
        }
        table.lines().iter().try_for_each(|line| out.line(line))?;
        if !quiet {
            // By the original labels, which are not what counts where there are reassessed ones.
            if let ([(_, _, tally)], None) = (results, part.subject.real_labels) {
                out.line(&worst(tally, names))?;
            }
            out.line(&format!("{} images in {:.1} s: {rate:.1} images/s", grouped(looked), part.seconds))?;
        }
    }
    for (row, _, tally) in results.iter().filter(|_| !quiet) {
        warn(&part.subject, &row.model, tally);
    }
    if !part.unreadable.is_empty() && !quiet {
        status!("note: {} images could not be read and do not count", part.unreadable.len());
    }
    if part.unlabelled > 0 && !quiet {
        status!("note: {} images have no reassessed label and do not count", part.unlabelled);
    }
    Ok(())
}

/// The classes that are right least often.
fn worst(tally: &ClassificationMetrics, names: &[String]) -> String {
    let mut cells: BTreeMap<usize, Vec<(usize, u64)>> = BTreeMap::new();
    for ((label, predicted), count) in tally.confusion() {
        cells.entry(label).or_default().push((predicted, count));
    }
    let share = |label: usize, row: &[(usize, u64)]| {
        let total: u64 = row.iter().map(|(_, count)| count).sum();
        let right: u64 = row.iter().filter(|(predicted, _)| *predicted == label).map(|(_, count)| count).sum();
        (right as f64 / total.max(1) as f64, total)
    };
    let mut classes: Vec<_> = cells.iter().map(|(label, row)| (*label, share(*label, row))).collect();
    classes.sort_by(|a, b| a.1.0.total_cmp(&b.1.0).then(b.1.1.cmp(&a.1.1)).then(a.0.cmp(&b.0)));
    let line = |(label, (right, total)): &(usize, (f64, u64))| {
        let name = class_name(names, *label);
        format!("{} {:.0} % of {total}", shown(name.split(',').next().unwrap_or_default()), 100. * right)
    };
    let lines: Vec<String> = classes.iter().take(WORST).map(line).collect();
    format!("least often right: {}", lines.join("; "))
}

/// Says what makes a result doubtful.
fn warn(subject: &EvalManifest, model: &str, tally: &ClassificationMetrics) {
    if tally.not_finite() > 0 {
        status!("note: {model}: {} images gave logits that are not finite and count as wrong", tally.not_finite());
    }
    let classes = subject.valid_labels.as_ref().map_or(subject.num_classes, Vec::len);
    let chance = 1. / classes.max(1) as f64;
    if tally.images() < MEANINGFUL || classes < FEW || tally.top1() > NEAR * chance {
        return;
    }
    status!(
        "note: {model}: top-1 {:.2} % is near the {:.2} % of guessing. The classes: {}. {}",
        100. * tally.top1(),
        100. * chance,
        subject.order,
        cause(tally),
    );
}

/// What an accuracy near chance usually comes from.
fn cause(tally: &ClassificationMetrics) -> String {
    let images = tally.images().max(1) as f64;
    for (shift, what) in [(1i64, "above"), (-1, "below")] {
        let shifted = tally.confusion().filter(|((label, predicted), _)| *predicted as i64 == *label as i64 + shift);
        let share = shifted.map(|(_, count)| count).sum::<u64>() as f64 / images;
        if share > 0.2 {
            return format!(
                "{:.0} % of the predictions are one {what} the label: the labels count from another number \
                 (--label-order)",
                100. * share
            );
        }
    }
    if tally.predicted_classes() * 20 < tally.true_classes() {
        return format!(
            "Only {} classes are predicted: the usual causes are weights that are not trained or not of this \
             architecture, and another normalisation",
            tally.predicted_classes()
        );
    }
    "The usual cause is another order of the classes: folders or labels counted in the devkit's order, alphabetically \
     instead of by number, or from 1 (--class-map, --label-order)"
        .to_owned()
}
