//! Cross-stage blocks.

use candle_core::Result;
use candle_nn::VarBuilder;
use candle_vision::layers::{Backend, Block, Layer, Modules, sequence};

use super::bottleneck::BottleneckConfig;
use super::{Bottleneck, Conv, ConvConfig, GhostBottleneck, Style};
use crate::yaml::CspVariant;

/// What a [`CspBlock`] computes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CspConfig {
    pub(crate) kind: CspVariant,
    pub(crate) c1: usize,
    pub(crate) c2: usize,
    pub(crate) n: usize,
    pub(crate) shortcut: bool,
    pub(crate) groups: usize,
    pub(crate) expansion: f64,
}

/// Part of the channels through `n` bottlenecks, the rest around them, joined by a 1x1 convolution.
pub(crate) struct CspBlock {
    kind: CspVariant,
    /// Channels of `cv1` that go to one side, and those behind them to the other.
    split: [usize; 2],
    cv1: Conv,
    /// The way around the bottlenecks of C3 and C3Ghost; the others split `cv1`.
    around: Option<Conv>,
    /// `cv3` of C3 and C3Ghost, `cv2` of the others.
    join: Conv,
    bottlenecks: Vec<Box<dyn Layer>>,
}

impl CspBlock {
    pub(crate) fn new(config: CspConfig, style: Style, vb: VarBuilder) -> Result<Self> {
        let CspConfig { kind, c1, c2, n, shortcut, groups, expansion } = config;
        let hidden = (c2 as f64 * expansion) as usize;
        let conv = |c1, c2, name| Conv::new(ConvConfig::new(c1, c2, 1, style.activation), style.norm, vb.pp(name));
        // Each with the number of channels that it reads.
        let bottleneck = |kernels, vb| -> Result<(usize, Box<dyn Layer>)> {
            let config = BottleneckConfig { c1: hidden, c2: hidden, shortcut, groups, kernels, expansion: 1. };
            let block = Bottleneck::new(config, style, vb)?;
            Ok((block.in_channels()?, Box::new(block)))
        };
        let inner = |i: usize| -> Result<(usize, Box<dyn Layer>)> {
            let vb = vb.pp("m").pp(i);
            match kind {
                CspVariant::C2f | CspVariant::C2 => bottleneck([3, 3], vb),
                CspVariant::C3 => bottleneck([1, 3], vb),
                CspVariant::C2fGhost | CspVariant::C3Ghost => {
                    let block = GhostBottleneck::new(hidden, hidden, 3, 1, style, vb)?;
                    Ok((block.in_channels()?, Box::new(block)))
                }
            }
        };
        let (reads, bottlenecks): (Vec<usize>, Vec<_>) =
            (0..n).map(inner).collect::<Result<Vec<_>>>()?.into_iter().unzip();
        let (cv1, around, join) = match kind {
            CspVariant::C3 | CspVariant::C3Ghost => {
                (conv(c1, hidden, "cv1")?, Some(conv(c1, hidden, "cv2")?), conv(2 * hidden, c2, "cv3")?)
            }
            CspVariant::C2 => (conv(c1, 2 * hidden, "cv1")?, None, conv(2 * hidden, c2, "cv2")?),
            CspVariant::C2f | CspVariant::C2fGhost => {
                (conv(c1, 2 * hidden, "cv1")?, None, conv((2 + n) * hidden, c2, "cv2")?)
            }
        };
        // In a pruned network one side may have fewer channels than the other.
        let out_c = cv1.out_channels()?;
        let bottleneck_c = reads.first().map_or(out_c / 2, |reads| *reads);
        let rest = out_c.saturating_sub(bottleneck_c);
        let split = if kind == CspVariant::C2 { [bottleneck_c, rest] } else { [rest, bottleneck_c] };
        Ok(Self { kind, split, cv1, around, join, bottlenecks })
    }
}

impl<B: Backend> Block<B> for CspBlock {
    fn apply(&self, backend: &mut B, xs: &B::Map) -> Result<B::Map> {
        let ys = self.cv1.apply(backend, xs)?;
        let [left, right] = self.split;
        let parts = match (self.kind, &self.around) {
            (_, Some(around)) => vec![sequence(backend, &self.bottlenecks, &ys)?, around.apply(backend, xs)?],
            (CspVariant::C2, None) => {
                let first = backend.narrow_channels(&ys, 0, left)?;
                let last = sequence(backend, &self.bottlenecks, &first)?;
                vec![last, backend.narrow_channels(&ys, left, right)?]
            }
            (_, None) => {
                let mut last = backend.narrow_channels(&ys, left, right)?;
                let mut parts = vec![ys];
                for block in &self.bottlenecks {
                    last = block.apply(backend, &last)?;
                    parts.push(last.clone());
                }
                parts
            }
        };
        let joined = backend.concat(&parts.iter().collect::<Vec<_>>())?;
        self.join.apply(backend, &joined)
    }
}

impl Layer for CspBlock {
    fn children(&self) -> Vec<&dyn Layer> {
        let mut children: Vec<&dyn Layer> = vec![&self.cv1];
        children.extend(self.around.as_ref().map(|conv| conv as &dyn Layer));
        children.push(&self.join);
        children.extend(self.bottlenecks.iter().map(|block| &**block));
        children
    }

    /// The block, its parts, and the list of its bottlenecks.
    fn modules(&self) -> Modules {
        let list = if self.bottlenecks.is_empty() { Modules::leaves(1) } else { Modules::containers(1) };
        Modules::containers(1) + list + self.children().iter().map(|child| child.modules()).sum()
    }
}
