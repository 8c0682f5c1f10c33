//! The tensors of a model in training.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Result, Shape, Tensor, Var, bail};
use candle_nn::init::{FanInOut, NormalOrUniform};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use rand::Rng;

use super::{Stream, stream};
use crate::spec::{KeyMismatch, ParamSpec};
use ghostzoo_kernels::seeded::fnv1a;

type Rule = dyn Fn(&str) -> bool + Send + Sync;

/// The variables of a model by checkpoint name: its parameters and the running statistics of its batch norms.
///
/// They come into being as the model asks the [`VarStore::builder`] for its tensors, and the model's layers hold the
/// same storage: what is written here, the model computes with. A clone is another handle on the same variables.
#[derive(Clone)]
pub struct VarStore {
    by_name: Arc<Mutex<BTreeMap<String, Var>>>,
    frozen: Arc<Rule>,
    dtype: DType,
    device: Device,
    seed: u64,
}

/// What [`VarStore::load`] took from a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadReport {
    /// Names whose values were taken.
    pub matched: Vec<String>,
    /// What did not fit: such variables keep their values.
    pub mismatch: KeyMismatch,
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tensors taken, {}", self.matched.len(), self.mismatch)
    }
}

impl fmt::Debug for VarStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VarStore").field("dtype", &self.dtype).field("device", &self.device).finish_non_exhaustive()
    }
}

impl VarStore {
    /// No variables yet; those to come have this dtype, live on `device` and start at values drawn from `seed`.
    #[must_use]
    pub fn new(dtype: DType, device: &Device, seed: u64) -> Self {
        Self { by_name: Arc::default(), frozen: Arc::new(|_| false), dtype, device: device.clone(), seed }
    }

    /// Keeps the tensors whose names `frozen` picks out of the training, before a model is built.
    ///
    /// The model gets them as constants that share the variables' storage: they can still be loaded and restored, and
    /// the backward pass neither computes their gradients nor goes below the first layer that is trained. Running
    /// statistics stay variables, so that a batch norm knows itself frozen by its constant weight beside them.
    #[must_use]
    pub fn freeze(self, frozen: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self { frozen: Arc::new(frozen), ..self }
    }

    /// A builder that makes a variable of each tensor that a model asks for.
    ///
    /// Its first value follows the layer's [`Init`] and depends on the tensor's name and the seed alone, so that neither
    /// the order of the layers nor other layers matter. `contains_tensor` is true of the variables that exist, so that
    /// [`crate::layers::Dfl`] takes its constant.
    #[must_use]
    pub fn builder(&self) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), self.dtype, self.device.clone())
    }

    /// The variable called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Var> {
        self.lock().get(name).cloned()
    }

    /// All variables in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (String, Var)> + use<> {
        self.lock().clone().into_iter()
    }

    /// The variables that an optimizer moves, in the order of their names: neither running statistics nor what is frozen.
    #[must_use]
    pub fn parameters(&self) -> Vec<(String, Var)> {
        self.iter().filter(|(name, _)| !is_running_statistic(name) && !self.is_frozen(name)).collect()
    }

    /// Whether [`VarStore::freeze`] picks this name.
    #[must_use]
    pub fn is_frozen(&self, name: &str) -> bool {
        (self.frozen)(name)
    }

    /// Takes the values of a checkpoint that fit by name and shape, cast to each variable's dtype, and tells the rest.
    ///
    /// What a checkpoint holds beside a model's variables by rule is not told as unexpected: the counters of PyTorch's
    /// batch norms (`num_batches_tracked`) and the constant of [`crate::layers::Dfl`].
    pub fn load<'a>(&self, tensors: impl IntoIterator<Item = (&'a String, &'a Tensor)>) -> Result<LoadReport> {
        let tensors: BTreeMap<&str, &Tensor> = tensors
            .into_iter()
            .map(|(name, tensor)| (name.as_str(), tensor))
            .filter(|(n, _)| !is_constant(n))
            .collect();
        let mismatch = self.spec().check(tensors.iter().map(|(name, tensor)| (*name, tensor.dims())));
        let mut matched = Vec::new();
        for (name, var) in self.iter() {
            if let Some(tensor) = tensors.get(name.as_str()).filter(|tensor| tensor.dims() == var.dims()) {
                set(&name, &var, tensor)?;
                matched.push(name);
            }
        }
        Ok(LoadReport { matched, mismatch })
    }

    /// Copies of all values, which later training does not change.
    pub fn tensors(&self) -> Result<BTreeMap<String, Tensor>> {
        self.iter().map(|(name, var)| Ok((name, var.as_detached_tensor().copy()?))).collect()
    }

    /// Restores what [`VarStore::tensors`] gave. Fails, and changes nothing, where names or shapes differ.
    pub fn set_all(&self, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        let mismatch = self.spec().check(tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.dims())));
        if !mismatch.is_empty() {
            bail!("these are not the tensors of the model in training: {mismatch}")
        }
        self.iter().try_for_each(|(name, var)| set(&name, &var, &tensors[&name]))
    }

    /// The same values in variables of their own.
    pub(super) fn fork(&self) -> Result<Self> {
        let copy = |(name, tensor): (String, Tensor)| Ok((name, Var::from_tensor(&tensor)?));
        let by_name = self.tensors()?.into_iter().map(copy).collect::<Result<_>>()?;
        Ok(Self { by_name: Arc::new(Mutex::new(by_name)), ..self.clone() })
    }

    fn spec(&self) -> ParamSpec {
        ParamSpec { shapes: self.iter().map(|(name, var)| (name, var.shape().clone())).collect() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Var>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a tensor is a running statistic of a batch norm, which no gradient moves.
pub(super) fn is_running_statistic(name: &str) -> bool {
    matches!(name.rsplit('.').next(), Some("running_mean" | "running_var"))
}

fn is_constant(name: &str) -> bool {
    name.ends_with("num_batches_tracked") || name.ends_with("dfl.conv.weight")
}

fn set(name: &str, var: &Var, value: &Tensor) -> Result<()> {
    let value = value.to_device(var.device())?.to_dtype(var.dtype())?;
    var.set(&value).map_err(|error| error.context(format!("setting {name}")))
}

impl SimpleBackend for VarStore {
    fn get(&self, shape: Shape, name: &str, init: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        let mut by_name = self.lock();
        let var = match by_name.get(name) {
            Some(var) if *var.shape() != shape => {
                bail!("{name} is asked for as {shape:?}, and exists as {:?}", var.shape())
            }
            Some(var) => var.clone(),
            None => {
                let values = draw(init, &shape, &mut stream(self.seed, &[fnv1a(name)]));
                let value = Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(self.dtype)?;
                let var = Var::from_tensor(&value.to_device(&self.device)?)?;
                by_name.insert(name.to_owned(), var.clone());
                var
            }
        };
        if var.dtype() != dtype || !var.device().same_device(device) {
            return var.as_detached_tensor().to_device(device)?.to_dtype(dtype);
        }
        let is_constant = self.is_frozen(name) && !is_running_statistic(name);
        Ok(if is_constant { var.as_detached_tensor() } else { var.into_inner() })
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        match VarStore::get(self, name) {
            Some(var) => Ok(var.into_inner()),
            None => bail!("a new variable needs a shape: {name}"),
        }
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.lock().contains_key(name)
    }
}

/// The values of a new variable, drawn in `f64` in row-major order.
fn draw(init: Init, shape: &Shape, rng: &mut Stream) -> Vec<f64> {
    let count = shape.elem_count();
    let mut uniform = |lo: f64, up: f64| (0..count).map(|_| lo + (up - lo) * rng.random::<f64>()).collect();
    match init {
        Init::Const(value) => vec![value; count],
        Init::Uniform { lo, up } => uniform(lo, up),
        Init::Randn { mean, stdev } => (0..count).map(|_| mean + stdev * normal(rng)).collect(),
        Init::Kaiming { dist, fan, non_linearity } => {
            let stdev = non_linearity.gain() / (FanInOut::for_shape(&fan, shape) as f64).sqrt();
            match dist {
                NormalOrUniform::Uniform => uniform(-3f64.sqrt() * stdev, 3f64.sqrt() * stdev),
                NormalOrUniform::Normal => (0..count).map(|_| stdev * normal(rng)).collect(),
            }
        }
    }
}

/// A standard normal value, by Box and Muller's transform.
fn normal(rng: &mut Stream) -> f64 {
    let (radius, angle) = (1. - rng.random::<f64>(), rng.random::<f64>());
    (-2. * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

#[cfg(test)]
#[path = "variables_tests.rs"]
mod tests;
