//! The RepGhost module.

use candle_core::Result;
use candle_nn::VarBuilder;
use candle_vision::layers::{Backend, Block, ConvBn, ConvBnConfig, Layer, Modules};
use ghostzoo_kernels::{Activation, ConvGeometry};

use crate::config::{BATCH_NORM, Config, Reparam};
use crate::reparam::{Branch, BranchSum};

/// A pointwise convolution, then a depthwise one plus its input: `act(norm(depthwise(y)) + norm(y))`.
///
/// The sum is trained as two branches and merges into one depthwise convolution with a bias. Source: RepGhost,
/// <https://arxiv.org/abs/2211.06088>.
pub(crate) struct RepGhostModule {
    primary: ConvBn,
    cheap: Box<dyn Layer>,
    modules: Modules,
}

impl RepGhostModule {
    /// (n, in_c, h, w) to (n, out_c, h, w); `activation` follows both convolutions.
    pub(crate) fn new(
        [in_c, out_c]: [usize; 2],
        activation: Activation,
        config: &Config,
        vb: VarBuilder,
    ) -> Result<Self> {
        let primary = ConvBnConfig::new(in_c, out_c, ConvGeometry::square(1))
            .activation(activation)
            .batch_norm(BATCH_NORM)
            .norm(config.norm);
        let path = vb.pp("primary_conv");
        let geometry = ConvGeometry::square(3).same().groups(out_c);
        let cheap = BranchSum {
            in_c: out_c,
            out_c,
            geometry,
            activation,
            convs: vec![Branch {
                geometry,
                conv: "cheap_operation.0".to_owned(),
                norm: "cheap_operation.1".to_owned(),
            }],
            skip: Some("fusion_bn.0".to_owned()),
            merged: "cheap_operation",
        };
        Ok(Self {
            primary: ConvBn::new(&primary, path.pp(0), path.pp(1))?,
            cheap: cheap.build(config, &vb)?,
            modules: Self::count_modules(config),
        })
    }

    fn count_modules(config: &Config) -> Modules {
        // A sequence of convolution, batch norm and activation.
        let primary = Modules::containers(1) + Modules::leaves(3);
        let activation = Modules::leaves(1);
        // Trained, the convolution with its batch norm, the identity of the skip and its batch norm, each in a sequence.
        let cheap = match config.branches {
            Reparam::Deploy => Modules::leaves(1),
            _ => Modules::containers(3) + Modules::leaves(4),
        };
        Modules::containers(1) + primary + cheap + activation
    }
}

impl<B: Backend> Block<B> for RepGhostModule {
    fn apply(&self, backend: &mut B, xs: &B::Map) -> Result<B::Map> {
        let primary = self.primary.apply(backend, xs)?;
        self.cheap.apply(backend, &primary)
    }
}

impl Layer for RepGhostModule {
    fn children(&self) -> Vec<&dyn Layer> {
        vec![&self.primary, self.cheap.as_ref()]
    }

    fn modules(&self) -> Modules {
        self.modules
    }
}
