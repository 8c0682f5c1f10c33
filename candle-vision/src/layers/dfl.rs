//! Distribution focal loss decoding.

use std::collections::BTreeMap;

use candle_core::{D, Result, Tensor};
use candle_nn::VarBuilder;

use super::{Layer, path};

/// Expected value of a softmax over `reg_max` bins, per box side.
///
/// The bin values 0, 1, … `reg_max − 1` are a constant that PyTorch checkpoints store as `conv.weight`.
/// Source: Li et al., Generalized Focal Loss, <https://arxiv.org/abs/2006.04388>.
pub struct Dfl {
    bins: Tensor,
    path: String,
}

impl Dfl {
    /// Reads `conv.weight` (1, reg_max, 1, 1).
    pub fn new(reg_max: usize, vb: VarBuilder) -> Result<Self> {
        Ok(Self { bins: vb.get((1, reg_max, 1, 1), "conv.weight")?, path: path(&vb, "conv.weight") })
    }

    /// The constant that `conv.weight` holds, for a checkpoint without it.
    pub fn bins(reg_max: usize) -> Result<Tensor> {
        Tensor::arange(0f32, reg_max as f32, &candle_core::Device::Cpu)?.reshape((1, reg_max, 1, 1))
    }
}

impl Layer for Dfl {
    /// (n, 4 · reg_max, a) logits to (n, 4, a) distances, in bins.
    fn forward_t(&self, xs: &Tensor, _: bool) -> Result<Tensor> {
        let (batch, channels, anchors) = xs.dims3()?;
        let reg_max = self.bins.elem_count();
        let xs = xs.reshape((batch, channels / reg_max, reg_max, anchors))?.transpose(2, 3)?.contiguous()?;
        let probabilities = candle_nn::ops::softmax_last_dim(&xs)?;
        probabilities.broadcast_mul(&self.bins.reshape(reg_max)?)?.sum(D::Minus1)
    }

    /// The module and its 1x1 convolution.
    fn modules(&self) -> usize {
        2
    }

    fn tensors(&self, out: &mut BTreeMap<String, Tensor>) {
        out.insert(self.path.clone(), self.bins.clone());
    }
}
