//! A classifier's training in images and tables.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use candle_vision::augment::Batch;
use candle_vision::image::{self, RgbImage};
use candle_vision::metrics::ClassificationMetrics;
use ghostzoo::train::ClassificationTask;
use serde_json::json;

use super::Classify;
use super::images::Images;
use crate::commands::train::display::callback;
use crate::commands::train::progress::OutputMode;
use crate::output::{Stdout, Table, grouped};
use ghostzoo::plot;

/// Batches that are drawn, of the training and of the validation.
pub(super) const DRAWN: usize = 3;
/// Most classes that are listed one by one.
const MOST_LISTED: usize = 100;

impl Classify {
    pub(super) fn batch(&self, task: &ClassificationTask) -> Result<RgbImage> {
        let batch = task.last_batch().context("no batch was kept")?;
        let images = Images { names: &self.names, view: task.transform()? };
        Ok(images.draw(batch, &batch.classes, |number| task.train_name(number)))
    }

    /// Measures the best weights, prints what comes of it and draws it.
    pub(super) fn best(
        &self,
        task: &ClassificationTask,
        best: &Path,
        folder: &Path,
        reader: OutputMode,
        plots: bool,
    ) -> Result<()> {
        let found = task.evaluate(best, if plots { DRAWN } else { 0 }, |number, batch, predicted| {
            self.validation(task, folder, (number, batch), predicted).map_err(callback)
        })?;
        if plots {
            self.confusion(&found, folder)?;
        }
        match reader {
            OutputMode::Quiet => Ok(()),
            OutputMode::Human => {
                let (mut out, table) = (Stdout::beside_the_work(), table(task.class_names(), &found));
                table.lines().iter().try_for_each(|line| out.line(line))
            }
            OutputMode::Json => {
                let line = json!({
                    "best": best, "accuracy_top1": found.top1(), "accuracy_top5": found.top5(), "loss": found.loss(),
                });
                Stdout::beside_the_work().line(&line.to_string())
            }
        }
    }

    /// Draws a batch of the validation: its labels, and what it was taken for.
    fn validation(
        &self,
        task: &ClassificationTask,
        folder: &Path,
        (number, batch): (usize, &Batch),
        predicted: &[usize],
    ) -> Result<()> {
        let images = Images { names: &self.names, view: task.transform()? };
        for (name, classes) in [("labels", batch.classes.as_slice()), ("pred", predicted)] {
            let image = images.draw(batch, classes, |number| task.val_name(number));
            image::save(&image, &folder.join(format!("val_batch{number}_{name}.jpg")))?;
        }
        Ok(())
    }

    fn confusion(&self, found: &ClassificationMetrics, folder: &Path) -> Result<()> {
        let counts: HashMap<(usize, usize), u64> = found.confusion().collect();
        let count = |predicted, truth| counts.get(&(truth, predicted)).copied().unwrap_or(0);
        for (name, cells) in
            [("confusion_matrix", plot::Cells::Counts), ("confusion_matrix_normalized", plot::Cells::Normalised)]
        {
            let image = plot::confusion_matrix(&self.names, count, cells, None)?;
            image::save(&image, &folder.join(format!("{name}.png")))?;
        }
        Ok(())
    }
}

/// Accuracies of all images, and of each class where they are few.
fn table(names: &[String], tally: &ClassificationMetrics) -> Table {
    let mut table = Table::new(&["class", "images", "top1", "top5"], 1);
    let [top1, top5] = [tally.top1(), tally.top5()].map(|share| format!("{share:.4}"));
    table.row(vec!["all".to_owned(), grouped(tally.images() as usize), top1, top5]);
    if names.len() <= MOST_LISTED {
        let mut counts = vec![[0_u64; 2]; names.len()];
        for ((truth, predicted), count) in tally.confusion() {
            counts[truth][0] += count;
            counts[truth][1] += if truth == predicted { count } else { 0 };
        }
        for (name, [all, right]) in names.iter().zip(counts) {
            let top1 = if all == 0 { "-".to_owned() } else { format!("{:.4}", right as f64 / all as f64) };
            table.row(vec![name.clone(), grouped(all as usize), top1]);
        }
    }
    table
}
