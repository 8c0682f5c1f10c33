//! Parts of the images, and what becomes of them.

use std::ops::Range;
use std::path::Path;

use anyhow::Result;
use candle_core::DType;
use candle_yolov8::{NmsOptions, TileOptions};
use serde_json::{Map, Value, json};

use super::rows::{self, FORMAT, RowFiles};
use crate::cli::{DetectArgs, GlobalArgs, MergeArgs, ShardArgs, bytes};
use crate::error::SomeFailed;
use crate::files;
use crate::output::{Stdout, grouped};
use crate::part::{PartHeader, decimal, merged};
use crate::shard;
use crate::source::SourceEntry;

/// The part of the sources that a run looks at.
pub(super) struct Sharded<'a> {
    args: &'a ShardArgs,
    path: &'a Path,
    /// Hash of all sources.
    data: String,
    /// How many there are.
    total: usize,
    positions: Range<usize>,
}

impl<'a> Sharded<'a> {
    /// What the arguments say, where they name a part's file; `entries` are those of the part then.
    pub(super) fn new(args: &'a ShardArgs, entries: &mut Vec<SourceEntry>, quiet: bool) -> Result<Option<Self>> {
        let Some(path) = args.part.as_deref() else { return Ok(None) };
        // A machine that does not see the images has nothing to say of its part.
        if entries.iter().all(|entry| entry.source.is_err())
            && let Some(SourceEntry { label, source: Err(error) }) = entries.drain(..).next()
        {
            return Err(error.context(label));
        }
        let (data, total) = (rows::fingerprint(entries)?, entries.len());
        let positions = shard::bounds(total, shard::part(args.shard, quiet)?);
        *entries = entries.drain(positions.clone()).collect();
        Ok(Some(Self { args, path, data, total, positions }))
    }

    /// The part's file.
    pub(super) fn path(&self) -> &'a Path {
        self.path
    }

    /// Begins the part's file or goes on with it; how many of `entries`, which are the part's, are done.
    pub(super) fn open(
        &self,
        entries: &[SourceEntry],
        model: &str,
        weights: u32,
        options: Map<String, Value>,
    ) -> Result<(RowFiles, usize)> {
        let header = PartHeader {
            format: FORMAT.to_owned(),
            data: self.data.clone(),
            total: self.total,
            start: self.positions.start,
            end: self.positions.end,
            model: model.to_owned(),
            weights,
            options,
            details: Value::Null,
        };
        RowFiles::part(self.path, &header, self.args.resume, entries)
    }
}

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
