//! Training a classifier.

mod draw;
mod images;
mod options;

use std::path::Path;

use anyhow::{Context, Result};
use candle_vision::data::ClassificationDataset;
use candle_vision::image::RgbImage;
use candle_vision::sysinfo;
use ghostzoo::Architecture;
use ghostzoo::train::{ClassificationStart, ClassificationTask, Messages};
use serde_json::Value;

use super::progress::OutputMode;
use super::run::{Files, Training, absolute_file, absolute_path, print_all};
use crate::cli::{ClassifyTrainArgs, GlobalArgs, RunArgs};
use crate::error::usage;
use crate::model;
use crate::output::drawable;

/// Part of the available memory that decoded images may take, and what they may where it is not known.
const MEMORY_SHARE: u64 = 4;
const UNKNOWN_BYTES: u64 = 1 << 30;

/// How a classifier's training is drawn.
pub(super) struct Classify {
    /// Names of the classes as they are drawn.
    names: Vec<String>,
}

impl Training for Classify {
    type Args = ClassifyTrainArgs;
    type Task = ClassificationTask;

    fn run_args(args: &ClassifyTrainArgs) -> &RunArgs {
        &args.run
    }

    fn run_args_mut(args: &mut ClassifyTrainArgs) -> &mut RunArgs {
        &mut args.run
    }

    fn absolute(args: &ClassifyTrainArgs) -> Result<ClassifyTrainArgs> {
        let data = args.data.as_deref().map(absolute_path).transpose()?;
        let [model, pretrained] = [&args.model, &args.pretrained].map(|text| absolute_file(text));
        let teacher = args.optimizer.teacher.as_deref().map(absolute_file).transpose()?;
        let mut args = ClassifyTrainArgs { data, model: model?, pretrained: pretrained?, ..args.clone() };
        args.optimizer.teacher = teacher;
        Ok(args)
    }

    fn model(args: &ClassifyTrainArgs) -> &str {
        &args.model
    }

    fn hours(_: &ClassifyTrainArgs) -> Option<f64> {
        None
    }

    fn task(
        args: &ClassifyTrainArgs,
        global: &GlobalArgs,
        decided: Option<&Value>,
    ) -> Result<(ClassificationTask, Files)> {
        let options = options::task(args, global)?;
        let data = args.data.as_deref().context("a run has --data")?;
        if data.is_file() {
            return Err(usage(format!(
                "--data {} is one file: give the folder that holds train and val, as folders of classes or as train.tar and \
                 val.tar",
                data.display()
            )));
        }
        let set = dataset(args, data)?;
        let messages = Messages::default();
        messages.note_each(&set.notes);
        print_all(&messages, global.quiet);
        let start = match decided {
            Some(_) => None,
            None => {
                let nc = set.classes.len();
                if Architecture::named(&args.model, Some(nc)).is_some() {
                    global.refuse_arch(&args.model)?;
                }
                let mut find = |name: &str| model::find(name, global, args.run.json);
                Some(ClassificationStart::find_with(&options, nc, &mut find)?)
            }
        };
        let (teacher, device) = (options.teacher.clone(), options.device.clone());
        let is_held_out = args.run.val_split.is_some();
        let parts = [("split_train.txt", &set.train), ("split_val.txt", &set.val)];
        let files = parts.into_iter().filter(|_| is_held_out).map(|(name, set)| (name.to_owned(), names(set.set())));
        let files = files.collect();
        let set = ClassificationDataset { notes: Vec::new(), ..set };
        let mut task = ClassificationTask::of(set, data, is_held_out, options)?;
        if let Some(start) = start {
            task = task.start_from(start);
        }
        if args.run.plots {
            task = task.keep_batches(draw::DRAWN);
        }
        if let Some(name) = teacher {
            let teacher = model::load(&name, &GlobalArgs { arch: None, ..global.clone() }, &device, args.run.json);
            task = task.learn_from(teacher.context("the run learns from its --teacher to the end")?);
        }
        Ok((task, files))
    }

    fn drawn(args: &ClassifyTrainArgs, task: &ClassificationTask, global: &GlobalArgs) -> Self {
        Self { names: drawable(task.class_names(), global.quiet || !args.run.plots) }
    }

    fn closes_at(&self) -> Option<usize> {
        None
    }

    fn draw_labels(&self, _: &ClassificationTask) -> Result<Option<RgbImage>> {
        Ok(None)
    }

    fn draw_batch(&self, task: &ClassificationTask) -> Result<RgbImage> {
        self.batch(task)
    }

    fn show(
        &self,
        task: &ClassificationTask,
        best: &Path,
        folder: &Path,
        reader: OutputMode,
        plots: bool,
    ) -> Result<()> {
        self.best(task, best, folder, reader, plots)
    }
}

/// The images below a folder.
fn dataset(args: &ClassifyTrainArgs, data: &Path) -> Result<ClassificationDataset> {
    let room = sysinfo::available().map_or(UNKNOWN_BYTES, |bytes| bytes / MEMORY_SHARE);
    let mut set = match args.run.val_split {
        Some(share) => ClassificationDataset::open_held_out(data, share, args.run.seed, room)?,
        None => ClassificationDataset::open(data, room)?,
    };
    set.train = set.train.with_max_pixels(args.run.largest.max_pixels);
    set.val = set.val.with_max_pixels(args.run.largest.max_pixels);
    Ok(set)
}

/// The images of a part by their names, one a line.
fn names(set: &candle_vision::data::ImageIndex) -> String {
    (0..set.len()).map(|index| format!("{}\n", set.name(index))).collect()
}
