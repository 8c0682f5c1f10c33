//! Steps, validation and checkpoints of a classifier.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Tensor;
use candle_ghostnet::train::{Recipe, Trainer};
use candle_vision::augment::{Batch, DataLoader, EpochIter};
use candle_vision::data::{CachedDataset, ClassificationDataset, ClassificationItem, Dataset};
use candle_vision::image::EvalTransform;
use candle_vision::train::distributed::Communicator;
use ghostzoo_weights::{Checkpoint, KeyLayout, Metadata};
use serde_json::{Value, json};

use super::image_set::ImageSet;
use super::options::ClassificationOptions;
use super::prepare::Decided;
use super::start::ClassificationStart;
use crate::error::{Result, request};
use crate::train::parallel::Parallel;
use crate::train::prepared::{Batches, Prepared};
use crate::train::saved;
use crate::train::{ImageRecord, Message, Messages, Plan, Step, StopFlag, TrainTask, Validation, checks};
use crate::{Model, model};

const LOSSES: &[&str] = &["loss"];
const METRICS: &[&str] = &["accuracy_top1", "accuracy_top5"];

/// A classifier in training, with its data.
pub struct ClassificationTask {
    /// What is learnt from and what is measured on.
    pub(super) sets: [ImageSet; 2],
    pub(super) class_names: Vec<String>,
    pub(super) options: ClassificationOptions,
    pub(super) start: Option<ClassificationStart>,
    pub(super) teacher: Option<Model>,
    pub(super) messages: Messages,
    /// The folder of the images, and of each set the names that its own folder or tar file may have.
    folder: Option<(PathBuf, [[&'static str; 2]; 2])>,
    /// Steps whose batches are kept.
    kept_batches: usize,
    pub(super) parallel: Parallel,
    pub(super) ready: Prepared<Ready>,
    /// Unreadable images that were named, of each set.
    pub(super) told: RefCell<[HashSet<usize>; 2]>,
}

/// What the first step needs.
pub(super) struct Ready {
    pub(super) trainer: Trainer,
    /// Of the weights that the run began with, where it binds what is made of them.
    pub(super) licence: Option<String>,
    pub(super) recipe: Recipe,
    pub(super) train: DataLoader,
    pub(super) val: DataLoader,
    pub(super) view: EvalTransform,
    pub(super) batches: Batches<EpochIter>,
    /// The batch of the last step.
    pub(super) last: Option<Batch>,
}

impl fmt::Debug for ClassificationTask {
    /// Options and numbers of images, without the tensors.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [train, val] = self.sets.each_ref().map(ImageSet::len);
        f.debug_struct("ClassificationTask")
            .field("train", &train)
            .field("val", &val)
            .field("class_names", &self.class_names)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl ClassificationTask {
    /// A classifier that learns from `train` and is measured on `val`. Classes are numbers into `class_names`.
    ///
    /// # Errors
    /// No image, or an image of a class without a name.
    pub fn new(
        train: Arc<CachedDataset>,
        val: Arc<CachedDataset>,
        class_names: Vec<String>,
        options: ClassificationOptions,
    ) -> Result<Self> {
        Self::of_sets([train, val].map(ImageSet::Files), class_names, options)
    }

    /// A classifier that learns from one dataset and is measured on another, such as
    /// [`InMemoryDataset`](candle_vision::data::InMemoryDataset)s. A run that goes on tells items apart by their names and
    /// classes, not by their pixels.
    ///
    /// # Errors
    /// As [`ClassificationTask::new`]; where a dataset cannot give an item.
    pub fn from_datasets(
        train: Arc<dyn Dataset<Item = ClassificationItem>>,
        val: Arc<dyn Dataset<Item = ClassificationItem>>,
        class_names: Vec<String>,
        options: ClassificationOptions,
    ) -> Result<Self> {
        Self::of_sets([ImageSet::items(train)?, ImageSet::items(val)?], class_names, options)
    }

    fn of_sets(sets: [ImageSet; 2], class_names: Vec<String>, options: ClassificationOptions) -> Result<Self> {
        for set in &sets {
            if set.len() == 0 {
                return Err(request("there is no image to train with, or none to validate with"));
            }
            if let Some(class) =
                (0..set.len()).map(|image| set.class_of(image)).find(|class| *class >= class_names.len())
            {
                return Err(request(format!(
                    "an image is of class {class}, and there are {} names",
                    class_names.len()
                )));
            }
        }
        Ok(Self {
            sets,
            class_names,
            options,
            start: None,
            teacher: None,
            messages: Messages::default(),
            folder: None,
            kept_batches: 0,
            parallel: Parallel::default(),
            ready: Prepared::default(),
            told: RefCell::default(),
        })
    }

    /// A classifier of the images below a folder, as [`ClassificationDataset::open`] finds them; where `val_split` is given,
    /// as [`ClassificationDataset::open_held_out`] does. Decoded images take up to `cache_bytes`.
    ///
    /// # Errors
    /// As those, and as [`ClassificationTask::new`].
    pub fn open(
        folder: impl AsRef<Path>,
        val_split: Option<f64>,
        cache_bytes: u64,
        options: ClassificationOptions,
    ) -> Result<Self> {
        let folder = folder.as_ref();
        let set = match val_split {
            Some(share) => ClassificationDataset::open_held_out(folder, share, options.seed, cache_bytes)?,
            None => ClassificationDataset::open(folder, cache_bytes)?,
        };
        Self::of(set, folder, val_split.is_some(), options)
    }

    /// A classifier of the images of a dataset below `folder`, which are of one split where `is_held_out`.
    ///
    /// # Errors
    /// As [`ClassificationTask::new`].
    pub fn of(
        set: ClassificationDataset,
        folder: impl Into<PathBuf>,
        is_held_out: bool,
        options: ClassificationOptions,
    ) -> Result<Self> {
        let ClassificationDataset { classes, train, val, notes } = set;
        let task = Self::new(Arc::new(train), Arc::new(val), classes, options)?;
        task.messages.note_each(&notes);
        let whole = ["train", "."];
        let splits = [whole, if is_held_out { whole } else { ["val", "test"] }];
        Ok(Self { folder: Some((folder.into(), splits)), ..task })
    }

    /// Starts from a network that was found already, instead of what the options name.
    #[must_use]
    pub fn start_from(self, start: ClassificationStart) -> Self {
        Self { start: Some(start), ..self }
    }

    /// Learns from a teacher that was loaded already. A second run of the task loads it again, by the name that the options
    /// or else the model has.
    #[must_use]
    pub fn learn_from(self, teacher: Model) -> Self {
        Self { teacher: Some(teacher), ..self }
    }

    /// The name of an image that is trained with.
    pub fn train_name(&self, index: usize) -> &str {
        self.sets[0].name(index)
    }

    /// The name of an image that is validated with.
    pub fn val_name(&self, index: usize) -> &str {
        self.sets[1].name(index)
    }

    /// Names of the classes, by number.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// The options.
    pub fn options(&self) -> &ClassificationOptions {
        &self.options
    }

    /// The batch of the last step, where it is kept.
    pub fn last_batch(&self) -> Option<&Batch> {
        self.ready.made()?.last.as_ref()
    }

    /// How validation images are prepared.
    ///
    /// # Errors
    /// Where the task is not prepared.
    pub fn transform(&self) -> Result<&EvalTransform> {
        Ok(&self.ready.get()?.view)
    }

    /// Keeps the batches of the first steps, so many, for [`ClassificationTask::last_batch`]; none are kept otherwise.
    #[must_use]
    pub fn keep_batches(self, steps: usize) -> Self {
        Self { kept_batches: steps, ..self }
    }
}

impl TrainTask for ClassificationTask {
    const NAME: &'static str = "classify";
    const RATE: &'static str = "lr";
    const LAST_OF_EQUALS: bool = false;

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
        self.options.record()
    }

    fn data(&self) -> Value {
        let [labels, val] = self.sets.each_ref().map(ImageSet::fingerprint);
        json!({"classes": self.class_names, "pictures": self.sets[0].len(), "labels": labels, "val": val})
    }

    fn decided(&self) -> Result<Value> {
        let Ready { trainer, licence, recipe, view, .. } = self.ready.get()?;
        Ok(serde_json::to_value(Decided {
            arch: trainer.config().variant.name.to_owned(),
            recipe: recipe.clone(),
            view: model::preprocessing(view),
            channels: trainer.config().channels.clone(),
            licence: licence.clone(),
        })?)
    }

    fn check_decided(decided: &Value) -> Result<()> {
        checks::decided_as::<Decided>(decided)
    }

    fn images(&self) -> [Vec<ImageRecord>; 2] {
        [0, 1].map(|number| {
            let set = &self.sets[number];
            let path = |name: &str| self.folder.as_ref().map(|(folder, splits)| file(folder, splits[number], name));
            let record = |image: usize| ImageRecord {
                name: set.name(image).to_owned(),
                path: path(set.name(image)).unwrap_or_default(),
                labels: set.class_of(image).to_string(),
            };
            (0..set.len()).map(record).collect()
        })
    }

    fn extension(&self, [before, after]: [usize; 2], epoch: usize) -> Result<String> {
        let Ready { recipe, train, .. } = self.ready.get()?;
        let batches = train.batches();
        let rate = |epochs: usize, epoch: usize| -> Result<f64> {
            let schedule = recipe.clone().epochs(epochs).schedule(batches);
            Ok(schedule.rate((epoch + 1) * batches - 1))
        };
        Ok(format!(
            "{after} epochs instead of {before}: the rate of epoch {} is {:.3e}, that of the last before was {:.3e}",
            epoch + 1,
            rate(after, epoch)?,
            rate(before, epoch.max(1) - 1)?
        ))
    }

    fn columns(&self) -> (&'static [&'static str], &'static [&'static str]) {
        (LOSSES, METRICS)
    }

    fn batches(&self) -> usize {
        self.ready.made().map_or(0, |ready| ready.train.batches())
    }

    fn rates(&self) -> Vec<f64> {
        self.ready.made().map_or_else(Vec::new, |ready| ready.trainer.rates())
    }

    fn begin(&mut self, epoch: usize, batch: usize) -> Result<()> {
        let Ready { batches, train, trainer, .. } = self.ready.get_mut()?;
        batches.begin(epoch * train.batches() + batch, || train.epoch_from(epoch, batch))?;
        // A run that goes on behind an epoch's last step still tells its rates.
        trainer.seek(batches.iteration);
        Ok(())
    }

    fn step(&mut self) -> Result<Step> {
        let keep = self.kept_batches;
        let Ready { batches, trainer, train, last, .. } = self.ready.get_mut()?;
        let (batch, waited) = batches.next(EpochIter::waited)?;
        let images = batch.classes.len();
        *last = (batches.iteration < keep).then(|| batch.clone());
        let (xs, targets) = batch.into_tensors(trainer.device())?;
        let shard = train.shard(batches.iteration % train.batches());
        let loss = trainer.step_shard(batches.iteration, &xs, &targets, &shard)?;
        batches.iteration += 1;
        Ok(Step { losses: vec![loss], images, moved: true, waited })
    }

    fn replan(&mut self, _: usize) {}

    fn validates_together(&self) -> bool {
        true
    }

    fn validate(&mut self, stop: &StopFlag) -> Result<Option<Validation>> {
        let Some(found) = self.measure_average(stop)? else { return Ok(None) };
        let (metrics, losses) = (vec![found.top1(), found.top5()], vec![found.loss()]);
        Ok(Some(Validation { metrics, losses, fitness: found.top1() }))
    }

    fn checkpoint(&self, epochs: usize) -> Result<Checkpoint> {
        let Ready { trainer, licence, view, .. } = self.ready.get()?;
        let tensors = saved::on_cpu(trainer.weights()?)?;
        let arch = trainer.config().variant.name;
        let metadata = Metadata {
            layout: KeyLayout::Timm,
            pruned: !trainer.config().channels.is_empty(),
            licence: licence.clone(),
            preprocessing: Some(model::preprocessing(view)),
            ..saved::metadata::<Self>(arch, &self.class_names, view.input_size[0], epochs)
        };
        Ok(Checkpoint { tensors, metadata, ..Default::default() })
    }

    fn state(&self) -> Result<(BTreeMap<String, Tensor>, Value)> {
        let (tensors, updates) = self.ready.get()?.trainer.state()?;
        Ok((tensors, saved::counters(updates)))
    }

    fn load_state(&mut self, tensors: &BTreeMap<String, Tensor>, counters: &Value) -> Result<()> {
        let updates = saved::updates(counters, "a classifier")?;
        Ok(self.ready.get_mut()?.trainer.load_state(tensors, updates)?)
    }

    fn take_messages(&self) -> Vec<Message> {
        self.messages.take()
    }
}

/// The file of an image of a class folder, or the tar file of its split; empty where neither is there.
fn file(folder: &Path, splits: [&str; 2], name: &str) -> PathBuf {
    let image = splits.iter().map(|split| folder.join(split).join(name));
    let tar = splits.iter().map(|split| folder.join(format!("{split}.tar")));
    image.chain(tar).find(|path| path.is_file()).unwrap_or_default()
}
