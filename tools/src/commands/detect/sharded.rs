//! Parts of the images, and what becomes of them.

use anyhow::Result;
use candle_core::DType;
use candle_yolov8::{NmsOptions, TileOptions};
use serde_json::{Map, Value, json};

use super::rows::{self, FORMAT};
use crate::cli::{DetectArgs, GlobalArgs, MergeArgs, bytes};
use crate::error::SomeFailed;
use crate::files;
use crate::output::{Stdout, grouped};
use crate::part::{decimal, merged};

/// What decides on the results besides the images and the model.
pub(super) fn options(
    args: &DetectArgs,
    global: &GlobalArgs,
    imgsz: [usize; 2],
    nms: &NmsOptions,
    tiles: Option<&TileOptions>,
    dtype: DType,
) -> Map<String, Value> {
    let video = &args.video;
    let tiles = tiles.map(|tiles| format!("{tiles:?}"));
    let options = [
        ("imgsz", json!(imgsz)),
        ("rect", json!(args.rect)),
        ("conf", decimal(nms.conf)),
        ("iou", decimal(nms.iou)),
        ("max_det", json!(nms.max_det)),
        ("classes", json!(nms.classes)),
        ("agnostic_nms", json!(nms.agnostic)),
        ("tile", json!(tiles)),
        ("dtype", json!(dtype.as_str())),
        ("arch", json!(global.arch.as_deref().map(bytes::shown))),
        ("max_pixels", json!(args.largest.max_pixels)),
        ("vid_stride", json!(video.vid_stride)),
        ("max_frames", json!(video.max_frames)),
        ("start", json!(video.start)),
        ("end", json!(video.end)),
    ];
    options.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Puts the parts of a run together.
pub(crate) fn merge(args: &MergeArgs, global: &GlobalArgs) -> Result<()> {
    args.parquet.as_deref().map_or(Ok(()), files::check_place)?;
    let parts = merged(&args.parts, FORMAT)?;
    let mut out = Stdout::new();
    let totals = rows::write_table(&parts, args.parquet.as_deref(), |image| match args.json {
        true => out.json(image),
        false => Ok(()),
    })?;
    if !args.json && !global.quiet {
        let [images, boxes, failed] = [totals.images, totals.boxes, totals.failed].map(grouped);
        out.line(&format!("{images} images and frames, {boxes} boxes, {failed} failed"))?;
    }
    if totals.failed > 0 { Err(SomeFailed.into()) } else { Ok(()) }
}
