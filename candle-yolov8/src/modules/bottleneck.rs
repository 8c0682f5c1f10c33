//! Residual blocks.

use candle_core::Result;
use candle_nn::VarBuilder;
use candle_vision::layers::{Backend, Block, Layer, Modules, sequence};
use ghostzoo_kernels::Activation;

use super::{Conv, ConvConfig, GhostConv, Style};

/// Two convolutions, with the input added where asked and possible.
pub(crate) struct Bottleneck {
    cv1: Conv,
    cv2: Conv,
    adds_input: bool,
}

/// What a [`Bottleneck`] computes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BottleneckConfig {
    pub(crate) c1: usize,
    pub(crate) c2: usize,
    pub(crate) shortcut: bool,
    pub(crate) groups: usize,
    /// Sides of the two kernels.
    pub(crate) kernels: [usize; 2],
    /// Hidden channels as a share of `c2`.
    pub(crate) expansion: f64,
}

impl Bottleneck {
    pub(crate) fn new(config: BottleneckConfig, style: Style, vb: VarBuilder) -> Result<Self> {
        let BottleneckConfig { c1, c2, shortcut, groups, kernels, expansion } = config;
        let hidden = (c2 as f64 * expansion) as usize;
        let first = ConvConfig::new(c1, hidden, kernels[0], style.activation);
        let second = ConvConfig::new(hidden, c2, kernels[1], style.activation).groups(groups);
        Ok(Self {
            cv1: Conv::new(first, style.norm, vb.pp("cv1"))?,
            cv2: Conv::new(second, style.norm, vb.pp("cv2"))?,
            adds_input: shortcut && c1 == c2,
        })
    }

    /// Channels that it reads.
    pub(crate) fn in_channels(&self) -> Result<usize> {
        self.cv1.in_channels()
    }
}

impl<B: Backend> Block<B> for Bottleneck {
    fn apply(&self, backend: &mut B, xs: &B::Map) -> Result<B::Map> {
        let ys = sequence(backend, [&self.cv1, &self.cv2], xs)?;
        if self.adds_input { backend.add(xs, &ys) } else { Ok(ys) }
    }
}

impl Layer for Bottleneck {
    fn children(&self) -> Vec<&dyn Layer> {
        vec![&self.cv1, &self.cv2]
    }
}

/// Two 1x1 ghost convolutions, at stride 2 with a depthwise convolution between them; always residual.
pub(crate) struct GhostBottleneck {
    expand: GhostConv,
    /// The depthwise convolutions and the 1x1 of the shortcut, at stride 2.
    strided: Option<Strided>,
    project: GhostConv,
}

struct Strided {
    depthwise: Conv,
    shortcut: [Conv; 2],
}

impl GhostBottleneck {
    pub(crate) fn new(c1: usize, c2: usize, k: usize, stride: usize, style: Style, vb: VarBuilder) -> Result<Self> {
        let (hidden, linear) = (c2 / 2, Activation::Identity);
        let depthwise =
            |channels: usize| ConvConfig::new(channels, channels, k, linear).stride(stride).groups(channels);
        let strided = if stride == 2 {
            let pointwise = ConvConfig::new(c1, c2, 1, linear);
            Some(Strided {
                depthwise: Conv::new(depthwise(hidden), style.norm, vb.pp("conv.1"))?,
                shortcut: [
                    Conv::new(depthwise(c1), style.norm, vb.pp("shortcut.0"))?,
                    Conv::new(pointwise, style.norm, vb.pp("shortcut.1"))?,
                ],
            })
        } else if c1 == c2 {
            None
        } else {
            candle_core::bail!("{}: a ghost bottleneck of stride 1 keeps its channels, got {c1} and {c2}", vb.prefix())
        };
        Ok(Self {
            expand: GhostConv::pointwise(c1, hidden, style.activation, style, vb.pp("conv.0"))?,
            strided,
            project: GhostConv::pointwise(hidden, c2, linear, style, vb.pp("conv.2"))?,
        })
    }

    /// Channels that it reads.
    pub(crate) fn in_channels(&self) -> Result<usize> {
        self.expand.in_channels()
    }
}

impl<B: Backend> Block<B> for GhostBottleneck {
    fn apply(&self, backend: &mut B, xs: &B::Map) -> Result<B::Map> {
        let mut ys = self.expand.apply(backend, xs)?;
        match &self.strided {
            None => {
                ys = self.project.apply(backend, &ys)?;
                backend.add(&ys, xs)
            }
            Some(Strided { depthwise, shortcut }) => {
                ys = depthwise.apply(backend, &ys)?;
                ys = self.project.apply(backend, &ys)?;
                let around = sequence(backend, shortcut, xs)?;
                backend.add(&ys, &around)
            }
        }
    }
}

impl Layer for GhostBottleneck {
    fn children(&self) -> Vec<&dyn Layer> {
        let mut children: Vec<&dyn Layer> = vec![&self.expand];
        if let Some(Strided { depthwise, shortcut: [first, second] }) = &self.strided {
            children.extend([depthwise as &dyn Layer, first, second]);
        }
        children.push(&self.project);
        children
    }

    /// The block and the sequence of its convolutions; its shortcut, a sequence or an identity; and at stride 1 the identity
    /// that stands for the depthwise convolution.
    fn modules(&self) -> Modules {
        let children: Modules = self.children().iter().map(|child| child.modules()).sum();
        let (containers, identities) = if self.strided.is_some() { (3, 0) } else { (2, 2) };
        children + Modules::containers(containers) + Modules::leaves(identities)
    }
}
