//! Tracking of what was detected before.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use candle_vision::regular;
use candle_yolov8::Detection;
use serde::Deserialize;

use super::options::TrackOptions;
use super::sequences::{SequenceName, Sequences, SummaryForm};
use crate::cli::{TrackArgs, bytes};
use crate::error::{SomeFailed, usage};
use crate::output::{CsvRows, ImageRecord, JsonDetections, Speed, Stdout, counts, shown};
use crate::reader::VideoFrame;
use crate::run_dir::RunDir;
use crate::source::Source;

/// What some programs put before text in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Most bytes of a line.
const MOST_BYTES: u64 = 64 << 20;

/// A line of `detect --json`.
#[derive(Deserialize)]
struct Line {
    path: String,
    frame: Option<u64>,
    time_s: Option<f64>,
    /// Absent where the image failed.
    #[serde(default)]
    width: u32,
    #[serde(default)]
    height: u32,
    detections: Option<Vec<LineDetection>>,
    error: Option<String>,
    #[serde(default)]
    speed_ms: Speed,
}

#[derive(Deserialize)]
struct LineDetection {
    class_id: usize,
    #[serde(default)]
    class: String,
    confidence: f32,
    #[serde(rename = "box")]
    xyxy: LineBox,
}

#[derive(Deserialize)]
struct LineBox {
    x1: f32,
    y1: f32,
    x2: f32,
    y2: f32,
}

/// Most classes that a recorded number may stand for.
const MOST_CLASSES: usize = 65_536;

/// Tracks the detections of a file, line by line.
pub(super) fn run(
    path: &Path,
    args: &TrackArgs,
    options: TrackOptions,
    folder: Option<RunDir>,
    quiet: bool,
) -> Result<()> {
    let label = bytes::shown(path.as_os_str());
    let input: Box<dyn Read> =
        if path == Path::new("-") { Box::new(std::io::stdin().lock()) } else { Box::new(open(path, &label)?) };
    let mut run = Recorded {
        args,
        quiet,
        names: Vec::new(),
        sequences: Sequences::new(options, folder.as_ref().map(RunDir::path)),
        folder,
        out: Stdout::new(),
        csv: CsvRows { has_frames: true, has_tracks: true },
        failed: 0,
    };
    if args.detect.csv {
        run.out.text(&run.csv.header()?)?;
    }
    let mut input = BufReader::new(input);
    let mut lines = 0;
    for number in 1_u64.. {
        let mut text = Vec::new();
        let read = input.by_ref().take(MOST_BYTES).read_until(b'\n', &mut text);
        if read.with_context(|| format!("cannot read {label}"))? == 0 {
            break;
        }
        let text = text.strip_prefix(BYTE_ORDER_MARK).filter(|_| number == 1).unwrap_or(&text);
        if !text.trim_ascii().is_empty() {
            lines += 1;
            run.line(text, &format!("{label}: line {number}"))?;
        }
    }
    if lines == 0 {
        return Err(usage(format!("{label} is empty: give what `detect --json` printed")));
    }
    run.end()
}

/// The state of a run over recorded lines.
struct Recorded<'a> {
    args: &'a TrackArgs,
    quiet: bool,
    /// Of the classes that were seen.
    names: Vec<String>,
    sequences: Sequences<String>,
    folder: Option<RunDir>,
    out: Stdout,
    csv: CsvRows,
    failed: usize,
}

impl Recorded<'_> {
    fn line(&mut self, text: &[u8], at: &str) -> Result<()> {
        let Line { path, frame, time_s, width, height, detections, error, speed_ms } = serde_json::from_slice(text)
            .map_err(|error| usage(format!("{at}: not a line of `detect --json`: {error}")))?;
        let detections = match (detections, error) {
            (Some(detections), _) => detections,
            (None, Some(error)) => {
                self.failed += 1;
                status!("error: {}: {error}", shown(&path));
                return Ok(());
            }
            (None, None) => {
                return Err(usage(format!("{at}: it has no `detections`: give what `detect --json` printed")));
            }
        };
        let names = &mut self.names;
        let args = &self.args.detect;
        let is_wanted = |found: &LineDetection| {
            let is_class = |wanted: &String| {
                let wanted = wanted.trim();
                wanted.parse() == Ok(found.class_id) || wanted.eq_ignore_ascii_case(&found.class)
            };
            found.confidence > args.conf && (args.classes.is_empty() || args.classes.iter().any(is_class))
        };
        let detections = detections.into_iter().filter(is_wanted);
        let detections: Result<Vec<_>, String> = detections.map(|found| detection(found, names)).collect();
        let detections = detections.map_err(|error| usage(format!("{at}: {error}")))?;
        let video = frame.map(|_| path.clone());
        let stem =
            video.as_deref().map_or("images".into(), |path| Source::File(PathBuf::from(bytes::word(path))).stem());
        let name = SequenceName { label: video.as_deref().unwrap_or("images"), stem: &stem };
        let (detections, tracked) =
            self.sequences.update(video.clone(), name, [&detections, &[]], [width, height], None)?;
        let time_s = time_s.unwrap_or(0.);
        let frame = frame.map(|number| VideoFrame { number, total: None, time_s, rate: None, is_live: false });
        let record = ImageRecord {
            path: &path,
            frame,
            size: [width, height],
            detections: &detections,
            tracked: Some(&tracked),
            speed: speed_ms,
        };
        if self.args.detect.json {
            self.out.json(&JsonDetections::new(&record, &self.names))
        } else if self.args.detect.csv {
            self.out.text(&self.csv.of(&record, &self.names)?)
        } else {
            let frame = frame.map(|frame| format!(" (frame {})", frame.number)).unwrap_or_default();
            self.out.line(&format!("{}{frame}: {}", shown(&path), counts(&detections, &self.names)))
        }
    }

    fn end(mut self) -> Result<()> {
        let form = SummaryForm::of(&self.args.detect, self.quiet);
        self.sequences.end_all(&self.names, form, &mut self.out)?;
        if let Some(folder) = self.folder.as_ref().filter(|_| !self.quiet) {
            status!("note: results saved to {}", bytes::shown(folder.path().as_os_str()));
        }
        if self.failed > 0 { Err(SomeFailed.into()) } else { Ok(()) }
    }
}

fn open(path: &Path, label: &str) -> Result<File> {
    regular::open(path).with_context(|| format!("cannot read {label}"))
}

/// A recorded detection, whose class's name is kept.
fn detection(found: LineDetection, names: &mut Vec<String>) -> Result<Detection, String> {
    let LineDetection { class_id, class, confidence, xyxy: LineBox { x1, y1, x2, y2 } } = found;
    if class_id >= MOST_CLASSES {
        return Err(format!("class_id {class_id} is more than there are classes"));
    }
    for id in names.len()..=class_id {
        names.push(id.to_string());
    }
    if !class.is_empty() {
        names[class_id] = class;
    }
    Ok(Detection { class_id, confidence, xyxy: [x1, y1, x2, y2] })
}
