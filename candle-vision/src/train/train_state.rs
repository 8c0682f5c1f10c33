//! A model's variables with all that moves them.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor, bail};
use candle_nn::Optimizer as _;

use super::distributed::Communicator;
use super::optim::GroupedOptimizer;
use super::sparsity::shrink_batch_norms;
use super::{Ema, GradAccumulator, VarStore};

/// Variables, the gradients of the batches since the last step, the optimizer and the average.
///
/// All that the next step depends on is in [`TrainState::state`]; rates belong to a schedule, which is a function of time.
#[derive(Debug)]
pub struct TrainState {
    variables: VarStore,
    optimizer: GroupedOptimizer,
    gradients: GradAccumulator,
    average: Ema,
    group: Option<Communicator>,
    overlap: bool,
    slim: f64,
}

/// The parts of a saved state, each a prefix of its tensors' names.
const VARIABLES: &str = "model/";
const AVERAGE: &str = "average/";
const OPTIMIZER: &str = "optimizer/";
const GRADIENTS: &str = "gradient/";

impl TrainState {
    /// `optimizer` moves `variables`, and `average` follows them.
    #[must_use]
    pub fn new(variables: VarStore, optimizer: GroupedOptimizer, average: Ema) -> Self {
        let gradients = GradAccumulator::new(&variables.parameters());
        Self { variables, optimizer, gradients, average, group: None, overlap: false, slim: 0. }
    }

    /// From now on each step moves the weights of batch norms towards 0 by `slim` times their rate, and no further, as network slimming
    /// ([Liu et al. 2017](https://arxiv.org/abs/1708.06519)) has it: channels whose weights come there can be pruned.
    ///
    /// # Errors
    /// A number below 0, or none.
    pub fn slim(&mut self, slim: f64) -> Result<()> {
        if !(slim.is_finite() && slim >= 0.) {
            bail!("slim is a number of at least 0, not {slim}")
        }
        self.slim = slim;
        Ok(())
    }

    /// From now on [`TrainState::backward`] adds the gradients of all processes of a group, which all make the same steps: with
    /// `overlap` during the backward pass, in which nothing else, such as synchronised batch norms, may use the group then.
    pub fn distribute(&mut self, group: Communicator, overlap: bool) {
        self.group = Some(group);
        self.overlap = overlap;
    }

    /// The processes that take part.
    #[must_use]
    pub fn group(&self) -> Option<&Communicator> {
        self.group.as_ref()
    }

    /// The model's tensors.
    #[must_use]
    pub fn variables(&self) -> &VarStore {
        &self.variables
    }

    /// The optimizer.
    #[must_use]
    pub fn optimizer(&self) -> &GroupedOptimizer {
        &self.optimizer
    }

    /// The optimizer, for a schedule to set its rates.
    pub fn optimizer_mut(&mut self) -> &mut GroupedOptimizer {
        &mut self.optimizer
    }

    /// The averaged tensors, by name.
    #[must_use]
    pub fn average(&self) -> &Ema {
        &self.average
    }

    /// Adds the gradients of a scalar loss; in a group, those of the sum of all processes' losses.
    pub fn backward(&mut self, loss: &Tensor) -> Result<()> {
        let grads = match &self.group {
            Some(group) => group.backward(loss, self.gradients.parameters(), self.overlap)?,
            None => loss.backward()?,
        };
        self.gradients.add(grads)
    }

    /// Moves the variables by the gradients so far, clipped to a norm, and averages them. Fails where the norm is not
    /// finite.
    pub fn step(&mut self, max_norm: Option<f64>) -> Result<()> {
        if let Some(max_norm) = max_norm {
            let norm = self.gradients.clip_norm(max_norm)?;
            if !norm.is_finite() {
                bail!("the norm of the gradients is {norm}: the weights are left as they were")
            }
        }
        let Some(gradients) = self.gradients.take() else { return Ok(()) };
        self.optimizer.step(&gradients)?;
        if self.slim > 0. {
            shrink_batch_norms(&self.variables, self.optimizer.groups(), self.slim)?;
        }
        self.average.update(&self.variables)
    }

    /// All tensors that the next step depends on, and the number of updates of the average.
    pub fn state(&self) -> Result<(BTreeMap<String, Tensor>, u64)> {
        let mut state = BTreeMap::new();
        let mut add = |part: &str, tensors: BTreeMap<String, Tensor>| {
            state.extend(tensors.into_iter().map(|(name, tensor)| (format!("{part}{name}"), tensor)));
        };
        add(VARIABLES, self.variables.tensors()?);
        add(AVERAGE, self.average.tensors()?);
        add(OPTIMIZER, self.optimizer.state()?);
        add(GRADIENTS, self.gradients.tensors());
        Ok((state, self.average.updates()))
    }

    /// Restores what [`TrainState::state`] gave, so that the next step is the same to the bit.
    ///
    /// Fails where the tensors are of another model or optimizer; then the train_state must not be used.
    pub fn load_state(&mut self, state: &BTreeMap<String, Tensor>, updates: u64) -> Result<()> {
        let part = |prefix: &str| -> BTreeMap<String, Tensor> {
            let of = |(name, tensor): (&String, &Tensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone()));
            state.iter().filter_map(of).collect()
        };
        let parts = [VARIABLES, AVERAGE, OPTIMIZER, GRADIENTS];
        if let Some(name) = state.keys().find(|name| !parts.iter().any(|part| name.starts_with(part))) {
            bail!("the saved {name} belongs to no part of a training")
        }
        self.variables.set_all(&part(VARIABLES))?;
        self.average.set_all(&part(AVERAGE), updates)?;
        self.optimizer.load_state(&part(OPTIMIZER))?;
        self.gradients.set_all(&part(GRADIENTS))
    }
}
