//! The ghost bottleneck.

use candle_core::Result;
use candle_nn::VarBuilder;
use candle_vision::layers::{Backend, Block, ConvBn, ConvBnConfig, Layer, Modules, SqueezeExcite, sequence};
use ghostzoo_kernels::{Activation, ConvGeometry};

use crate::config::{BATCH_NORM, BlockSpec, Config, Reparam, Version, round_channels};
use crate::ghost_module::{CONV_BN_ACT, GhostModule};
use crate::rep_ghost::RepGhostModule;
use crate::reparam::{Branched, CONV_BRANCHES};

/// `ghost2(se(depthwise(ghost1(x)))) + shortcut(x)`.
///
/// The depthwise convolution is there where the stride is 2, and the shortcut has convolutions where it changes shape.
pub(crate) struct Bottleneck {
    ghost1: Box<dyn Layer>,
    depthwise: Option<Box<dyn Layer>>,
    squeeze_excite: Option<SqueezeExcite>,
    ghost2: Box<dyn Layer>,
    shortcut: Option<[ConvBn; 2]>,
    modules: Modules,
}

impl Bottleneck {
    /// (n, in_c, h, w) to (n, out_c, h / stride, w / stride), rounded up, with `block`'s channels at the variant's width.
    pub(crate) fn new(
        in_c: usize,
        block: &BlockSpec,
        has_attention: bool,
        config: &Config,
        vb: VarBuilder,
    ) -> Result<Self> {
        let (mid_c, out_c) = (config.variant.scale(block.mid_c), config.variant.scale(block.out_c));
        let window = ConvGeometry::square(block.kernel).stride([block.stride; 2]).same();
        let ghost1 = ghost([in_c, mid_c], Activation::Relu, has_attention, config, vb.pp("ghost1"))?;
        let depthwise = Branched {
            in_c: mid_c,
            out_c: mid_c,
            geometry: window.groups(mid_c),
            activation: Activation::Identity,
            conv: "conv_dw",
            norm: "bn_dw",
            branches: "dw_rpr",
            scale: true,
            skip: false,
        };
        let depthwise = if block.stride > 1 { Some(depthwise.build(config, &vb)?) } else { None };
        let squeeze_excite = if block.squeeze_excite {
            Some(SqueezeExcite::new(mid_c, round_channels(mid_c as f64 * 0.25), vb.pp("se"))?)
        } else {
            None
        };
        let ghost2 = ghost([mid_c, out_c], Activation::Identity, false, config, vb.pp("ghost2"))?;
        let shortcut = if in_c != out_c || block.stride > 1 {
            let vb = vb.pp("shortcut");
            let conv = |index: usize, out_c, geometry| {
                let activation = Activation::Identity;
                let layer = ConvBnConfig::new(in_c, out_c, geometry)
                    .activation(activation)
                    .batch_norm(BATCH_NORM)
                    .norm(config.norm);
                ConvBn::new(&layer, vb.pp(index), vb.pp(index + 1))
            };
            Some([conv(0, in_c, window.groups(in_c))?, conv(2, out_c, ConvGeometry::square(1))?])
        } else {
            None
        };
        let mut bottleneck = Self { ghost1, depthwise, squeeze_excite, ghost2, shortcut, modules: Modules::default() };
        bottleneck.modules = bottleneck.count_modules(config);
        Ok(bottleneck)
    }

    fn count_modules(&self, config: &Config) -> Modules {
        let ghosts = self.ghost1.modules() + self.ghost2.modules();
        // A sequence of two convolutions and their batch norms, or an empty one.
        let shortcut = match self.shortcut {
            Some(_) => Modules::containers(1) + Modules::leaves(4),
            None => Modules::leaves(1),
        };
        let squeeze_excite = self.squeeze_excite.as_ref().map(Layer::modules);
        let others = match (config.variant.version, self.depthwise.is_some()) {
            (Version::V1 | Version::V2 | Version::Rep, has_depthwise) => {
                squeeze_excite.unwrap_or_default() + Modules::leaves(if has_depthwise { 2 } else { 0 })
            }
            // V3 has identities in the place of absent layers, and an empty list of branches at stride 1.
            (Version::V3, has_depthwise) => {
                let branches = match (has_depthwise, config.branches) {
                    (false, _) => Modules::leaves(2),
                    (true, Reparam::Deploy) => Modules::default(),
                    (true, _) => Modules::containers(1) + CONV_BN_ACT.times(CONV_BRANCHES + 1),
                };
                Modules::leaves(2) + branches + squeeze_excite.unwrap_or(Modules::leaves(1))
            }
        };
        Modules::containers(1) + ghosts + shortcut + others
    }
}

impl<B: Backend> Block<B> for Bottleneck {
    fn apply(&self, backend: &mut B, xs: &B::Map) -> Result<B::Map> {
        let mut ys = self.ghost1.apply(backend, xs)?;
        if let Some(depthwise) = &self.depthwise {
            ys = depthwise.apply(backend, &ys)?;
        }
        if let Some(squeeze_excite) = &self.squeeze_excite {
            ys = squeeze_excite.apply(backend, &ys)?;
        }
        ys = self.ghost2.apply(backend, &ys)?;
        match &self.shortcut {
            Some(convs) => {
                let shortcut = sequence(backend, convs, xs)?;
                backend.add(&ys, &shortcut)
            }
            None => backend.add(&ys, xs),
        }
    }
}

impl Layer for Bottleneck {
    fn children(&self) -> Vec<&dyn Layer> {
        let mut children: Vec<&dyn Layer> = vec![self.ghost1.as_ref()];
        children.extend(self.depthwise.as_deref());
        children.extend(self.squeeze_excite.as_ref().map(|layer| layer as &dyn Layer));
        children.push(self.ghost2.as_ref());
        children.extend(self.shortcut.iter().flatten().map(|layer| layer as &dyn Layer));
        children
    }

    fn modules(&self) -> Modules {
        self.modules
    }
}

/// The version's ghost module, from `in_c` to `out_c` channels.
fn ghost(
    [in_c, out_c]: [usize; 2],
    activation: Activation,
    has_attention: bool,
    config: &Config,
    vb: VarBuilder,
) -> Result<Box<dyn Layer>> {
    Ok(match config.variant.version {
        Version::Rep => Box::new(RepGhostModule::new([in_c, out_c], activation, config, vb)?),
        _ => Box::new(GhostModule::new([in_c, out_c], activation, has_attention, config, vb)?),
    })
}
