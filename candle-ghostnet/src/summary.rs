//! The size of a network.

use candle_core::{DType, Device, Result, Tensor};
use candle_vision::layers::Summary;
use candle_vision::spec::ParamSpec;
use ghostzoo_kernels::flops;

use crate::config::Config;
use crate::net::GhostNet;

/// Counts the modules, parameters and arithmetic of a network on one image of `[height, width]`, without allocating its
/// weights.
pub fn summary(config: &Config, [height, width]: [usize; 2]) -> Result<Summary> {
    let (model, spec) = ParamSpec::of(|vb| GhostNet::new(config, vb))?;
    let xs = Tensor::zeros((1, 3, height, width), DType::F32, &Device::Cpu)?;
    let (logits, counted) = flops::count(|| model.forward(&xs));
    logits?;
    let parameters = spec.parameters();
    Ok(Summary {
        modules: model.modules(),
        parameters,
        gradients: parameters,
        macs: counted.macs,
        flops: counted.total(),
    })
}
