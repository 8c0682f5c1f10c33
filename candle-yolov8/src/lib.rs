#![doc = include_str!("../README.md")]
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
mod tiles;
pub mod train;
pub mod val;
mod yaml;

pub use candidates::candidates;
pub use candle_vision::layers::{BatchNormMode, Summary};
pub use candle_vision::nms::{Candidate, MAX_CANDIDATES, NmsOptions, NmsOutput, iou, nms};
pub use candle_vision::tiles::{MatchMetric, Merge};
pub use constants::absent_bins;
pub use detector::{DEFAULT_SIDE, Detection, Detector, PredictOptions, Prediction, PreparedImage};
pub use error::{OptionError, YamlError};
pub use net::{Endpoint, Yolo};
pub use registry::{
    MAX_CLASSES, architectures, config_from_shapes, in_class_channels_of, model_config, spec, trained_on_from,
};
pub use summary::summary;
pub use tiles::{TileError, TileOptions};
pub use yaml::{CspVariant, LayerKind, LayerSpec, ModelConfig};
