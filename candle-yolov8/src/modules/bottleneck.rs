//! Residual blocks.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use candle_vision::layers::{Layer, Modules};
use ghostzoo_kernels::plan::{Graph, Value};
use ghostzoo_kernels::{Activation, add};

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
}

impl Layer for Bottleneck {
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        let ys = self.cv2.forward_t(&self.cv1.forward_t(xs, train)?, train)?;
        if self.adds_input { add(xs, &ys) } else { Ok(ys) }
    }

    fn record(&self, graph: &mut Graph, xs: Value) -> Result<Value> {
        let hidden = self.cv1.record(graph, xs)?;
        let ys = self.cv2.record(graph, hidden)?;
        if self.adds_input { graph.add(ys, xs) } else { Ok(ys) }
    }

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
}

impl Layer for GhostBottleneck {
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        let ys = self.expand.forward_t(xs, train)?;
        match &self.strided {
            None => add(&self.project.forward_t(&ys, train)?, xs),
            Some(Strided { depthwise, shortcut: [first, second] }) => {
                let ys = self.project.forward_t(&depthwise.forward_t(&ys, train)?, train)?;
                add(&ys, &second.forward_t(&first.forward_t(xs, train)?, train)?)
            }
        }
    }

    fn record(&self, graph: &mut Graph, xs: Value) -> Result<Value> {
        let mut ys = self.expand.record(graph, xs)?;
        let mut around = xs;
        if let Some(Strided { depthwise, shortcut }) = &self.strided {
            ys = depthwise.record(graph, ys)?;
            around = shortcut.iter().try_fold(xs, |xs, conv| conv.record(graph, xs))?;
        }
        let ys = self.project.record(graph, ys)?;
        graph.add(ys, around)
    }

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
