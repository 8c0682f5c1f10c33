//! Distribution focal loss decoding.

use std::collections::BTreeMap;

use candle_core::{D, Result, Tensor};
use candle_nn::VarBuilder;

use super::{Block, Eager, Layer, Modules, path};
use crate::prune::ChannelGraph;
use ghostzoo_kernels::plan::{Graph, Value};

/// Expected value of a softmax over `reg_max` bins, per box side.
///
/// The bin values 0, 1, … `reg_max − 1` are a constant that PyTorch checkpoints store as `conv.weight`; a checkpoint may
/// lack it, and it is not trained.
/// Source: Li et al., Generalized Focal Loss, <https://arxiv.org/abs/2006.04388>.
#[derive(Debug)]
pub struct Dfl {
    bins: Tensor,
    path: String,
}

impl Dfl {
    /// Reads `conv.weight` (1, reg_max, 1, 1) where `vb` has it, else takes the constant.
    pub fn new(reg_max: usize, vb: VarBuilder) -> Result<Self> {
        let bins = if vb.contains_tensor("conv.weight") {
            vb.get((1, reg_max, 1, 1), "conv.weight")?
        } else {
            Self::bins(reg_max)?.to_device(vb.device())?.to_dtype(vb.dtype())?
        };
        Ok(Self { bins, path: path(&vb, "conv.weight") })
    }

    /// The constant that `conv.weight` holds, (1, reg_max, 1, 1).
    pub fn bins(reg_max: usize) -> Result<Tensor> {
        Tensor::arange(0f32, reg_max as f32, &candle_core::Device::Cpu)?.reshape((1, reg_max, 1, 1))
    }
}

impl Block<Eager> for Dfl {
    /// (n, 4 · reg_max, a) logits to (n, 4, a) distances, in bins and in the logits' dtype.
    fn apply(&self, _: &mut Eager, xs: &Tensor) -> Result<Tensor> {
        let (batch, channels, anchors) = xs.dims3()?;
        let reg_max = self.bins.elem_count();
        let xs = xs.reshape((batch, channels / reg_max, reg_max, anchors))?.transpose(2, 3)?.contiguous()?;
        ghostzoo_kernels::flops::record_macs(batch * channels * anchors);
        let probabilities = candle_nn::ops::softmax_last_dim(&xs)?;
        probabilities.broadcast_mul(&self.bins.reshape(reg_max)?.to_dtype(xs.dtype())?)?.sum(D::Minus1)
    }
}

impl Block<Graph> for Dfl {
    fn apply(&self, _: &mut Graph, _: &Value) -> Result<Value> {
        candle_core::bail!("a plan decodes boxes in one step, `Graph::output_boxes`")
    }
}

impl Block<ChannelGraph> for Dfl {
    fn apply(&self, _: &mut ChannelGraph, _: &Vec<usize>) -> Result<Vec<usize>> {
        candle_core::bail!("the boxes that a DFL reads are an output, whose channels stay")
    }
}

impl Layer for Dfl {
    /// The module and its 1x1 convolution.
    fn modules(&self) -> Modules {
        Modules::containers(1) + Modules::leaves(1)
    }

    fn tensors(&self, out: &mut BTreeMap<String, Tensor>) {
        out.insert(self.path.clone(), self.bins.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};
    use candle_nn::VarMap;

    #[test]
    fn the_constant_stands_in_for_an_absent_tensor_and_is_not_trained() -> Result<()> {
        let map = VarMap::new();
        let absent = Dfl::new(4, VarBuilder::from_varmap(&map, DType::F16, &Device::Cpu))?;
        assert!(map.all_vars().is_empty());
        let bins = Tensor::new(&[0f32, 1., 2., 3.], &Device::Cpu)?.reshape((1, 4, 1, 1))?;
        let tensors = [("conv.weight".to_owned(), bins)].into();
        let present = Dfl::new(4, VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu))?;
        // One anchor; all weight on bin 2, on bins 1 and 2 alike, on all bins alike, on bin 3.
        let logits: [f32; 16] = [-99., -99., 0., -99., -99., 5., 5., -99., 1., 1., 1., 1., -99., -99., -99., 0.];
        let xs = Tensor::new(&logits, &Device::Cpu)?.reshape((1, 16, 1))?;
        for dfl in [absent, present] {
            assert_eq!(dfl.forward(&xs)?.flatten_all()?.to_vec1::<f32>()?, [2., 1.5, 1.5, 3.]);
        }
        Ok(())
    }
}
