//! Foundation of GhostZoo: kernels, layers and image preprocessing for vision models on candle.
//!
//! - [`kernels`]: convolution, pooling and upsampling behind one front door each, with correct gradients;
//! - [`layers`]: what models are built of, under the tensor names of PyTorch checkpoints;
//! - [`plan`]: inference on the CPU as kernels over one arena;
//! - [`nms`]: which of overlapping boxes are kept;
//! - [`image`]: decode, resize as PIL and cv2 do, letterbox, draw;
//! - [`data`]: labelled picture sets: folders, tar files and Parquet shards;
//! - [`metrics`]: accuracy, COCO's and Ultralytics' average precision;
//! - [`augment`], [`train`]: pictures changed at random; optimizers, averages, schedules;
//! - [`spec`]: which tensors a model needs, and how a checkpoint differs from that;
//! - [`cost`]: the arithmetic of a forward pass; [`seeded`]: deterministic weights for benchmarks and tests.
#![deny(unsafe_code)]

pub mod augment;
pub mod cost;
pub mod data;
pub mod image;
pub mod kernels;
pub mod layers;
pub mod memory;
pub mod metrics;
pub mod nms;
pub mod plan;
pub mod seeded;
pub mod spec;
pub mod train;
