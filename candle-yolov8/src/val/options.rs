//! How a detector is validated.

use candle_vision::image;
use candle_vision::nms::NmsOptions;

use crate::tiles::TileOptions;

/// How to validate.
///
/// Unlike prediction, an anchor counts for each class above the threshold, images are scaled before they are laid into a
/// rectangle common to their batch, and that has a margin.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ValOptions {
    /// Pixels that an image's longer side is scaled to, before rounding: see [`ValOptions::side`].
    pub imgsz: usize,
    /// Images per forward pass; with `rect` it decides the shapes too.
    pub batch: usize,
    /// Whether each batch has the shape that fits its images, or all a square.
    pub rect: bool,
    /// What is kept.
    pub nms: NmsOptions,
    /// Confidence above which detections count into the confusion matrix.
    pub confusion_conf: f32,
    /// Whether all detections count as class 0, and suppress each other; labels must be of class 0 then.
    pub single_cls: bool,
    /// Most pixels of an image that is decoded from a file.
    pub max_pixels: u64,
    /// How each image is looked at tile by tile, as in prediction: `imgsz`, `rect` and `nms` are for each tile, and what is
    /// found counts in pixels of the image. `None` for images as a whole.
    pub tiles: Option<TileOptions>,
}

/// What Ultralytics 8.4.190 rounds the size of a validation up to, whatever the model's stride. Measured with strides 32 and
/// 64.
const SIDE_STEP: usize = 32;

impl ValOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Pixels that an image's longer side is scaled to, before rounding: see [`ValOptions::side`].
    #[must_use]
    pub fn imgsz(self, imgsz: usize) -> Self {
        Self { imgsz, ..self }
    }

    /// Images per forward pass; with `rect` it decides the shapes too.
    #[must_use]
    pub fn batch(self, batch: usize) -> Self {
        Self { batch, ..self }
    }

    /// Whether each batch has the shape that fits its images, or all a square.
    #[must_use]
    pub fn rect(self, rect: bool) -> Self {
        Self { rect, ..self }
    }

    /// What is kept.
    #[must_use]
    pub fn nms(self, nms: NmsOptions) -> Self {
        Self { nms, ..self }
    }

    /// Confidence above which detections count into the confusion matrix.
    #[must_use]
    pub fn confusion_conf(self, confusion_conf: f32) -> Self {
        Self { confusion_conf, ..self }
    }

    /// Whether all detections count as class 0, and suppress each other; labels must be of class 0 then.
    #[must_use]
    pub fn single_cls(self, single_cls: bool) -> Self {
        Self { single_cls, ..self }
    }

    /// Most pixels of an image that is decoded from a file.
    #[must_use]
    pub fn max_pixels(self, max_pixels: u64) -> Self {
        Self { max_pixels, ..self }
    }

    /// How each image is looked at tile by tile; `None` for images as a whole.
    #[must_use]
    pub fn tiles(self, tiles: impl Into<Option<TileOptions>>) -> Self {
        Self { tiles: tiles.into(), ..self }
    }

    /// Pixels that an image's longer side is scaled to: `imgsz` rounded up to a multiple of 32.
    #[must_use]
    pub fn side(&self) -> usize {
        self.imgsz.next_multiple_of(SIDE_STEP)
    }
}

impl Default for ValOptions {
    /// Ultralytics' defaults, but for the confusion matrix: it counts above 0.001 there, 0.25 here.
    fn default() -> Self {
        let nms = NmsOptions::new().conf(0.001).iou(0.7).max_det(300).multi_label(true);
        let max_pixels = image::MAX_PIXELS;
        let (confusion_conf, single_cls, tiles) = (0.25, false, None);
        Self { imgsz: 640, batch: 16, rect: true, nms, confusion_conf, single_cls, max_pixels, tiles }
    }
}
