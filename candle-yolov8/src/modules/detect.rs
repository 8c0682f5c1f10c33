//! The detection head.

use candle_core::{D, DType, Result, Tensor};
use candle_nn::VarBuilder;
use candle_vision::layers::{self, Backend, Block, Dfl, Layer, Modules, sequence};
use ghostzoo_kernels::{Activation, ConvGeometry};

use super::{Conv, ConvConfig, REG_MAX, Style};

/// Per level, box distributions and class logits from two branches of convolutions.
pub(crate) struct Detect {
    boxes: Vec<Branch>,
    classes: Vec<Branch>,
    dfl: Dfl,
}

/// Two 3x3 convolutions and a 1x1 with bias.
struct Branch {
    convs: [Conv; 2],
    last: layers::Conv,
}

impl Branch {
    fn new(c1: usize, hidden: usize, c2: usize, style: Style, vb: VarBuilder) -> Result<Self> {
        let conv = |c1, i: usize| Conv::new(ConvConfig::new(c1, hidden, 3, style.activation), style.norm, vb.pp(i));
        let last = layers::Conv::new(hidden, c2, ConvGeometry::square(1), true, Activation::Identity, vb.pp(2))?;
        Ok(Self { convs: [conv(c1, 0)?, conv(hidden, 1)?], last })
    }
}

impl<B: Backend> Block<B> for Branch {
    fn apply(&self, backend: &mut B, xs: &B::Map) -> Result<B::Map> {
        let hidden = sequence(backend, &self.convs, xs)?;
        self.last.apply(backend, &hidden)
    }
}

impl Layer for Branch {
    fn children(&self) -> Vec<&dyn Layer> {
        vec![&self.convs[0], &self.convs[1], &self.last]
    }
}

impl Detect {
    pub(crate) fn new(
        nc: usize,
        channels: &[usize],
        class_channels: usize,
        style: Style,
        vb: VarBuilder,
    ) -> Result<Self> {
        let box_channels = (channels[0] / 4).max(4 * REG_MAX).max(16);
        let branches = |name: &str, hidden: usize, out: usize| -> Result<Vec<Branch>> {
            let level = |(i, c1): (usize, &usize)| Branch::new(*c1, hidden, out, style, vb.pp(name).pp(i));
            channels.iter().enumerate().map(level).collect()
        };
        Ok(Self {
            boxes: branches("cv2", box_channels, 4 * REG_MAX)?,
            classes: branches("cv3", class_channels, nc)?,
            dfl: Dfl::new(REG_MAX, vb.pp("dfl"))?,
        })
    }

    /// Per level (n, 4 · 16 + nc, h, w): box distributions, then class logits.
    pub(crate) fn raw<B: Backend>(&self, backend: &mut B, levels: &[B::Map]) -> Result<Vec<B::Map>> {
        let level = |((xs, boxes), classes): ((&B::Map, &Branch), &Branch)| {
            let (boxes, classes) = (boxes.apply(backend, xs)?, classes.apply(backend, xs)?);
            backend.concat(&[&boxes, &classes])
        };
        levels.iter().zip(&self.boxes).zip(&self.classes).map(level).collect()
    }

    /// Raw levels to (n, 4 + nc, anchors) in `f32`: boxes as centre, width and height in pixels of the input, then probabilities.
    pub(crate) fn decode(&self, raw: &[Tensor], strides: &[f64]) -> Result<Tensor> {
        let mut levels = Vec::new();
        for (xs, stride) in raw.iter().zip(strides) {
            let (batch, channels, h, w) = xs.dims4()?;
            // Pixels need more digits than f16 and bf16 have.
            let xs = xs.reshape((batch, channels, h * w))?.to_dtype(DType::F32)?;
            let distances = self.dfl.forward(&xs.narrow(1, 0, 4 * REG_MAX)?)?;
            let scores = candle_nn::ops::sigmoid(&xs.narrow(1, 4 * REG_MAX, channels - 4 * REG_MAX)?)?;
            let centres = |len: usize| Tensor::arange(0f32, len as f32, xs.device())? + 0.5;
            let x = centres(w)?.reshape((1, w))?.broadcast_as((h, w))?;
            let y = centres(h)?.reshape((h, 1))?.broadcast_as((h, w))?;
            let anchors = Tensor::stack(&[x.flatten_all()?, y.flatten_all()?], 0)?.unsqueeze(0)?;
            let (near, far) = (distances.narrow(1, 0, 2)?, distances.narrow(1, 2, 2)?);
            let (low, high) = (anchors.broadcast_sub(&near)?, anchors.broadcast_add(&far)?);
            let centre = ((&low + &high)? / 2.)?;
            let boxes = (Tensor::cat(&[centre, (high - low)?], 1)? * *stride)?;
            levels.push(Tensor::cat(&[boxes, scores], 1)?);
        }
        Tensor::cat(&levels, D::Minus1)
    }

    pub(crate) fn children(&self) -> Vec<&dyn Layer> {
        let branches = self.boxes.iter().chain(&self.classes).map(|branch| branch as &dyn Layer);
        branches.chain([&self.dfl as &dyn Layer]).collect()
    }

    /// The head, its two lists and their branches, and the DFL.
    pub(crate) fn modules(&self) -> Modules {
        Modules::containers(3) + self.children().iter().map(|child| child.modules()).sum()
    }
}
