//! CSV: a header, then one row per detection.

use anyhow::{Context, Result};

use super::{Found, class_name};

const HEADER: [&str; 10] = ["path", "width", "height", "class_id", "class", "confidence", "x1", "y1", "x2", "y2"];

/// Rows as text.
pub(crate) struct CsvRows;

impl CsvRows {
    /// The first line.
    pub(crate) fn header() -> Result<String> {
        text(|rows| rows.write_record(HEADER))
    }

    /// The lines of one image.
    pub(crate) fn of(found: &Found, names: &[String]) -> Result<String> {
        text(|rows| {
            for detection in &found.detections {
                let mut row = vec![
                    found.path.clone(),
                    found.image.width().to_string(),
                    found.image.height().to_string(),
                    detection.class_id.to_string(),
                    class_name(names, detection.class_id),
                    detection.confidence.to_string(),
                ];
                row.extend(detection.xyxy.map(|side| side.to_string()));
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
