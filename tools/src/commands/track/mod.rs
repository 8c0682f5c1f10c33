//! `ghostzoo track`: objects in videos and sequences of images, and which is which from frame to frame.

mod options;
mod recorded;
mod sequence;
mod sequences;
mod summary;

use std::path::PathBuf;

use anyhow::Result;

use crate::cli::{GlobalArgs, TrackArgs};
use crate::commands::detect;
use crate::error::usage;
use crate::run_dir::RunDir;

pub(crate) use options::TrackOptions;
pub(crate) use sequences::{SequenceName, Sequences, SummaryForm};

/// Where runs go unless told otherwise.
const RUNS: &str = "runs/detect/track";

/// Tracks objects in what the arguments name.
pub(crate) fn run(args: &TrackArgs, global: &GlobalArgs) -> Result<()> {
    let options = TrackOptions::new(&args.tracking)?;
    let detect = &args.detect;
    if let Some(path) = &args.detections {
        let video = &detect.video;
        let is_partial =
            video.vid_stride > 1 || video.max_frames.is_some() || video.start.is_some() || video.end.is_some();
        let needs_images = [
            ("--save-txt", detect.save_txt),
            ("--save-crop", detect.save_crop),
            ("--coco-json", detect.coco_json),
            ("--save-frames", video.save_frames),
            ("--trails", args.tracking.trails > 0),
            ("--tile", detect.tiles.options()?.is_some()),
            ("a part of the frames", is_partial),
        ];
        if let Some((option, _)) = needs_images.iter().find(|(_, is_given)| *is_given) {
            return Err(usage(format!("{option} needs the images, and --detections has none of them")));
        }
        if detect.parquet.is_some() {
            return Err(usage("--parquet is for what is detected now; --detections reads what was detected before"));
        }
        let folder = if options.save_mot { Some(folder(detect.save_dir.clone(), detect.exist_ok)?) } else { None };
        return recorded::run(path, args, options, folder, global.quiet);
    }
    let has_files = !detect.no_save || detect.save_txt || detect.save_crop || detect.coco_json || options.save_mot;
    let folder = if has_files { Some(folder(detect.save_dir.clone(), detect.exist_ok)?) } else { None };
    let sequences = Sequences::new(options, folder.as_ref().map(RunDir::path));
    detect::run_with(detect, global, folder, Some(sequences), None)
}

fn folder(asked: Option<PathBuf>, exist_ok: bool) -> Result<RunDir> {
    RunDir::create(&asked.unwrap_or_else(|| PathBuf::from(RUNS)), exist_ok)
}
