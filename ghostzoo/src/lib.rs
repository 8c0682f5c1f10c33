#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod architecture;
mod classifier;
mod detector;
mod error;
mod foreign;
mod imagenet;
mod labelled;
pub mod model;
mod name;
mod one_pass;
mod options;
#[cfg(feature = "plot")]
pub mod plot;
pub mod prune;
pub mod quantize;
pub mod samples;
mod soundness;
mod spec;
pub mod track;
pub mod train;
mod val_data;
mod validate;
pub mod video;

pub use architecture::{Architecture, ModelSize, architectures};
pub use candle_vision::image::{self, RgbImage};
pub use ghostzoo_kernels::Threads;
pub use ghostzoo_weights as weights;
// One copy of each: a program that uses another would have other tensors.
pub use candle_yolov8::{Detection, MatchMetric, Merge, TileOptions};
pub use classifier::{Classifier, ClassifySpeed, Probability, TopK};
pub use detector::Detector;
pub use error::{Error, Result};
pub use imagenet::class_names as imagenet_class_names;
pub use labelled::LabelledData;
pub use model::{Model, Network};
pub use name::shown;
pub use one_pass::{OnePassImage, OnePassReport};
pub use options::{LoadOptions, best_dtype};
pub use spec::ModelSpec;
pub use val_data::{ValData, ValLabels};
pub use {candle_core, candle_ghostnet, candle_nn, candle_vision, candle_yolov8};

/// The program of the guide compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Guide;
