//! YOLOv8 detectors on candle, with plain and Ghost backbones, built from the yamls of Ultralytics' grammar.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use candle_vision::layers::BatchNormMode;
//! use candle_yolov8::{Yolo, model_config, seeded};
//!
//! # fn main() -> candle_core::Result<()> {
//! let def = model_config("yolov8n-ghostnet", Some(3)).expect("a shipped architecture");
//! let model = Yolo::new(&def, BatchNormMode::Fuse, seeded::var_builder(DType::F32, &Device::Cpu))?;
//! let boxes = model.forward(&Tensor::zeros((1, 3, 64, 96), DType::F32, &Device::Cpu)?)?;
//! assert_eq!(boxes.dims(), [1, 4 + 3, 8 * 12 + 4 * 6 + 2 * 3]);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod candidates;
mod constants;
pub mod data;
mod detector;
mod error;
mod modules;
mod net;
mod registry;
pub mod seeded;
mod summary;
pub mod train;
pub mod val;
mod yaml;

pub use candidates::candidates;
pub use candle_vision::nms::{Candidate, MAX_CANDIDATES, NmsOptions, NmsOutput, iou, nms};
pub use constants::absent_bins;
pub use detector::{DEFAULT_SIDE, Detection, Detector, PredictOptions, Prediction, PreparedImage};
pub use error::YamlError;
pub use net::Yolo;
pub use registry::{
    MAX_CLASSES, architectures, config_from_shapes, in_class_channels_of, model_config, spec, trained_on_from,
};
pub use summary::{Summary, summary};
pub use yaml::{CspVariant, LayerKind, LayerSpec, ModelConfig};
