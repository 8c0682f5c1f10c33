//! How a classifier is trained.

use std::ffi::OsString;

use candle_core::Device;
use candle_ghostnet::train::Recipe;
use candle_vision::augment::ClassificationAugment;
use candle_vision::image::Interpolation;
use serde_json::{Map, Value, json};

use crate::error::{Context as _, Result};
use crate::train::Pretrained;

/// How a classifier is trained, with timm's defaults, on the CPU.
///
/// ```
/// use ghostzoo::train::ClassificationOptions;
///
/// let options = ClassificationOptions::new("ghostnet_050-cifar10").batch(32).imgsz(32);
/// assert_eq!((options.recipe.batch, options.recipe.rate()), (32, 0.0125));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClassificationOptions {
    /// An architecture, or a checkpoint: a file, a name of the registry, an `hf://` address.
    pub model: String,
    /// Where the first weights come from.
    pub pretrained: Pretrained,
    /// The architecture of a checkpoint that does not say it.
    pub arch: Option<OsString>,
    /// Whether each class starts from the row of the head that has its name in the checkpoint.
    pub cls_remap: bool,
    /// Where to compute.
    pub device: Device,
    /// Batch, optimizer and loss. Its epochs are those of [`FitOptions`](crate::train::FitOptions).
    pub recipe: Recipe,
    /// How images change.
    pub augment: ClassificationAugment,
    /// Layers from the first that stay as they are: the stem, then a stage each.
    pub freeze: usize,
    /// A checkpoint of the same classes whose answers are learnt too.
    pub teacher: Option<String>,
    /// Side of the network's input, in pixels.
    pub imgsz: usize,
    /// Share of a validation image that its centre crop keeps; the checkpoint's, else 0.875, unless given.
    pub crop_pct: Option<f64>,
    /// Filter that scales validation images; the checkpoint's, else bicubic, unless given.
    pub interpolation: Option<Interpolation>,
    /// Threads that prepare images; by the machine unless given. They change no result.
    pub workers: Option<usize>,
    /// Decides every random choice.
    pub seed: u64,
}

impl Default for ClassificationOptions {
    fn default() -> Self {
        Self {
            model: "ghostnet_100".to_owned(),
            pretrained: Pretrained::default(),
            arch: None,
            cls_remap: true,
            device: Device::Cpu,
            recipe: Recipe::default(),
            augment: ClassificationAugment::default(),
            freeze: 0,
            teacher: None,
            imgsz: candle_ghostnet::INPUT_SIZE,
            crop_pct: None,
            interpolation: None,
            workers: None,
            seed: 0,
        }
    }
}

impl ClassificationOptions {
    /// The defaults for a model.
    pub fn new(model: impl Into<String>) -> Self {
        Self { model: model.into(), ..Self::default() }
    }

    /// Where the first weights come from.
    #[must_use]
    pub fn pretrained(self, pretrained: Pretrained) -> Self {
        Self { pretrained, ..self }
    }

    /// The architecture of a checkpoint that does not say it.
    #[must_use]
    pub fn arch(self, arch: impl Into<OsString>) -> Self {
        Self { arch: Some(arch.into()), ..self }
    }

    /// Whether each class starts from the row of the head that has its name in the checkpoint.
    #[must_use]
    pub fn cls_remap(self, cls_remap: bool) -> Self {
        Self { cls_remap, ..self }
    }

    /// Layers from the first that stay as they are: the stem, then a stage each.
    #[must_use]
    pub fn freeze(self, freeze: usize) -> Self {
        Self { freeze, ..self }
    }

    /// A checkpoint of the same classes whose answers are learnt too.
    #[must_use]
    pub fn teacher(self, teacher: impl Into<String>) -> Self {
        Self { teacher: Some(teacher.into()), ..self }
    }

    /// Share of a validation image that its centre crop keeps.
    #[must_use]
    pub fn crop_pct(self, crop_pct: impl Into<Option<f64>>) -> Self {
        Self { crop_pct: crop_pct.into(), ..self }
    }

    /// Filter that scales validation images.
    #[must_use]
    pub fn interpolation(self, interpolation: impl Into<Option<Interpolation>>) -> Self {
        Self { interpolation: interpolation.into(), ..self }
    }

    /// Threads that prepare images. They change no result.
    #[must_use]
    pub fn workers(self, workers: impl Into<Option<usize>>) -> Self {
        Self { workers: workers.into(), ..self }
    }

    /// Images per step.
    #[must_use]
    pub fn batch(self, batch: usize) -> Self {
        Self { recipe: self.recipe.batch(batch), ..self }
    }

    /// Side of the network's input, in pixels.
    #[must_use]
    pub fn imgsz(self, imgsz: usize) -> Self {
        Self { imgsz, ..self }
    }

    /// Batch, optimizer and loss.
    #[must_use]
    pub fn recipe(self, recipe: Recipe) -> Self {
        Self { recipe, ..self }
    }

    /// How images change.
    #[must_use]
    pub fn augment(self, augment: ClassificationAugment) -> Self {
        Self { augment, ..self }
    }

    /// Where to compute.
    #[must_use]
    pub fn device(self, device: Device) -> Self {
        Self { device, ..self }
    }

    /// Decides every random choice.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The options as the files of a run keep them.
    pub(super) fn record(&self) -> Result<Value> {
        let mut values = Map::new();
        values.insert("model".to_owned(), json!(self.model));
        for part in [serde_json::to_value(&self.augment)?, serde_json::to_value(&self.recipe)?] {
            values.extend(part.as_object().context("options are a table of values")?.clone());
        }
        let own = json!({
            "imgsz": self.imgsz, "cls_remap": self.cls_remap, "freeze": self.freeze, "teacher": self.teacher,
            "crop_pct": self.crop_pct, "seed": self.seed,
            "val_interpolation": self.interpolation.map(|filter| filter.to_string()),
        });
        values.extend(own.as_object().context("options are a table of values")?.clone());
        Ok(Value::Object(values))
    }
}
