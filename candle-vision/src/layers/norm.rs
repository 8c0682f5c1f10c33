//! Batch normalisation, and how a checkpoint's batch norms are treated at load.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{BatchNormConfig, ModuleT, VarBuilder};

use super::{Layer, path};

/// What becomes of the batch norm behind each convolution when a model is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Norm {
    /// Kept as a layer, as trained: the form for training, and PyTorch's unfused numbers.
    #[default]
    Separate,
    /// Read, then folded into the convolution: the form for inference.
    Fold,
    /// Already folded in the checkpoint, whose convolutions have a bias and no batch norm.
    Folded,
}

/// `y = (x − mean) / √(var + eps) · weight + bias` per channel of (n, c, h, w).
///
/// Training uses the batch's own mean and biased variance, and moves the running statistics by `momentum` 0.1.
/// Source: Ioffe and Szegedy, <https://arxiv.org/abs/1502.03167>.
pub struct BatchNorm {
    inner: candle_nn::BatchNorm,
    path: String,
}

impl BatchNorm {
    /// Reads `weight`, `bias`, `running_mean` and `running_var`, each (channels).
    pub fn new(channels: usize, eps: f64, vb: VarBuilder) -> Result<Self> {
        let path = path(&vb, "");
        let inner = candle_nn::batch_norm(channels, BatchNormConfig { eps, ..Default::default() }, vb)?;
        Ok(Self { inner, path })
    }
}

impl Layer for BatchNorm {
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        crate::cost::record_batch_norm(xs);
        self.inner.forward_t(xs, train)
    }

    fn tensors(&self, out: &mut BTreeMap<String, Tensor>) {
        out.insert(format!("{}running_mean", self.path), self.inner.running_mean().clone());
        out.insert(format!("{}running_var", self.path), self.inner.running_var().clone());
        if let Some((weight, bias)) = self.inner.weight_and_bias() {
            out.insert(format!("{}weight", self.path), weight.clone());
            out.insert(format!("{}bias", self.path), bias.clone());
        }
    }
}

/// Weight (o, c, kh, kw) and bias (o) of the convolution that equals `conv` followed by `norm` in inference.
///
/// Computed in `f64` on the CPU and rounded once, so that folding adds no error of its own.
pub fn fold_batch_norm(weight: &Tensor, bias: Option<&Tensor>, norm: &BatchNorm) -> Result<(Tensor, Tensor)> {
    let (dtype, device) = (weight.dtype(), weight.device());
    let wide = |t: &Tensor| t.to_device(&Device::Cpu)?.to_dtype(DType::F64);
    let (Some((gamma, beta)), inner) = (norm.inner.weight_and_bias(), &norm.inner) else {
        candle_core::bail!("batch norm {} has no weight", norm.path)
    };
    // candle keeps the running statistics as variables, although nothing trains them.
    let (running_mean, running_var) = (wide(&inner.running_mean().detach())?, wide(&inner.running_var().detach())?);
    let scale = (wide(gamma)? / (running_var + inner.eps())?.sqrt()?)?;
    let mean = match bias {
        Some(bias) => (running_mean - wide(bias)?)?,
        None => running_mean,
    };
    let shift = (wide(beta)? - (mean * &scale)?)?;
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
