//! The convolutions that GhostNetV3 and RepGhostNet train as a sum of parallel branches, and their merging.
//!
//! Convolution and batch norm are linear, so the sum of `k` × `k` branches, of a 1x1 branch and of an identity branch,
//! each with its batch norm, equals one `k` × `k` convolution with a bias. Source: GhostNetV3,
//! <https://arxiv.org/abs/2404.11202>, and RepGhost, <https://arxiv.org/abs/2211.06088>, after RepVGG,
//! <https://arxiv.org/abs/2101.03697>.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use candle_vision::layers::{
    Backend, BatchNorm, BatchNormMode, Block, Conv, ConvBn, ConvBnConfig, Layer, fold_batch_norm,
};
use ghostzoo_kernels::{Activation, ConvGeometry};

use crate::config::{BATCH_NORM, Config, Reparam, Version};

/// Parallel `k` × `k` branches of a re-parameterisable convolution.
pub(crate) const CONV_BRANCHES: usize = 3;

/// A convolution with batch norm and activation that is a sum of branches in GhostNetV3.
pub(crate) struct Branched {
    pub(crate) in_c: usize,
    pub(crate) out_c: usize,
    pub(crate) geometry: ConvGeometry,
    pub(crate) activation: Activation,
    /// Paths of the convolution (also of the merged one) and of its batch norm.
    pub(crate) conv: &'static str,
    pub(crate) norm: &'static str,
    /// What the paths of the branches start with.
    pub(crate) branches: &'static str,
    /// Whether there is a 1x1 branch.
    pub(crate) scale: bool,
    /// Whether there is an identity branch, which is a batch norm alone.
    pub(crate) skip: bool,
}

impl Branched {
    /// Builds the form that `config` asks for.
    pub(crate) fn build(&self, config: &Config, vb: &VarBuilder) -> Result<Box<dyn Layer>> {
        if config.variant.version == Version::V3 {
            return self.sum().build(config, vb);
        }
        let Self { in_c, out_c, geometry, activation, .. } = *self;
        let layer =
            ConvBnConfig::new(in_c, out_c, geometry).activation(activation).batch_norm(BATCH_NORM).norm(config.norm);
        Ok(Box::new(ConvBn::new(&layer, vb.pp(self.conv), vb.pp(self.norm))?))
    }

    fn sum(&self) -> BranchSum {
        let branch =
            |geometry, path: String| Branch { geometry, conv: format!("{path}.conv"), norm: format!("{path}.bn1") };
        let mut convs = Vec::with_capacity(CONV_BRANCHES + 1);
        if self.scale {
            let geometry = ConvGeometry { kernel: [1, 1], padding: [0, 0], ..self.geometry };
            convs.push(branch(geometry, format!("{}_scale", self.branches)));
        }
        convs.extend((0..CONV_BRANCHES).map(|i| branch(self.geometry, format!("{}_conv.{i}", self.branches))));
        let Self { in_c, out_c, geometry, activation, .. } = *self;
        let skip = self.skip.then(|| format!("{}_skip", self.branches));
        BranchSum { in_c, out_c, geometry, activation, convs, skip, merged: self.conv }
    }
}

/// One convolution of a [`BranchSum`]: `norm(conv(x))`.
pub(crate) struct Branch {
    pub(crate) geometry: ConvGeometry,
    /// Paths of the convolution and of its batch norm.
    pub(crate) conv: String,
    pub(crate) norm: String,
}

/// `act(Σ norm(conv(x)) + norm(x))`, in any form.
pub(crate) struct BranchSum {
    pub(crate) in_c: usize,
    pub(crate) out_c: usize,
    /// Window of the merged convolution, in whose middle those of the branches lie.
    pub(crate) geometry: ConvGeometry,
    pub(crate) activation: Activation,
    /// At least one.
    pub(crate) convs: Vec<Branch>,
    /// Path of the batch norm that is the identity branch.
    pub(crate) skip: Option<String>,
    /// Path of the merged convolution.
    pub(crate) merged: &'static str,
}

impl BranchSum {
    /// Builds the form that `config` asks for.
    pub(crate) fn build(&self, config: &Config, vb: &VarBuilder) -> Result<Box<dyn Layer>> {
        // A builder that makes tensors has all that it is asked for.
        let has_norm = |branch: &Branch| vb.pp(&branch.norm).contains_tensor("running_mean");
        let is_folded = || !self.convs.iter().any(has_norm) && vb.pp(self.merged).contains_tensor("bias");
        if config.branches == Reparam::Deploy
            || config.norm == BatchNormMode::Fused
            || (config.norm == BatchNormMode::Fuse && is_folded())
        {
            let conv = Conv::new(self.in_c, self.out_c, self.geometry, true, self.activation, vb.pp(self.merged))?;
            return Ok(Box::new(conv));
        }
        if config.branches == Reparam::Fuse || config.norm == BatchNormMode::Fuse {
            return Ok(Box::new(self.merge(vb)?));
        }
        Ok(Box::new(Sum {
            convs: self.convs(BatchNormMode::Keep, vb)?,
            skip: self.skip_norm(vb)?,
            activation: self.activation,
        }))
    }

    fn convs(&self, norm: BatchNormMode, vb: &VarBuilder) -> Result<Vec<ConvBn>> {
        let read = |Branch { geometry, conv, norm: path }: &Branch| {
            let (in_c, out_c, activation) = (self.in_c, self.out_c, Activation::Identity);
            let layer =
                ConvBnConfig::new(in_c, out_c, *geometry).activation(activation).batch_norm(BATCH_NORM).norm(norm);
            ConvBn::new(&layer, vb.pp(conv), vb.pp(path))
        };
        self.convs.iter().map(read).collect()
    }

    fn skip_norm(&self, vb: &VarBuilder) -> Result<Option<BatchNorm>> {
        self.skip.as_ref().map(|path| BatchNorm::new(self.in_c, BATCH_NORM, vb.pp(path))).transpose()
    }

    /// Reads the branches and adds them up in `f64`, rounding once.
    fn merge(&self, vb: &VarBuilder) -> Result<Conv> {
        let wide = vb.clone().set_dtype(DType::F64).set_device(Device::Cpu);
        let branches = self.convs(BatchNormMode::Fuse, &wide)?;
        let Some(first) = branches.first().map(ConvBn::conv) else {
            candle_core::bail!("there are no branches to merge")
        };
        // A pruned network has fewer channels, and groups, than it was made with.
        let (out_c, group_c, _, _) = first.weight().dims4()?;
        let geometry = self.geometry.groups(first.geometry().groups);
        let [kernel_h, kernel_w] = geometry.kernel;
        let mut weight = Tensor::zeros((out_c, group_c, kernel_h, kernel_w), DType::F64, &Device::Cpu)?;
        let mut bias = Tensor::zeros(out_c, DType::F64, &Device::Cpu)?;
        for branch in &branches {
            weight = (weight + self.centre(branch.conv().weight())?)?;
            if let Some(shift) = branch.conv().bias() {
                bias = (bias + shift)?;
            }
        }
        if let Some(norm) = self.skip_norm(&wide)? {
            let identity = Tensor::ones((out_c, 1, 1, 1), DType::F64, &Device::Cpu)?;
            let (identity, shift) = fold_batch_norm(&identity, None, &norm)?;
            weight = (weight + self.centre(&identity)?)?;
            bias = (bias + shift)?;
        }
        let narrow = |t: Tensor| t.to_dtype(vb.dtype())?.to_device(vb.device());
        let path = format!("{}.", vb.pp(self.merged).prefix());
        Ok(Conv::from_tensors(narrow(weight)?, Some(narrow(bias)?), geometry, self.activation, path))
    }

    /// Puts a 1x1 kernel into the middle of a full one.
    fn centre(&self, weight: &Tensor) -> Result<Tensor> {
        let [kernel_h, kernel_w] = self.geometry.kernel;
        let [pad_h, pad_w] = [(kernel_h - weight.dim(2)?) / 2, (kernel_w - weight.dim(3)?) / 2];
        weight.pad_with_zeros(2, pad_h, pad_h)?.pad_with_zeros(3, pad_w, pad_w)
    }
}

/// A [`BranchSum`] as trained.
struct Sum {
    convs: Vec<ConvBn>,
    skip: Option<BatchNorm>,
    activation: Activation,
}

impl<B: Backend> Block<B> for Sum {
    fn apply(&self, backend: &mut B, xs: &B::Map) -> Result<B::Map> {
        let mut sum: Option<B::Map> = None;
        for branch in self.children() {
            let ys = backend.layer(branch, xs)?;
            sum = Some(match sum {
                Some(sum) => backend.add(&sum, &ys)?,
                None => ys,
            });
        }
        backend.activation(&sum.expect("there are convolution branches"), self.activation)
    }
}

impl Layer for Sum {
    fn children(&self) -> Vec<&dyn Layer> {
        let convs = self.convs.iter().map(|conv| conv as &dyn Layer);
        convs.chain(self.skip.as_ref().map(|norm| norm as &dyn Layer)).collect()
    }
}
