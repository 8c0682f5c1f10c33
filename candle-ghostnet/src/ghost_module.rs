//! The ghost module and its attention.

use candle_core::Result;
use candle_nn::VarBuilder;
use candle_vision::layers::{Backend, Block, ConvBn, ConvBnConfig, Layer, Modules, sequence};
use ghostzoo_kernels::{Activation, ConvGeometry};

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

impl<B: Backend> Block<B> for GhostModule {
    fn apply(&self, backend: &mut B, xs: &B::Map) -> Result<B::Map> {
        let primary = self.primary.apply(backend, xs)?;
        let cheap = self.cheap.apply(backend, &primary)?;
        let ys = backend.concat(&[&primary, &cheap])?;
        match &self.attention {
            Some(attention) => {
                let gate = attention.apply(backend, xs)?;
                backend.gate_positions(&ys, &gate)
            }
            None => Ok(ys),
        }
    }
}

impl Layer for GhostModule {
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
            let layer = ConvBnConfig::new(in_c, out_c, geometry)
                .activation(activation)
                .batch_norm(BATCH_NORM)
                .norm(config.norm);
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

impl<B: Backend> Block<B> for Attention {
    fn apply(&self, backend: &mut B, xs: &B::Map) -> Result<B::Map> {
        let halved = backend.avg_pool2d(xs, &ConvGeometry::square(2).stride([2, 2]))?;
        sequence(backend, &self.convs, &halved)
    }
}

impl Layer for Attention {
    fn children(&self) -> Vec<&dyn Layer> {
        self.convs.iter().map(|conv| conv as &dyn Layer).collect()
    }
}
