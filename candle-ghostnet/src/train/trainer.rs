//! A classifier in training.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use candle_vision::augment::Targets;
use candle_vision::layers::BatchNormMode;
use candle_vision::train::distributed::{BatchShard, Communicator};
use candle_vision::train::loss::{class_targets, cross_entropy, distill_soft, distilled};
use candle_vision::train::optim::{GroupedOptimizer, timm_groups};
use candle_vision::train::schedule::TimmSchedule;
use candle_vision::train::{Ema, EmaDecay, LoadReport, TrainState, VarStore, skip, stream, take_class_rows};
use ghostzoo_kernels::with_sync_batch_norm;

use super::{Recipe, is_frozen};
use crate::config::{Config, Reparam};
use crate::net::GhostNet;

/// Place of the random numbers that drop hidden units.
const DROP: u64 = u64::from_be_bytes(*b"cls-drop");

/// A network, its loss, and all that moves its weights.
///
/// A step is a function of the batch, of the weights and of the iteration's number alone, so that a run which goes on from
/// [`Trainer::state`] ends in the same weights to the bit.
#[derive(Debug)]
pub struct Trainer {
    config: Config,
    recipe: Recipe,
    net: GhostNet,
    teacher: Option<GhostNet>,
    train_state: TrainState,
    schedule: TimmSchedule,
    seed: u64,
    sync_batch_norm: bool,
    device: Device,
}

/// What a trainer is made of.
#[derive(Debug)]
#[non_exhaustive]
pub struct TrainerConfig<'a> {
    /// The network, of as many classes as the data has. It is trained in its training form, batch norms apart.
    pub config: &'a Config,
    /// How its weights move.
    pub recipe: &'a Recipe,
    /// Layers that stay as they are, see [`is_frozen`].
    pub freeze: usize,
    /// Steps of an epoch.
    pub batches: usize,
    /// Decides the first weights, and what is dropped.
    pub seed: u64,
    /// A network of the same classes to learn from.
    pub teacher: Option<GhostNet>,
    /// For each class the row of the pretrained classifier that it starts from, see
    /// [`candle_vision::train::class_rows`]; `None` takes the classifier as it is where its number of classes fits.
    pub class_rows: Option<&'a [Option<usize>]>,
    /// Of weights and maps: `F32`, or `F64` to measure against.
    pub dtype: DType,
}

impl<'a> TrainerConfig<'a> {
    /// Nothing frozen, seed 0, no teacher, the pretrained classifier as it is, for epochs of `batches` steps.
    #[must_use]
    pub fn new(config: &'a Config, recipe: &'a Recipe, batches: usize) -> Self {
        Self { config, recipe, freeze: 0, batches, seed: 0, teacher: None, class_rows: None, dtype: DType::F32 }
    }

    /// Layers that stay as they are, see [`is_frozen`].
    #[must_use]
    pub fn freeze(self, freeze: usize) -> Self {
        Self { freeze, ..self }
    }

    /// Decides the first weights, and what is dropped.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// A network of the same classes to learn from.
    #[must_use]
    pub fn teacher(self, teacher: impl Into<Option<GhostNet>>) -> Self {
        Self { teacher: teacher.into(), ..self }
    }

    /// For each class the row of the pretrained classifier that it starts from: see the [field](field@TrainerConfig::class_rows).
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
    /// A network of random weights, or of those of `pretrained` that fit by name and shape; what did is returned.
    ///
    /// # Errors
    /// A recipe with a name that is none, or one that slims by less than nothing.
    pub fn new(
        config: TrainerConfig<'_>,
        pretrained: Option<&BTreeMap<String, Tensor>>,
        device: &Device,
    ) -> Result<(Self, Option<LoadReport>)> {
        let TrainerConfig { config, recipe, freeze, batches, seed, teacher, class_rows, dtype } = config;
        let config = config.clone().norm(BatchNormMode::Keep).branches(Reparam::Train);
        let variables = VarStore::new(dtype, device, seed).freeze(move |name| is_frozen(name, freeze));
        let net = GhostNet::new(&config, variables.builder())?;
        let transfer = |tensors: &BTreeMap<String, Tensor>| {
            let mut tensors = tensors.clone();
            if let Some(rows) = class_rows {
                take_class_rows(&variables, &mut tensors, |name| name.starts_with("classifier."), rows)?;
            }
            variables.load(&tensors)
        };
        let transferred = pretrained.map(transfer).transpose()?;
        let settings = recipe.optimizer();
        let groups = timm_groups(variables.parameters(), &settings);
        let optimizer = GroupedOptimizer::of_groups(settings.algorithm, groups)?;
        let average = Ema::new(&variables, EmaDecay::Constant(recipe.model_ema_decay))?;
        let mut train_state = TrainState::new(variables, optimizer, average);
        train_state.slim(recipe.slim.unwrap_or(0.))?;
        let schedule = recipe.schedule(batches);
        let (recipe, device) = (recipe.clone(), device.clone());
        let sync_batch_norm = false;
        Ok((Self { config, recipe, net, teacher, train_state, schedule, seed, sync_batch_norm, device }, transferred))
    }

    /// From now on every process of a group has a trainer that makes the same steps, each of its own images: see
    /// [`Trainer::step_shard`]. The weights stay equal where they began so. Batch norms take the moments of a process's own
    /// images, as in PyTorch's `DistributedDataParallel`, or of all processes' with `sync_batch_norm`, as `SyncBatchNorm`, on
    /// CPUs.
    pub fn distribute(&mut self, group: &Communicator, sync_batch_norm: bool) {
        self.train_state.distribute(group.clone(), !sync_batch_norm);
        self.sync_batch_norm = sync_batch_norm;
    }

    /// Learns from a batch of normalised images (n, 3, h, w); `iteration` counts the steps of all epochs from 0. The loss
    /// is that before the step.
    pub fn step(&mut self, iteration: usize, images: &Tensor, targets: &Targets) -> Result<f64> {
        self.step_shard(iteration, images, targets, &BatchShard::whole(images.dim(0)?))
    }

    /// Learns from this process's images of a batch; loss and step are those of the whole batch. With synchronised batch
    /// norms they are, but for rounding, those of one process that has it.
    pub fn step_shard(
        &mut self,
        iteration: usize,
        images: &Tensor,
        targets: &Targets,
        shard: &BatchShard,
    ) -> Result<f64> {
        self.set_rates(iteration);
        let logits = self.logits(iteration, images, shard)?;
        let mut loss = self.loss(&logits, targets, self.recipe.smoothing)?;
        if let Some(teacher) = &self.teacher {
            let Recipe { distill_alpha, distill_temperature, .. } = self.recipe;
            let answers = teacher.forward(images)?;
            loss = distilled(&loss, &distill_soft(&logits, &answers, distill_temperature)?, distill_alpha)?;
        }
        let mut value = loss.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        if let Some(group) = self.train_state.group() {
            // A mean over these images becomes their part of the mean over all.
            let count = images.dim(0)? as f64 * shard.weight;
            let sums = group.sum(&[count, count * value])?;
            loss = (loss * (count / sums[0]))?;
            value = sums[1] / sums[0];
        }
        self.train_state.backward(&loss)?;
        self.train_state.step(self.recipe.clip_grad)?;
        Ok(value)
    }

    fn logits(&self, iteration: usize, images: &Tensor, shard: &BatchShard) -> Result<Tensor> {
        let mut rng = stream(self.seed, &[DROP, iteration as u64]);
        if self.recipe.drop > 0. {
            // What is drawn for the images before these.
            let hidden = self.train_state.variables().get("classifier.weight").map_or(0, |weight| weight.dims()[1]);
            skip(&mut rng, shard.images.start * hidden);
        }
        let mut forward = || self.net.forward_train(images, self.recipe.drop, &mut rng);
        match self.train_state.group() {
            // A batch that each process has as a whole is one process's.
            Some(group) if self.sync_batch_norm && shard.weight == 1. => {
                with_sync_batch_norm(Arc::new(group.clone()), forward)
            }
            _ => forward(),
        }
    }

    /// Sets the rates as they were in the step before `iteration`, for a run that goes on there.
    pub fn seek(&mut self, iteration: usize) {
        self.set_rates(iteration.saturating_sub(1));
    }

    fn set_rates(&mut self, iteration: usize) {
        let rate = self.schedule.rate(iteration);
        for group in self.train_state.optimizer_mut().groups_mut() {
            group.learning_rate = rate * group.rate_factor;
        }
    }

    /// Cross entropy of logits (n, num_classes), averaged over the batch. Soft targets have their smoothing already.
    pub fn loss(&self, logits: &Tensor, targets: &Targets, smoothing: f64) -> Result<Tensor> {
        let targets = match targets {
            Targets::Soft(targets) => targets.to_dtype(logits.dtype())?,
            Targets::Classes(classes) => {
                let classes = classes.to_vec1::<u32>()?;
                class_targets(&classes, self.config.num_classes, smoothing, logits.dtype(), logits.device())?
            }
        };
        cross_entropy(logits, &targets)
    }

    /// What is measured and saved: the average where the recipe has `model_ema`, else the last weights.
    pub fn weights(&self) -> Result<BTreeMap<String, Tensor>> {
        if self.recipe.model_ema {
            self.train_state.average().tensors()
        } else {
            self.train_state.variables().tensors()
        }
    }

    /// [`Trainer::weights`] as a network for inference.
    pub fn classifier(&self) -> Result<GhostNet> {
        let tensors: HashMap<String, Tensor> = self.weights()?.into_iter().collect();
        GhostNet::new(&self.config.for_inference(), VarBuilder::from_tensors(tensors, DType::F32, &self.device))
    }

    /// Weights, optimizer and average.
    pub fn train_state(&self) -> &TrainState {
        &self.train_state
    }

    /// The network's configuration, in its training form.
    pub fn config(&self) -> &Config {
        &self.config
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

#[cfg(test)]
#[path = "trainer_tests.rs"]
mod tests;
