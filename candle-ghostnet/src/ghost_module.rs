//! The ghost module and its attention.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use candle_vision::layers::{ConvBn, ConvBnConfig, Layer, Modules};
use ghostzoo_kernels::plan::{Graph, Value};
use ghostzoo_kernels::{Activation, ConvGeometry, avg_pool2d, concat, multiply, upsample_nearest2d};

use crate::config::{BATCH_NORM, Config, Reparam, Version};
use crate::reparam::{Branched, CONV_BRANCHES};

/// Modules of timm's `ConvBnAct`: itself, convolution, batch norm with its dropout and activation, and two identities.
pub(crate) const CONV_BN_ACT: Modules = Modules { all: 7, leaves: 5 };

/// Half of the output channels by a pointwise convolution, the other half by a cheap depthwise one over the first.
///
/// With attention, the output is gated by [`Attention`] of the input.
pub(crate) struct GhostModule {
    primary: Box<dyn Layer>,
    cheap: Box<dyn Layer>,
    attention: Option<Attention>,
    modules: Modules,
}

impl GhostModule {
    /// (n, in_c, h, w) to (n, out_c, h, w), for an even `out_c`.
    pub(crate) fn new(
        [in_c, out_c]: [usize; 2],
        activation: Activation,
        has_attention: bool,
        config: &Config,
        vb: VarBuilder,
    ) -> Result<Self> {
        let half = out_c / 2;
        let primary = Branched {
            in_c,
            out_c: half,
            geometry: ConvGeometry::square(1),
            activation,
            conv: "primary_conv.0",
            norm: "primary_conv.1",
            branches: "primary_rpr",
            scale: false,
            skip: false,
        };
        let cheap = Branched {
            in_c: half,
            out_c: half,
            geometry: ConvGeometry::square(3).same().groups(half),
            activation,
            conv: "cheap_operation.0",
            norm: "cheap_operation.1",
            branches: "cheap_rpr",
            scale: true,
            skip: true,
        };
        let attention =
            if has_attention { Some(Attention::new([in_c, out_c], config, vb.pp("short_conv"))?) } else { None };
        let modules = Self::count_modules(config, has_attention);
        Ok(Self { primary: primary.build(config, &vb)?, cheap: cheap.build(config, &vb)?, attention, modules })
    }

    fn count_modules(config: &Config, has_attention: bool) -> Modules {
        // A sequence of three convolutions, each with its batch norm.
        let attention = Modules::containers(1) + Modules::leaves(6);
        match (config.variant.version, config.branches) {
            (Version::V3, branches) => {
                let gate = Modules::leaves(1);
                let paths = if branches == Reparam::Deploy {
                    (Modules::containers(1) + Modules::leaves(2)).times(2)
                } else {
                    let identities = Modules::leaves(2);
                    let list = Modules::containers(1) + CONV_BN_ACT.times(CONV_BRANCHES);
                    let (activation, skip) = (Modules::leaves(1), Modules::leaves(1));
                    identities + (list + activation).times(2) + CONV_BN_ACT + skip
                };
                Modules::containers(1) + gate + paths + if has_attention { attention } else { Modules::leaves(1) }
            }
            // The module, then a sequence of convolution, batch norm and activation twice; V2 adds its gate.
            _ => {
                let sequence = Modules::containers(1) + Modules::leaves(3);
                let gate = if has_attention { attention + Modules::leaves(1) } else { Modules::default() };
                Modules::containers(1) + sequence.times(2) + gate
            }
        }
    }
}

impl Layer for GhostModule {
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        let primary = self.primary.forward_t(xs, train)?;
        let cheap = self.cheap.forward_t(&primary, train)?;
        let ys = concat(&[&primary, &cheap])?;
        match &self.attention {
            Some(attention) => {
                let (_, _, h, w) = ys.dims4()?;
                multiply(&ys, &upsample_nearest2d(&attention.forward_t(xs, train)?, [h, w])?)
            }
            None => Ok(ys),
        }
    }

    fn record(&self, graph: &mut Graph, xs: Value) -> Result<Value> {
        let primary = self.primary.record(graph, xs)?;
        let cheap = self.cheap.record(graph, primary)?;
        let ys = graph.concat(&[primary, cheap])?;
        match &self.attention {
            Some(attention) => {
                let gate = attention.record(graph, xs)?;
                graph.multiply(ys, gate)
            }
            None => Ok(ys),
        }
    }

    fn children(&self) -> Vec<&dyn Layer> {
        let mut children = vec![self.primary.as_ref(), self.cheap.as_ref()];
        children.extend(self.attention.as_ref().map(|attention| attention as &dyn Layer));
        children
    }

    fn modules(&self) -> Modules {
        self.modules
    }
}

/// Decoupled fully connected attention: a gate per position from its row and its column, at half resolution.
///
/// (n, in_c, h, w) to (n, out_c, h / 2, w / 2) in 0..1. Source: GhostNetV2, <https://arxiv.org/abs/2211.12905>.
struct Attention {
    convs: [ConvBn; 3],
}

impl Attention {
    fn new([in_c, out_c]: [usize; 2], config: &Config, vb: VarBuilder) -> Result<Self> {
        let conv = |index: usize, in_c, geometry, activation| {
            let layer = ConvBnConfig { in_c, out_c, geometry, activation, batch_norm: BATCH_NORM, norm: config.norm };
            ConvBn::new(&layer, vb.pp(2 * index), vb.pp(2 * index + 1))
        };
        let row = ConvGeometry::new([1, 5]).same().groups(out_c);
        let column = ConvGeometry::new([5, 1]).same().groups(out_c);
        Ok(Self {
            convs: [
                conv(0, in_c, ConvGeometry::square(1), Activation::Identity)?,
                conv(1, out_c, row, Activation::Identity)?,
                conv(2, out_c, column, Activation::Sigmoid)?,
            ],
        })
    }
}

impl Layer for Attention {
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        let halved = avg_pool2d(xs, &ConvGeometry::square(2).stride([2, 2]))?;
        self.convs.iter().try_fold(halved, |xs, conv| conv.forward_t(&xs, train))
    }

    fn record(&self, graph: &mut Graph, xs: Value) -> Result<Value> {
        let halved = graph.avg_pool2d(xs, &ConvGeometry::square(2).stride([2, 2]))?;
        self.convs.iter().try_fold(halved, |xs, conv| conv.record(graph, xs))
    }

    fn children(&self) -> Vec<&dyn Layer> {
        self.convs.iter().map(|conv| conv as &dyn Layer).collect()
    }
}
