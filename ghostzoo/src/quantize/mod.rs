//! Post-training quantization: the dense convolutions of a trained network in 8 bits, by the ranges that images show.
//!
//! ```no_run
//! use ghostzoo::candle_vision::data::InMemoryDataset;
//! use ghostzoo::quantize::{QuantizeOptions, Source, quantize};
//! use ghostzoo::{RgbImage, weights};
//!
//! let images: InMemoryDataset<RgbImage> = (0..64).map(|_| RgbImage::new(640, 480)).collect();
//! let source = Source::find("yolov8n-ghostnet-bccd")?;
//! let quantized = quantize(&source, &images, &QuantizeOptions::default(), &mut ())?;
//! weights::write("cells-int8.safetensors".as_ref(), &quantized.checkpoint)?;
//! # Ok::<(), ghostzoo::Error>(())
//! ```

mod images;
mod passes;
mod range;
mod run;
mod weights;
mod within;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use candle_vision::data::{CachedDataset, DatasetOptions, ImageIndex};
use ghostzoo_weights::{Checkpoint, NoProgress, ResolveOptions};
use serde::{Deserialize, Serialize};

use crate::error::{Context as _, Result, request};
use crate::train::Message;
use crate::{ModelSpec, imagenet_class_names, model};

pub use images::HasImage;
pub(crate) use images::spread;
pub use range::RangeMethod;
pub use run::quantize;
pub use within::quantize_within;

/// Most images that are looked at.
pub const MAX_IMAGES: usize = 512;

/// A checkpoint to quantize or to prune.
#[derive(Debug, Clone)]
pub struct Source {
    /// What messages call it.
    pub(crate) name: String,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) spec: ModelSpec,
    /// What was said of its architecture.
    pub(crate) arch: Option<OsString>,
}

impl Source {
    /// Finds and reads a model, as [`model::find`] and [`model::read`].
    ///
    /// # Errors
    /// As those, and [`Source::new`].
    pub fn find(name: impl AsRef<OsStr>) -> Result<Self> {
        let found = model::find(&name, &ResolveOptions::default(), &mut NoProgress)?;
        Self::new(&crate::shown(&name), model::read(&found)?, None)
    }

    /// Takes a checkpoint; `arch` is the architecture of one that does not say it.
    ///
    /// # Errors
    /// Where it is quantized already, or does not fit its architecture.
    pub fn new(name: &str, checkpoint: Checkpoint, arch: Option<&OsStr>) -> Result<Self> {
        if !checkpoint.quantized.is_empty() {
            return Err(request(format!(
                "{name} is quantized to 8 bits already: give the checkpoint that it was made from"
            )));
        }
        let spec = ModelSpec::of_checkpoint(&checkpoint, arch).with_context(|| format!("cannot use {name}"))?;
        model::check(name, &spec, &checkpoint)?;
        Ok(Self { name: name.to_owned(), checkpoint, spec, arch: arch.map(OsStr::to_owned) })
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A part of labelled images of this model's classes, for a classifier: class folders, tars or Parquet.
    ///
    /// # Errors
    /// Data that cannot be read, or of other classes.
    pub fn classified(&self, data: &Path, split: Option<&str>) -> Result<CachedDataset> {
        let classes = self.spec.num_classes();
        let names = self.checkpoint.metadata.names.clone().unwrap_or_else(|| imagenet_class_names(classes));
        let options = DatasetOptions::new(classes).class_names(&names).split(split);
        Ok(CachedDataset::new(ImageIndex::open(data, &options)?, 0))
    }

    /// The network's description.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// The checkpoint.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }
}

/// How to quantize.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct QuantizeOptions {
    /// Images that are looked at, spread evenly over those that are given; at most [`MAX_IMAGES`].
    pub images: usize,
    /// How the ranges of inputs are chosen.
    pub method: RangeMethod,
    /// Whether biases make up for the mean error of the weights.
    pub bias_correction: bool,
    /// Paths of convolutions, or of what they are part of, that stay as they are.
    pub skip: Vec<String>,
    /// `[height, width]` of the images as the network sees them; `None` for those that the checkpoint says, else 640.
    pub imgsz: Option<[usize; 2]>,
}

impl Default for QuantizeOptions {
    /// 128 images, least squared error, corrected biases.
    fn default() -> Self {
        Self { images: 128, method: RangeMethod::Mse, bias_correction: true, skip: Vec::new(), imgsz: None }
    }
}

impl QuantizeOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Images that are looked at.
    #[must_use]
    pub fn images(self, images: usize) -> Self {
        Self { images, ..self }
    }

    /// How the ranges of inputs are chosen.
    #[must_use]
    pub fn method(self, method: RangeMethod) -> Self {
        Self { method, ..self }
    }

    /// Whether biases make up for the mean error of the weights.
    #[must_use]
    pub fn bias_correction(self, bias_correction: bool) -> Self {
        Self { bias_correction, ..self }
    }

    /// Paths that stay as they are.
    #[must_use]
    pub fn skip(self, skip: Vec<String>) -> Self {
        Self { skip, ..self }
    }

    /// `[height, width]` of the images as the network sees them.
    #[must_use]
    pub fn imgsz(self, imgsz: Option<[usize; 2]>) -> Self {
        Self { imgsz, ..self }
    }
}

/// What a program does while a network is quantized; `()` does nothing.
#[expect(unused_variables, reason = "the names say what a callback is given")]
pub trait QuantizeCallbacks {
    /// So many images of both passes are done.
    ///
    /// # Errors
    /// What ends the work.
    fn on_image(&mut self, done: usize, total: usize) -> Result<()> {
        Ok(())
    }

    /// A line for whoever quantizes.
    fn message(&mut self, message: &Message) {}
}

impl QuantizeCallbacks for () {}

/// A convolution in 8 bits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LayerReport {
    /// Its path in the checkpoint.
    pub path: String,
    /// Least and greatest input that was seen, or 0.
    pub input_seen: [f32; 2],
    /// Least and greatest input that a level stands for.
    pub input_range: [f32; 2],
    /// Step of the input.
    pub input_scale: f32,
    /// The integer of an input of 0.
    pub input_zero_point: u8,
    /// Decibels of the weights' squares over those of their errors, at most 150.
    pub weight_sqnr_db: f64,
    /// The same of the inputs.
    pub input_sqnr_db: f64,
}

impl LayerReport {
    /// Both errors as one, in decibels.
    pub fn sqnr_db(&self) -> f64 {
        let noise = |decibels: f64| 10_f64.powf(-decibels / 10.);
        -10. * (noise(self.weight_sqnr_db) + noise(self.input_sqnr_db)).log10()
    }
}

/// What was quantized, and how well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QuantizeReport {
    /// Images that were looked at.
    pub images: usize,
    /// `[height, width]` as the network saw them.
    pub imgsz: [usize; 2],
    /// How ranges were chosen.
    pub method: String,
    /// The convolutions in 8 bits, the least decibels first.
    pub layers: Vec<LayerReport>,
    /// Paths of the dense convolutions that stay in floats.
    pub left: Vec<String>,
    /// What the metric lost, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<MetricDrop>,
}

/// A metric of a network in floats and in 8 bits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MetricDrop {
    /// Of the network in floats.
    pub floats: f64,
    /// Of the quantized one.
    pub quantized: f64,
    /// How much it may lose.
    pub max_drop: f64,
}

/// A quantized network.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Quantized {
    /// Its tensors, batch norms folded.
    pub checkpoint: Checkpoint,
    /// What was done.
    pub report: QuantizeReport,
}
