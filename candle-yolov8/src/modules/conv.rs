//! Convolution blocks.

use candle_core::Result;
use candle_nn::VarBuilder;
use candle_vision::layers::{Backend, BatchNormMode, Block, ConvBn, ConvBnConfig, Layer, Modules};
use ghostzoo_kernels::{Activation, ConvGeometry};

use super::{BATCH_NORM, Style};

/// What a [`Conv`] computes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConvConfig {
    pub(crate) c1: usize,
    pub(crate) c2: usize,
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: usize,
    /// Half the dilated kernel where `None`.
    pub(crate) padding: Option<usize>,
    pub(crate) groups: usize,
    pub(crate) dilation: usize,
    pub(crate) activation: Activation,
}

impl ConvConfig {
    /// A dense `k` × `k` convolution with stride 1.
    pub(crate) fn new(c1: usize, c2: usize, k: usize, activation: Activation) -> Self {
        Self { c1, c2, kernel: [k, k], stride: 1, padding: None, groups: 1, dilation: 1, activation }
    }

    pub(crate) fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    pub(crate) fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }
}

/// `act(bn(conv(x)))` at `conv` and `bn`.
pub(crate) struct Conv {
    inner: ConvBn,
    has_identity: bool,
}

impl Conv {
    pub(crate) fn new(config: ConvConfig, norm: BatchNormMode, vb: VarBuilder) -> Result<Self> {
        let ConvConfig { c1, c2, kernel, stride, padding, groups, dilation, activation } = config;
        let geometry = ConvGeometry::new(kernel).stride([stride; 2]).dilation([dilation; 2]).groups(groups);
        let geometry = match padding {
            Some(padding) => geometry.padding([padding; 2]),
            None => geometry.same(),
        };
        let config = ConvBnConfig::new(c1, c2, geometry).activation(activation).batch_norm(BATCH_NORM).norm(norm);
        let inner = ConvBn::new(&config, vb.pp("conv"), vb.pp("bn"))?;
        Ok(Self { inner, has_identity: activation == Activation::Identity })
    }

    /// Channels that it reads.
    pub(crate) fn in_channels(&self) -> Result<usize> {
        self.inner.conv().in_channels()
    }

    /// Channels that it gives.
    pub(crate) fn out_channels(&self) -> Result<usize> {
        self.inner.conv().out_channels()
    }
}

impl<B: Backend> Block<B> for Conv {
    fn apply(&self, backend: &mut B, xs: &B::Map) -> Result<B::Map> {
        self.inner.apply(backend, xs)
    }
}

impl Layer for Conv {
    fn children(&self) -> Vec<&dyn Layer> {
        vec![&self.inner]
    }

    /// The block, its convolution, its batch norm; and its activation where it has one of its own, which is so only for
    /// the identity: all others share one module, which the model counts.
    fn modules(&self) -> Modules {
        Modules::containers(1) + self.inner.modules() + Modules::leaves(self.has_identity.into())
    }
}

/// Half the output by a convolution, the other half by a 5x5 depthwise convolution of that.
///
/// Source: Han et al., GhostNet, <https://arxiv.org/abs/1911.11907>.
pub(crate) struct GhostConv {
    cv1: Conv,
    cv2: Conv,
}

impl GhostConv {
    /// Kernel, stride, groups and activation of `config` are those of the first half.
    pub(crate) fn new(config: ConvConfig, norm: BatchNormMode, vb: VarBuilder) -> Result<Self> {
        let half = config.c2 / 2;
        let cheap = ConvConfig::new(half, half, 5, config.activation).groups(half);
        let cv1 = Conv::new(ConvConfig { c2: half, ..config }, norm, vb.pp("cv1"))?;
        Ok(Self { cv1, cv2: Conv::new(cheap, norm, vb.pp("cv2"))? })
    }

    /// Channels that it reads.
    pub(crate) fn in_channels(&self) -> Result<usize> {
        self.cv1.in_channels()
    }

    /// A 1x1 ghost convolution.
    pub(crate) fn pointwise(
        c1: usize,
        c2: usize,
        activation: Activation,
        style: Style,
        vb: VarBuilder,
    ) -> Result<Self> {
        Self::new(ConvConfig::new(c1, c2, 1, activation), style.norm, vb)
    }
}

impl<B: Backend> Block<B> for GhostConv {
    fn apply(&self, backend: &mut B, xs: &B::Map) -> Result<B::Map> {
        let primary = self.cv1.apply(backend, xs)?;
        let cheap = self.cv2.apply(backend, &primary)?;
        backend.concat(&[&primary, &cheap])
    }
}

impl Layer for GhostConv {
    fn children(&self) -> Vec<&dyn Layer> {
        vec![&self.cv1, &self.cv2]
    }
}
