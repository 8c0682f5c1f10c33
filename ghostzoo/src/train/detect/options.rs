//! How a detector is trained.

use std::ffi::OsString;

use candle_core::Device;
use candle_yolov8::train::augment::AugmentOptions;
use candle_yolov8::train::{Freeze, Recipe};
use serde_json::{Map, Value, json};

use crate::error::{Context as _, Result};
use crate::train::Pretrained;

/// How a detector is trained, with Ultralytics' defaults, on the CPU.
///
/// ```
/// use ghostzoo::train::DetectionOptions;
///
/// let options = DetectionOptions::new("yolov8n-ghostnet-bccd").batch(8);
/// assert_eq!((options.recipe.batch, options.recipe.lr0), (8, 0.01));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DetectionOptions {
    /// An architecture or its yaml, or a checkpoint: a file, a name of the registry, an `hf://` address.
    pub model: String,
    /// Where the first weights come from.
    pub pretrained: Pretrained,
    /// The architecture of a checkpoint that does not say it.
    pub arch: Option<OsString>,
    /// Whether each class starts from the row of the head that has its name in the checkpoint.
    pub cls_remap: bool,
    /// Where to compute.
    pub device: Device,
    /// Batch, optimizer and weights of the losses. Its epochs are those of [`FitOptions`](crate::train::FitOptions).
    pub recipe: Recipe,
    /// As many images a step as this part of the memory takes, instead of the recipe's batch; at most 16.
    pub memory_share: Option<f64>,
    /// How images change.
    pub augment: AugmentOptions,
    /// Layers that stay as they are.
    pub freeze: Freeze,
    /// A checkpoint of the same classes and strides whose answers are learnt too: see
    /// [`DistillationLoss`](candle_yolov8::train::DistillationLoss).
    pub teacher: Option<String>,
    /// What the teacher's part of the loss is multiplied by, beside the recipe's gains.
    pub distill: f64,
    /// Batches of images of similar shapes, in one order and without mosaics and mixtures, instead of square ones.
    pub rect: bool,
    /// Each batch has a size of its own, up to this share smaller or larger than the images' size.
    pub multi_scale: f64,
    /// Last epochs that have single images instead of mosaics.
    pub close_mosaic: usize,
    /// Overlap above which the less confident of two boxes goes in validation.
    pub iou: f32,
    /// Most boxes per image in validation; where it is 300, as many as an image has objects.
    pub max_det: usize,
    /// Most pixels of a validation image.
    pub max_pixels: u64,
    /// Threads that prepare images; by the machine unless given. They change no result.
    pub workers: Option<usize>,
    /// Decides every random choice.
    pub seed: u64,
}

impl Default for DetectionOptions {
    fn default() -> Self {
        Self {
            model: "yolov8n-ghostnet".to_owned(),
            pretrained: Pretrained::default(),
            arch: None,
            cls_remap: true,
            device: Device::Cpu,
            recipe: Recipe::default(),
            memory_share: None,
            augment: AugmentOptions::default(),
            freeze: Freeze::default(),
            teacher: None,
            distill: 1.,
            rect: false,
            multi_scale: 0.,
            close_mosaic: 10,
            iou: 0.7,
            max_det: super::task::MAX_DET,
            max_pixels: candle_vision::image::MAX_PIXELS,
            workers: None,
            seed: 0,
        }
    }
}

impl DetectionOptions {
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

    /// As many images a step as this part of the memory takes, instead of the recipe's batch.
    #[must_use]
    pub fn memory_share(self, memory_share: impl Into<Option<f64>>) -> Self {
        Self { memory_share: memory_share.into(), ..self }
    }

    /// Layers that stay as they are.
    #[must_use]
    pub fn freeze(self, freeze: Freeze) -> Self {
        Self { freeze, ..self }
    }

    /// A checkpoint of the same classes and strides whose answers are learnt too.
    #[must_use]
    pub fn teacher(self, teacher: impl Into<String>) -> Self {
        Self { teacher: Some(teacher.into()), ..self }
    }

    /// What the teacher's part of the loss is multiplied by: see the [field](field@DetectionOptions::distill).
    #[must_use]
    pub fn distill(self, distill: f64) -> Self {
        Self { distill, ..self }
    }

    /// Whether batches are of images of similar shapes: see the [field](field@DetectionOptions::rect).
    #[must_use]
    pub fn rect(self, rect: bool) -> Self {
        Self { rect, ..self }
    }

    /// Share that each batch may be smaller or larger than the images' size.
    #[must_use]
    pub fn multi_scale(self, multi_scale: f64) -> Self {
        Self { multi_scale, ..self }
    }

    /// Last epochs that have single images instead of mosaics.
    #[must_use]
    pub fn close_mosaic(self, close_mosaic: usize) -> Self {
        Self { close_mosaic, ..self }
    }

    /// Overlap above which the less confident of two boxes goes in validation.
    #[must_use]
    pub fn iou(self, iou: f32) -> Self {
        Self { iou, ..self }
    }

    /// Most boxes per image in validation: see the [field](field@DetectionOptions::max_det).
    #[must_use]
    pub fn max_det(self, max_det: usize) -> Self {
        Self { max_det, ..self }
    }

    /// Most pixels of a validation image.
    #[must_use]
    pub fn max_pixels(self, max_pixels: u64) -> Self {
        Self { max_pixels, ..self }
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

    /// Batch, optimizer and weights of the losses.
    #[must_use]
    pub fn recipe(self, recipe: Recipe) -> Self {
        Self { recipe, ..self }
    }

    /// How images change.
    #[must_use]
    pub fn augment(self, augment: AugmentOptions) -> Self {
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

    /// The options as the files of a run keep them, for images of `imgsz`.
    pub(super) fn record(&self, imgsz: usize) -> Result<Value> {
        let mut values = Map::new();
        values.insert("model".to_owned(), json!(self.model));
        for part in [serde_json::to_value(&self.recipe)?, serde_json::to_value(&self.augment)?] {
            values.extend(part.as_object().context("options are a table of values")?.clone());
        }
        let own = json!({
            "imgsz": imgsz, "cls_remap": self.cls_remap, "freeze": self.freeze.to_string(), "rect": self.rect,
            "multi_scale": self.multi_scale, "close_mosaic": self.close_mosaic, "iou": self.iou, "max_det": self.max_det,
            "seed": self.seed, "memory_share": self.memory_share, "teacher": self.teacher,
            // Of a run without a teacher it decides nothing.
            "distill": self.teacher.as_ref().map(|_| self.distill),
        });
        values.extend(own.as_object().context("options are a table of values")?.clone());
        Ok(Value::Object(values))
    }
}
