//! From data and options to the first step of a detector's training.

use candle_yolov8::train::{
    DataLoader, DetectionDataset, LoaderOptions, MultiScale, Recipe, Trainer, TrainerConfig, class_weights,
};
use candle_yolov8::val::ValOptions;
use candle_yolov8::{ModelConfig, NmsOptions};
use serde_json::Value;

use super::auto_batch::auto_batch;
use super::start::{Decided, DetectionStart};
use super::task::{DetectionTask, MAX_DET, Ready};
use crate::error::{Result, request};
use crate::train::prepared::{Batches, ensure_batch};
use crate::train::pretrained::{class_rows_of, tell};
use crate::train::{Messages, Plan, checks, messages};

impl DetectionTask {
    /// What the first step needs.
    pub(super) fn ready(&mut self, plan: &Plan, decided: Option<&Value>) -> Result<Ready> {
        self.options.augment.check().map_err(request)?;
        let nc = self.class_names.len();
        let start = match (decided, &self.start) {
            (Some(decided), _) => DetectionStart::again(decided, nc)?,
            (None, Some(start)) => start.clone(),
            (None, None) => DetectionStart::find(&self.options, nc)?,
        };
        let stride = start.stride();
        let imgsz = self.train.imgsz();
        if !imgsz.is_multiple_of(stride) {
            let next = imgsz.next_multiple_of(stride);
            return Err(request(format!("the images are of {imgsz} pixels, no multiple of {stride}: give {next}")));
        }
        let recipe = match decided {
            Some(decided) => checks::read::<Decided>(decided)?.recipe.epochs(plan.epochs),
            None => self.recipe(plan, &start.def)?,
        };
        let scale = MultiScale { imgsz, share: self.options.multi_scale, stride, seed: self.options.seed };
        self.parallel.check(recipe.batch)?;
        self.check_batches(&recipe, &scale)?;
        self.tell_data();
        let batches = self.train.len().div_ceil(recipe.batch);
        let mut trainer = self.trainer(&start, &recipe, batches, decided.is_none())?;
        self.teach(&mut trainer)?;
        if let Some(group) = &self.parallel.group {
            trainer.distribute(group, self.parallel.sync_bn);
        }
        let validation = self.validation(&recipe);
        let stride = trainer.net().strides().iter().fold(32., |most: f64, stride| most.max(*stride)) as usize;
        let scale = MultiScale { stride, ..scale };
        let options = LoaderOptions::new()
            .batch(recipe.batch)
            .workers(self.options.workers.unwrap_or(LoaderOptions::default().workers))
            .seed(self.options.seed)
            .augment(self.options.augment.clone())
            .rect(self.options.rect.then_some(stride))
            .shard(self.parallel.shard());
        let loader = DataLoader::new(self.train.clone(), options)?;
        let DetectionStart { def, arch, yaml, licence, .. } = start;
        Ok(Ready {
            class_channels: def.class_channels(),
            arch,
            yaml,
            licence,
            epochs: plan.epochs,
            recipe,
            trainer,
            loader,
            validation,
            scale: (self.options.multi_scale > 0.).then_some(scale),
            batches: Batches::default(),
            last: None,
        })
    }

    /// The options' recipe for these data.
    fn recipe(&self, plan: &Plan, def: &ModelConfig) -> Result<Recipe> {
        let mut asked = self.options.recipe.clone().epochs(plan.epochs);
        if let Some(share) = self.options.memory_share {
            if self.parallel.group.is_some() {
                return Err(request(
                    "`options.memory_share`: the memory of one process does not decide for several: give `options.recipe.batch`",
                ));
            }
            let (batch, why) = auto_batch(share, def, self.train.imgsz(), &self.options.device);
            asked.batch = batch;
            self.messages.note(why);
        }
        ensure_batch(asked.batch)?;
        let mut recipe = asked.resolve(self.train.len(), self.class_names.len());
        // A run of limited time does not know its epochs, which cut the warm-up.
        if plan.is_timed {
            recipe.warmup_epochs = asked.warmup_epochs;
        }
        Ok(recipe)
    }

    /// Refuses a batch that batch norms cannot learn from.
    fn check_batches(&self, recipe: &Recipe, scale: &MultiScale) -> Result<()> {
        let least = if self.options.multi_scale > 0. { scale.least() } else { scale.imgsz };
        if self.train.len() % recipe.batch == 1 && least < 2 * scale.stride {
            return Err(request(format!(
                "the last batch of an epoch has one image, of one cell at {least} pixels, which a batch norm cannot learn \
                 from: change `options.recipe.batch`, `options.imgsz` or `options.multi_scale`"
            )));
        }
        if self.parallel.group.is_some()
            && self.parallel.fewest(self.train.len(), recipe.batch) == 1
            && least < 2 * scale.stride
        {
            return Err(request(format!(
                "a process has one image of a batch, of one cell at {least} pixels, which a batch norm cannot learn from: give a \
                 larger `options.recipe.batch`, or `options.sync_bn`"
            )));
        }
        Ok(())
    }

    fn tell_data(&self) {
        let train = &self.train;
        let objects: usize = (0..train.len()).map(|image| train.objects(image).len()).sum();
        self.messages.note(format!(
            "{} images with {objects} objects of {} classes to train with, {} to validate with; {}, {} px",
            train.len(),
            self.class_names.len(),
            self.val.len(),
            match train.on_disk() {
                0 if train.is_cached() => "held in memory".to_owned(),
                0 => "decoded at each use".to_owned(),
                count => format!("{count} decoded in .npy files beside them"),
            },
            train.imgsz()
        ));
    }

    fn trainer(&self, start: &DetectionStart, recipe: &Recipe, batches: usize, is_new: bool) -> Result<Trainer> {
        let messages = &self.messages;
        let pretrained = start.weights.as_ref().filter(|_| is_new);
        let rows = class_rows_of(pretrained, self.options.cls_remap, &self.class_names, messages);
        let config = TrainerConfig::new(&start.def, recipe, batches)
            .freeze(self.options.freeze.clone())
            .seed(self.options.seed)
            .class_rows(rows.as_deref());
        let tensors = pretrained.map(|(_, checkpoint)| &checkpoint.tensors);
        let (mut trainer, loaded) = Trainer::new(config, tensors, &self.options.device)?;
        tell(loaded.as_ref(), pretrained, trainer.train_state(), messages)?;
        if is_new {
            messages.note(opening(&start.arch, recipe, &trainer, batches));
        }
        let weights = class_weights(&counts(&self.train, self.class_names.len()), recipe.cls_pw);
        if let Some(weights) = weights {
            weighted(&weights, messages);
            trainer.weigh_classes(weights)?;
        }
        Ok(trainer)
    }

    fn validation(&self, recipe: &Recipe) -> ValOptions {
        let objects = (0..self.train.len()).map(|image| self.train.objects(image).len());
        let most = (0..self.val.len()).map(|image| self.val.labels(image).len()).chain(objects).max().unwrap_or(0);
        let asked = self.options.max_det;
        let max_det = if asked == MAX_DET { most.max(MAX_DET) } else { asked };
        if most > asked {
            self.messages.note(format!(
                "an image has {most} objects: {max_det} boxes are kept of each in validation, `options.max_det` says otherwise"
            ));
        }
        let nms = NmsOptions::new().conf(0.001).iou(self.options.iou).max_det(max_det).multi_label(true);
        let max_pixels = self.options.max_pixels;
        ValOptions::new().imgsz(self.train.imgsz()).batch(2 * recipe.batch).nms(nms).max_pixels(max_pixels)
    }
}

/// Objects of each class.
fn counts(train: &DetectionDataset, classes: usize) -> Vec<usize> {
    let mut counts = vec![0; classes];
    (0..train.len()).flat_map(|image| train.objects(image)).for_each(|object| counts[object.class] += 1);
    counts
}

fn weighted(weights: &[f64], messages: &Messages) {
    let shown: Vec<String> = weights.iter().map(|weight| format!("{weight:.3}")).collect();
    messages.note(format!("classes are weighted by {}", shown.join(", ")));
}

/// Says how a run starts.
fn opening(arch: &str, recipe: &Recipe, trainer: &Trainer, batches: usize) -> String {
    let state = trainer.train_state();
    let by = messages::opening(arch, state, recipe.optimizer, recipe.lr0, recipe.momentum);
    let groups = state.optimizer().groups();
    let counts: Vec<String> = groups.iter().map(|group| group.parameters.len().to_string()).collect();
    format!("{by}, groups of {} tensors; {batches} steps an epoch", counts.join(", "))
}
