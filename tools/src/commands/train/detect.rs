//! Training a detector.

mod draw;
mod options;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use candle_vision::image::RgbImage;
use candle_yolov8::data::DataYaml;
use candle_yolov8::train::DetectionDataset;
use ghostzoo::Architecture;
use ghostzoo::train::{DetectionData, DetectionStart, DetectionTask, Messages};
use serde_json::Value;

use super::progress::OutputMode;
use super::run::{Files, Training, absolute_file, absolute_path, print_all};
use crate::cli::{DetectTrainArgs, GlobalArgs, RunArgs};
use crate::model;
use crate::output::drawable;

/// How a detector's training is drawn.
pub(super) struct Detect {
    /// Names of the classes as they are drawn.
    names: Vec<String>,
    close_mosaic: usize,
    epochs: usize,
}

impl Training for Detect {
    type Args = DetectTrainArgs;
    type Task = DetectionTask;

    fn run_args(args: &DetectTrainArgs) -> &RunArgs {
        &args.run
    }

    fn run_args_mut(args: &mut DetectTrainArgs) -> &mut RunArgs {
        &mut args.run
    }

    fn absolute(args: &DetectTrainArgs) -> Result<DetectTrainArgs> {
        let data = args.data.as_deref().map(absolute_path).transpose()?;
        let [model, pretrained] = [&args.model, &args.pretrained].map(|text| absolute_file(text));
        let teacher = args.optimizer.teacher.as_deref().map(absolute_file).transpose()?;
        let mut args = DetectTrainArgs { data, model: model?, pretrained: pretrained?, ..args.clone() };
        args.optimizer.teacher = teacher;
        Ok(args)
    }

    fn model(args: &DetectTrainArgs) -> &str {
        &args.model
    }

    fn hours(args: &DetectTrainArgs) -> Option<f64> {
        args.time
    }

    fn task(args: &DetectTrainArgs, global: &GlobalArgs, decided: Option<&Value>) -> Result<(DetectionTask, Files)> {
        let path = args.data.as_deref().context("a run has --data")?;
        let yaml = DataYaml::read(path)?;
        let data_options = options::data(args);
        let options = options::task(args, global)?;
        let nc = DetectionData::class_names(&yaml, &data_options).len();
        let start = match decided {
            Some(decided) => DetectionStart::again(decided, nc)?,
            None => {
                let is_yaml =
                    Path::new(&args.model).extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
                if is_yaml || Architecture::named(&args.model, Some(nc)).is_some() {
                    global.refuse_arch(&args.model)?;
                }
                DetectionStart::find_with(&options, nc, &mut |name| model::find(name, global, args.run.json))?
            }
        };
        let messages = Messages::default();
        let data = DetectionData::read(&yaml, &data_options, &messages);
        print_all(&messages, global.quiet);
        let data = data?;
        let imgsz = args.imgsz.next_multiple_of(start.stride());
        let train = DetectionDataset::new(data.train, &options::images(args, imgsz)?)?;
        if imgsz != args.imgsz && !global.quiet {
            status!("note: --imgsz {} is rounded up to {imgsz}, a multiple of {}", args.imgsz, start.stride());
        }
        let (teacher, device) = (options.teacher.clone(), options.device.clone());
        let mut task = DetectionTask::new(Arc::new(train), data.val, data.class_names, options)?.start_from(start);
        if let Some(name) = teacher {
            let teacher = model::load(&name, &GlobalArgs { arch: None, ..global.clone() }, &device, args.run.json);
            task = task.learn_from(teacher.context("the run learns from its --teacher to the end")?);
        }
        Ok((task, data.files))
    }

    fn drawn(args: &DetectTrainArgs, task: &DetectionTask, global: &GlobalArgs) -> Self {
        let names = drawable(task.class_names(), global.quiet || !args.run.plots);
        Self { names, close_mosaic: args.close_mosaic, epochs: args.run.epochs }
    }

    fn closes_at(&self) -> Option<usize> {
        self.epochs.checked_sub(self.close_mosaic).filter(|_| self.close_mosaic > 0)
    }

    fn draw_labels(&self, task: &DetectionTask) -> Result<Option<RgbImage>> {
        self.labels(task).map(Some)
    }

    fn draw_batch(&self, task: &DetectionTask) -> Result<RgbImage> {
        self.batch(task)
    }

    fn show(&self, task: &DetectionTask, best: &Path, folder: &Path, reader: OutputMode, plots: bool) -> Result<()> {
        self.best(task, best, folder, reader, plots)
    }
}
