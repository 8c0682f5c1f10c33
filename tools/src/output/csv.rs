//! CSV: a header, then one row per detection.

use anyhow::{Context, Result};

use super::{ImageRecord, class_name};
use crate::reader::VideoFrame;

const HEADER: [&str; 10] = ["path", "width", "height", "class_id", "class", "confidence", "x1", "y1", "x2", "y2"];

/// What a frame of a video has besides, behind the path.
const OF_FRAME: [&str; 2] = ["frame", "time_s"];

/// What a tracked object has besides, at the end.
const OF_TRACK: &str = "track_id";

/// Rows as text.
pub(crate) struct CsvRows {
    /// Whether there are videos among the sources: images leave the columns of frames empty then.
    pub(crate) has_frames: bool,
    /// Whether objects are tracked.
    pub(crate) has_tracks: bool,
}

impl CsvRows {
    /// The first line.
    pub(crate) fn header(&self) -> Result<String> {
        let of_frame = OF_FRAME.iter().filter(|_| self.has_frames);
        let of_track = self.has_tracks.then_some(&OF_TRACK);
        text(|rows| rows.write_record(HEADER[..1].iter().chain(of_frame).chain(&HEADER[1..]).chain(of_track)))
    }

    /// The lines of one image.
    pub(crate) fn of(&self, record: &ImageRecord<'_>, names: &[String]) -> Result<String> {
        text(|rows| {
            for (index, detection) in record.detections.iter().enumerate() {
                let mut row = vec![record.path.to_owned()];
                if self.has_frames {
                    let time = |frame: VideoFrame| format!("{:.6}", frame.time_s);
                    row.push(record.frame.map(|frame| frame.number.to_string()).unwrap_or_default());
                    row.push(record.frame.map(time).unwrap_or_default());
                }
                row.extend([
                    record.size[0].to_string(),
                    record.size[1].to_string(),
                    detection.class_id.to_string(),
                    class_name(names, detection.class_id),
                    detection.confidence.to_string(),
                ]);
                row.extend(detection.xyxy.map(|side| side.to_string()));
                if self.has_tracks {
                    row.push(record.track_id(index).map(|track_id| track_id.to_string()).unwrap_or_default());
                }
                rows.write_record(row)?;
            }
            Ok(())
        })
    }
}

fn text(fill: impl FnOnce(&mut csv::Writer<Vec<u8>>) -> csv::Result<()>) -> Result<String> {
    let mut rows = csv::Writer::from_writer(Vec::new());
    fill(&mut rows)?;
    let bytes = rows.into_inner().context("cannot finish the CSV rows")?;
    String::from_utf8(bytes).context("the CSV rows are not UTF-8")
}
