//! The first convolution.

use candle_core::Result;
use candle_nn::VarBuilder;
use candle_vision::layers::{Backend, BatchNorm, BatchNormMode, Block, Conv, Layer, Modules};
use ghostzoo_kernels::{Activation, ConvGeometry};

use crate::config::{BATCH_NORM, Config};

/// `relu(norm(conv(x)))` whose convolution can be read before the batch norm, in every form.
pub(crate) struct Stem {
    conv: Conv,
    norm: BatchNorm,
    fused: Option<Conv>,
}

impl Stem {
    pub(crate) fn new(out_c: usize, config: &Config, vb: &VarBuilder) -> Result<Self> {
        let geometry = ConvGeometry::square(3).stride([2, 2]).same();
        let path = vb.pp("conv_stem");
        let conv = Conv::new(3, out_c, geometry, false, Activation::Identity, path.clone())?;
        let norm = BatchNorm::new(conv.out_channels()?, BATCH_NORM, vb.pp("bn1"))?;
        let fused = if config.norm == BatchNormMode::Keep {
            None
        } else {
            Some(Conv::folded(3, out_c, geometry, Activation::Relu, (path, vb.pp("bn1")), BATCH_NORM)?)
        };
        Ok(Self { conv, norm, fused })
    }

    /// The convolution alone, and the stem's output. Where the stem is folded each is a convolution of its own.
    pub(crate) fn before_and_after_norm<B: Backend>(&self, backend: &mut B, xs: &B::Map) -> Result<(B::Map, B::Map)> {
        let before = self.conv.apply(backend, xs)?;
        let after = match &self.fused {
            Some(fused) => fused.apply(backend, xs)?,
            None => backend.batch_norm(&before, &self.norm, Activation::Relu)?,
        };
        Ok((before, after))
    }
}

impl<B: Backend> Block<B> for Stem {
    fn apply(&self, backend: &mut B, xs: &B::Map) -> Result<B::Map> {
        match &self.fused {
            Some(fused) => fused.apply(backend, xs),
            None => Ok(self.before_and_after_norm(backend, xs)?.1),
        }
    }
}

impl Layer for Stem {
    fn children(&self) -> Vec<&dyn Layer> {
        vec![&self.conv, &self.norm]
    }

    /// Convolution, batch norm and activation, which timm keeps in the root.
    fn modules(&self) -> Modules {
        Modules::leaves(3)
    }
}
