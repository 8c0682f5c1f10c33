//! A detector's training in images and tables.

use std::path::Path;

use anyhow::{Context, Result};
use candle_vision::image::{self, DrawnBox, RgbImage};
use candle_yolov8::train::Target;
use candle_yolov8::val::BatchOutput;
use candle_yolov8::{Candidate, NmsOutput};
use ghostzoo::train::DetectionTask;
use serde_json::json;

use super::Detect;
use crate::commands::train::display::callback;
use crate::commands::train::progress::OutputMode;
use crate::commands::val;
use crate::output::Stdout;
use ghostzoo::plot;

/// Batches of the validation that are drawn.
const DRAWN: usize = 3;

impl Detect {
    pub(super) fn labels(&self, task: &DetectionTask) -> Result<RgbImage> {
        let train = task.train_set();
        let objects: Vec<(usize, [f32; 4])> = (0..train.len())
            .flat_map(|image| train.objects(image))
            .map(|object| (object.class, object.xywhn))
            .collect();
        Ok(plot::label_overview(&self.names, &objects)?)
    }

    pub(super) fn batch(&self, task: &DetectionTask) -> Result<RgbImage> {
        let batch = task.last_batch().context("no batch yet")?;
        Ok(plot::batch_mosaic(batch, &self.names))
    }

    /// Measures the best weights, prints what comes of it and draws it.
    pub(super) fn best(
        &self,
        task: &DetectionTask,
        best: &Path,
        folder: &Path,
        reader: OutputMode,
        plots: bool,
    ) -> Result<()> {
        let confusion_conf = task.val_options()?.confusion_conf;
        let mut batches = 0;
        let validated = task.evaluate(best, |output, targets| {
            let number = batches;
            batches += 1;
            if !plots || number >= DRAWN {
                return Ok(());
            }
            self.validation(task, output, targets, folder, number, confusion_conf).map_err(callback)
        })?;
        if plots {
            val::draw(folder, &self.names, &validated.measured, confusion_conf)?;
        }
        match reader {
            OutputMode::Quiet => Ok(()),
            OutputMode::Human => {
                let (mut out, table) = (Stdout::beside_the_work(), val::table(task.class_names(), &validated));
                table.lines().iter().try_for_each(|line| out.line(line))
            }
            OutputMode::Json => {
                let [precision, recall, map50, map] = validated.measured.ultralytics.means();
                let coco = &validated.measured.coco;
                let line = json!({"best": best, "precision": precision, "recall": recall, "mAP50": map50, "mAP50-95": map,
                    "coco_AP": coco.summary.ap});
                Stdout::beside_the_work().line(&line.to_string())
            }
        }
    }

    /// Draws a batch of the validation: its labels, and what was found.
    fn validation(
        &self,
        task: &DetectionTask,
        output: &BatchOutput<'_>,
        targets: &[Target],
        folder: &Path,
        batch: usize,
        confusion_conf: f32,
    ) -> Result<()> {
        let images: Vec<&RgbImage> = output.images.iter().map(|image| &image.input).collect();
        let Some(first) = images.first() else { return Ok(()) };
        let size = [first.height() as usize, first.width() as usize];
        let names = &self.names;
        let mut labels: Vec<Vec<DrawnBox>> = vec![Vec::new(); images.len()];
        for target in targets {
            labels[target.image].push(plot::label(target.class, target.xywhn, size, names));
        }
        let found = |kept: &NmsOutput| {
            let confident = kept.candidates.iter().filter(|c| c.confidence > confusion_conf);
            let text = |c: &Candidate| format!("{} {:.1}", names[c.class_id], c.confidence);
            confident.map(|c| DrawnBox { xyxy: c.xyxy, class_id: c.class_id, text: text(c) }).collect()
        };
        let found: Vec<Vec<DrawnBox>> = output.found.iter().map(found).collect();
        let titles: Vec<String> = output.numbers.iter().map(|&number| plot::title(task.val_path(number))).collect();
        for (name, boxes) in [("labels", &labels), ("pred", &found)] {
            let path = folder.join(format!("val_batch{batch}_{name}.jpg"));
            image::save(&plot::mosaic(&images, boxes, &titles, size), &path)?;
        }
        Ok(())
    }
}
