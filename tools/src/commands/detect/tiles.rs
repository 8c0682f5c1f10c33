//! Images looked at tile by tile.

use anyhow::Result;
use candle_vision::image::RgbImage;
use candle_yolov8::{Detector, PredictOptions, Prediction, PreparedImage, TileOptions};

use crate::reader::Item;

/// How each image is looked at.
#[derive(Debug, Clone)]
pub(super) struct TiledImages {
    tiles: TileOptions,
    options: PredictOptions,
}

impl TiledImages {
    pub(super) fn new(tiles: TileOptions, options: PredictOptions) -> Self {
        Self { tiles, options }
    }

    /// Refuses an image of too many tiles. These are made as they are needed: all of an image may take more memory than there is.
    pub(super) fn check(&self, image: &RgbImage) -> Result<()> {
        self.tiles.grid([image.height() as usize, image.width() as usize])?;
        Ok(())
    }

    /// What those show that could be read.
    pub(super) fn predict(
        &self,
        detector: &Detector,
        items: &[Item<Option<PreparedImage>>],
    ) -> Result<Vec<Prediction>> {
        let images = items.iter().filter_map(|item| Some(&item.ready.as_ref().ok()?.image));
        images.map(|image| Ok(detector.predict_tiled(image, &self.options, &self.tiles)?)).collect()
    }
}
