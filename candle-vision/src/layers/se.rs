//! Squeeze-and-excitation.

use candle_core::Result;
use candle_nn::VarBuilder;

use super::{Backend, Block, Conv, Layer, Modules};
use ghostzoo_kernels::{Activation, ConvGeometry};

/// `x · hard_sigmoid(expand(relu(reduce(mean(x)))))`, one gate per channel of (n, c, h, w).
///
/// Source: Hu et al., <https://arxiv.org/abs/1709.01507>, with the gate that GhostNet takes from MobileNetV3.
#[derive(Debug)]
pub struct SqueezeExcite {
    reduce: Conv,
    expand: Conv,
}

impl SqueezeExcite {
    /// Reads `conv_reduce` (reduced, channels, 1, 1) and `conv_expand` (channels, reduced, 1, 1) with their biases.
    pub fn new(channels: usize, reduced: usize, vb: VarBuilder) -> Result<Self> {
        let pointwise = ConvGeometry::square(1);
        let reduce = Conv::new(channels, reduced, pointwise, true, Activation::Relu, vb.pp("conv_reduce"))?;
        let expand = Conv::new(reduced, channels, pointwise, true, Activation::HardSigmoid, vb.pp("conv_expand"))?;
        Ok(Self { reduce, expand })
    }
}

impl<B: Backend> Block<B> for SqueezeExcite {
    fn apply(&self, backend: &mut B, xs: &B::Map) -> Result<B::Map> {
        let mean = backend.global_avg_pool2d(xs)?;
        let reduced = self.reduce.apply(backend, &mean)?;
        let gate = self.expand.apply(backend, &reduced)?;
        backend.gate_channels(xs, &gate)
    }
}

impl Layer for SqueezeExcite {
    fn children(&self) -> Vec<&dyn Layer> {
        vec![&self.reduce, &self.expand]
    }

    /// The block, its two convolutions, its activation and its gate.
    fn modules(&self) -> Modules {
        Modules::containers(1) + Modules::leaves(4)
    }
}
