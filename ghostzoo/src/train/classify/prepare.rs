//! From data and options to the first step of a classifier's training.

use candle_ghostnet::train::{Recipe, Trainer, TrainerConfig};
use candle_ghostnet::{Config, GhostNet, Variant};
use candle_vision::augment::{DataLoader, LoaderOptions, TrainTransform};
use candle_vision::image::EvalTransform;
use candle_vision::prune::Channels;
use ghostzoo_weights::Preprocessing;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::options::ClassificationOptions;
use super::start::ClassificationStart;
use super::task::{ClassificationTask, Ready};
use crate::error::{Context as _, Result, request};
use crate::train::prepared::{Batches, ensure_batch};
use crate::train::pretrained::{binding_licence, class_rows_of, tell};
use crate::train::{Plan, checks, messages};
use crate::{LoadOptions, Model, Network, model};

/// Most threads that prepare images, unless told otherwise.
const MOST_WORKERS: usize = 8;

/// What is decided when a run begins, and holds when it goes on.
#[derive(Serialize, Deserialize)]
pub(super) struct Decided {
    pub(super) arch: String,
    pub(super) recipe: Recipe,
    pub(super) view: Preprocessing,
    /// Of a pruned network.
    #[serde(default, skip_serializing_if = "Channels::is_empty")]
    pub(super) channels: Channels,
    /// Of the weights that the run began with, where it binds what is made of them.
    #[serde(default)]
    pub(super) licence: Option<String>,
}

impl ClassificationTask {
    /// What the first step needs.
    pub(super) fn ready(&mut self, plan: &Plan, decided: Option<&Value>) -> Result<Ready> {
        if plan.is_timed {
            return Err(request("a classifier's rates follow its epochs: no limit of time is known to them"));
        }
        self.options.augment.check()?;
        let asked = self.options.recipe.clone().epochs(plan.epochs);
        ensure_batch(asked.batch)?;
        let num_classes = self.class_names.len();
        let (config, weights, licence, recipe, view) = match decided {
            Some(decided) => {
                let Decided { arch, recipe, view, channels, licence } = checks::read(decided)?;
                let variant = Variant::from_name(&arch).with_context(|| format!("{arch} is none that ships"))?;
                let config = Config::new(variant).num_classes(num_classes).channels(channels);
                (config, None, licence, recipe.epochs(plan.epochs), model::transform(&view)?)
            }
            None => {
                let start = match self.start.clone() {
                    Some(start) => start,
                    None => ClassificationStart::find(&self.options, num_classes)?,
                };
                let ClassificationStart { config, weights, view } = start;
                let licence = binding_licence(weights.as_ref());
                (config, weights, licence, asked, asked_view(&self.options, view))
            }
        };
        self.parallel.check(recipe.batch)?;
        let imgsz = self.options.imgsz;
        // Maps of 32 pixels and less end at one cell, of which a batch norm needs two.
        let fewest = self.parallel.fewest(recipe.batch.min(self.sets[0].len()), recipe.batch);
        if fewest == 1 && imgsz <= 32 {
            return Err(request(
                "a batch of one image of at most 32 pixels teaches nothing: give a larger `options.recipe.batch` or `options.imgsz`",
            ));
        }
        check_side(&self.options.model, config.variant, imgsz)?;
        self.tell_data(&recipe);
        let default = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_WORKERS);
        let workers = self.options.workers.unwrap_or(default);
        let options = LoaderOptions::new().batch(recipe.batch).workers(workers).seed(self.options.seed);
        let of_training = options.shard(self.parallel.shard());
        let transform = TrainTransform::new(self.options.augment.clone(), &view)?;
        let train = DataLoader::train(self.sets[0].dataset(), transform, num_classes, of_training)?;
        let val = DataLoader::eval(self.sets[1].dataset(), view.clone(), options)?;
        let teacher = self.teacher(&view)?;
        let rows = class_rows_of(weights.as_ref(), self.options.cls_remap, &self.class_names, &self.messages);
        let config = TrainerConfig::new(&config, &recipe, train.batches())
            .freeze(self.options.freeze)
            .seed(self.options.seed)
            .teacher(teacher)
            .class_rows(rows.as_deref());
        let tensors = weights.as_ref().map(|(_, checkpoint)| &checkpoint.tensors);
        let (mut trainer, loaded) = Trainer::new(config, tensors, &self.options.device)?;
        if let Some(group) = &self.parallel.group {
            trainer.distribute(group, self.parallel.sync_bn);
        }
        tell(loaded.as_ref(), weights.as_ref(), trainer.train_state(), &self.messages)?;
        if decided.is_none() {
            self.messages.note(opening(&recipe, &trainer, train.batches()));
        }
        Ok(Ready { trainer, licence, recipe, train, val, view, batches: Batches::default(), last: None })
    }

    fn tell_data(&self, recipe: &Recipe) {
        self.messages.note(format!(
            "{} images of {} classes to train with, {} to validate with; {} px",
            self.sets[0].len(),
            self.class_names.len(),
            self.sets[1].len(),
            self.options.imgsz
        ));
        if recipe.warmup_epochs >= recipe.epochs as f64 {
            self.messages.note(format!(
                "the rate rises to the end: give `options.warmup_epochs` less than the {} of `options.epochs`",
                recipe.epochs
            ));
        }
    }

    /// The network whose answers are learnt from: of the same classes, and of images prepared alike.
    fn teacher(&mut self, view: &EvalTransform) -> Result<Option<GhostNet>> {
        let given = self.teacher.take();
        let name = self.options.teacher.clone().or_else(|| given.as_ref().map(|teacher| teacher.name.clone()));
        let Some(name) = name else { return Ok(None) };
        // A run that goes on, or a second one, finds it by its name.
        self.options.teacher = Some(name.clone());
        let Model { network, class_names, transform, .. } = match given {
            Some(teacher) => teacher,
            None => LoadOptions::new()
                .device(self.options.device.clone())
                .model(&name)
                .context("the run learns from its `options.teacher` to the end")?,
        };
        let Network::Classifier(teacher) = network else {
            return Err(request(format!(
                "`options.teacher` {name} is a detector: it has no answers for a whole image"
            )));
        };
        check_side(&format!("`options.teacher` {name}"), teacher.config().variant, self.options.imgsz)?;
        if class_names != self.class_names {
            return Err(request(format!(
                "`options.teacher` {name} knows {} classes that are not the {} of the data, in name and order: train it on them first",
                class_names.len(),
                self.class_names.len()
            )));
        }
        let EvalTransform { mean, std, .. } = transform;
        if (mean, std) != (view.mean, view.std) {
            return Err(request(format!(
                "`options.teacher` {name} has its images normalised by {mean:?} and {std:?}, not as here"
            )));
        }
        Ok(Some(*teacher))
    }
}

/// Refuses images that are too small for a network.
fn check_side(name: &str, variant: Variant, imgsz: usize) -> Result<()> {
    let least = variant.least_side();
    match imgsz < least {
        true => Err(request(format!(
            "{name} takes images of at least {least} pixels: give a larger `options.imgsz` than {imgsz}"
        ))),
        false => Ok(()),
    }
}

/// How images are prepared: as the options say, else as the weights have it.
fn asked_view(options: &ClassificationOptions, view: EvalTransform) -> EvalTransform {
    let crop_pct = options.crop_pct.unwrap_or(view.crop_pct);
    let interpolation = options.interpolation.unwrap_or(view.interpolation);
    view.input_size([options.imgsz; 2]).crop_pct(crop_pct).interpolation(interpolation)
}

/// Says how a run starts.
fn opening(recipe: &Recipe, trainer: &Trainer, batches: usize) -> String {
    let arch = trainer.config().variant.name;
    let by = messages::opening(arch, trainer.train_state(), recipe.opt, recipe.rate(), recipe.momentum);
    format!("{by}; {batches} steps of {} images an epoch", recipe.batch)
}
