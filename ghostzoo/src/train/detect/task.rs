//! Steps, validation and checkpoints of a detector.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Tensor;
use candle_vision::data::Dataset;
use candle_vision::train::distributed::Communicator;
use candle_vision::train::optim::ParamKind;
use candle_yolov8::data::{AnnotatedImage, DetectionItem};
use candle_yolov8::train::{
    Batch, DataLoader, DetectionDataset, DetectionDatasetOptions, EpochIter, MultiScale, Recipe, Trainer,
};
use candle_yolov8::val::ValOptions;
use ghostzoo_weights::{Checkpoint, KeyLayout, Metadata};
use serde_json::{Value, json};

use super::data::{DetectionData, DetectionDataOptions};
use super::label_text::{labels_text, objects_text};
use super::options::DetectionOptions;
use super::start::{Decided, DetectionStart};
use super::val_set::ValSet;
use crate::Model;
use crate::error::{Result, request};
use crate::train::parallel::Parallel;
use crate::train::prepared::{Batches, Prepared};
use crate::train::saved;
use crate::train::{ImageRecord, Message, Messages, Plan, Step, StopFlag, TrainTask, Validation, checks};

const LOSSES: &[&str] = &["box_loss", "cls_loss", "dfl_loss"];
/// Those of a step with a teacher.
const LOSSES_WITH_TEACHER: &[&str] = &["box_loss", "cls_loss", "dfl_loss", "distill_loss"];
const METRICS: &[&str] = &["precision(B)", "recall(B)", "mAP50(B)", "mAP50-95(B)"];
/// Most boxes per image unless told otherwise: Ultralytics' default.
pub(super) const MAX_DET: usize = 300;

/// A detector in training, with its data.
pub struct DetectionTask {
    pub(super) train: Arc<DetectionDataset>,
    pub(super) val: ValSet,
    pub(super) class_names: Vec<String>,
    pub(super) options: DetectionOptions,
    pub(super) start: Option<DetectionStart>,
    pub(super) teacher: Option<Model>,
    pub(super) messages: Messages,
    pub(super) parallel: Parallel,
    pub(super) ready: Prepared<Ready>,
    /// Whether unreadable validation images were named.
    pub(super) told: Cell<bool>,
}

/// What the first step needs.
pub(super) struct Ready {
    pub(super) arch: String,
    pub(super) yaml: Option<String>,
    /// Of the weights that the run began with, where it binds what is made of them.
    pub(super) licence: Option<String>,
    pub(super) class_channels: usize,
    pub(super) recipe: Recipe,
    pub(super) trainer: Trainer,
    pub(super) loader: DataLoader,
    pub(super) validation: ValOptions,
    pub(super) scale: Option<MultiScale>,
    /// Epochs of the run.
    pub(super) epochs: usize,
    pub(super) batches: Batches<EpochIter>,
    /// The batch of the last step.
    pub(super) last: Option<Batch>,
}

impl fmt::Debug for DetectionTask {
    /// Options and numbers of images, without the tensors.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { train, val, class_names, options, .. } = self;
        f.debug_struct("DetectionTask")
            .field("train", &train.len())
            .field("val", &val.len())
            .field("class_names", class_names)
            .field("options", options)
            .finish_non_exhaustive()
    }
}

impl DetectionTask {
    /// A detector that learns from `train`, at the size of its images, and is measured on `val`. Classes are numbers into
    /// `class_names`.
    ///
    /// # Errors
    /// No class, no image to validate with, or an object of a class without a name.
    pub fn new(
        train: Arc<DetectionDataset>,
        val: Vec<AnnotatedImage>,
        class_names: Vec<String>,
        options: DetectionOptions,
    ) -> Result<Self> {
        Self::of(train, ValSet::Files(val), class_names, options)
    }

    /// A detector that learns from one dataset and is measured on another, such as
    /// [`InMemoryDataset`](candle_vision::data::InMemoryDataset)s. Images are scaled to fit `imgsz` pixels. A run that goes on
    /// tells items apart by their names and labels, not by their pixels.
    ///
    /// # Errors
    /// As [`DetectionDataset::from_dataset`] and [`DetectionTask::new`].
    pub fn from_datasets(
        train: Arc<dyn Dataset<Item = DetectionItem>>,
        val: Arc<dyn Dataset<Item = DetectionItem>>,
        class_names: Vec<String>,
        imgsz: usize,
        options: DetectionOptions,
    ) -> Result<Self> {
        let images = DetectionDatasetOptions::new().imgsz(imgsz);
        let train = DetectionDataset::from_dataset(train, &images)?;
        Self::of(Arc::new(train), ValSet::items(val), class_names, options)
    }

    fn of(
        train: Arc<DetectionDataset>,
        val: ValSet,
        class_names: Vec<String>,
        options: DetectionOptions,
    ) -> Result<Self> {
        let objects = (0..train.len()).flat_map(|image| train.objects(image)).map(|object| object.class);
        let labels = (0..val.len()).flat_map(|image| val.labels(image)).map(|label| label.class);
        if let Some(class) = objects.chain(labels).find(|class| *class >= class_names.len()) {
            return Err(request(format!("an object is of class {class}, and there are {} names", class_names.len())));
        }
        if class_names.is_empty() {
            return Err(request("a detector has at least one class"));
        }
        if val.len() == 0 {
            return Err(request("there is no image to validate with"));
        }
        let messages = Messages::default();
        messages.warn_each(&train.take_messages());
        Ok(Self {
            train,
            val,
            class_names,
            options,
            start: None,
            teacher: None,
            messages,
            parallel: Parallel::default(),
            ready: Prepared::default(),
            told: Cell::new(false),
        })
    }

    /// A detector of the images that a data.yaml of Ultralytics' form names.
    ///
    /// # Errors
    /// As [`DetectionData::open`], [`DetectionDataset::new`] and [`DetectionTask::new`].
    pub fn open(
        path: impl AsRef<Path>,
        data: &DetectionDataOptions,
        images: &DetectionDatasetOptions,
        options: DetectionOptions,
    ) -> Result<Self> {
        if images.single_cls && !data.single_cls {
            return Err(request("`single_cls` is an option of the data, so that validation counts one class too"));
        }
        let messages = Messages::default();
        let DetectionData { train, val, class_names, .. } = DetectionData::open(path, data, &messages)?;
        let task = Self::new(Arc::new(DetectionDataset::new(train, images)?), val, class_names, options)?;
        // Those on labels come before those on images.
        task.messages.take().into_iter().for_each(|message| messages.push(message));
        Ok(Self { messages, ..task })
    }

    /// Starts from a network that was found already, instead of what the options name.
    #[must_use]
    pub fn start_from(self, start: DetectionStart) -> Self {
        Self { start: Some(start), ..self }
    }

    /// The images to train with.
    pub fn train_set(&self) -> &DetectionDataset {
        &self.train
    }

    /// The file of an image that is validated with, or its name in a dataset.
    pub fn val_path(&self, index: usize) -> &Path {
        self.val.path(index)
    }

    /// Names of the classes, by number.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// The options.
    pub fn options(&self) -> &DetectionOptions {
        &self.options
    }

    /// The batch of the last step.
    pub fn last_batch(&self) -> Option<&Batch> {
        self.ready.made()?.last.as_ref()
    }

    /// How validation is done.
    ///
    /// # Errors
    /// Where the task is not prepared.
    pub fn val_options(&self) -> Result<&ValOptions> {
        Ok(&self.ready.get()?.validation)
    }
}

/// A metric as Ultralytics compares it: to five digits behind the point, the even one of two equally near.
pub(in crate::train) fn five_digits(value: f64) -> f64 {
    format!("{value:.5}").parse().unwrap_or(value)
}

impl TrainTask for DetectionTask {
    const NAME: &'static str = "detect";
    const RATE: &'static str = "lr0";
    const LAST_OF_EQUALS: bool = true;

    fn distribute(&mut self, group: Option<&Communicator>, sync_bn: bool) -> Result<()> {
        let parallel = Parallel::new(group, sync_bn);
        if !self.parallel.is_same(&parallel) {
            self.ready = Prepared::default();
        }
        self.parallel = parallel;
        Ok(())
    }

    fn prepare(&mut self, plan: &Plan, decided: Option<&Value>) -> Result<()> {
        let before = mem::take(&mut self.ready);
        self.ready = before.renewed(plan, decided, || self.ready(plan, decided))?;
        Ok(())
    }

    fn record(&self) -> Result<Value> {
        self.options.record(self.train.imgsz())
    }

    fn data(&self) -> Value {
        let mut text = String::new();
        for image in 0..self.train.len() {
            let name = self.train.path(image).file_name().unwrap_or_default().to_string_lossy();
            text += &format!("{name} {}\n", objects_text(self.train.objects(image)));
        }
        let labels = format!("{:08x}", crc32fast::hash(text.as_bytes()));
        json!({"classes": self.class_names, "pictures": self.train.len(), "labels": labels})
    }

    fn decided(&self) -> Result<Value> {
        let Ready { arch, yaml, licence, recipe, class_channels, trainer, .. } = self.ready.get()?;
        Ok(serde_json::to_value(Decided {
            arch: arch.clone(),
            yaml: yaml.clone(),
            recipe: recipe.clone(),
            class_channels: Some(*class_channels),
            channels: trainer.def().channels.clone(),
            licence: licence.clone(),
        })?)
    }

    fn check_decided(decided: &Value) -> Result<()> {
        checks::decided_as::<Decided>(decided)
    }

    fn images(&self) -> [Vec<ImageRecord>; 2] {
        // An item of a dataset is its name, which may look like a path.
        let are_files = matches!(self.val, ValSet::Files(_));
        let record = |path: &Path, labels: String| match are_files {
            true => ImageRecord {
                name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                path: path.to_path_buf(),
                labels,
            },
            false => ImageRecord { name: path.to_string_lossy().into_owned(), path: PathBuf::new(), labels },
        };
        let train = (0..self.train.len())
            .map(|number| record(self.train.path(number), objects_text(self.train.objects(number))));
        let val = (0..self.val.len()).map(|number| record(self.val.path(number), labels_text(self.val.labels(number))));
        [train.collect(), val.collect()]
    }

    fn extension(&self, [before, after]: [usize; 2], epoch: usize) -> Result<String> {
        let Ready { recipe, .. } = self.ready.get()?;
        let batches = self.train.len().div_ceil(recipe.batch);
        let rate = |epochs: usize, epoch: usize| {
            let schedule = recipe.clone().epochs(epochs).schedule(batches);
            // After the epoch's last step.
            schedule.rate(ParamKind::Weight, 1., (epoch + 1) * batches - 1)
        };
        let close = self.options.close_mosaic;
        let mosaics = match (close, after.saturating_sub(close)) {
            (0, _) => "mosaics go on to the end".to_owned(),
            (_, last) => format!("mosaics are joined up to epoch {last}"),
        };
        Ok(format!(
            "{after} epochs instead of {before}: the rate of epoch {} is {:.3e}, that of the last before was {:.3e}; {mosaics}",
            epoch + 1,
            rate(after, epoch),
            rate(before, epoch.max(1) - 1)
        ))
    }

    fn columns(&self) -> (&'static [&'static str], &'static [&'static str]) {
        (if self.options.teacher.is_some() { LOSSES_WITH_TEACHER } else { LOSSES }, METRICS)
    }

    fn val_losses(&self) -> &'static [&'static str] {
        LOSSES
    }

    fn batches(&self) -> usize {
        self.ready.made().map_or(0, |ready| ready.loader.batches_per_epoch())
    }

    fn rates(&self) -> Vec<f64> {
        self.ready.made().map_or_else(Vec::new, |ready| ready.trainer.rates())
    }

    fn begin(&mut self, epoch: usize, batch: usize) -> Result<()> {
        let close = self.options.close_mosaic;
        let Ready { batches, loader, trainer, epochs, .. } = self.ready.get_mut()?;
        let is_joined = close == 0 || epoch + close < *epochs;
        batches.begin(epoch * loader.batches_per_epoch() + batch, || loader.epoch(epoch, is_joined, batch))?;
        trainer.seek(batches.iteration);
        Ok(())
    }

    fn step(&mut self) -> Result<Step> {
        let Ready { batches, trainer, loader, scale, last, .. } = self.ready.get_mut()?;
        let (batch, waited) = batches.next(EpochIter::waited)?;
        self.messages.warn_each(&self.train.take_messages());
        self.train.check_decoded()?;
        let (iteration, device) = (batches.iteration, trainer.device());
        let images = match scale {
            Some(scale) => batch.scaled(scale.shape(scale.size(iteration), batch.size), device)?,
            None => batch.tensor(device)?,
        };
        let shard = loader.shard(iteration % loader.batches_per_epoch());
        let losses = trainer.step_shard(iteration, &images, &batch.targets, &shard)?;
        let losses = losses.parts.into_iter().chain(losses.distillation).collect();
        let moved = trainer.moves(iteration);
        batches.iteration += 1;
        let step = Step { losses, images: batch.len(), moved, waited };
        *last = Some(batch);
        Ok(step)
    }

    fn replan(&mut self, epochs: usize) {
        if let Ok(ready) = self.ready.get_mut() {
            ready.epochs = epochs;
            ready.trainer.replan(epochs);
        }
    }

    fn validates_together(&self) -> bool {
        true
    }

    fn validate(&mut self, stop: &StopFlag) -> Result<Option<Validation>> {
        self.measure_average(stop)
    }

    fn checkpoint(&self, epochs: usize) -> Result<Checkpoint> {
        let Ready { trainer, arch, yaml, licence, .. } = self.ready.get()?;
        let mut tensors = saved::on_cpu(trainer.train_state().average().tensors()?)?;
        // For PyTorch, whose strict loading asks for them.
        tensors.extend(candle_yolov8::absent_bins(&tensors)?);
        let metadata = Metadata {
            yaml: yaml.clone().map(Value::String),
            stride: Some(trainer.net().strides().iter().map(|stride| *stride as usize).collect()),
            layout: KeyLayout::Ultralytics,
            pruned: !trainer.def().channels.is_empty(),
            licence: licence.clone(),
            ..saved::metadata::<Self>(arch, &self.class_names, self.train.imgsz(), epochs)
        };
        Ok(Checkpoint { tensors, metadata, ..Default::default() })
    }

    fn state(&self) -> Result<(BTreeMap<String, Tensor>, Value)> {
        let (tensors, updates) = self.ready.get()?.trainer.state()?;
        Ok((tensors, saved::counters(updates)))
    }

    fn load_state(&mut self, tensors: &BTreeMap<String, Tensor>, counters: &Value) -> Result<()> {
        let updates = saved::updates(counters, "a detector")?;
        Ok(self.ready.get_mut()?.trainer.load_state(tensors, updates)?)
    }

    fn take_messages(&self) -> Vec<Message> {
        self.messages.take()
    }
}
