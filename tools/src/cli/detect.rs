use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use ghostzoo::model::MAX_SIDE;

/// Arguments of `ghostzoo detect`.
#[derive(Debug, Args)]
pub(crate) struct DetectPartArgs {
    #[command(flatten)]
    pub(crate) detect: DetectArgs,
    #[command(flatten)]
    pub(crate) parts: super::ShardArgs,
}

/// Arguments of `ghostzoo detect` and `ghostzoo track`.
#[derive(Debug, Args)]
pub(crate) struct DetectArgs {
    /// Images, videos, folders, globs, a .txt file with one of them a line, addresses (rtsp://…, http://…), cameras (0, 1, …),
    /// a .streams file with one stream a line, or - for what is on stdin [default: an image of blood cells that is built in]
    #[arg(value_name = "SOURCE")]
    pub(crate) sources: Vec<OsString>,
    /// Checkpoint: a name of `ghostzoo models`, a file (.safetensors, .pt, .pth, .bin), or hf://org/repo@rev/file
    /// [default: yolov8n of the Hub, AGPL-3.0; without a SOURCE, the blood-cell model that is built in]
    #[arg(long, short, value_name = "NAME|FILE|hf://…")]
    pub(crate) model: Option<OsString>,
    /// Least confidence of a box, exclusive
    #[arg(long, default_value_t = 0.25, value_parser = share::<f32>)]
    pub(crate) conf: f32,
    /// Overlap above which the less confident of two boxes of a class goes
    #[arg(long, default_value_t = 0.7, value_parser = share::<f32>)]
    pub(crate) iou: f32,
    /// Most boxes per image
    #[arg(long, default_value_t = 300, value_name = "N")]
    pub(crate) max_det: usize,
    /// Side that images are scaled to, in pixels, or HEIGHT,WIDTH [default: as the model was trained, else 640]
    #[arg(long, value_name = "N|H,W", value_parser = image_size)]
    pub(crate) imgsz: Option<[usize; 2]>,
    /// Pad images to the next multiple of the stride only, instead of to the full size
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "true|false")]
    pub(crate) rect: bool,
    /// Keep only these classes: numbers or names, comma-separated
    #[arg(long, value_delimiter = ',', value_name = "CLASS,…")]
    pub(crate) classes: Vec<String>,
    /// Let boxes of different classes suppress each other
    #[arg(long)]
    pub(crate) agnostic_nms: bool,
    #[command(flatten)]
    pub(crate) largest: super::Limit,
    #[command(flatten)]
    pub(crate) video: super::VideoArgs,
    /// Images per forward pass; those of one size after scaling share it
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = batch)]
    pub(crate) batch: usize,
    /// Where files go; a number is added where it exists [default: runs/detect/predict]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) save_dir: Option<PathBuf>,
    /// Write into the folder even where it exists
    #[arg(long)]
    pub(crate) exist_ok: bool,
    /// Write labels/NAME.txt, of a video NAME_FRAME.txt: class, centre x, centre y, width, height, as shares of the image
    #[arg(long)]
    pub(crate) save_txt: bool,
    /// Add the confidence to each line of --save-txt
    #[arg(long, requires = "save_txt")]
    pub(crate) save_conf: bool,
    /// Write each box's part of the image (2 % and 10 pixels larger) to crops/CLASS/NAME.jpg, NAME-2.jpg and so on
    #[arg(long)]
    pub(crate) save_crop: bool,
    /// Write predictions.json, COCO's list of results: image_id is the number in the file's name where that is all of
    /// it and no other image has that number, else the name without its extension, with -2 and so on where it is there
    /// already; category_id is the class's number; bbox is [x, y, width, height]
    #[arg(long)]
    pub(crate) coco_json: bool,
    /// Print one JSON object per image and line to stdout, nothing else; a video's frames have `frame`, from 1, and `time_s`
    #[arg(long, conflicts_with = "csv")]
    pub(crate) json: bool,
    /// Print a header and one row per box to stdout, nothing else; with the columns `frame` and `time_s` where there are videos
    #[arg(long)]
    pub(crate) csv: bool,
    /// Write a row per box, and one per image or frame without boxes or with an error: see docs/scale.md
    #[arg(long, value_name = "FILE.parquet")]
    pub(crate) parquet: Option<PathBuf>,
    /// Do not write the images and videos with their boxes
    #[arg(long)]
    pub(crate) no_save: bool,
    /// Pixels of a box's lines; text grows with them [default: 0.003 of the mean of the image's sides, at least 2]
    #[arg(long, value_name = "N", value_parser = line_width)]
    pub(crate) line_width: Option<u32>,
    /// Draw no class names
    #[arg(long)]
    pub(crate) hide_labels: bool,
    /// Draw no confidences
    #[arg(long)]
    pub(crate) hide_conf: bool,
    /// Draw no boxes
    #[arg(long)]
    pub(crate) hide_boxes: bool,
    #[command(flatten)]
    pub(crate) tiles: super::TileArgs,
}

/// Parses a number from 0 to 1.
pub(crate) fn share<T: FromStr + PartialOrd + From<u8>>(text: &str) -> Result<T, String> {
    match text.parse() {
        Ok(value) if (T::from(0)..=T::from(1)).contains(&value) => Ok(value),
        _ => Err("give a number from 0 to 1".to_owned()),
    }
}

/// Parses a number of at least 1.
pub(crate) fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(value) if value > 0 => Ok(value),
        _ => Err("give a whole number of at least 1".to_owned()),
    }
}

/// Most images per forward pass or step.
const MAX_BATCH: usize = 65_536;

/// Parses a number of images per forward pass or step.
pub(crate) fn batch(text: &str) -> Result<usize, String> {
    within(text, MAX_BATCH)
}

/// Widest line of a box, in pixels.
const MAX_LINE_WIDTH: usize = 200;

/// Parses the width of a line.
fn line_width(text: &str) -> Result<u32, String> {
    within(text, MAX_LINE_WIDTH).map(|width| width as u32)
}

/// Parses a side in pixels.
pub(crate) fn side(text: &str) -> Result<usize, String> {
    within(text, MAX_SIDE)
}

fn within(text: &str, most: usize) -> Result<usize, String> {
    match text.parse() {
        Ok(value) if (1..=most).contains(&value) => Ok(value),
        _ => Err(format!("give a whole number from 1 to {most}")),
    }
}

/// Parses a side, or a height and a width, to [height, width].
pub(crate) fn image_size(text: &str) -> Result<[usize; 2], String> {
    let sides: Option<Vec<usize>> = text
        .split([',', 'x'])
        .map(|side| side.trim().parse().ok().filter(|side| (1..=MAX_SIDE).contains(side)))
        .collect();
    match sides.as_deref() {
        Some([side]) => Ok([*side; 2]),
        Some([height, width]) => Ok([*height, *width]),
        _ => Err(format!("give a side such as 640, or height,width such as 480,640, up to {MAX_SIDE}")),
    }
}
