//! The network.

use std::collections::BTreeMap;
use std::fmt;

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use candle_vision::layers::{
    BatchNorm, BatchNormMode, Conv, ConvBn, ConvBnConfig, Layer, Linear, Modules, fold_batch_norm,
};
use candle_vision::spec::ParamSpec;
use candle_vision::train::{Stream, dropout};
use ghostzoo_kernels::flops::{self, Flops};
use ghostzoo_kernels::plan::{self, ConvShape, Graph, KernelLaunch, OpTiming, Session, Value};
use ghostzoo_kernels::{Activation, ConvGeometry, Isa, global_avg_pool2d, joint_backward};

use crate::bottleneck::Bottleneck;
use crate::config::{BATCH_NORM, BLOCKS_WITHOUT_ATTENTION, Config, HEAD_CHANNELS, STEM_CHANNELS};
use crate::ghost_module::CONV_BN_ACT;

/// Share of the head's hidden units that timm's training drops.
pub const DROP_RATE: f64 = 0.2;

/// A GhostNet of any version, width and form.
///
/// [`Layer::forward`] maps images (n, 3, h, w), normalised as [`crate::MEAN`] and [`crate::STD`] say, to logits
/// (n, num_classes), or to [`GhostNet::pre_logits`] (n, 1280) where the configuration has no classes. V2 and V3 need
/// images of at least 33 x 33. [`GhostNet::forward_train`] drops hidden units of the head as training does.
pub struct GhostNet {
    config: Config,
    stem: Stem,
    stages: Vec<Vec<Bottleneck>>,
    final_conv: ConvBn,
    head: Conv,
    classifier: Option<Linear>,
    /// Where batch norms are folded and tensors are constants.
    session: Option<Session>,
}

impl fmt::Debug for GhostNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GhostNet").field("config", &self.config).finish_non_exhaustive()
    }
}

impl GhostNet {
    /// Pixels of the image per position, along each axis, of each map of [`GhostNet::features`].
    pub const FEATURE_REDUCTIONS: [usize; 5] = [2, 4, 8, 16, 32];

    /// Reads a network under timm's tensor names. With [`BatchNormMode::Fuse`] the tensors may be folded already.
    pub fn new(config: &Config, vb: VarBuilder) -> Result<Self> {
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
        let layer = ConvBnConfig { in_c, out_c, geometry, activation, batch_norm: BATCH_NORM, norm: config.norm };
        let last = blocks.pp(stages.len()).pp(0);
        let mut net = Self {
            config: *config,
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
        if config.norm != BatchNormMode::Keep {
            let mut tensors = BTreeMap::new();
            net.tensors(&mut tensors);
            net.session = Session::of_constants(&tensors)?;
        }
        Ok(net)
    }

    /// How the network was built.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Images (n, 3, h, w) to the last map before the pooling, (n, [`Config::final_channels`], h / 32, w / 32),
    /// rounded up.
    pub fn forward_features(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        self.check_size(xs)?;
        if let Some(session) = self.session.as_ref().filter(|_| !train && Session::accepts(xs)) {
            let maps = session.run("features", xs, |graph, xs| {
                let features = self.record_features(graph, xs)?;
                graph.output(features);
                Ok(())
            })?;
            return maps[0].to_dtype(xs.dtype());
        }
        let map = |xs: &Tensor| {
            let mut xs = self.stem.forward_t(xs, train)?;
            for block in self.stages.iter().flatten() {
                xs = block.forward_t(&xs, train)?;
            }
            self.final_conv.forward_t(&xs, train)
        };
        if !train {
            return map(xs);
        }
        Ok(joint_backward(xs, |xs| Ok(vec![map(xs)?]))?.remove(0))
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
        self.check_size(xs)?;
        if let Some(session) = self.session.as_ref().filter(|_| !train && Session::accepts(xs)) {
            let maps = session.run("maps", xs, |graph, xs| self.record_maps(graph, xs))?;
            return maps.iter().map(|map| map.to_dtype(xs.dtype())).collect();
        }
        let (first, mut xs) = self.stem.before_and_after_norm(xs, train)?;
        let mut maps = vec![first];
        for (stage, blocks) in self.stages.iter().zip(self.config.variant.version.stages()) {
            for block in stage {
                xs = block.forward_t(&xs, train)?;
            }
            if blocks.iter().any(|block| block.stride > 1) {
                maps.push(xs.clone());
            }
            if maps.len() == Self::FEATURE_REDUCTIONS.len() {
                break;
            }
        }
        Ok(maps)
    }

    /// Records [`GhostNet::features`].
    fn record_maps(&self, graph: &mut Graph, xs: Value) -> Result<()> {
        let first = self.stem.conv.record(graph, xs)?;
        graph.output(first);
        let (mut xs, mut maps) = (self.stem.record(graph, xs)?, 1);
        for (stage, blocks) in self.stages.iter().zip(self.config.variant.version.stages()) {
            for block in stage {
                xs = block.record(graph, xs)?;
            }
            if blocks.iter().any(|block| block.stride > 1) {
                graph.output(xs);
                maps += 1;
            }
            if maps == Self::FEATURE_REDUCTIONS.len() {
                break;
            }
        }
        Ok(())
    }

    /// Records [`GhostNet::forward_features`].
    fn record_features(&self, graph: &mut Graph, xs: Value) -> Result<Value> {
        let mut xs = self.stem.record(graph, xs)?;
        for block in self.stages.iter().flatten() {
            xs = block.record(graph, xs)?;
        }
        self.final_conv.record(graph, xs)
    }

    /// One image (1, 3, h, w) through the inference plan, step by step. Fails where batch norms are not folded.
    pub fn profile(&self, xs: &Tensor) -> Result<Vec<OpTiming>> {
        let Some(session) = &self.session else { candle_core::bail!("only a folded network has an inference plan") };
        self.check_size(xs)?;
        session.profile("logits", xs, |graph, xs| {
            let logits = self.record(graph, xs)?;
            graph.output(logits);
            Ok(())
        })
    }

    /// What a GPU launches for an image of `[height, width]`. Needs no GPU. Fails where batch norms are not folded.
    pub fn launches(&self, [height, width]: [usize; 2]) -> Result<Vec<KernelLaunch>> {
        Session::launches([3, height, width], |graph, xs| {
            let logits = self.record(graph, xs)?;
            graph.output(logits);
            Ok(())
        })
    }

    /// The dense convolutions of the inference plan for an image of `[height, width]`.
    pub fn conv_shapes(&self, [height, width]: [usize; 2]) -> Result<Vec<ConvShape>> {
        plan::conv_shapes([3, height, width], |graph, xs| {
            let logits = self.record(graph, xs)?;
            graph.output(logits);
            Ok(())
        })
    }

    /// Runs inference on the CPU with an instruction set of this machine, instead of the widest.
    pub fn set_isa(&mut self, isa: Isa) -> Result<()> {
        if self.session.is_some() {
            self.session = Some(Session::new(isa)?);
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
}

impl Layer for GhostNet {
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        match &self.session {
            Some(session) if !train && Session::accepts(xs) => {
                self.check_size(xs)?;
                let ys = session.run("logits", xs, |graph, xs| {
                    let logits = self.record(graph, xs)?;
                    graph.output(logits);
                    Ok(())
                })?;
                ys[0].flatten_from(1)?.to_dtype(xs.dtype())
            }
            _ => self.forward_head(&self.forward_features(xs, train)?),
        }
    }

    fn record(&self, graph: &mut Graph, xs: Value) -> Result<Value> {
        let features = self.record_features(graph, xs)?;
        let mean = graph.global_avg_pool2d(features);
        let hidden = self.head.record(graph, mean)?;
        match &self.classifier {
            Some(classifier) => classifier.record(graph, hidden),
            None => Ok(hidden),
        }
    }

    fn children(&self) -> Vec<&dyn Layer> {
        let mut children: Vec<&dyn Layer> = vec![&self.stem];
        children.extend(self.stages.iter().flatten().map(|block| block as &dyn Layer));
        children.extend([&self.final_conv as &dyn Layer, &self.head]);
        children.extend(self.classifier.as_ref().map(|layer| layer as &dyn Layer));
        children
    }

    fn modules(&self) -> Modules {
        let blocks: Modules = self.stages.iter().flatten().map(Layer::modules).sum();
        // The list of stages, each stage, and the one that holds the final convolution.
        let sequences = Modules::containers(1 + self.stages.len() + 1);
        let pooling = Modules::containers(1) + Modules::leaves(2);
        // Hidden layer, activation, flattening, classifier (an identity without classes).
        let head = Modules::leaves(4);
        Modules::containers(1) + self.stem.modules() + sequences + blocks + CONV_BN_ACT + pooling + head
    }
}

/// `relu(norm(conv(x)))` whose convolution can be read before the batch norm, in every form.
struct Stem {
    conv: Conv,
    norm: BatchNorm,
    fused: Option<Conv>,
}

impl Stem {
    fn new(out_c: usize, config: &Config, vb: &VarBuilder) -> Result<Self> {
        let geometry = ConvGeometry::square(3).stride([2, 2]).same();
        let path = vb.pp("conv_stem");
        let conv = Conv::new(3, out_c, geometry, false, Activation::Identity, path.clone())?;
        let norm = BatchNorm::new(out_c, BATCH_NORM, vb.pp("bn1"))?;
        let fused = if config.norm == BatchNormMode::Keep {
            None
        } else {
            let (weight, bias) = fold_batch_norm(conv.weight(), None, &norm)?;
            Some(Conv::from_tensors(weight, Some(bias), geometry, Activation::Relu, format!("{}.", path.prefix())))
        };
        Ok(Self { conv, norm, fused })
    }

    fn before_and_after_norm(&self, xs: &Tensor, train: bool) -> Result<(Tensor, Tensor)> {
        let before = self.conv.forward_t(xs, train)?;
        let after = self.norm.forward_with(&before, Activation::Relu, train)?;
        Ok((before, after))
    }
}

impl Layer for Stem {
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        match &self.fused {
            Some(fused) => fused.forward_t(xs, train),
            None => Ok(self.before_and_after_norm(xs, train)?.1),
        }
    }

    fn record(&self, graph: &mut Graph, xs: Value) -> Result<Value> {
        match &self.fused {
            Some(fused) => fused.record(graph, xs),
            None => candle_core::bail!("the stem's batch norm is not folded"),
        }
    }

    fn children(&self) -> Vec<&dyn Layer> {
        vec![&self.conv, &self.norm]
    }

    /// Convolution, batch norm and activation, which timm keeps in the root.
    fn modules(&self) -> Modules {
        Modules::leaves(3)
    }
}

/// The size of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Modules of the PyTorch counterpart.
    pub modules: Modules,
    /// Trainable elements of the checkpoint that the configuration reads.
    pub parameters: usize,
    /// Arithmetic of one image.
    pub flops: Flops,
}

/// Sizes a network from its graph alone, on one image of `[height, width]`.
pub fn summary(config: &Config, [height, width]: [usize; 2]) -> Result<Summary> {
    let (model, spec) = ParamSpec::of(|vb| GhostNet::new(config, vb))?;
    let xs = Tensor::zeros((1, 3, height, width), candle_core::DType::F32, &candle_core::Device::Cpu)?;
    let (result, flops) = flops::count(|| model.forward(&xs));
    result?;
    Ok(Summary { modules: model.modules(), parameters: spec.parameters(), flops })
}
