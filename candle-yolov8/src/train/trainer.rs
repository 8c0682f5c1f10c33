//! A detector in training.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor, bail};
use candle_nn::VarBuilder;
use candle_vision::layers::BatchNormMode;
use candle_vision::train::distributed::{BatchShard, Communicator};
use candle_vision::train::optim::{GroupedOptimizer, ultralytics_groups};
use candle_vision::train::schedule::UltralyticsSchedule;
use candle_vision::train::{Ema, EmaDecay, LoadReport, TrainState, VarStore, take_class_rows, take_filters};
use ghostzoo_kernels::with_sync_batch_norm;

use super::{DetectionLoss, DistillationLoss, Freeze, Losses, Recipe, Target, initial_head_biases};
use crate::detector::Detector;
use crate::net::Yolo;
use crate::yaml::ModelConfig;

/// The norm that gradients are clipped to: Ultralytics' constant.
const MAX_NORM: f64 = 10.;

/// A network, its loss, and all that moves its weights.
///
/// A step is a function of the batch, of the weights and of the iteration's number alone, so that a run which goes on from
/// [`Trainer::state`] ends in the same weights to the bit.
#[derive(Debug)]
pub struct Trainer {
    def: ModelConfig,
    net: Yolo,
    loss: DetectionLoss,
    teacher: Option<Teacher>,
    train_state: TrainState,
    schedule: UltralyticsSchedule,
    sync_batch_norm: bool,
    device: Device,
}

/// A detector whose answers are learnt.
#[derive(Debug)]
struct Teacher {
    net: Yolo,
    /// The type of its weights.
    dtype: DType,
    loss: DistillationLoss,
}

/// The losses of a step, with their gains.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepLosses {
    /// Box, class and DFL loss.
    pub parts: [f64; 3],
    /// How far the answers are from the teacher's, where there is one.
    pub distillation: Option<f64>,
}

impl StepLosses {
    fn is_finite(&self) -> bool {
        self.parts.iter().chain(&self.distillation).all(|part| part.is_finite())
    }
}

/// What a trainer is made of.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TrainerConfig<'a> {
    /// The architecture, of as many classes as the data has.
    pub def: &'a ModelConfig,
    /// How its weights move; resolved, see [`Recipe::resolve`].
    pub recipe: &'a Recipe,
    /// What stays as it is.
    pub freeze: Freeze,
    /// Steps of an epoch.
    pub batches: usize,
    /// Decides the first weights.
    pub seed: u64,
    /// For each class the row of the pretrained head's last layers that it starts from, see
    /// [`candle_vision::train::class_rows`]; `None` takes them as they are where their number fits.
    pub class_rows: Option<&'a [Option<usize>]>,
    /// Of weights and maps: `F32`, or `F64` to measure against.
    pub dtype: DType,
}

impl<'a> TrainerConfig<'a> {
    /// Nothing frozen, seed 0, the pretrained head as it is, for epochs of `batches` steps.
    #[must_use]
    pub fn new(def: &'a ModelConfig, recipe: &'a Recipe, batches: usize) -> Self {
        Self { def, recipe, freeze: Freeze::default(), batches, seed: 0, class_rows: None, dtype: DType::F32 }
    }

    /// What stays as it is.
    #[must_use]
    pub fn freeze(self, freeze: Freeze) -> Self {
        Self { freeze, ..self }
    }

    /// Decides the first weights.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// For each class the row of the pretrained head that it starts from: see the [field](field@TrainerConfig::class_rows).
    #[must_use]
    pub fn class_rows(self, class_rows: impl Into<Option<&'a [Option<usize>]>>) -> Self {
        Self { class_rows: class_rows.into(), ..self }
    }

    /// Of weights and maps.
    #[must_use]
    pub fn dtype(self, dtype: DType) -> Self {
        Self { dtype, ..self }
    }
}

impl Trainer {
    /// A network of random weights, or of those of `pretrained` that fit by name and shape; what did is returned. The rows
    /// of its head follow [`TrainerConfig::class_rows`], and its first convolution takes the filters that both have.
    ///
    /// # Errors
    /// A recipe that names no optimizer, or slims by less than nothing; layers to freeze that the network does not have; nothing left to train.
    pub fn new(
        config: TrainerConfig<'_>,
        pretrained: Option<&BTreeMap<String, Tensor>>,
        device: &Device,
    ) -> Result<(Self, Option<LoadReport>)> {
        let TrainerConfig { def, recipe, freeze, batches, seed, class_rows, dtype } = config;
        let frozen = freeze.clone();
        let variables = VarStore::new(dtype, device, seed).freeze(move |name| frozen.holds(name));
        let def = def.clone().with_norm(BatchNormMode::Keep);
        let net = Yolo::new(&def, variables.builder())?;
        for (name, values) in initial_head_biases(&def) {
            let Some(bias) = variables.get(&name) else { candle_core::bail!("the network has no {name}") };
            bias.set(&Tensor::from_vec(values, bias.shape(), device)?.to_dtype(dtype)?)?;
        }
        let names: Vec<String> = variables.iter().map(|(name, _)| name).collect();
        let unknown = freeze.unknown(def.rows.len(), names.iter().map(String::as_str));
        if !unknown.is_empty() {
            candle_core::bail!("the network has no {}, which are to be frozen", unknown.join(", "))
        }
        if variables.parameters().is_empty() {
            candle_core::bail!("every layer is frozen: nothing is left to train")
        }
        let class_branches = format!("model.{}.cv3.", def.rows.len() - 1);
        let transfer = |tensors: &BTreeMap<String, Tensor>| {
            let mut tensors = tensors.clone();
            let is_last = |name: &str| {
                let branch = name.strip_prefix(&class_branches);
                branch.is_some_and(|name| name.ends_with(".2.weight") || name.ends_with(".2.bias"))
            };
            if let Some(rows) = class_rows {
                take_class_rows(&variables, &mut tensors, is_last, rows)?;
            }
            take_filters(&variables, &mut tensors, "model.0.conv.weight")?;
            variables.load(&tensors)
        };
        let transferred = pretrained.map(transfer).transpose()?;
        let settings = recipe.optimizer(batches).map_err(candle_core::Error::msg)?;
        let groups = ultralytics_groups(variables.parameters(), &settings, |name| name.starts_with(&class_branches));
        let optimizer = GroupedOptimizer::of_groups(settings.algorithm, groups)?;
        let average = Ema::new(&variables, EmaDecay::ULTRALYTICS)?;
        let mut train_state = TrainState::new(variables, optimizer, average);
        train_state.slim(recipe.slim.unwrap_or(0.))?;
        let loss = DetectionLoss::new(def.nc, net.strides(), recipe.gains());
        let schedule = recipe.schedule(batches);
        let device = device.clone();
        let teacher = None;
        Ok((Self { def, net, loss, teacher, train_state, schedule, sync_batch_norm: false, device }, transferred))
    }

    /// Weights the class loss, here and in validation: see [`DetectionLoss::with_class_weights`].
    ///
    /// # Errors
    /// Weights that do not fit the classes.
    pub fn weigh_classes(&mut self, weights: Vec<f64>) -> Result<()> {
        self.loss = self.loss.clone().with_class_weights(weights)?;
        Ok(())
    }

    /// From now on the answers of a teacher are learnt too: the loss is that of the objects and, times `weight`, a
    /// [`DistillationLoss`] with the recipe's gains. The teacher is a network for inference on this trainer's device, and runs on
    /// the images of a step, as they are augmented.
    ///
    /// # Errors
    /// A teacher of another number of classes or of other strides; a weight that is not above 0.
    pub fn learn_from(&mut self, teacher: Yolo, weight: f64) -> Result<()> {
        let [own, theirs] = [&self.net, &teacher].map(|net| (net.num_classes(), net.strides()));
        if own != theirs {
            bail!("a teacher has the classes and strides of its student, got {theirs:?} for {own:?}")
        }
        if !(weight.is_finite() && weight > 0.) {
            bail!("the weight of a teacher is a number above 0, not {weight}")
        }
        let dtype = teacher.tensors().values().next().map_or(DType::F32, Tensor::dtype);
        let loss = DistillationLoss::new(self.def.nc, self.loss.gains(), weight);
        self.teacher = Some(Teacher { net: teacher, dtype, loss });
        Ok(())
    }

    /// From now on every process of a group has a trainer that makes the same steps, each of its own images: see
    /// [`Trainer::step_shard`]. The weights stay equal where they began so. Batch norms take the moments of a process's own
    /// images, as in PyTorch's `DistributedDataParallel`, or of all processes' with `sync_batch_norm`, as `SyncBatchNorm`, on
    /// CPUs.
    pub fn distribute(&mut self, group: &Communicator, sync_batch_norm: bool) {
        self.train_state.distribute(group.clone(), !sync_batch_norm);
        self.sync_batch_norm = sync_batch_norm;
    }

    /// Learns from a batch of images (n, 3, h, w) in [0, 1]; `iteration` counts the steps of all epochs from 0. The losses
    /// are those before the step; nothing is learnt from a loss that is not finite.
    pub fn step(&mut self, iteration: usize, images: &Tensor, targets: &[Target]) -> Result<StepLosses> {
        self.step_shard(iteration, images, targets, &BatchShard::whole(images.dim(0)?))
    }

    /// Learns from this process's images of a batch; losses and step are those of the whole batch. With synchronised batch
    /// norms they are, but for rounding, those of one process that has it.
    pub fn step_shard(
        &mut self,
        iteration: usize,
        images: &Tensor,
        targets: &[Target],
        shard: &BatchShard,
    ) -> Result<StepLosses> {
        self.schedule.apply(self.train_state.optimizer_mut(), iteration);
        let group = self.train_state.group();
        let raw = match group {
            // A batch that each process has as a whole is one process's.
            Some(group) if self.sync_batch_norm && shard.weight == 1. => {
                with_sync_batch_norm(Arc::new(group.clone()), || self.net.forward_t(images, true))?
            }
            _ => self.net.forward_t(images, true)?,
        };
        let Losses { mut total, parts } = match group {
            Some(group) => self.loss.forward_together(&raw, targets, group, shard.weight)?,
            None => self.loss.forward(&raw, targets)?,
        };
        let mut losses = StepLosses { parts, distillation: None };
        if let Some(Teacher { net, dtype, loss }) = &self.teacher {
            let answers = net.forward_t(&images.to_dtype(*dtype)?, false)?;
            let distilled = match group {
                Some(group) => loss.forward_together(&raw, &answers, group, shard.weight)?,
                None => loss.forward(&raw, &answers)?,
            };
            total = (total + distilled.total)?;
            losses.distillation = Some(distilled.parts.iter().sum());
        }
        if !losses.is_finite() {
            return Ok(losses);
        }
        self.train_state.backward(&total)?;
        if self.schedule.is_step(iteration) {
            self.train_state.step(Some(MAX_NORM))?;
        }
        Ok(losses)
    }

    /// Takes up another number of epochs: the rates of the steps to come are those of a training of so many.
    pub fn replan(&mut self, epochs: usize) {
        self.schedule.epochs = epochs;
    }

    /// Whether the step of an iteration moves the weights; else its gradients are kept for a later one.
    #[must_use]
    pub fn moves(&self, iteration: usize) -> bool {
        self.schedule.is_step(iteration)
    }

    /// Sets the rates as they were in the step before `iteration`, for a run that goes on there.
    pub fn seek(&mut self, iteration: usize) {
        self.schedule.apply(self.train_state.optimizer_mut(), iteration.saturating_sub(1));
    }

    /// The loss of raw levels that another form of the network gave.
    pub fn loss(&self, raw: &[Tensor], targets: &[Target]) -> Result<[f64; 3]> {
        Ok(self.loss.forward(raw, targets)?.parts)
    }

    /// The averaged weights as a detector.
    pub fn detector(&self) -> Result<Detector> {
        let tensors: HashMap<String, Tensor> = self.train_state.average().tensors()?.into_iter().collect();
        let vb = VarBuilder::from_tensors(tensors, DType::F32, &self.device);
        let net = Yolo::new(&self.def.for_inference(), vb)?;
        Ok(Detector::new(net, self.device.clone(), DType::F32, None))
    }

    /// Weights, optimizer and average.
    pub fn train_state(&self) -> &TrainState {
        &self.train_state
    }

    /// The network in training.
    pub fn net(&self) -> &Yolo {
        &self.net
    }

    /// The architecture.
    pub fn def(&self) -> &ModelConfig {
        &self.def
    }

    /// Where images must be for [`Trainer::step`].
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The rate of each group at its last step.
    pub fn rates(&self) -> Vec<f64> {
        self.train_state.optimizer().groups().iter().map(|group| group.learning_rate).collect()
    }

    /// All that the next step depends on beside its batch: tensors by name, and the updates of the average.
    pub fn state(&self) -> Result<(BTreeMap<String, Tensor>, u64)> {
        self.train_state.state()
    }

    /// Restores [`Trainer::state`].
    ///
    /// # Errors
    /// A state of another network or optimizer; then the trainer must not be used.
    pub fn load_state(&mut self, tensors: &BTreeMap<String, Tensor>, updates: u64) -> Result<()> {
        self.train_state.load_state(tensors, updates)
    }
}
