//! The size of a model, as Ultralytics' summary counts it.

use candle_core::{DType, Device, Result, Tensor};
use candle_vision::layers::{BatchNormMode, Modules};
use candle_vision::spec::ParamSpec;
use ghostzoo_kernels::flops;

use crate::net::Yolo;
use crate::yaml::ModelConfig;

/// Modules, parameters and arithmetic of an unfused model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Modules of Ultralytics' model; its releases print those without children as "layers", older ones all.
    pub modules: Modules,
    /// Elements of all weights and biases.
    pub parameters: usize,
    /// Those of them that are trained: all but the bins of the DFL.
    pub gradients: usize,
    /// Floating-point operations of one image of 640 × 640 pixels.
    pub flops: u64,
}

/// The side that floating-point operations are stated for.
const SIDE: usize = 640;

/// Counts the layers, parameters and operations of `def` without allocating its weights.
pub fn summary(def: &ModelConfig) -> Result<Summary> {
    let (model, spec) = ParamSpec::of(|vb| Yolo::new(def, BatchNormMode::Keep, vb))?;
    let side = model.max_stride();
    let xs = Tensor::zeros((1, 3, side, side), DType::F32, &Device::Cpu)?;
    let (boxes, counted) = flops::count(|| model.forward(&xs));
    boxes?;
    let parameters = spec.parameters();
    // Every operation scales with the area: both sides are multiples of every stride.
    let flops = (counted.total() as f64 * (SIDE * SIDE) as f64 / (side * side) as f64).round() as u64;
    Ok(Summary { modules: model.modules(), parameters, gradients: parameters - crate::modules::REG_MAX, flops })
}
