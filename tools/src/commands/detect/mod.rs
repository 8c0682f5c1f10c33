//! `ghostzoo detect`: boxes in images and videos.

mod rows;
mod run;
mod sharded;
mod source_state;
mod tiles;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use candle_yolov8::{Detector, NmsOptions, PredictOptions, PreparedImage};
use ghostzoo_weights::Task;

use crate::cli::{DetectArgs, DetectPartArgs, GlobalArgs, ShardArgs};
use crate::commands::track::Sequences;
use crate::error::usage;
use crate::files;
use crate::interrupt;
use crate::model;
use crate::output::{CocoResults, CsvRows, FrameNotes, MeanSpeed, Stdout, drawable};
use crate::progress::FrameBar;
use crate::reader::{self, Prepare, ReadOptions};
use crate::request::PredictRequest;
use crate::run_dir::RunDir;
use crate::source::Media;
use ghostzoo::plot::BoxStyle;
use ghostzoo::train::StopFlag;
use ghostzoo::{Network, track};
use rows::RowFiles;
use run::Run;
use sharded::Sharded;
use tiles::TiledImages;

pub(crate) use sharded::merge;

/// Where runs go unless told otherwise.
const RUNS: &str = "runs/detect/predict";

/// Detects objects in every image and video that the arguments name, or in the one that is built in.
pub(crate) fn run(args: &DetectPartArgs, global: &GlobalArgs) -> Result<()> {
    run_with(&args.detect, global, folder(&args.detect)?, None, Some(&args.parts))
}

/// [`run`] with what is written in `folder`; the objects are tracked where there are `sequences`, and a part alone is looked at
/// where `parts` says so.
pub(super) fn run_with(
    args: &DetectArgs,
    global: &GlobalArgs,
    mut folder: Option<RunDir>,
    sequences: Option<Sequences<usize>>,
    parts: Option<&ShardArgs>,
) -> Result<()> {
    check_outputs(args.parquet.as_deref(), parts.and_then(|parts| parts.part.as_deref()))?;
    if args.video.format.is_some() && !args.sources.iter().any(|source| source == "-") {
        return Err(usage("--format says what is on stdin: give - as a source too"));
    }
    if let Some(end) = args.video.end.filter(|end| *end <= args.video.start.unwrap_or(0.)) {
        return Err(usage(format!("--end {end} does not lie behind --start {}", args.video.start.unwrap_or(0.))));
    }
    let media = Media::Videos(args.video.format);
    let PredictRequest { choice, mut entries } =
        PredictRequest::of(Task::Detect, args.model.as_deref(), &args.sources, media)?;
    if let Some(table) = &args.parquet {
        let model = args.model.as_deref().map(Path::new);
        let sources = entries.iter().filter_map(|entry| entry.source.as_ref().ok()?.path());
        let part = parts.and_then(|parts| parts.part.as_deref());
        files::check_not_read(table, sources.chain(model).chain(part))?;
    }
    let tiles = args.tiles.options()?;
    let device = global.open(global.quiet)?;
    let sharded = parts.map(|parts| Sharded::new(parts, &mut entries, global.quiet)).transpose()?.flatten();
    let total = entries.len();
    let has_videos = entries.iter().any(|entry| entry.source.as_ref().is_ok_and(|source| source.video().is_some()));
    if let Some(folder) = &mut folder {
        folder.guard(entries.iter().filter_map(|entry| entry.source.as_ref().ok()?.path()));
    }
    let stop = StopFlag::new();
    if has_videos {
        interrupt::listen(&stop, "finishing the frame, then saving");
    }
    // Images are decoded while the model is loaded.
    let read = ReadOptions {
        batch: args.batch,
        on_all_threads: !device.is_cpu(),
        decode: args.largest.upright(),
        video: args.video.options(stop.clone()).max_pixels(args.largest.max_pixels),
    };
    // What a part has still to do is known by then only.
    let early = match sharded {
        None => Some(reader::read(std::mem::take(&mut entries), read.clone())?),
        Some(_) => None,
    };
    let loaded = choice.load(global, &device, args.json || args.csv)?;
    let weights = sharded.as_ref().map(|_| model::checksum(&loaded)).transpose()?;
    let Network::Detector(network) = loaded.network else {
        return Err(usage(format!("{} is a classifier; use `ghostzoo classify`", loaded.name)));
    };
    let nms = NmsOptions::new()
        .conf(args.conf)
        .iou(args.iou)
        .max_det(args.max_det)
        .classes(class_filter(&args.classes, &loaded.class_names)?)
        .agnostic(args.agnostic_nms);
    let nms = match &sequences {
        Some(sequences) => track::nms_options(sequences.options().config(), nms),
        None => nms,
    };
    let detector = Detector::new(*network, device.clone(), loaded.dtype, loaded.input_size);
    let options = PredictOptions::new().imgsz(args.imgsz).rect(args.rect).nms(nms.clone());
    let imgsz = args.imgsz.unwrap_or(detector.imgsz());
    let view = detector.letterbox(&options);
    if view.size != imgsz && !global.quiet {
        let stride = detector.model().max_stride();
        status!("note: image size {imgsz:?} is not a multiple of the model's stride {stride}; using {:?}", view.size);
    }
    tiles.iter().filter(|_| !global.quiet).for_each(|tiles| args.tiles.tell(tiles, &nms));
    let (rows, done) = match sharded.as_ref().zip(weights) {
        Some((sharded, weights)) => {
            let options = sharded::options(args, global, imgsz, &nms, tiles.as_ref(), loaded.dtype);
            sharded.open(&entries, &loaded.name, weights, options)?
        }
        None => (RowFiles::table(args.parquet.as_deref())?, 0),
    };
    let reader = match early {
        Some(reader) => reader,
        None => reader::read(entries.split_off(done), read)?,
    };
    let tiled = tiles.map(|tiles| TiledImages::new(tiles, options));
    let run = Run {
        args,
        quiet: global.quiet,
        names: &loaded.class_names,
        annotation: annotation(args, &loaded.class_names, global.quiet),
        detector,
        tiled: tiled.clone(),
        nms,
        csv: CsvRows { has_frames: has_videos, has_tracks: sequences.is_some() },
        sequences,
        folder,
        coco: CocoResults::default(),
        rows,
        part: sharded.as_ref().map(Sharded::path),
        out: Stdout::new(),
        total,
        done,
        failed: 0,
        speeds: MeanSpeed::default(),
        last_shape: [0; 4],
        frames: FrameNotes::default(),
        videos: BTreeMap::new(),
        bar: FrameBar::new(global.quiet),
    };
    let prepare: Prepare<Option<PreparedImage>> = match tiled {
        Some(tiled) => Arc::new(move |image| tiled.check(image).map(|()| None)),
        None => Arc::new(move |image| Ok(Some(PreparedImage::new(image, &view, &device)?))),
    };
    run.all(reader.batches(prepare), &stop)
}

/// Refuses files that could not be written, and one that is named for both.
fn check_outputs(table: Option<&Path>, part: Option<&Path>) -> Result<()> {
    if let Some(path) = table.filter(|table| part == Some(*table)) {
        return Err(usage(format!("{} is named for two outputs", path.display())));
    }
    [table, part].into_iter().flatten().try_for_each(files::check_place)
}

/// The run's folder, where there is anything to write.
fn folder(args: &DetectArgs) -> Result<Option<RunDir>> {
    if args.no_save && !args.save_txt && !args.save_crop && !args.coco_json {
        return Ok(None);
    }
    let base = args.save_dir.clone().unwrap_or_else(|| PathBuf::from(RUNS));
    RunDir::create(&base, args.exist_ok).map(Some)
}

/// What of boxes is drawn into images.
fn annotation(args: &DetectArgs, names: &[String], quiet: bool) -> BoxStyle {
    let has_names = !args.no_save && !args.hide_labels && !args.hide_boxes;
    let names = if has_names { drawable(names, quiet) } else { Vec::new() };
    BoxStyle::new(names)
        .labels(!args.hide_labels)
        .conf(!args.hide_conf)
        .boxes(!args.hide_boxes)
        .line_width(args.line_width)
}

/// The numbers of the classes to keep; empty for all.
fn class_filter(wanted: &[String], names: &[String]) -> Result<Option<Vec<usize>>> {
    if wanted.is_empty() {
        return Ok(None);
    }
    let number = |wanted: &String| {
        let wanted = wanted.trim();
        let by_number = wanted.parse::<usize>().ok().filter(|number| *number < names.len());
        by_number.or_else(|| names.iter().position(|name| name.eq_ignore_ascii_case(wanted))).ok_or_else(|| {
            let mut near: Vec<&String> = names.iter().collect();
            near.sort_by_cached_key(|name| strsim::damerau_levenshtein(&name.to_lowercase(), &wanted.to_lowercase()));
            let near: Vec<&str> = near.into_iter().take(3).map(String::as_str).collect();
            usage(format!(
                "--classes: the model has no class {wanted:?}; it has {} classes, 0 to {}, the nearest names are {}",
                names.len(),
                names.len().saturating_sub(1),
                near.join(", "),
            ))
        })
    };
    wanted.iter().map(number).collect::<Result<_>>().map(Some)
}
