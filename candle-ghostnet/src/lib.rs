//! GhostNet v1, v2, v3 and RepGhostNet: image classifiers and feature extractors, under the tensor names of timm.
//!
//! A ghost module computes half of its output channels by an ordinary convolution and the other half by a cheap
//! depthwise convolution over the first: Han et al., GhostNet, <https://arxiv.org/abs/1911.11907>. GhostNetV2 gates it
//! with an attention over rows and columns, <https://arxiv.org/abs/2211.12905>; GhostNetV3 trains each convolution as a
//! sum of branches, merged afterwards, <https://arxiv.org/abs/2404.11202>. RepGhostNet adds the cheap convolution to its
//! input instead of concatenating the two, and merges the sum, <https://arxiv.org/abs/2211.06088>.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use candle_ghostnet::{Config, GhostNet, Layer, Variant};
//!
//! # fn main() -> candle_core::Result<()> {
//! // Seeded values stand for a checkpoint; `VarBuilder::from_mmaped_safetensors` reads one.
//! let vb = candle_ghostnet::seeded::var_builder(DType::F32, &Device::Cpu);
//! let variant = Variant::from_name("ghostnetv2_100").expect("one of Variant::ALL");
//! let model = GhostNet::new(&Config::new(variant).for_inference(), vb)?;
//! let image = Tensor::zeros((1, 3, 64, 96), DType::F32, &Device::Cpu)?;
//! assert_eq!(model.forward(&image)?.dims(), [1, 1000]);
//! let maps = model.features(&image, false)?;
//! assert_eq!(maps[4].dims(), [1, 160, 2, 3]);
//! # Ok(())
//! # }
//! ```
//!
//! The same configuration reads each form of a checkpoint:
//!
//! | checkpoint | `branches` (V3, RepGhostNet) | `norm` |
//! |---|---|---|
//! | as trained, run as it is | `Train` | `Keep` |
//! | as trained, merged and folded at load | `Fuse` | `Fuse` |
//! | timm's `reparameterize` | `Deploy` | `Keep` or `Fuse` |
//! | folded, as [`Layer::tensors`] of a `Fuse` model gives it | any | `Fused` or `Fuse` |
#![forbid(unsafe_code)]

mod bottleneck;
mod config;
mod from_shapes;
mod ghost_module;
mod net;
mod rep_ghost;
mod reparam;
pub mod seeded;
pub mod train;

pub use candle_vision::layers::{BatchNormMode, Layer};
pub use config::{Config, HEAD_CHANNELS, Reparam, Variant, Version};
pub use from_shapes::config_from_shapes;
pub use net::{DROP_RATE, GhostNet, Summary, summary};

/// Side of the square image that the published weights expect, in pixels.
pub const INPUT_SIZE: usize = 224;

/// Share of the resized image's side that the centre crop keeps.
pub const CROP_RATIO: f64 = 0.875;

/// Filter of the resize, by PIL's name.
pub const INTERPOLATION: &str = "bicubic";

/// ImageNet's mean of red, green and blue, for channels in 0..1.
pub const MEAN: [f32; 3] = [0.485, 0.456, 0.406];

/// ImageNet's standard deviation of red, green and blue, for channels in 0..1.
pub const STD: [f32; 3] = [0.229, 0.224, 0.225];
