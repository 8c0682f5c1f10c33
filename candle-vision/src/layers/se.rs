//! Squeeze-and-excitation.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::{Conv, Layer, Modules};
use ghostzoo_kernels::plan::{Graph, Value};
use ghostzoo_kernels::{Activation, ConvGeometry, global_avg_pool2d, multiply};

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

impl Layer for SqueezeExcite {
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        let gate = self.expand.forward_t(&self.reduce.forward_t(&global_avg_pool2d(xs)?, train)?, train)?;
        multiply(xs, &gate)
    }

    fn record(&self, graph: &mut Graph, xs: Value) -> Result<Value> {
        let mean = graph.global_avg_pool2d(xs);
        let reduced = self.reduce.record(graph, mean)?;
        let gate = self.expand.record(graph, reduced)?;
        graph.multiply(xs, gate)
    }

    fn children(&self) -> Vec<&dyn Layer> {
        vec![&self.reduce, &self.expand]
    }

    /// The block, its two convolutions, its activation and its gate.
    fn modules(&self) -> Modules {
        Modules::containers(1) + Modules::leaves(4)
    }
}
