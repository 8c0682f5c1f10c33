//! The network.

use std::collections::BTreeMap;
use std::fmt;

use candle_core::{ModuleT, Result, Tensor};
use candle_nn::VarBuilder;
use candle_vision::layers::{Backend, BatchNormMode, Block, Conv, ConvBn, ConvBnConfig, Eager, Layer, Linear, Modules};
use candle_vision::prune::{ChannelGraph, Dependencies};
use candle_vision::train::{Stream, dropout};
use ghostzoo_kernels::plan::{
    self, ConvShape, Graph, KernelLaunch, Observer, OpTiming, Quantization, Session, Traced, Value,
};
use ghostzoo_kernels::{Activation, ConvGeometry, Isa, global_avg_pool2d, joint_backward};

use crate::bottleneck::Bottleneck;
use crate::config::{BATCH_NORM, BLOCKS_WITHOUT_ATTENTION, Config, HEAD_CHANNELS, STEM_CHANNELS};
use crate::ghost_module::CONV_BN_ACT;
use crate::stem::Stem;

/// Share of the head's hidden units that timm's training drops.
pub const DROP_RATE: f64 = 0.2;

/// What a [`GhostNet`] computes from images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A map per scale: [`GhostNet::features`].
    Maps,
    /// The last map before the pooling: [`GhostNet::forward_features`].
    Features,
    /// The classifier's output: [`GhostNet::forward`].
    Logits,
}

/// A GhostNet of any version, width and form.
///
/// Images (n, 3, h, w) are normalised as [`crate::MEAN`] and [`crate::STD`] say. V2 and V3 need images of at least 33 x 33.
/// [`GhostNet::forward_train`] drops hidden units of the head as training does.
pub struct GhostNet {
    config: Config,
    stem: Stem,
    stages: Vec<Vec<Bottleneck>>,
    final_conv: ConvBn,
    head: Conv,
    classifier: Option<Linear>,
    /// Where batch norms are folded and tensors are constants.
    session: Option<Session<Endpoint>>,
}

impl fmt::Debug for GhostNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GhostNet").field("config", &self.config).finish_non_exhaustive()
    }
}

impl GhostNet {
    /// Pixels of the image per position, along each axis, of each map of [`GhostNet::features`].
    pub const FEATURE_REDUCTIONS: [usize; 5] = [2, 4, 8, 16, 32];

    /// Reads a network under timm's tensor names. With [`BatchNormMode::Fuse`] the tensors may be folded already. Fails where those
    /// of a pruned network do not agree with one another.
    pub fn new(config: &Config, vb: VarBuilder) -> Result<Self> {
        let vb = config.channels.builder(vb);
        let mut in_c = config.variant.scale(STEM_CHANNELS);
        let stem = Stem::new(in_c, config, &vb)?;
        let blocks = vb.pp("blocks");
        let mut block_index = 0;
        let version = config.variant.version;
        let mut stages = Vec::with_capacity(version.stages().len());
        for (stage_index, stage) in version.stages().iter().enumerate() {
            let vb = blocks.pp(stage_index);
            let mut layers = Vec::with_capacity(stage.len());
            for (index, block) in stage.iter().enumerate() {
                let has_attention = version.has_attention() && block_index >= BLOCKS_WITHOUT_ATTENTION;
                layers.push(Bottleneck::new(in_c, block, has_attention, config, vb.pp(index))?);
                in_c = config.variant.scale(block.out_c);
                block_index += 1;
            }
            stages.push(layers);
        }
        let out_c = config.final_channels();
        let (geometry, activation) = (ConvGeometry::square(1), Activation::Relu);
        let layer =
            ConvBnConfig::new(in_c, out_c, geometry).activation(activation).batch_norm(BATCH_NORM).norm(config.norm);
        let last = blocks.pp(stages.len()).pp(0);
        let mut net = Self {
            config: config.clone(),
            session: None,
            stem,
            stages,
            final_conv: ConvBn::new(&layer, last.pp("conv"), last.pp("bn1"))?,
            head: Conv::new(out_c, HEAD_CHANNELS, geometry, true, activation, vb.pp("conv_head"))?,
            classifier: match config.num_classes {
                0 => None,
                classes => Some(Linear::new(HEAD_CHANNELS, classes, vb.pp("classifier"))?),
            },
        };
        if !config.channels.is_empty() {
            net.dependencies()?;
        }
        if config.norm != BatchNormMode::Keep {
            net.session = Session::of_constants(&net.tensors())?;
        }
        Ok(net)
    }

    /// Which channels can be removed, and what goes with them.
    ///
    /// # Errors
    /// Where a layer does not fit the channels that it reads.
    pub fn dependencies(&self) -> Result<Dependencies> {
        ChannelGraph::trace(3, |graph, image| self.outputs(graph, Endpoint::Logits, image))
    }

    /// How the network was built.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Images (n, 3, h, w) to logits (n, num_classes), or to [`GhostNet::pre_logits`] (n, 1280) without classes.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.run(Endpoint::Logits, xs, false)?.remove(0).flatten_from(1)
    }

    /// [`GhostNet::forward`]; `train` selects batch statistics in the batch norms.
    pub fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        if train { self.forward_head(&self.forward_features(xs, true)?) } else { self.forward(xs) }
    }

    /// Images (n, 3, h, w) to the last map before the pooling, (n, [`Config::final_channels`], h / 32, w / 32),
    /// rounded up.
    pub fn forward_features(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        let features = |xs: &Tensor| self.run(Endpoint::Features, xs, train);
        Ok(if train { joint_backward(xs, features)? } else { features(xs)? }.remove(0))
    }

    /// [`GhostNet::forward_features`]' map to the pooled hidden layer (n, 1280), without dropout.
    pub fn pre_logits(&self, features: &Tensor) -> Result<Tensor> {
        self.head.forward(&global_avg_pool2d(features)?)?.flatten_from(1)
    }

    /// [`GhostNet::forward_features`]' map to logits (n, num_classes), or (n, 1280) without classes.
    pub fn forward_head(&self, features: &Tensor) -> Result<Tensor> {
        self.classify(self.pre_logits(features)?)
    }

    /// Images to logits in training: batch statistics, and the share `drop_rate` of the hidden units dropped, as `rng`
    /// draws them. timm drops [`DROP_RATE`] of them unless told otherwise.
    pub fn forward_train(&self, xs: &Tensor, drop_rate: f64, rng: &mut Stream) -> Result<Tensor> {
        let hidden = self.pre_logits(&self.forward_features(xs, true)?)?;
        self.classify(dropout(&hidden, drop_rate, rng)?)
    }

    fn classify(&self, hidden: Tensor) -> Result<Tensor> {
        match &self.classifier {
            Some(classifier) => classifier.forward(&hidden),
            None => Ok(hidden),
        }
    }

    /// Images (n, 3, h, w) to one map per scale, (n, [`Config::feature_channels`], h / reduction, w / reduction),
    /// rounded up, for use as a backbone. `train` selects batch statistics.
    ///
    /// These are timm's `features_only` maps: the stem's convolution before its batch norm, then the output of each
    /// stage that halves the resolution. So that the first exists in every form, the stem is the one convolution whose
    /// batch norm stays apart in a folded checkpoint; it is folded when that is loaded.
    pub fn features(&self, xs: &Tensor, train: bool) -> Result<Vec<Tensor>> {
        self.run(Endpoint::Maps, xs, train)
    }

    /// An endpoint of images, by the plan where that may stand in for the layers.
    fn run(&self, endpoint: Endpoint, xs: &Tensor, train: bool) -> Result<Vec<Tensor>> {
        self.check_size(xs)?;
        match &self.session {
            Some(session) if !train && session.accepts(xs) => {
                session.run(self, endpoint, xs)?.iter().map(|ys| ys.to_dtype(xs.dtype())).collect()
            }
            _ => self.outputs(&mut Eager { train }, endpoint, xs),
        }
    }

    /// What the layers compute.
    fn outputs<B: Backend>(&self, backend: &mut B, endpoint: Endpoint, xs: &B::Map) -> Result<Vec<B::Map>> {
        let mut maps = Vec::new();
        let mut xs = if endpoint == Endpoint::Maps {
            let (first, xs) = self.stem.before_and_after_norm(backend, xs)?;
            maps.push(first);
            xs
        } else {
            self.stem.apply(backend, xs)?
        };
        for (stage, blocks) in self.stages.iter().zip(self.config.variant.version.stages()) {
            for block in stage {
                xs = block.apply(backend, &xs)?;
            }
            if endpoint == Endpoint::Maps && blocks.iter().any(|block| block.stride > 1) {
                maps.push(xs.clone());
                if maps.len() == Self::FEATURE_REDUCTIONS.len() {
                    return Ok(maps);
                }
            }
        }
        xs = self.final_conv.apply(backend, &xs)?;
        if endpoint == Endpoint::Logits {
            xs = backend.global_avg_pool2d(&xs)?;
            xs = self.head.apply(backend, &xs)?;
            if let Some(classifier) = &self.classifier {
                xs = classifier.apply(backend, &xs)?;
            }
        }
        Ok(vec![xs])
    }

    /// One image (1, 3, h, w) through the inference plan, step by step. Fails where batch norms are not folded.
    pub fn profile(&self, xs: &Tensor) -> Result<Vec<OpTiming>> {
        let Some(session) = &self.session else { candle_core::bail!("only a folded network has an inference plan") };
        self.check_size(xs)?;
        session.profile(self, Endpoint::Logits, xs)
    }

    /// What a GPU launches for an image of `[height, width]`. Needs no GPU. Fails where batch norms are not folded.
    pub fn launches(&self, [height, width]: [usize; 2]) -> Result<Vec<KernelLaunch>> {
        plan::launches(self, Endpoint::Logits, [3, height, width])
    }

    /// The dense convolutions of the inference plan for an image of `[height, width]`.
    pub fn conv_shapes(&self, [height, width]: [usize; 2]) -> Result<Vec<ConvShape>> {
        plan::conv_shapes(self, Endpoint::Logits, [3, height, width])
    }

    /// Runs the named convolutions in 8 bits where the CPU runs inference; their weights are multiples of their steps. Fails where
    /// batch norms are not folded, and as [`plan::check_quantization`].
    pub fn quantize(&mut self, quantization: Quantization) -> Result<()> {
        /// Of an image that every version takes.
        const SIDE: usize = 64;
        plan::check_quantization(self, Endpoint::Logits, [3, SIDE, SIDE], &quantization)?;
        let Some(session) = &mut self.session else { candle_core::bail!("only a folded network computes in 8 bits") };
        session.set_quantization(quantization);
        Ok(())
    }

    /// What a calibration for images of `[height, width]` sees. Fails where batch norms are not folded.
    pub fn observer(&self, [height, width]: [usize; 2]) -> Result<Observer> {
        Observer::new(self, Endpoint::Logits, [3, height, width])
    }

    /// Runs inference on the CPU with an instruction set of this machine, instead of the widest.
    pub fn set_isa(&mut self, isa: Isa) -> Result<()> {
        if let Some(session) = &mut self.session {
            session.set_isa(isa)?;
        }
        Ok(())
    }

    fn check_size(&self, xs: &Tensor) -> Result<()> {
        let (_, _, h, w) = xs.dims4()?;
        let (name, least) = (self.config.variant.name, self.config.variant.least_side());
        if h.min(w) < least {
            candle_core::bail!("{name} halves its last {h} x {w} / 32 map: give images of at least {least} x {least}")
        }
        Ok(())
    }

    fn children(&self) -> Vec<&dyn Layer> {
        let mut children: Vec<&dyn Layer> = vec![&self.stem];
        children.extend(self.stages.iter().flatten().map(|block| block as &dyn Layer));
        children.extend([&self.final_conv as &dyn Layer, &self.head]);
        children.extend(self.classifier.as_ref().map(|layer| layer as &dyn Layer));
        children
    }

    /// The tensors of the form the network is in, under their checkpoint names.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        let mut tensors = BTreeMap::new();
        self.children().iter().for_each(|layer| layer.tensors(&mut tensors));
        tensors
    }

    /// Modules of the PyTorch counterpart.
    pub fn modules(&self) -> Modules {
        let blocks: Modules = self.stages.iter().flatten().map(Layer::modules).sum();
        // The list of stages, each stage, and the one that holds the final convolution.
        let sequences = Modules::containers(1 + self.stages.len() + 1);
        let pooling = Modules::containers(1) + Modules::leaves(2);
        // Hidden layer, activation, flattening, classifier (an identity without classes).
        let head = Modules::leaves(4);
        Modules::containers(1) + self.stem.modules() + sequences + blocks + CONV_BN_ACT + pooling + head
    }
}

impl Traced for GhostNet {
    type Endpoint = Endpoint;

    fn trace(&self, endpoint: Endpoint, graph: &mut Graph, image: Value) -> Result<()> {
        self.outputs(graph, endpoint, &image)?.into_iter().for_each(|output| graph.output(output));
        Ok(())
    }
}

/// [`GhostNet::forward_t`].
impl ModuleT for GhostNet {
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        self.forward_t(xs, train)
    }
}
