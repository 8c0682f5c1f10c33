//! Optimizers with PyTorch's, timm's and Ultralytics' numbers, whose whole state can be saved.
//!
//! In all of them `g` is the gradient, `p` the parameter, `lr` the rate, `wd` the weight decay; buffers start at zero
//! unless said otherwise. A parameter without a gradient stays as it is, and so does its state.

mod algorithm;
mod groups;
mod muon;

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var, bail};
use rayon::prelude::*;

pub use algorithm::Algorithm;
use algorithm::Slots;
pub use groups::{ParamGroup, ParamKind, timm_groups, ultralytics_groups};

use ghostzoo_kernels::is_stock;

/// PyTorch's name of NAdam's product of look-aheads, one number per parameter.
const PRODUCT: &str = "mu_product";

/// Moves parameters, in groups with rates of their own, by one [`Algorithm`].
///
/// A schedule sets the rates, the momentum and the decay through [`GroupedOptimizer::groups_mut`] before each step; they
/// are no part of the saved state.
#[derive(Debug)]
pub struct GroupedOptimizer {
    algorithm: Algorithm,
    groups: Vec<ParamGroup>,
    slots: BTreeMap<String, Slots>,
}

/// What a [`GroupedOptimizer`] starts with.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// The rule of a step.
    pub algorithm: Algorithm,
    /// Learning rate.
    pub learning_rate: f64,
    /// Momentum, or the first beta of Adam and its kin.
    pub momentum: f64,
    /// Weight decay, of the parameters that have any.
    pub weight_decay: f64,
}

impl Config {
    /// A momentum of 0.9, no weight decay.
    #[must_use]
    pub const fn new(algorithm: Algorithm, learning_rate: f64) -> Self {
        Self { algorithm, learning_rate, momentum: 0.9, weight_decay: 0. }
    }

    /// Momentum, or the first beta of Adam and its kin.
    #[must_use]
    pub const fn momentum(self, momentum: f64) -> Self {
        Self { momentum, ..self }
    }

    /// Weight decay, of the parameters that have any.
    #[must_use]
    pub const fn weight_decay(self, weight_decay: f64) -> Self {
        Self { weight_decay, ..self }
    }
}

impl GroupedOptimizer {
    /// Fails where a name is in the groups twice.
    pub fn of_groups(algorithm: Algorithm, groups: Vec<ParamGroup>) -> Result<Self> {
        let mut slots = BTreeMap::new();
        for (name, _) in groups.iter().flat_map(|group| &group.parameters) {
            if slots.insert(name.clone(), Slots::default()).is_some() {
                bail!("{name} is in two groups of the optimizer, or in one twice")
            }
        }
        Ok(Self { algorithm, groups, slots })
    }

    /// The rule of a step.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The groups.
    #[must_use]
    pub fn groups(&self) -> &[ParamGroup] {
        &self.groups
    }

    /// The groups, to set their rates for the next step.
    pub fn groups_mut(&mut self) -> &mut [ParamGroup] {
        &mut self.groups
    }

    /// Copies of the state: buffers `<parameter>.<buffer>` of the parameter's shape, and `<parameter>.step`, the number
    /// of its steps as one `i64`, with NAdam's `<parameter>.mu_product`, one `f32`; by PyTorch's names. What has not been used yet is absent.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut state = BTreeMap::new();
        for (name, slots) in self.slots.iter().filter(|(_, slots)| slots.steps > 0) {
            state.insert(format!("{name}.step"), Tensor::new(slots.steps, &Device::Cpu)?);
            if let Some(product) = slots.product {
                state.insert(format!("{name}.{PRODUCT}"), Tensor::new(product, &Device::Cpu)?);
            }
            for (buffer, values) in &slots.buffers {
                state.insert(format!("{name}.{buffer}"), values.as_detached_tensor().copy()?);
            }
        }
        Ok(state)
    }

    /// Restores what [`GroupedOptimizer::state`] gave, so that further steps are the same to the bit. Fails, and changes
    /// nothing, where a tensor belongs to no parameter or does not have its shape.
    pub fn load_state(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        let parameters = self.groups.iter().flat_map(|group| &group.parameters);
        let parameters: BTreeMap<&str, &Var> = parameters.map(|(name, var)| (name.as_str(), var)).collect();
        let mut restored: BTreeMap<String, Slots> =
            self.slots.keys().map(|name| (name.clone(), Slots::default())).collect();
        for (key, values) in state {
            let (name, part) = key.rsplit_once('.').unwrap_or(("", key));
            let (Some(slots), Some(var)) = (restored.get_mut(name), parameters.get(name)) else {
                bail!("the optimizer has no parameter for the saved {key}")
            };
            if part == "step" {
                slots.steps = values.to_dtype(DType::I64)?.to_scalar()?;
                continue;
            }
            if part == PRODUCT && matches!(self.algorithm, Algorithm::NAdam { .. }) {
                slots.product = Some(values.to_dtype(DType::F32)?.to_scalar()?);
                continue;
            }
            let Some(buffer) = self.algorithm.buffers().iter().find(|buffer| **buffer == part) else {
                bail!("{:?} has no buffer for the saved {key}", self.algorithm)
            };
            if values.dims() != var.dims() {
                bail!("the saved {key} has the shape {:?}, its parameter {:?}", values.dims(), var.dims())
            }
            let values = values.to_device(var.device())?.to_dtype(var.dtype())?.copy()?;
            slots.buffers.insert(buffer, Var::from_tensor(&values)?);
        }
        self.slots = restored;
        Ok(())
    }
}

impl candle_nn::Optimizer for GroupedOptimizer {
    type Config = Config;

    /// One group of floating-point variables, decayed alike and called by their positions.
    fn new(vars: Vec<Var>, config: Config) -> Result<Self> {
        let named = vars.into_iter().enumerate().filter(|(_, var)| var.dtype().is_float());
        let parameters = named.map(|(index, var)| (index.to_string(), var)).collect();
        Self::of_groups(config.algorithm, vec![ParamGroup::new(ParamKind::Weight, &config, parameters)])
    }

    fn step(&mut self, grads: &GradStore) -> Result<()> {
        let mut slots: BTreeMap<&String, &mut Slots> = self.slots.iter_mut().collect();
        let mut steps = Vec::new();
        for group in &self.groups {
            for (name, var) in &group.parameters {
                if let (Some(grad), Some(slots)) = (grads.get(var), slots.remove(name)) {
                    steps.push((group, name, var, grad, slots));
                }
            }
        }
        // Parameters do not depend on one another; the largest first, so that no thread waits for one of them at the end.
        steps.sort_by_key(|(_, _, var, ..)| std::cmp::Reverse(var.elem_count()));
        let step = |(group, name, var, grad, slots): (&ParamGroup, &String, &Var, &Tensor, &mut Slots)| {
            let step = self.algorithm.step(group, var, grad, slots);
            step.map_err(|error| error.context(format!("in the step of {name}")))
        };
        if is_stock() || steps.iter().any(|(_, _, var, ..)| !var.device().is_cpu()) {
            return steps.into_iter().try_for_each(step);
        }
        steps.into_par_iter().with_max_len(1).try_for_each(step)
    }

    /// That of the first group, without its factor.
    fn learning_rate(&self) -> f64 {
        self.groups.first().map_or(0., |group| group.learning_rate / group.rate_factor)
    }

    /// Gives each group `learning_rate` times its factor.
    fn set_learning_rate(&mut self, learning_rate: f64) {
        for group in &mut self.groups {
            group.learning_rate = learning_rate * group.rate_factor;
        }
    }
}

#[cfg(test)]
mod tests;
