//! Large images looked at tile by tile: see [`Detector::predict_tiled`].

use std::time::Duration;

use candle_vision::image::RgbImage;
use candle_vision::nms::{Candidate, NmsOptions};
use candle_vision::tiles::{GridError, MatchMetric, Merge, MergeOptions, Tile, crop, grid, merge};
use rayon::prelude::*;

use crate::detector::{Detection, Detector, PredictOptions, Prediction};

/// Least confidence from which on SAHI grows boxes: below, what is hardly an object would make others larger.
const GROWING_CONF: f32 = 0.1;

/// How an image is cut into tiles, and how what they show is put together.
///
/// ```
/// use candle_yolov8::TileOptions;
///
/// let options = TileOptions::new().size([512, 512]).overlap(0.25);
/// assert!(options.check().is_ok() && options.whole);
/// assert!(options.overlap(1.).check().is_err());
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TileOptions {
    /// `[height, width]` of a tile in pixels of the image.
    pub size: [usize; 2],
    /// Share of a side that neighbours have in common, from 0 up to, but not, 1.
    pub overlap: f64,
    /// Whether the whole image is looked at too, for objects that are larger than a tile. One that is a single tile is looked at
    /// once.
    pub whole: bool,
    /// What becomes of boxes that match. `None`: greedy merging, or suppression by [`MatchMetric::Iou`] where boxes of a
    /// confidence below 0.1 are wanted.
    pub merge: Option<Merge>,
    /// How far two boxes are the same. `None`: [`MatchMetric::Ios`] but for the case above.
    pub metric: Option<MatchMetric>,
    /// Boxes match from here on, above 0 and up to 1.
    pub threshold: f64,
    /// Most tiles of a forward pass. No result depends on it.
    pub batch: usize,
}

impl Default for TileOptions {
    /// Tiles of 640 by 640, else what SAHI 0.12.8 does unless told otherwise, which asks for a size.
    fn default() -> Self {
        Self { size: [640; 2], overlap: 0.2, whole: true, merge: None, metric: None, threshold: 0.5, batch: 8 }
    }
}

impl TileOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `[height, width]` of a tile in pixels of the image.
    #[must_use]
    pub fn size(self, size: [usize; 2]) -> Self {
        Self { size, ..self }
    }

    /// Share of a side that neighbours have in common, from 0 up to, but not, 1.
    #[must_use]
    pub fn overlap(self, overlap: f64) -> Self {
        Self { overlap, ..self }
    }

    /// Whether the whole image is looked at too.
    #[must_use]
    pub fn whole(self, whole: bool) -> Self {
        Self { whole, ..self }
    }

    /// What becomes of boxes that match; `None` for what suits the confidence.
    #[must_use]
    pub fn merge(self, merge: impl Into<Option<Merge>>) -> Self {
        Self { merge: merge.into(), ..self }
    }

    /// How far two boxes are the same; `None` for what suits the confidence.
    #[must_use]
    pub fn metric(self, metric: impl Into<Option<MatchMetric>>) -> Self {
        Self { metric: metric.into(), ..self }
    }

    /// Boxes match from here on, above 0 and up to 1.
    #[must_use]
    pub fn threshold(self, threshold: f64) -> Self {
        Self { threshold, ..self }
    }

    /// Most tiles of a forward pass.
    #[must_use]
    pub fn batch(self, batch: usize) -> Self {
        Self { batch, ..self }
    }

    /// Refuses what [`Detector::predict_tiled`] would refuse of any image.
    ///
    /// # Errors
    /// A side of 0, an overlap outside 0 to 1, or 1, a threshold outside 0 to 1, or 0.
    pub fn check(&self) -> Result<(), TileError> {
        self.grid([1; 2]).map(|_| ())
    }

    /// The tiles of an image of `[height, width]`.
    ///
    /// # Errors
    /// As [`TileOptions::check`]; more than [`candle_vision::tiles::MAX_TILES`] tiles.
    pub fn grid(&self, image: [usize; 2]) -> Result<Vec<Tile>, TileError> {
        if !(self.threshold > 0. && self.threshold <= 1.) {
            return Err(TileError::Threshold(self.threshold));
        }
        Ok(grid(image, self.size, self.overlap)?)
    }

    /// How boxes of several tiles are merged that `nms` leaves of each.
    #[must_use]
    pub fn merge_options(&self, nms: &NmsOptions) -> MergeOptions {
        let (merge, metric) = match self.merge {
            None if nms.conf < GROWING_CONF => (Merge::Nms, MatchMetric::Iou),
            merge => (merge.unwrap_or_default(), MatchMetric::default()),
        };
        let metric = self.metric.unwrap_or(metric);
        MergeOptions::new().merge(merge).metric(metric).threshold(self.threshold).agnostic(nms.agnostic)
    }
}

/// Why an image was not looked at tile by tile.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TileError {
    /// There are no such tiles.
    #[error(transparent)]
    Grid(#[from] GridError),
    /// A threshold from which no boxes match, or all.
    #[error("boxes of tiles cannot match from an overlap of {0} on: give a threshold above 0 and up to 1")]
    Threshold(f64),
    /// The network failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl Detector {
    /// Looks at tiles of an image, and at the whole, as SAHI does. Each tile is scaled as `options` say an image is, and
    /// their thresholds and most boxes hold for each; what all of them show is merged into one list, which has no limit but
    /// [`crate::MAX_CANDIDATES`].
    ///
    /// The prediction's times are sums, and its input is a tile's.
    ///
    /// # Errors
    /// As [`TileOptions::grid`]; if the device fails.
    pub fn predict_tiled(
        &self,
        image: &RgbImage,
        options: &PredictOptions,
        tiles: &TileOptions,
    ) -> Result<Prediction, TileError> {
        let size = [image.height() as usize, image.width() as usize];
        let grid = tiles.grid(size)?;
        let input = grid.first().map_or(size, |tile| [tile.height, tile.width]);
        let mut found = Found::new(self.letterbox(options).plan(input).size);
        for part in grid.chunks(tiles.batch.max(1)) {
            let crops: Vec<RgbImage> = part.par_iter().map(|tile| crop(image, tile)).collect();
            let predictions = self.predict(&crops, options)?;
            part.iter().zip(predictions).for_each(|(tile, prediction)| found.add(prediction, [tile.x, tile.y]));
        }
        if tiles.whole && grid.len() > 1 {
            let predictions = self.predict(std::slice::from_ref(image), options)?;
            predictions.into_iter().for_each(|prediction| found.add(prediction, [0; 2]));
        }
        Ok(found.merge(&tiles.merge_options(&options.nms)))
    }
}

/// What the tiles of an image show.
struct Found {
    /// Boxes in pixels of the image.
    boxes: Vec<Candidate>,
    /// All else.
    sum: Prediction,
}

impl Found {
    fn new(input: [usize; 2]) -> Self {
        let [preprocess, inference, postprocess] = [Duration::ZERO; 3];
        let sum = Prediction {
            detections: Vec::new(),
            suppressed: Vec::new(),
            dropped: 0,
            input,
            preprocess,
            inference,
            postprocess,
        };
        Self { boxes: Vec::new(), sum }
    }

    /// Adds what a tile shows that starts at `[x, y]`, but for boxes without an area.
    fn add(&mut self, prediction: Prediction, [x, y]: [usize; 2]) {
        let shift = |value: f32, by: usize| (f64::from(value) + by as f64) as f32;
        self.boxes.extend(prediction.detections.into_iter().filter_map(|Detection { class_id, confidence, xyxy }| {
            let [x1, y1, x2, y2] = xyxy;
            let xyxy = [shift(x1, x), shift(y1, y), shift(x2, x), shift(y2, y)];
            (x1 < x2 && y1 < y2).then_some(Candidate { class_id, confidence, xyxy })
        }));
        self.sum.dropped += prediction.dropped;
        self.sum.preprocess += prediction.preprocess;
        self.sum.inference += prediction.inference;
        self.sum.postprocess += prediction.postprocess;
    }

    fn merge(self, options: &MergeOptions) -> Prediction {
        let start = std::time::Instant::now();
        let merged = merge(self.boxes, options);
        let detection = |Candidate { class_id, confidence, xyxy }: Candidate| Detection { class_id, confidence, xyxy };
        let detections = merged.candidates.into_iter().map(detection).collect();
        let postprocess = self.sum.postprocess + start.elapsed();
        Prediction { detections, dropped: self.sum.dropped + merged.dropped, postprocess, ..self.sum }
    }
}

#[cfg(test)]
#[path = "tiles_tests.rs"]
mod tests;
