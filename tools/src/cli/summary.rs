use std::ffi::OsString;

use candle_yolov8::MAX_CLASSES;
use clap::Args;

/// Arguments of `ghostzoo summary`.
#[derive(Debug, Args)]
pub(crate) struct SummaryArgs {
    /// Architectures (yolov8n-ghostnet, ghostnetv3_100, …), yaml files or checkpoints; the first is compared with
    #[arg(required = true, value_name = "MODEL|FILE.yaml")]
    pub(crate) models: Vec<OsString>,
    /// Number of classes [default: as the model says]
    #[arg(long, value_name = "N", value_parser = classes)]
    pub(crate) nc: Option<usize>,
    /// Side of the image whose arithmetic is counted, or HEIGHT,WIDTH [default: 640, GhostNet 224]
    #[arg(long, value_name = "N|H,W", value_parser = super::detect::image_size)]
    pub(crate) imgsz: Option<[usize; 2]>,
    /// Print one JSON object per row and line to stdout, nothing else
    #[arg(long)]
    pub(crate) json: bool,
}

fn classes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=MAX_CLASSES).contains(&count) => Ok(count),
        _ => Err(format!("give a whole number from 1 to {MAX_CLASSES}")),
    }
}
