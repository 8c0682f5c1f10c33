//! Parquet: one row per detection, and one per image or frame without detections or with an error.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use ghostzoo_files::Pending;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::{JsonDetection, JsonRecord};

/// The columns. A row without `class_id` and without `error` is an image that shows nothing.
const SCHEMA: &str = "message detections {
    required binary path (STRING);
    optional int64 frame;
    optional double time_s;
    optional int32 width;
    optional int32 height;
    optional int32 class_id;
    optional binary class (STRING);
    optional float confidence;
    optional float x1;
    optional float y1;
    optional float x2;
    optional float y2;
    optional int64 track_id;
    optional binary error (STRING);
}";

/// Rows that are kept until they are written together.
const ROWS_OF_GROUP: usize = 1 << 16;

/// A file of rows, which has its name when it is whole.
pub(crate) struct ParquetRows {
    path: PathBuf,
    writer: SerializedFileWriter<Pending>,
    rows: Rows,
}

/// The rows of a group, by column.
#[derive(Default)]
struct Rows {
    path: Vec<ByteArray>,
    frame: Column<i64>,
    time_s: Column<f64>,
    width: Column<i32>,
    height: Column<i32>,
    class_id: Column<i32>,
    class: Column<ByteArray>,
    confidence: Column<f32>,
    xyxy: [Column<f32>; 4],
    track_id: Column<i64>,
    error: Column<ByteArray>,
}

/// Values that may be missing.
struct Column<T> {
    values: Vec<T>,
    /// Whether a row has one: 1 or 0.
    levels: Vec<i16>,
}

impl<T> Default for Column<T> {
    fn default() -> Self {
        Self { values: Vec::new(), levels: Vec::new() }
    }
}

impl<T> Column<T> {
    fn push(&mut self, value: Option<T>) {
        self.levels.push(i16::from(value.is_some()));
        self.values.extend(value);
    }
}

impl ParquetRows {
    /// Begins the file that is to be at `path`.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let cannot_write = || format!("cannot write {}", path.display());
        let schema = Arc::new(parse_message_type(SCHEMA)?);
        let properties = Arc::new(WriterProperties::builder().set_compression(Compression::SNAPPY).build());
        let file = Pending::create(path).with_context(cannot_write)?;
        let writer = SerializedFileWriter::new(file, schema, properties).with_context(cannot_write)?;
        Ok(Self { path: path.to_path_buf(), writer, rows: Rows::default() })
    }

    /// Adds the rows of an image.
    pub(crate) fn add(&mut self, record: &JsonRecord) -> Result<()> {
        let path = ByteArray::from(record.path.as_str());
        match record.detections.as_deref() {
            None | Some([]) => self.rows.push(&path, record, None),
            Some(detections) => {
                for detection in detections {
                    self.rows.push(&path, record, Some(detection));
                }
            }
        }
        if self.rows.path.len() >= ROWS_OF_GROUP { self.write() } else { Ok(()) }
    }

    /// Writes what is kept as a row group.
    fn write(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        let group = self.writer.next_row_group().map_err(anyhow::Error::from);
        group.and_then(|group| rows.write(group)).with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Writes the rest, syncs the file and gives it its name.
    pub(crate) fn finish(mut self) -> Result<()> {
        if !self.rows.path.is_empty() {
            self.write()?;
        }
        let cannot_write = || format!("cannot write {}", self.path.display());
        self.writer.into_inner().with_context(cannot_write)?.finish().with_context(cannot_write)
    }
}

impl Rows {
    fn push(&mut self, path: &ByteArray, record: &JsonRecord, detection: Option<&JsonDetection>) {
        let small = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
        let large = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let text = |text: &str| ByteArray::from(text);
        self.path.push(path.clone());
        self.frame.push(record.frame.map(large));
        self.time_s.push(record.time_s);
        self.width.push(record.width.map(|side| small(side as usize)));
        self.height.push(record.height.map(|side| small(side as usize)));
        self.class_id.push(detection.map(|found| small(found.class_id)));
        self.class.push(detection.map(|found| text(&found.class)));
        self.confidence.push(detection.map(|found| found.confidence));
        let sides = detection.map(|found| [found.xyxy.x1, found.xyxy.y1, found.xyxy.x2, found.xyxy.y2]);
        for (side, column) in self.xyxy.iter_mut().enumerate() {
            column.push(sides.map(|sides| sides[side]));
        }
        self.track_id.push(detection.and_then(|found| found.track_id).map(large));
        self.error.push(record.error.as_deref().map(text));
    }

    /// Writes the columns in the order of [`SCHEMA`].
    fn write(&self, mut group: SerializedRowGroupWriter<'_, Pending>) -> Result<()> {
        write::<ByteArrayType>(&mut group, &self.path, None)?;
        optional::<Int64Type>(&mut group, &self.frame)?;
        optional::<DoubleType>(&mut group, &self.time_s)?;
        optional::<Int32Type>(&mut group, &self.width)?;
        optional::<Int32Type>(&mut group, &self.height)?;
        optional::<Int32Type>(&mut group, &self.class_id)?;
        optional::<ByteArrayType>(&mut group, &self.class)?;
        optional::<FloatType>(&mut group, &self.confidence)?;
        self.xyxy.iter().try_for_each(|side| optional::<FloatType>(&mut group, side))?;
        optional::<Int64Type>(&mut group, &self.track_id)?;
        optional::<ByteArrayType>(&mut group, &self.error)?;
        group.close()?;
        Ok(())
    }
}

fn optional<T: DataType>(group: &mut SerializedRowGroupWriter<'_, Pending>, column: &Column<T::T>) -> Result<()> {
    write::<T>(group, &column.values, Some(&column.levels))
}

fn write<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Pending>,
    values: &[T::T],
    levels: Option<&[i16]>,
) -> Result<()> {
    let mut column = group.next_column()?.context("the schema has fewer columns; this is a bug of ghostzoo")?;
    column.typed::<T>().write_batch(values, levels, None)?;
    column.close()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::RowAccessor;

    use super::*;
    use crate::output::json::JsonBox;

    #[test]
    fn nothing_is_lost_and_rows_come_in_groups() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("rows.parquet");
        let mut rows = ParquetRows::create(&path).expect("begun");
        let detection = |at: usize| JsonDetection {
            track_id: (at > 0).then_some(at as u64),
            class_id: at,
            class: format!("c{at}"),
            confidence: 0.1 + at as f32,
            xyxy: JsonBox { x1: 1., y1: 2., x2: 3., y2: at as f32 },
        };
        let mut image = JsonRecord::failed("none.png", "no such file");
        rows.add(&image).expect("added");
        image = JsonRecord { detections: Some(Vec::new()), error: None, width: Some(8), height: Some(9), ..image };
        rows.add(&image).expect("added");
        image = JsonRecord { path: "v.mp4".into(), frame: Some(3), time_s: Some(0.04), ..image };
        let count = ROWS_OF_GROUP + 5;
        image.detections = Some((0..count).map(detection).collect());
        rows.add(&image).expect("added");
        assert!(!path.exists(), "it is not whole yet");
        rows.add(&JsonRecord::failed("犬.png", "no image")).expect("added");
        rows.finish().expect("finished");
        let reader = SerializedFileReader::new(File::open(&path).expect("there")).expect("Parquet");
        assert_eq!(reader.metadata().num_row_groups(), 2);
        let found: Vec<_> = reader.get_row_iter(None).expect("rows").map(|row| row.expect("a row")).collect();
        assert_eq!(found.len(), count + 3);
        let text = |row: usize, column: usize| found[row].get_string(column).ok().cloned();
        assert_eq!((text(0, 0), text(0, 13)), (Some("none.png".into()), Some("no such file".into())));
        assert_eq!((text(1, 13), found[1].get_int(3).ok(), found[1].get_int(5).ok()), (None, Some(8), None));
        assert_eq!((text(2, 0), found[2].get_long(1).ok()), (Some("v.mp4".into()), Some(3)));
        assert_eq!((found[2].get_double(2).ok(), found[2].get_long(12).ok()), (Some(0.04), None));
        let last = &found[count + 1];
        assert_eq!(
            (last.get_int(5).ok(), text(count + 1, 6)),
            (Some(count as i32 - 1), Some(format!("c{}", count - 1)))
        );
        assert_eq!(
            (last.get_float(7).ok(), last.get_float(11).ok()),
            (Some(0.1 + (count - 1) as f32), Some((count - 1) as f32))
        );
        assert_eq!((last.get_long(12).ok(), text(count + 2, 0)), (Some(count as i64 - 1), Some("犬.png".into())));
    }

    #[test]
    fn what_is_not_finished_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let rows = ParquetRows::create(&folder.path().join("rows.parquet")).expect("begun");
        drop(rows);
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }
}
