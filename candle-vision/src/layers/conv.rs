//! A convolution, and a convolution with its batch norm.

use std::collections::BTreeMap;

use candle_core::{DType, Result, Tensor};
use candle_nn::{Init, VarBuilder};

use super::{Backend, BatchNorm, BatchNormConfig, BatchNormMode, Block, Layer, Modules, fold_batch_norm, path};
use ghostzoo_kernels::{Activation, ConvGeometry};

/// `act(conv(x) + bias)`: (n, in_c, h, w) to (n, out_c, oh, ow).
#[derive(Debug)]
pub struct Conv {
    weight: Tensor,
    bias: Option<Tensor>,
    geometry: ConvGeometry,
    activation: Activation,
    path: String,
}

impl Conv {
    /// Reads `weight` (out_c, in_c / groups, kh, kw) and, if asked, `bias` (out_c). A builder of a pruned network
    /// ([`Channels`](crate::prune::Channels)) gives fewer: a depthwise convolution has as many groups as are left.
    pub fn new(
        in_c: usize,
        out_c: usize,
        geometry: ConvGeometry,
        has_bias: bool,
        activation: Activation,
        vb: VarBuilder,
    ) -> Result<Self> {
        if geometry.groups == 0 || !in_c.is_multiple_of(geometry.groups) {
            candle_core::bail!("{}: {in_c} input channels do not split into {} groups", vb.prefix(), geometry.groups)
        }
        let group_c = in_c / geometry.groups;
        let [kernel_h, kernel_w] = geometry.kernel;
        let bound = 1. / ((group_c * kernel_h * kernel_w) as f64).sqrt();
        let init = Init::Uniform { lo: -bound, up: bound };
        let weight = vb.get_with_hints((out_c, group_c, kernel_h, kernel_w), "weight", init)?;
        let is_depthwise = geometry.groups > 1 && group_c == 1;
        let (whole_c, out_c) = (out_c, weight.dim(0)?);
        let geometry = if is_depthwise { geometry.groups(out_c * in_c / whole_c.max(1)) } else { geometry };
        let bias = if has_bias { Some(vb.get_with_hints(out_c, "bias", init)?) } else { None };
        Ok(Self { weight, bias, geometry, activation, path: path(&vb, "") })
    }

    /// Reads a convolution without bias and the batch norm behind it, and folds the two. Weights that are wanted in 16 bits are
    /// folded as `f32` and rounded once, as PyTorch's `fuse().half()` does.
    pub fn folded(
        in_c: usize,
        out_c: usize,
        geometry: ConvGeometry,
        activation: Activation,
        (conv, norm): (VarBuilder, VarBuilder),
        batch_norm: BatchNormConfig,
    ) -> Result<Self> {
        let dtype = conv.dtype();
        let wide = if dtype.size_in_bytes() < 4 { DType::F32 } else { dtype };
        let conv = Self::new(in_c, out_c, geometry, false, activation, conv.set_dtype(wide))?;
        let norm = BatchNorm::new(conv.out_channels()?, batch_norm, norm.set_dtype(wide))?;
        let (weight, bias) = fold_batch_norm(&conv.weight, None, &norm)?;
        Ok(Self { weight: weight.to_dtype(dtype)?, bias: Some(bias.to_dtype(dtype)?), ..conv })
    }

    /// A convolution from tensors at hand, saved under `path` (the checkpoint's path with its final dot).
    pub fn from_tensors(
        weight: Tensor,
        bias: Option<Tensor>,
        geometry: ConvGeometry,
        activation: Activation,
        path: String,
    ) -> Self {
        Self { weight, bias, geometry, activation, path }
    }

    /// Weight (out_c, in_c / groups, kh, kw).
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// Input channels: fewer than it was made with in a pruned network.
    pub fn in_channels(&self) -> Result<usize> {
        Ok(self.weight.dim(1)? * self.geometry.groups)
    }

    /// Output channels: fewer than it was made with in a pruned network.
    pub fn out_channels(&self) -> Result<usize> {
        self.weight.dim(0)
    }

    /// Bias (out_c).
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// Window geometry.
    pub fn geometry(&self) -> &ConvGeometry {
        &self.geometry
    }
}

impl<B: Backend> Block<B> for Conv {
    fn apply(&self, backend: &mut B, xs: &B::Map) -> Result<B::Map> {
        backend.conv2d(xs, &self.weight, self.bias.as_ref(), &self.geometry, self.activation, &self.path)
    }
}

impl Layer for Conv {
    fn tensors(&self, out: &mut BTreeMap<String, Tensor>) {
        out.insert(format!("{}weight", self.path), self.weight.clone());
        if let Some(bias) = &self.bias {
            out.insert(format!("{}bias", self.path), bias.clone());
        }
    }
}

/// What a [`ConvBn`] computes.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ConvBnConfig {
    /// Input channels.
    pub in_c: usize,
    /// Output channels.
    pub out_c: usize,
    /// Window geometry.
    pub geometry: ConvGeometry,
    /// Activation behind the batch norm.
    pub activation: Activation,
    /// The batch norm's numbers.
    pub batch_norm: BatchNormConfig,
    /// What becomes of the batch norm.
    pub norm: BatchNormMode,
}

impl ConvBnConfig {
    /// A convolution and a batch norm of PyTorch's numbers, kept apart, without an activation.
    #[must_use]
    pub fn new(in_c: usize, out_c: usize, geometry: ConvGeometry) -> Self {
        let (activation, norm) = (Activation::Identity, BatchNormMode::Keep);
        Self { in_c, out_c, geometry, activation, batch_norm: BatchNormConfig::new(), norm }
    }

    /// Activation behind the batch norm.
    #[must_use]
    pub fn activation(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    /// The batch norm's numbers.
    #[must_use]
    pub fn batch_norm(self, batch_norm: BatchNormConfig) -> Self {
        Self { batch_norm, ..self }
    }

    /// What becomes of the batch norm.
    #[must_use]
    pub fn norm(self, norm: BatchNormMode) -> Self {
        Self { norm, ..self }
    }
}

/// `act(norm(conv(x)))`, or the same in one convolution where the batch norm is folded.
///
/// Counts as its convolution and its batch norm in [`Layer::modules`]: containers and activations belong to the owner.
#[derive(Debug)]
pub struct ConvBn {
    conv: Conv,
    norm: Option<BatchNorm>,
    activation: Activation,
}

impl ConvBn {
    /// Reads the convolution at `conv` and the batch norm at `norm`.
    pub fn new(config: &ConvBnConfig, conv: VarBuilder, norm: VarBuilder) -> Result<Self> {
        let ConvBnConfig { in_c, out_c, geometry, activation, batch_norm, .. } = *config;
        let has_bias_alone = || !norm.contains_tensor("running_mean") && conv.contains_tensor("bias");
        if config.norm == BatchNormMode::Fused || (config.norm == BatchNormMode::Fuse && has_bias_alone()) {
            return Ok(Self {
                conv: Conv::new(in_c, out_c, geometry, true, activation, conv)?,
                norm: None,
                activation,
            });
        }
        if config.norm == BatchNormMode::Fuse {
            let conv = Conv::folded(in_c, out_c, geometry, activation, (conv, norm), batch_norm)?;
            return Ok(Self { conv, norm: None, activation });
        }
        let conv = Conv::new(in_c, out_c, geometry, false, Activation::Identity, conv)?;
        let norm = BatchNorm::new(conv.out_channels()?, batch_norm, norm)?;
        Ok(Self { conv, norm: Some(norm), activation })
    }

    /// The convolution, with the batch norm inside it where that is folded.
    pub fn conv(&self) -> &Conv {
        &self.conv
    }
}

impl<B: Backend> Block<B> for ConvBn {
    fn apply(&self, backend: &mut B, xs: &B::Map) -> Result<B::Map> {
        let ys = self.conv.apply(backend, xs)?;
        match &self.norm {
            Some(norm) => backend.batch_norm(&ys, norm, self.activation),
            None => Ok(ys),
        }
    }
}

impl Layer for ConvBn {
    fn children(&self) -> Vec<&dyn Layer> {
        let mut children: Vec<&dyn Layer> = vec![&self.conv];
        children.extend(self.norm.as_ref().map(|norm| norm as &dyn Layer));
        children
    }

    fn modules(&self) -> Modules {
        Modules::leaves(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    const CONFIG: ConvBnConfig = ConvBnConfig {
        in_c: 6,
        out_c: 8,
        geometry: ConvGeometry::square(3).same().groups(2),
        activation: Activation::Silu,
        batch_norm: BatchNormConfig { eps: 1e-3, momentum: 0.1 },
        norm: BatchNormMode::Keep,
    };

    fn build(norm: BatchNormMode, vb: VarBuilder) -> Result<ConvBn> {
        ConvBn::new(&ConvBnConfig { norm, ..CONFIG }, vb.pp("conv"), vb.pp("bn"))
    }

    #[test]
    fn folding_changes_nothing_and_a_folded_checkpoint_reads_back() -> Result<()> {
        let vb = crate::seeded::var_builder(DType::F32, &Device::Cpu);
        let xs = crate::seeded::tensor("xs.weight", &(2, 6, 9, 7).into(), DType::F32, &Device::Cpu)?;
        let (separate, folded) = (build(BatchNormMode::Keep, vb.clone())?, build(BatchNormMode::Fuse, vb)?);
        let (expected, ys) = (separate.forward(&xs)?, folded.forward(&xs)?);
        let difference = (&expected - &ys)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(difference < 1e-6, "difference {difference}");

        let mut tensors = BTreeMap::new();
        folded.tensors(&mut tensors);
        assert_eq!(tensors.keys().collect::<Vec<_>>(), ["conv.bias", "conv.weight"]);
        let vb = VarBuilder::from_tensors(tensors.into_iter().collect(), DType::F32, &Device::Cpu);
        for norm in [BatchNormMode::Fused, BatchNormMode::Fuse] {
            let again = build(norm, vb.clone())?.forward(&xs)?;
            assert_eq!(again.flatten_all()?.to_vec1::<f32>()?, ys.flatten_all()?.to_vec1::<f32>()?, "{norm:?}");
        }
        assert!(build(BatchNormMode::Keep, vb).is_err(), "there is no batch norm to train");
        Ok(())
    }

    #[test]
    fn folding_in_16_bits_rounds_once() -> Result<()> {
        let flat = |layer: &ConvBn| -> Result<Vec<f32>> {
            let bias = layer.conv().bias().expect("folded").to_dtype(DType::F32)?.to_vec1::<f32>()?;
            let weight = layer.conv().weight().to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
            Ok([weight, bias].concat())
        };
        let wide = build(BatchNormMode::Fuse, crate::seeded::var_builder(DType::F32, &Device::Cpu))?;
        for dtype in [DType::F16, DType::BF16] {
            let vb = crate::seeded::var_builder(DType::F32, &Device::Cpu).set_dtype(dtype);
            let folded = build(BatchNormMode::Fuse, vb)?;
            assert_eq!(folded.conv().weight().dtype(), dtype);
            let once = |x: f32| Tensor::new(x, &Device::Cpu)?.to_dtype(dtype)?.to_dtype(DType::F32)?.to_scalar::<f32>();
            let expected = flat(&wide)?.into_iter().map(once).collect::<Result<Vec<f32>>>()?;
            assert_eq!(flat(&folded)?, expected, "{dtype:?}");
        }
        Ok(())
    }

    #[test]
    fn the_unfused_state_dict_has_pytorchs_names() -> Result<()> {
        let (layer, spec) = crate::spec::ParamSpec::of(|vb| build(BatchNormMode::Keep, vb.pp("model.0")))?;
        let mut tensors = BTreeMap::new();
        layer.tensors(&mut tensors);
        assert_eq!(tensors.keys().collect::<Vec<_>>(), spec.shapes.keys().collect::<Vec<_>>());
        assert_eq!(spec.parameters(), 8 * 3 * 9 + 16);
        assert!(spec.shapes.contains_key("model.0.bn.running_var"), "{spec:?}");
        Ok(())
    }
}
