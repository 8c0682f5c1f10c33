//! What vision models on candle are made of, fed and trained with; the operations are [`ghostzoo_kernels`]'.
//!
//! - [`layers`]: what models are built of, under the tensor names of PyTorch checkpoints;
//! - [`regular`]: files that end; [`guard`]: code that is not ours;
//! - [`nms`]: which of overlapping boxes are kept;
//! - [`image`]: decode, resize as PIL and cv2 do, letterbox, draw;
//! - [`data`]: labelled image sets: folders, tar files and Parquet shards;
//! - [`metrics`]: accuracy, COCO's and Ultralytics' average precision;
//! - [`augment`], [`train`]: images changed at random; optimizers, averages, schedules;
//! - [`spec`]: which tensors a model needs, and how a checkpoint differs from that;
//! - [`seeded`]: deterministic weights for benchmarks and tests.
#![forbid(unsafe_code)]

pub mod augment;
pub mod data;
pub mod guard;
pub mod image;
pub mod layers;
pub mod metrics;
pub mod nms;
pub mod regular;
pub mod seeded;
pub mod spec;
pub mod sysinfo;
pub mod train;
