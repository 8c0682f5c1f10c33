//! The network that a [`ModelConfig`] describes.

use std::collections::BTreeMap;
use std::fmt;

use candle_core::{Context, Device, Module, Result, Tensor};
use candle_nn::VarBuilder;
use candle_vision::layers::{Backend, BatchNormMode, Block, Eager, Layer, Modules, sequence};
use candle_vision::prune::{ChannelGraph, Dependencies};
use ghostzoo_kernels::plan::{
    self, ConvShape, Graph, KernelLaunch, Observer, OpTiming, Quantization, Session, Traced, Value,
};
use ghostzoo_kernels::{Isa, has_kernels, joint_backward};

use crate::modules::{
    Bottleneck, BottleneckConfig, Conv, ConvConfig, CspBlock, CspConfig, Detect, GhostBottleneck, GhostConv, Sppf,
    Style,
};
use crate::yaml::{LayerKind, LayerSpec, ModelConfig};

/// What a [`Yolo`] computes from images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// The raw output of each level: [`Yolo::forward_t`].
    Levels,
    /// Boxes and probabilities: [`Yolo::forward`].
    Boxes,
}

impl Endpoint {
    /// What detection takes on a device: boxes from a GPU, which decodes all of them at once; levels from the CPU, where the
    /// few boxes above a threshold are decoded sooner than all ([`crate::candidates`]).
    #[must_use]
    pub fn of_detection(device: &Device) -> Self {
        if has_kernels(device) { Self::Boxes } else { Self::Levels }
    }
}

/// A YOLO detector: images (n, 3, h, w) in [0, 1], sides multiples of the largest stride, to boxes and class scores.
///
/// Source: Jocher et al., YOLOv8; ghost modules from Han et al., <https://arxiv.org/abs/1911.11907>.
pub struct Yolo {
    nodes: Vec<Node>,
    detect: Detect,
    levels: Vec<usize>,
    strides: Vec<f64>,
    /// By layer, the last layer that reads it.
    last_reader: Vec<usize>,
    nc: usize,
    /// Where batch norms are folded and tensors are constants.
    session: Option<Session<Endpoint>>,
}

struct Node {
    from: Vec<Option<usize>>,
    op: Op,
}

enum Op {
    Block(Box<dyn Layer>),
    /// The same module several times in a row.
    Chain(Vec<Box<dyn Layer>>),
    Upsample(f64),
    Concat,
}

impl fmt::Debug for Yolo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Yolo").field("nc", &self.nc).field("strides", &self.strides).finish_non_exhaustive()
    }
}

impl Yolo {
    /// Builds the network from tensors named `model.{layer}.…` under `vb`. Fails where those of a pruned network do not agree
    /// with one another.
    pub fn new(def: &ModelConfig, vb: VarBuilder) -> Result<Self> {
        let vb = def.channels.builder(vb);
        let style = Style { activation: def.activation, norm: def.norm };
        let vb = vb.pp("model");
        let Some((head, rows)) = def.rows.split_last() else { candle_core::bail!("a model without layers") };
        let LayerKind::Detect { ch, class_channels } = &head.module else {
            candle_core::bail!("a model whose last layer is not Detect")
        };
        let mut nodes = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            let op = build(row, style, vb.pp(index)).with_context(|| format!("in layer {index}"))?;
            nodes.push(Node { from: row.from.clone(), op });
        }
        let levels: Vec<usize> = head.from.iter().copied().collect::<Option<_>>().context("Detect reads layers")?;
        let strides = levels.iter().map(|level| def.rows[*level].stride).collect();
        let detect = Detect::new(def.nc, ch, *class_channels, style, vb.pp(rows.len()))?;
        let mut last_reader = vec![0; nodes.len()];
        for (reader, row) in def.rows.iter().enumerate() {
            row.from.iter().flatten().for_each(|from| last_reader[*from] = reader);
        }
        let mut net = Self { nodes, detect, levels, strides, last_reader, nc: def.nc, session: None };
        if !def.channels.is_empty() {
            net.dependencies()?;
        }
        if def.norm != BatchNormMode::Keep {
            net.session = Session::of_constants(&net.tensors())?;
        }
        Ok(net)
    }

    /// Which channels can be removed, and what goes with them.
    ///
    /// # Errors
    /// Where a layer does not fit the channels that it reads.
    pub fn dependencies(&self) -> Result<Dependencies> {
        ChannelGraph::trace(3, |graph, image| self.outputs(graph, image))
    }

    /// Number of classes.
    pub fn num_classes(&self) -> usize {
        self.nc
    }

    /// Pixels per cell of each level.
    pub fn strides(&self) -> &[f64] {
        &self.strides
    }

    /// What both sides of an image must be a multiple of: the largest stride, at least 32.
    pub fn max_stride(&self) -> usize {
        self.strides.iter().fold(32., |most: f64, stride| most.max(*stride)) as usize
    }

    /// Raw output of each level (n, 4 · 16 + nc, h / stride, w / stride): box distributions, then class logits.
    pub fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Vec<Tensor>> {
        if !train {
            return self.run(Endpoint::Levels, xs);
        }
        self.check_size(xs)?;
        joint_backward(xs, |xs| self.outputs(&mut Eager { train }, xs))
    }

    /// (n, 4 + nc, anchors) in `f32`: boxes as centre x, centre y, width, height in pixels of the input, then probabilities.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        Ok(self.run(Endpoint::Boxes, xs)?.remove(0))
    }

    /// An endpoint of images for inference, by the plan where that may stand in for the layers: [`Yolo::forward_t`]'s levels,
    /// or [`Yolo::forward`]'s boxes alone.
    pub fn run(&self, endpoint: Endpoint, xs: &Tensor) -> Result<Vec<Tensor>> {
        self.check_size(xs)?;
        if let Some(session) = self.session.as_ref().filter(|session| session.accepts(xs)) {
            let outputs = session.run(self, endpoint, xs)?;
            return match endpoint {
                Endpoint::Levels => outputs.iter().map(|level| level.to_dtype(xs.dtype())).collect(),
                Endpoint::Boxes => Ok(outputs),
            };
        }
        let levels = self.outputs(&mut Eager { train: false }, xs)?;
        match endpoint {
            Endpoint::Levels => Ok(levels),
            Endpoint::Boxes => Ok(vec![self.decode(&levels)?]),
        }
    }

    /// The raw levels, layer by layer.
    fn outputs<B: Backend>(&self, backend: &mut B, xs: &B::Map) -> Result<Vec<B::Map>> {
        let mut outputs: Vec<Option<B::Map>> = Vec::with_capacity(self.nodes.len());
        for (index, node) in self.nodes.iter().enumerate() {
            let read = |from: &Option<usize>| match from {
                None => Ok(xs.clone()),
                Some(from) => outputs[*from].clone().context("an output that was freed"),
            };
            let inputs: Vec<B::Map> = node.from.iter().map(read).collect::<Result<_>>()?;
            let output = node.op.apply(backend, &inputs).with_context(|| format!("in layer {index}"))?;
            outputs.push(Some(output));
            for from in node.from.iter().flatten() {
                if self.last_reader[*from] == index {
                    outputs[*from] = None;
                }
            }
        }
        let level = |level: &usize| outputs[*level].clone().context("an output that was freed");
        self.detect.raw(backend, &self.levels.iter().map(level).collect::<Result<Vec<_>>>()?)
    }

    /// What a GPU launches for an image of `[height, width]`. Needs no GPU. Fails where batch norms are not folded.
    pub fn launches(&self, [height, width]: [usize; 2]) -> Result<Vec<KernelLaunch>> {
        plan::launches(self, Endpoint::Boxes, [3, height, width])
    }

    /// Images (n, 3, h, w) through the inference plan of [`Endpoint::of_detection`], step by step: on the CPU the first, on a
    /// GPU the whole batch. Fails where batch norms are not folded.
    pub fn profile(&self, xs: &Tensor) -> Result<Vec<OpTiming>> {
        let Some(session) = &self.session else { candle_core::bail!("only a folded network has an inference plan") };
        self.check_size(xs)?;
        session.profile(self, Endpoint::of_detection(xs.device()), xs)
    }

    /// The dense convolutions of the inference plan for an image of `[height, width]`.
    pub fn conv_shapes(&self, [height, width]: [usize; 2]) -> Result<Vec<ConvShape>> {
        plan::conv_shapes(self, Endpoint::Levels, [3, height, width])
    }

    /// Runs the named convolutions in 8 bits where the CPU runs inference; their weights are multiples of their steps. Fails where
    /// batch norms are not folded, and as [`plan::check_quantization`].
    pub fn quantize(&mut self, quantization: Quantization) -> Result<()> {
        plan::check_quantization(self, Endpoint::Levels, [3, self.max_stride(), self.max_stride()], &quantization)?;
        let Some(session) = &mut self.session else { candle_core::bail!("only a folded network computes in 8 bits") };
        session.set_quantization(quantization);
        Ok(())
    }

    /// What a calibration for images of `[height, width]` sees. Fails where batch norms are not folded.
    pub fn observer(&self, [height, width]: [usize; 2]) -> Result<Observer> {
        Observer::new(self, Endpoint::Levels, [3, height, width])
    }

    /// Runs inference on the CPU with an instruction set of this machine, instead of the widest.
    pub fn set_isa(&mut self, isa: Isa) -> Result<()> {
        if let Some(session) = &mut self.session {
            session.set_isa(isa)?;
        }
        Ok(())
    }

    fn check_size(&self, xs: &Tensor) -> Result<()> {
        let (_, channels, h, w) = xs.dims4()?;
        let stride = self.strides.iter().copied().fold(1., f64::max);
        if channels != 3 || h * w == 0 || [h, w].iter().any(|side| *side as f64 % stride != 0.) {
            candle_core::bail!("images must be (n, 3, h, w) with sides in multiples of {stride}, got {:?}", xs.dims())
        }
        Ok(())
    }

    /// The second half of [`Yolo::forward`], from [`Yolo::forward_t`]'s levels.
    pub fn decode(&self, raw: &[Tensor]) -> Result<Tensor> {
        self.detect.decode(raw, &self.strides)
    }

    /// Modules of the unfused PyTorch model, the shared activation once.
    pub fn modules(&self) -> Modules {
        let node = |node: &Node| match &node.op {
            Op::Block(block) => block.modules(),
            Op::Chain(blocks) => Modules::containers(1) + blocks.iter().map(|block| block.modules()).sum(),
            Op::Upsample(_) | Op::Concat => Modules::leaves(1),
        };
        // The model and its list of layers.
        let outer = Modules::containers(2);
        let activation = Modules::leaves(1);
        outer + activation + self.nodes.iter().map(node).sum() + self.detect.modules()
    }

    /// The tensors of the form the network is in, under their checkpoint names.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        let mut tensors = BTreeMap::new();
        let nodes = self.nodes.iter().flat_map(|node| node.op.layers());
        nodes.chain(self.detect.children()).for_each(|layer| layer.tensors(&mut tensors));
        tensors
    }
}

impl Op {
    fn layers(&self) -> Vec<&dyn Layer> {
        match self {
            Self::Block(block) => vec![&**block],
            Self::Chain(blocks) => blocks.iter().map(|block| &**block).collect(),
            Self::Upsample(_) | Self::Concat => Vec::new(),
        }
    }

    fn apply<B: Backend>(&self, backend: &mut B, inputs: &[B::Map]) -> Result<B::Map> {
        let single = || inputs.first().context("a layer without input");
        match self {
            Self::Block(block) => block.apply(backend, single()?),
            Self::Chain(blocks) => sequence(backend, blocks, single()?),
            Self::Upsample(scale) => {
                let xs = single()?;
                let out_hw = backend.size(xs)?.map(|side| (side as f64 * scale) as usize);
                backend.upsample_nearest2d(xs, out_hw)
            }
            Self::Concat => backend.concat(&inputs.iter().collect::<Vec<_>>()),
        }
    }
}

impl Traced for Yolo {
    type Endpoint = Endpoint;

    fn trace(&self, endpoint: Endpoint, graph: &mut Graph, image: Value) -> Result<()> {
        let levels = self.outputs(graph, &image)?;
        match endpoint {
            Endpoint::Levels => {
                levels.into_iter().for_each(|level| graph.output(level));
                Ok(())
            }
            Endpoint::Boxes => {
                let levels: Vec<(Value, f64)> = levels.into_iter().zip(self.strides.iter().copied()).collect();
                graph.output_boxes(&levels)
            }
        }
    }
}

/// [`Yolo::forward`].
impl Module for Yolo {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.forward(xs)
    }
}

fn build(row: &LayerSpec, style: Style, vb: VarBuilder) -> Result<Op> {
    if row.repeats > 1 {
        let blocks = (0..row.repeats).map(|i| block(&row.module, style, vb.pp(i)));
        return Ok(Op::Chain(blocks.collect::<Result<_>>()?));
    }
    Ok(match &row.module {
        LayerKind::Upsample { scale } => Op::Upsample(*scale),
        LayerKind::Concat => Op::Concat,
        module => Op::Block(block(module, style, vb)?),
    })
}

fn block(module: &LayerKind, style: Style, vb: VarBuilder) -> Result<Box<dyn Layer>> {
    Ok(match *module {
        LayerKind::Conv { c1, c2, k, s, p, g, d, act } => {
            let config =
                ConvConfig { c1, c2, kernel: k, stride: s, padding: p, groups: g, dilation: d, activation: act };
            Box::new(Conv::new(config, style.norm, vb)?)
        }
        LayerKind::DwConv { c1, c2, k, s, d, act } => {
            let groups = greatest_common_divisor(c1, c2);
            let config =
                ConvConfig { c1, c2, kernel: k, stride: s, padding: None, groups, dilation: d, activation: act };
            Box::new(Conv::new(config, style.norm, vb)?)
        }
        LayerKind::GhostConv { c1, c2, k, s, g, act } => {
            let config =
                ConvConfig { c1, c2, kernel: k, stride: s, padding: None, groups: g, dilation: 1, activation: act };
            Box::new(GhostConv::new(config, style.norm, vb)?)
        }
        LayerKind::Bottleneck { c1, c2, shortcut, g, e } => {
            let config = BottleneckConfig { c1, c2, shortcut, groups: g, kernels: [3, 3], expansion: e };
            Box::new(Bottleneck::new(config, style, vb)?)
        }
        LayerKind::GhostBottleneck { c1, c2, k, s } => Box::new(GhostBottleneck::new(c1, c2, k, s, style, vb)?),
        LayerKind::CspVariant { kind, c1, c2, n, shortcut, g, e } => {
            let config = CspConfig { kind, c1, c2, n, shortcut, groups: g, expansion: e };
            Box::new(CspBlock::new(config, style, vb)?)
        }
        LayerKind::Sppf { c1, c2, k } => Box::new(Sppf::new(c1, c2, k, style, vb)?),
        LayerKind::Upsample { .. } | LayerKind::Concat | LayerKind::Detect { .. } => {
            candle_core::bail!("{module:?} cannot be repeated")
        }
    })
}

pub(crate) fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model_config;
    use crate::seeded;
    use candle_core::{DType, Device};

    fn model(name: &str, dtype: DType) -> Result<Yolo> {
        let def = model_config(name, Some(2)).expect("shipped");
        Yolo::new(&def.for_inference(), seeded::var_builder(dtype, &Device::Cpu))
    }

    #[test]
    fn images_that_do_not_divide_into_cells_are_refused() -> Result<()> {
        for (name, stride) in [("yolov8n-ghost", 32), ("yolov8n-p6", 64)] {
            let model = model(name, DType::F32)?;
            assert_eq!(model.max_stride(), stride);
            let run = |dims: [usize; 4]| model.forward(&Tensor::zeros(&dims, DType::F32, &Device::Cpu)?);
            assert_eq!(run([1, 3, stride, 2 * stride])?.dims()[..2], [1, 6]);
            for dims in [[1, 3, stride, stride + 8], [1, 1, stride, stride], [1, 3, 0, stride]] {
                let error = run(dims).expect_err("an error").to_string();
                assert!(error.contains(&format!("multiples of {stride}, got [1, ")), "{error}");
            }
        }
        Ok(())
    }

    #[test]
    fn half_precision_decodes_pixels_in_full() -> Result<()> {
        let xs = seeded::uniform("input", &(1, 3, 32, 1024).into(), &Device::Cpu)?;
        let expected = model("yolov8n-ghostnet", DType::F32)?.forward(&xs)?;
        let found = model("yolov8n-ghostnet", DType::F16)?.forward(&xs.to_dtype(DType::F16)?)?;
        assert_eq!(found.dtype(), DType::F32);
        let worst = (expected - found)?.abs()?.max_all()?.to_scalar::<f32>()?;
        // Numbers of f16 lie 0.5 apart at 1,000 pixels.
        assert!(worst > 0. && worst < 0.5, "{worst}");
        Ok(())
    }
}
