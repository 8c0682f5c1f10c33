use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::DetectArgs;

/// Arguments of `ghostzoo track`.
#[derive(Debug, Args)]
pub(crate) struct TrackArgs {
    #[command(flatten)]
    pub(crate) detect: DetectArgs,
    #[command(flatten)]
    pub(crate) tracking: TrackingArgs,
    /// Track what `detect --json` printed into this file, - for stdin, without detecting again
    #[arg(long, value_name = "FILE.jsonl", conflicts_with_all = ["sources", "model"], help_heading = TRACKING)]
    pub(crate) detections: Option<PathBuf>,
}

/// How objects are tracked, and what of it is counted.
#[derive(Debug, Args)]
pub(crate) struct TrackingArgs {
    /// tracktrack, bytetrack, botsort or ocsort, or a file of its settings as Ultralytics has them
    #[arg(long, default_value = "tracktrack", value_name = "NAME|FILE.yaml", help_heading = TRACKING)]
    pub(crate) tracker: OsString,
    /// Draw the way that each object took over its last N frames
    #[arg(long, default_value_t = 0, value_name = "N", help_heading = TRACKING)]
    pub(crate) trails: usize,
    /// Count whose centre crosses a line, in pixels: `in` from its left to its right, as seen from the first point. May be given
    /// several times
    #[arg(long = "line", value_name = "X1,Y1,X2,Y2", allow_hyphen_values = true, value_parser = points, help_heading = TRACKING)]
    pub(crate) lines: Vec<Points>,
    /// Count whose centre is in a polygon, in pixels. May be given several times
    #[arg(long = "zone", value_name = "X1,Y1,X2,Y2,X3,Y3,…", allow_hyphen_values = true, value_parser = points, help_heading = TRACKING)]
    pub(crate) zones: Vec<Points>,
    /// Write mot/NAME.txt, the format of MOTChallenge, which TrackEval and motmetrics read
    #[arg(long, help_heading = TRACKING)]
    pub(crate) save_mot: bool,
}

/// Where the help lists them.
const TRACKING: &str = "Tracking";

/// Points in pixels.
pub(crate) type Points = std::sync::Arc<[[f64; 2]]>;

/// Parses x1,y1,x2,y2 and so on.
fn points(text: &str) -> Result<Points, String> {
    let numbers: Option<Vec<f64>> = text.split([',', ' ']).map(|number| number.trim().parse().ok()).collect();
    match numbers.as_deref().map(<[f64]>::as_chunks::<2>) {
        Some((points, [])) if points.iter().flatten().all(|at| at.is_finite()) => Ok(points.into()),
        _ => Err("give points in pixels, such as 100,400,500,400".to_owned()),
    }
}
