//! Batch normalisation, and how a checkpoint's batch norms are treated at load.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{Init, VarBuilder};

use super::{Backend, Block, Layer, path};
use ghostzoo_kernels::{Activation, batch_norm};

/// What becomes of the batch norm behind each convolution when a model is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BatchNormMode {
    /// Kept as a layer, as trained: the form for training, and PyTorch's unfused numbers.
    #[default]
    Keep,
    /// Read, then folded into the convolution, unless the checkpoint has it folded already: the form for inference.
    Fuse,
    /// Already folded in the checkpoint, whose convolutions have a bias and no batch norm. [`BatchNormMode::Fuse`] finds that out by
    /// itself.
    Fused,
}

/// The numbers of a [`BatchNorm`] that are not trained.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct BatchNormConfig {
    /// Added to the variance.
    pub eps: f64,
    /// Weight of a batch's moments in the running statistics, PyTorch's `momentum`.
    pub momentum: f64,
}

impl Default for BatchNormConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchNormConfig {
    /// PyTorch's numbers: 1e-5 and 0.1.
    #[must_use]
    pub const fn new() -> Self {
        Self { eps: 1e-5, momentum: 0.1 }
    }

    /// Added to the variance.
    #[must_use]
    pub const fn eps(self, eps: f64) -> Self {
        Self { eps, ..self }
    }

    /// Weight of a batch's moments in the running statistics, PyTorch's `momentum`.
    #[must_use]
    pub const fn momentum(self, momentum: f64) -> Self {
        Self { momentum, ..self }
    }
}

/// `y = (x − mean) / √(var + eps) · weight + bias` per channel of (n, c, h, w).
///
/// Training uses the batch's own mean and biased variance, and moves the running statistics towards the mean and the
/// unbiased variance: `running · (1 − momentum) + batch · momentum`. They are in the builder's own variables, where it
/// has variables. Where it has, and gives the weight as a constant, the layer is frozen: it runs in training as in
/// evaluation. Source: Ioffe and Szegedy, <https://arxiv.org/abs/1502.03167>.
#[derive(Debug)]
pub struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    running_mean: Var,
    running_var: Var,
    config: BatchNormConfig,
    frozen: bool,
    path: String,
}

impl BatchNorm {
    /// Reads `weight`, `bias`, `running_mean` and `running_var`, each (channels).
    pub fn new(channels: usize, config: BatchNormConfig, vb: VarBuilder) -> Result<Self> {
        let BatchNormConfig { eps, momentum } = config;
        if eps < 0. || !(0. ..=1.).contains(&momentum) {
            candle_core::bail!("{}: a batch norm with eps {eps} and momentum {momentum}", vb.prefix())
        }
        let read = |name: &str, value: f64| vb.get_with_hints(channels, name, Init::Const(value));
        let (weight, running_mean) = (read("weight", 1.)?, read("running_mean", 0.)?);
        Ok(Self {
            frozen: running_mean.is_variable() && !weight.is_variable(),
            weight,
            bias: read("bias", 0.)?,
            running_mean: Var::from_tensor(&running_mean)?,
            running_var: Var::from_tensor(&read("running_var", 1.)?)?,
            config,
            path: path(&vb, ""),
        })
    }

    /// Its tensors by their names in the checkpoint, each (channels).
    pub(crate) fn named(&self) -> [(String, &Tensor); 4] {
        let tensors = [
            ("running_mean", self.running_mean.as_tensor()),
            ("running_var", self.running_var.as_tensor()),
            ("weight", &self.weight),
            ("bias", &self.bias),
        ];
        tensors.map(|(name, tensor)| (format!("{}{name}", self.path), tensor))
    }

    /// Its path in the checkpoint.
    pub(super) fn name(&self) -> &str {
        self.path.trim_end_matches('.')
    }

    /// `activation` of the layer's result, in the same pass; `train` as in [`Layer::forward_t`].
    pub fn forward_with(&self, xs: &Tensor, activation: Activation, train: bool) -> Result<Tensor> {
        ghostzoo_kernels::flops::record_batch_norm(xs);
        let eps = self.config.eps;
        if !train || self.frozen {
            let column = |t: &Tensor| t.to_dtype(xs.dtype())?.reshape((1, (), 1, 1));
            let invstd = (self.running_var.as_detached_tensor() + eps)?.sqrt()?.recip()?;
            let (mean, invstd) = (column(&self.running_mean.as_detached_tensor())?, column(&invstd)?);
            let ys = xs.broadcast_sub(&mean)?.broadcast_mul(&(invstd * column(&self.weight)?)?)?;
            return activation.apply(&ys.broadcast_add(&column(&self.bias)?)?);
        }
        let (ys, moments) = batch_norm(xs, &self.weight, &self.bias, eps, activation)
            .map_err(|error| error.context(format!("in the batch norm {}", self.name())))?;
        let count = moments.count as f64;
        let unbiased = (moments.var * (count / (count - 1.)))?;
        for (running, batch) in [(&self.running_mean, moments.mean), (&self.running_var, unbiased)] {
            let (old, momentum) = (running.as_detached_tensor(), self.config.momentum);
            running.set(&((old * (1. - momentum))? + (batch.to_dtype(running.dtype())? * momentum)?)?)?;
        }
        Ok(ys)
    }
}

impl<B: Backend> Block<B> for BatchNorm {
    fn apply(&self, backend: &mut B, xs: &B::Map) -> Result<B::Map> {
        backend.batch_norm(xs, self, Activation::Identity)
    }
}

impl Layer for BatchNorm {
    fn tensors(&self, out: &mut BTreeMap<String, Tensor>) {
        out.extend(self.named().map(|(name, tensor)| (name, tensor.clone())));
    }
}

/// Weight (o, c, kh, kw) and bias (o) of the convolution that equals `conv` followed by `norm` in inference.
///
/// Computed in `f64` on the CPU and rounded once, so that folding adds no error of its own.
pub fn fold_batch_norm(weight: &Tensor, bias: Option<&Tensor>, norm: &BatchNorm) -> Result<(Tensor, Tensor)> {
    let (dtype, device) = (weight.dtype(), weight.device());
    let (out_c, channels) = (weight.dim(0)?, norm.weight.elem_count());
    if out_c != channels {
        candle_core::bail!("the batch norm {} has {channels} channels, and its convolution {out_c}", norm.name())
    }
    let wide = |t: &Tensor| t.to_device(&Device::Cpu)?.to_dtype(DType::F64);
    // The running statistics are variables, although no gradient trains them.
    let running_mean = wide(&norm.running_mean.as_detached_tensor())?;
    let running_var = wide(&norm.running_var.as_detached_tensor())?;
    let scale = (wide(&norm.weight)? / (running_var + norm.config.eps)?.sqrt()?)?;
    let mean = match bias {
        Some(bias) => (running_mean - wide(bias)?)?,
        None => running_mean,
    };
    let shift = (wide(&norm.bias)? - (mean * &scale)?)?;
    let back = |t: Tensor| t.to_dtype(dtype)?.to_device(device);
    let weight = match (dtype, device) {
        (DType::F32, Device::Cpu) if !weight.track_op() && !scale.track_op() => {
            scaled(weight, &scale.to_vec1::<f64>()?)?
        }
        _ => back(wide(weight)?.broadcast_mul(&scale.reshape(((), 1, 1, 1))?)?)?,
    };
    Ok((weight, back(shift)?))
}

/// Each output channel of `f32` weights times its factor, in `f64`, without a copy in `f64`.
fn scaled(weight: &Tensor, factors: &[f64]) -> Result<Tensor> {
    let mut values = weight.flatten_all()?.to_vec1::<f32>()?;
    let group = values.len() / factors.len().max(1);
    for (values, factor) in values.chunks_exact_mut(group.max(1)).zip(factors) {
        values.iter_mut().for_each(|value| *value = (f64::from(*value) * factor) as f32);
    }
    Tensor::from_vec(values, weight.shape(), &Device::Cpu)
}

#[cfg(test)]
#[path = "norm_tests.rs"]
mod tests;
