//! The size of a network.

use candle_core::{DType, Device, Result, Tensor};
use candle_vision::layers::Modules;
use candle_vision::spec::ParamSpec;
use ghostzoo_kernels::flops::{self, Flops};

use crate::config::Config;
use crate::net::GhostNet;

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
    let xs = Tensor::zeros((1, 3, height, width), DType::F32, &Device::Cpu)?;
    let (result, flops) = flops::count(|| model.forward(&xs));
    result?;
    Ok(Summary { modules: model.modules(), parameters: spec.parameters(), flops })
}
