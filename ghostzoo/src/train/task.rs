//! What is trained.

use std::collections::BTreeMap;
use std::time::Duration;

use candle_core::Tensor;
use candle_vision::train::distributed::Communicator;
use ghostzoo_weights::Checkpoint;
use serde_json::Value;

use super::fingerprints::ImageRecord;
use super::messages::Message;
use super::stop::StopFlag;
use crate::error::{Result, request};

/// How long a run is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// Its epochs.
    pub epochs: usize,
    /// Whether a limit of time decides how many of them there are.
    pub is_timed: bool,
}

/// What [`fit`](super::fit()) trains: data, a network, and what moves its weights.
///
/// A run is exact when a step depends on nothing but the batch, which its number decides, and on what
/// [`state`](TrainTask::state) gives.
pub trait TrainTask {
    /// What the run's state says that it is of.
    const NAME: &'static str;
    /// The option that is the learning rate, for messages.
    const RATE: &'static str;
    /// Whether the best of equal epochs is the last, as Ultralytics has it, or the first, as timm has it.
    const LAST_OF_EQUALS: bool;

    /// Takes up the processes that train together, before it is prepared, or `None` for one alone. In a group, a step learns
    /// from this process's part of the batch, gives the losses of the whole and moves the weights as on the others.
    ///
    /// # Errors
    /// A task that knows of no others.
    fn distribute(&mut self, group: Option<&Communicator>, sync_bn: bool) -> Result<()> {
        let _ = sync_bn;
        match group {
            Some(_) => Err(request("this task is trained by one process: `TrainTask::distribute` is not its own")),
            None => Ok(()),
        }
    }
    /// Makes ready what the first step needs; before that step an equal plan changes nothing. A run that goes on has what
    /// was [`decided`](TrainTask::decided) when it began, by which the task must be made anew, without pretrained weights.
    ///
    /// # Errors
    /// What is wrong with the data, the model or the options.
    fn prepare(&mut self, plan: &Plan, decided: Option<&Value>) -> Result<()>;
    /// The options, a table of values with `batch`, for the record that the run's files keep. A run that goes on must
    /// find the same.
    ///
    /// # Errors
    /// Options that are no values.
    fn record(&self) -> Result<Value>;
    /// Facts about the data, a table of values: a run that goes on must find the same.
    fn data(&self) -> Value;
    /// What was decided when the task was prepared and holds when the run goes on: null, or a table that holds `recipe`.
    ///
    /// # Errors
    /// What is not prepared.
    fn decided(&self) -> Result<Value>;
    /// Refuses what no task decides, with the name of what is missing: a run's file may have been edited.
    ///
    /// # Errors
    /// What is not as [`decided`](TrainTask::decided) gives it.
    fn check_decided(decided: &Value) -> Result<()> {
        let _ = decided;
        Ok(())
    }
    /// The images to train and to validate with, in order, for the same check image by image.
    fn images(&self) -> [Vec<ImageRecord>; 2];
    /// What it means that the run is to have `epochs[1]` epochs instead of `epochs[0]`, of which `epoch` are done.
    ///
    /// # Errors
    /// What is not prepared.
    fn extension(&self, epochs: [usize; 2], epoch: usize) -> Result<String> {
        Ok(format!("{} epochs instead of {}, of which {epoch} are done", epochs[1], epochs[0]))
    }

    /// Names of the losses, in the order of [`Step::losses`], and of the metrics, of [`Validation::metrics`].
    fn columns(&self) -> (&'static [&'static str], &'static [&'static str]);
    /// Names of the losses of a validation, in the order of [`Validation::losses`]: those of a step, unless a step has more.
    fn val_losses(&self) -> &'static [&'static str] {
        self.columns().0
    }
    /// Steps of an epoch; 0 before the task is prepared.
    fn batches(&self) -> usize;
    /// Learning rates by group of parameters.
    fn rates(&self) -> Vec<f64>;
    /// Prepares the batches of an epoch from one of them on, both from 0.
    ///
    /// # Errors
    /// What keeps batches from being made.
    fn begin(&mut self, epoch: usize, batch: usize) -> Result<()>;
    /// Learns from the next batch.
    ///
    /// # Errors
    /// What keeps the step from being made.
    fn step(&mut self) -> Result<Step>;
    /// Takes up another number of epochs, of which the rates of those to come follow.
    fn replan(&mut self, epochs: usize);
    /// Measures the averaged weights. Asked to end, it does so after a batch, with nothing.
    ///
    /// # Errors
    /// What keeps them from being measured.
    fn validate(&mut self, stop: &StopFlag) -> Result<Option<Validation>>;
    /// Whether [`validate`](TrainTask::validate) is called on all processes of a group, each of which looks at a part and has the
    /// numbers of the whole, or an error on all of them; else the first process validates alone.
    fn validates_together(&self) -> bool {
        false
    }
    /// The averaged weights after so many epochs, in f32 on the CPU.
    ///
    /// # Errors
    /// What keeps them from being read.
    fn checkpoint(&self, epochs: usize) -> Result<Checkpoint>;
    /// All that a step changes, as tensors and as counters.
    ///
    /// # Errors
    /// What keeps them from being read.
    fn state(&self) -> Result<(BTreeMap<String, Tensor>, Value)>;
    /// Takes up what [`TrainTask::state`] gave.
    ///
    /// # Errors
    /// A state of another task or of other options.
    fn load_state(&mut self, tensors: &BTreeMap<String, Tensor>, counters: &Value) -> Result<()>;
    /// What is to be said, since the last call.
    fn take_messages(&self) -> Vec<Message> {
        Vec::new()
    }
}

/// What a step gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Losses per image, of the whole batch.
    pub losses: Vec<f64>,
    /// How many images this process has of it.
    pub images: usize,
    /// Whether the weights moved; else the gradients are kept for a later step.
    pub moved: bool,
    /// Time spent waiting for them.
    pub waited: Duration,
}

/// What a validation gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Validation {
    /// In the order of [`TrainTask::columns`].
    pub metrics: Vec<f64>,
    /// In the order of [`TrainTask::val_losses`].
    pub losses: Vec<f64>,
    /// What the best epoch has most of.
    pub fitness: f64,
}
