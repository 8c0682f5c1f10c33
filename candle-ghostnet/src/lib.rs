#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod bottleneck;
mod config;
mod from_shapes;
mod ghost_module;
mod net;
mod rep_ghost;
mod reparam;
pub mod seeded;
mod stem;
mod summary;
pub mod train;
pub mod val;

use candle_vision::image::Interpolation;
pub use candle_vision::layers::{BatchNormMode, Summary};
pub use config::{Config, HEAD_CHANNELS, Reparam, Variant, Version};
pub use from_shapes::{classes_from_shapes, config_from_shapes, in_form_of};
pub use net::{DROP_RATE, Endpoint, GhostNet};
pub use summary::summary;

/// Side of the square image that the published weights expect, in pixels.
pub const INPUT_SIZE: usize = 224;

/// Share of the resized image's side that the centre crop keeps.
pub const CROP_RATIO: f64 = 0.875;

/// Filter of the resize.
pub const INTERPOLATION: Interpolation = Interpolation::Bicubic;

/// ImageNet's mean of red, green and blue, for channels in 0..1.
pub const MEAN: [f32; 3] = [0.485, 0.456, 0.406];

/// ImageNet's standard deviation of red, green and blue, for channels in 0..1.
pub const STD: [f32; 3] = [0.229, 0.224, 0.225];
