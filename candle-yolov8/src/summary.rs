//! The size of a model, as Ultralytics' summary counts it.

use candle_core::{DType, Device, Result, Tensor};
use candle_vision::layers::{BatchNormMode, Summary};
use candle_vision::spec::ParamSpec;
use ghostzoo_kernels::flops;

use crate::modules::REG_MAX;
use crate::net::Yolo;
use crate::yaml::ModelConfig;

/// Counts the modules, parameters and arithmetic of an unfused model on one image of `[height, width]`, without allocating
/// its weights. The bins of the DFL are parameters that are not trained.
pub fn summary(def: &ModelConfig, [height, width]: [usize; 2]) -> Result<Summary> {
    let (model, spec) = ParamSpec::of(|vb| Yolo::new(&def.clone().with_norm(BatchNormMode::Keep), vb))?;
    let side = model.max_stride();
    let xs = Tensor::zeros((1, 3, side, side), DType::F32, &Device::Cpu)?;
    let (boxes, counted) = flops::count(|| model.forward(&xs));
    boxes?;
    let parameters = spec.parameters();
    // Every operation scales with the area: the sides are multiples of every stride.
    let scaled = |count: u64| (count as f64 * (height * width) as f64 / (side * side) as f64).round() as u64;
    Ok(Summary {
        modules: model.modules(),
        parameters,
        gradients: parameters - REG_MAX,
        macs: scaled(counted.macs),
        flops: scaled(counted.total()),
    })
}
