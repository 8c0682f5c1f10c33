use candle_yolov8::{MatchMetric, Merge, NmsOptions, TileOptions};
use clap::{Args, ValueEnum};

use crate::error::usage;

/// Options of commands that look at large images tile by tile.
#[derive(Debug, Args)]
#[command(next_help_heading = "Tiles")]
pub(crate) struct TileArgs {
    /// Look at tiles of N by N pixels, or HEIGHT,WIDTH, of each image, which finds what is small in a large one. --imgsz,
    /// --conf, --iou and --max-det are for each tile
    #[arg(long, value_name = "N|H,W", value_parser = super::detect::image_size)]
    tile: Option<[usize; 2]>,
    /// Share of a side that neighbouring tiles have in common, from 0 up to, but not, 1
    #[arg(long, default_value_t = 0.2, value_name = "SHARE", value_parser = overlap, requires = "tile")]
    overlap: f64,
    /// Look at the tiles only, not at the whole image too, which finds what is larger than a tile
    #[arg(long, requires = "tile")]
    no_whole: bool,
    /// Whether boxes of one object in several tiles grow together, or the most confident stays as it is [default: nmm, but
    /// nms by iou where --conf is below 0.1]
    #[arg(long, value_name = "nmm|nms", requires = "tile")]
    tile_merge: Option<TileMerge>,
    /// By what share boxes are of one object: that of the smaller one's area, which a part beyond a tile's edge has, or that
    /// of both [default: ios, but as --tile-merge says]
    #[arg(long, value_name = "ios|iou", requires = "tile")]
    tile_metric: Option<TileMetric>,
    /// From what share on boxes are of one object, above 0 and up to 1
    #[arg(long, default_value_t = 0.5, value_name = "SHARE", value_parser = threshold, requires = "tile")]
    tile_threshold: f64,
    /// Tiles per forward pass
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = super::detect::batch, requires = "tile")]
    tile_batch: usize,
}

/// What becomes of boxes of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TileMerge {
    /// The most confident grows until it holds the others
    Nmm,
    /// The most confident stays as it is
    Nms,
}

/// By what share boxes are of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TileMetric {
    /// Intersection over the smaller area
    Ios,
    /// Intersection over union
    Iou,
}

impl TileArgs {
    /// How images are looked at tile by tile; none where they are not.
    pub(crate) fn options(&self) -> anyhow::Result<Option<TileOptions>> {
        let Some(size) = self.tile else { return Ok(None) };
        let merge = self.tile_merge.map(|merge| match merge {
            TileMerge::Nmm => Merge::GreedyNmm,
            TileMerge::Nms => Merge::Nms,
        });
        let metric = self.tile_metric.map(|metric| match metric {
            TileMetric::Ios => MatchMetric::Ios,
            TileMetric::Iou => MatchMetric::Iou,
        });
        let options = TileOptions::new()
            .size(size)
            .overlap(self.overlap)
            .whole(!self.no_whole)
            .merge(merge)
            .metric(metric)
            .threshold(self.tile_threshold)
            .batch(self.tile_batch);
        options.check().map_err(usage)?;
        Ok(Some(options))
    }

    /// Says where boxes of tiles go by another rule than usual.
    pub(crate) fn tell(&self, tiles: &TileOptions, nms: &NmsOptions) {
        if self.tile_merge.is_none() && tiles.merge_options(nms).merge == Merge::Nms {
            status!(
                "note: --conf is below 0.1, where boxes of several tiles do not grow together: --tile-merge nmm lets them"
            );
        }
    }
}

/// Parses a share of a tile's side.
fn overlap(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if (0. ..1.).contains(&value) => Ok(value),
        _ => Err("give a share from 0 up to, but not, 1, such as 0.2".to_owned()),
    }
}

/// Parses the least share of a match.
fn threshold(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if value > 0. && value <= 1. => Ok(value),
        _ => Err("give a share above 0 and up to 1, such as 0.5".to_owned()),
    }
}
