//! What a classifier's run starts from: data, architecture, weights, teacher.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use candle_core::Device;
use candle_ghostnet::train::{Recipe, Trainer, TrainerConfig};
use candle_ghostnet::{Config, GhostNet, Variant};
use candle_vision::augment::{ClassificationAugment, DataLoader, LoaderOptions, TrainTransform};
use candle_vision::data::{CachedDataset, ClassificationDataset, ImageIndex};
use candle_vision::image::{EvalTransform, Interpolation};
use candle_vision::sysinfo;
use ghostzoo_weights::{Checkpoint, Preprocessing};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::images::Images;
use super::source::Source;
use super::task::{ClassifyTask, Parts};
use crate::cli::{ClassifyTrainArgs, GlobalArgs, RunArgs};
use crate::commands::train::fingerprints::Item;
use crate::commands::train::run::{Training, absolute_file, absolute_path};
use crate::commands::train::transfer::{rows_by_name, told_rows};
use crate::error::usage;
use crate::model;
use ghostzoo::Network;

/// Most notes of one kind.
const SHOWN: usize = 20;
/// Part of the available memory that decoded images may take, and what they may where it is not known.
const MEMORY_SHARE: u64 = 4;
const UNKNOWN_BYTES: u64 = 1 << 30;
/// Most threads that prepare images, unless told otherwise.
const MOST_WORKERS: usize = 8;

/// All that is known before the first step.
pub(crate) struct Setup {
    data: PathBuf,
    /// Whether the images to validate with are held back of those of one split.
    has_one_split: bool,
    classes: Vec<String>,
    train: Arc<CachedDataset>,
    val: Arc<CachedDataset>,
    config: Config,
    weights: Option<(String, Checkpoint)>,
    recipe: Recipe,
    augment: ClassificationAugment,
    view: EvalTransform,
    /// Of the run's folder.
    files: Vec<(String, String)>,
}

/// What is decided when a run begins, and holds when it goes on.
#[derive(Serialize, Deserialize)]
struct Decided {
    arch: String,
    recipe: Recipe,
    view: Preprocessing,
}

impl Training for Setup {
    const NAME: &'static str = "classify";
    type Args = ClassifyTrainArgs;
    type Task = ClassifyTask;

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

    fn of(args: &ClassifyTrainArgs, global: &GlobalArgs, decided: Option<&Value>) -> Result<Self> {
        let (augment, asked) = (augment(args)?, recipe(args)?);
        let data = args.data.as_deref().context("a run has --data")?;
        if data.is_file() {
            return Err(usage(format!(
                "--data {} is one file: give the folder that holds train and val, as folders of classes or as train.tar and \
                 val.tar",
                data.display()
            )));
        }
        let room = sysinfo::available().map_or(UNKNOWN_BYTES, |bytes| bytes / MEMORY_SHARE);
        let mut set = match args.run.val_split {
            Some(share) => ClassificationDataset::open_held_out(data, share, args.run.seed, room)?,
            None => ClassificationDataset::open(data, room)?,
        };
        set.train = set.train.with_max_pixels(args.run.largest.max_pixels);
        set.val = set.val.with_max_pixels(args.run.largest.max_pixels);
        if !global.quiet {
            set.notes.iter().take(SHOWN).for_each(|note| status!("note: {note}"));
        }
        let decided: Option<Decided> = decided.cloned().map(serde_json::from_value).transpose()?;
        let (config, weights, recipe, view) = match decided {
            Some(Decided { arch, recipe, view }) => {
                let variant = Variant::from_name(&arch).with_context(|| format!("{arch} is none that ships"))?;
                let config = Config { num_classes: set.classes.len(), ..Config::new(variant) };
                (config, None, Recipe { epochs: args.run.epochs, ..recipe }, ghostzoo::model::transform(&view)?)
            }
            None => {
                let Source { config, weights, view } = Source::of(args, set.classes.len(), global)?;
                (config, weights, asked, asked_view(args, view)?)
            }
        };
        let ClassificationDataset { classes, train, val, .. } = set;
        // Maps of 32 pixels and less end at one cell, of which a batch norm needs two.
        if recipe.batch.min(train.set().len()) == 1 && args.imgsz <= 32 {
            return Err(usage(
                "a batch of one image of at most 32 pixels teaches nothing: give a larger --batch or --imgsz",
            ));
        }
        check_side(&args.model, config.variant, args.imgsz)?;
        if !global.quiet {
            status!(
                "note: {} images of {} classes to train with, {} to validate with; {} px",
                train.set().len(),
                classes.len(),
                val.set().len(),
                args.imgsz
            );
            if recipe.warmup_epochs >= recipe.epochs as f64 {
                status!(
                    "note: the rate rises to the end: give --warmup-epochs less than the {} of --epochs",
                    recipe.epochs
                );
            }
        }
        let (data, has_one_split) = (data.to_path_buf(), args.run.val_split.is_some());
        let parts = [("split_train.txt", &train), ("split_val.txt", &val)].into_iter().filter(|_| has_one_split);
        let files = parts.map(|(name, set)| (name.to_owned(), names(set.set()))).collect();
        Ok(Self {
            data,
            has_one_split,
            files,
            classes,
            train: Arc::new(train),
            val: Arc::new(val),
            config,
            weights,
            recipe,
            augment,
            view,
        })
    }

    fn model(args: &ClassifyTrainArgs) -> &str {
        &args.model
    }

    fn hours(_: &ClassifyTrainArgs) -> Option<f64> {
        None
    }

    fn images(&self) -> [Vec<Item>; 2] {
        let val = if self.has_one_split { ["train", "."] } else { ["val", "test"] };
        [(&self.train, ["train", "."]), (&self.val, val)].map(|(set, splits)| {
            let set = set.set();
            (0..set.len()).map(|number| item(&self.data, splits, set.name(number), set.class_of(number))).collect()
        })
    }

    fn files(&self) -> &[(String, String)] {
        &self.files
    }

    fn facts(&self) -> Result<[Value; 2]> {
        let [labels, val] = [&self.train, &self.val].map(|set| set.set().fingerprint());
        let images = self.train.set().len();
        let data = json!({"classes": self.classes, "pictures": images, "labels": labels, "val": val});
        let decided = Decided {
            arch: self.config.variant.name.to_owned(),
            recipe: self.recipe.clone(),
            view: ghostzoo::model::preprocessing(&self.view),
        };
        Ok([data, serde_json::to_value(decided)?])
    }

    fn extension(&self, before: &ClassifyTrainArgs, after: &ClassifyTrainArgs, epoch: usize) -> Result<String> {
        let batches = batches(&self.train, self.recipe.batch);
        let rate = |epochs: usize, epoch: usize| -> Result<f64> {
            let schedule = Recipe { epochs, ..self.recipe.clone() }.schedule(batches);
            Ok(schedule.rate((epoch + 1) * batches - 1))
        };
        Ok(format!(
            "{} epochs instead of {}: the rate of epoch {} is {:.3e}, that of the last before was {:.3e}",
            after.run.epochs,
            before.run.epochs,
            epoch + 1,
            rate(after.run.epochs, epoch)?,
            rate(before.run.epochs, epoch.max(1) - 1)?
        ))
    }

    fn task(self, args: &ClassifyTrainArgs, global: &GlobalArgs, is_new: bool) -> Result<ClassifyTask> {
        let device = global.open(global.quiet)?;
        let default = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_WORKERS);
        let workers = args.run.workers.unwrap_or(default);
        let options = LoaderOptions { batch: self.recipe.batch, workers, seed: args.run.seed, ..Default::default() };
        let transform = TrainTransform::new(self.augment.clone(), &self.view)?;
        let train = DataLoader::train(self.train.clone(), transform, self.classes.len(), options)?;
        let val = DataLoader::eval(self.val.clone(), self.view.clone(), options)?;
        let teacher = args.optimizer.teacher.as_deref().map(|name| self.teacher(name, args, global, &device));
        let weights = self.weights.as_ref().filter(|_| is_new);
        let rows = weights.filter(|_| args.cls_remap).and_then(|weights| rows_by_name(weights, &self.classes));
        if let Some(rows) = rows.as_deref().filter(|_| !global.quiet) {
            status!("note: {}", told_rows(rows));
        }
        let config = TrainerConfig {
            config: &self.config,
            recipe: &self.recipe,
            freeze: args.optimizer.freeze,
            batches: train.batches(),
            seed: args.run.seed,
            teacher: teacher.transpose()?,
            class_rows: rows.as_deref(),
        };
        let (trainer, transferred) = Trainer::new(config, weights.map(|(_, checkpoint)| &checkpoint.tensors), &device)?;
        if let (Some(transferred), Some((name, _))) = (&transferred, weights) {
            let all = trainer.train_state().variables().iter().count();
            if transferred.matched.is_empty() {
                bail!("nothing of {name} fits: give its architecture with --model, and it with --pretrained");
            }
            if !global.quiet {
                status!("note: {} of {all} tensors are taken from {name}", transferred.matched.len());
                for (tensor, own, theirs) in transferred.mismatch.misshaped.iter().take(SHOWN) {
                    status!("note:   {tensor} starts anew: {own:?} here, {theirs:?} there");
                }
            }
        }
        if is_new && !global.quiet {
            status!("note: {}", start(&self.config, &self.recipe, &trainer, train.batches()));
        }
        let images = Images::new(self.classes, &self.view, global.quiet || !args.run.plots);
        let parts = Parts { trainer, sets: [self.train, self.val], train, val, view: self.view, images };
        Ok(ClassifyTask::new(parts, args))
    }
}

impl Setup {
    /// The network whose answers are learnt from: of the same classes, and of images prepared alike.
    fn teacher(&self, name: &str, args: &ClassifyTrainArgs, global: &GlobalArgs, device: &Device) -> Result<GhostNet> {
        let loaded = model::load(name, &GlobalArgs { arch: None, ..global.clone() }, device, args.run.json)
            .context("the run learns from its --teacher to the end")?;
        let Network::Classifier(teacher) = loaded.network else {
            return Err(usage(format!("--teacher {name} is a detector: it has no answers for a whole image")));
        };
        check_side(&format!("--teacher {name}"), teacher.config().variant, args.imgsz)?;
        if loaded.class_names != self.classes {
            return Err(usage(format!(
                "--teacher {name} knows {} classes that are not the {} of the data, in name and order: train it on them first",
                loaded.class_names.len(),
                self.classes.len()
            )));
        }
        let EvalTransform { mean, std, .. } = loaded.transform;
        if (mean, std) != (self.view.mean, self.view.std) {
            return Err(usage(format!(
                "--teacher {name} has its images normalised by {mean:?} and {std:?}, not as here"
            )));
        }
        Ok(*teacher)
    }
}

/// The images of a part by their names, one a line.
fn names(set: &ImageIndex) -> String {
    (0..set.len()).map(|index| format!("{}\n", set.name(index))).collect()
}

/// An image of a class folder, or of the tar file of a split.
fn item(data: &Path, splits: [&str; 2], name: &str, class: usize) -> Item {
    let folder = splits.iter().map(|split| data.join(split).join(name));
    let tar = splits.iter().map(|split| data.join(format!("{split}.tar")));
    let path = folder.chain(tar).find(|path| path.is_file()).unwrap_or_default();
    Item { name: name.to_owned(), path, labels: class.to_string() }
}

/// Refuses images that are too small for a network.
fn check_side(name: &str, variant: Variant, imgsz: usize) -> Result<()> {
    let least = variant.least_side();
    match imgsz < least {
        true => {
            Err(usage(format!("{name} takes images of at least {least} pixels: give a larger --imgsz than {imgsz}")))
        }
        false => Ok(()),
    }
}

/// Steps of an epoch, as [`DataLoader`] counts them.
fn batches(set: &CachedDataset, batch: usize) -> usize {
    (set.set().len() / batch).max(1)
}

/// How images are prepared: as the arguments say, else as the weights have it.
fn asked_view(args: &ClassifyTrainArgs, view: EvalTransform) -> Result<EvalTransform> {
    let interpolation = args.interpolation.as_deref().map(str::parse::<Interpolation>).transpose();
    Ok(EvalTransform {
        input_size: [args.imgsz; 2],
        crop_pct: args.crop_pct.unwrap_or(view.crop_pct),
        interpolation: interpolation
            .map_err(|error| usage(format!("--interpolation: {error}")))?
            .unwrap_or(view.interpolation),
        ..view
    })
}

/// The two numbers of an option such as `0.08,1`.
fn range(name: &str, text: &str) -> Result<[f64; 2]> {
    let numbers: Option<Vec<f64>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    numbers
        .and_then(|numbers| <[f64; 2]>::try_from(numbers).ok())
        .ok_or_else(|| usage(format!("--{name} {text}: give two numbers, such as 0.08,1")))
}

/// The augmentation that the arguments describe.
fn augment(args: &ClassifyTrainArgs) -> Result<ClassificationAugment> {
    let mut values = serde_json::to_value(&args.augment)?;
    let fields = values.as_object_mut().context("arguments are pairs")?;
    fields.insert("scale".to_owned(), json!(range("scale", &args.augment.scale)?));
    fields.insert("ratio".to_owned(), json!(range("ratio", &args.augment.ratio)?));
    for (from, to) in [("crop_pad", "padding"), ("train_interpolation", "interpolation")] {
        let value = fields.remove(from).unwrap_or(Value::Null);
        fields.insert(to.to_owned(), value);
    }
    let augment: ClassificationAugment = serde_json::from_value(values).map_err(|error| usage(error.to_string()))?;
    augment.check().map_err(|error| usage(error.to_string()))?;
    Ok(augment)
}

/// The recipe that the arguments describe.
fn recipe(args: &ClassifyTrainArgs) -> Result<Recipe> {
    let mut values = serde_json::to_value(&args.optimizer)?;
    let fields = values.as_object_mut().context("arguments are pairs")?;
    let smoothing = args.augment.smoothing;
    for (name, value) in
        [("epochs", json!(args.run.epochs)), ("batch", json!(args.batch)), ("smoothing", json!(smoothing))]
    {
        fields.insert(name.to_owned(), value);
    }
    serde_json::from_value(values).map_err(usage)
}

/// Says how a run starts.
fn start(config: &Config, recipe: &Recipe, trainer: &Trainer, batches: usize) -> String {
    let trained: usize = trainer.train_state().variables().parameters().iter().map(|(_, var)| var.elem_count()).sum();
    format!(
        "{}, {trained} parameters in training; {} at {} with momentum {}; {batches} steps of {} images an epoch",
        config.variant.name,
        recipe.opt,
        recipe.rate(),
        recipe.momentum,
        recipe.batch
    )
}
