//! Images in Parquet files, as the Hugging Face Hub keeps them: a column of bytes and a column of labels.
//!
//! Uncompressed and Snappy pages are read; others are refused by name.

mod cursor;

use std::fs::File;
use std::mem::take;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parquet::basic::{Compression, Type};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::DataError;
use super::error::examples;
use super::listing::{Labels, Listing, Names, Origin};
use super::record::Store;
use crate::guard::{Pulse, guard, watched};
use crate::regular;

pub(super) use cursor::Cursor;

/// Names that the column of bytes may have.
const IMAGE_COLUMNS: [&str; 7] = ["image.bytes", "img.bytes", "jpg.bytes", "png.bytes", "image", "img", "jpg"];

/// Names that the column of labels may have.
const LABEL_COLUMNS: [&str; 6] = ["label", "labels", "cls", "fine_label", "target", "class"];

/// Most images in one set: more than ImageNet-21k has.
const MAX_IMAGES: usize = 1 << 24;

/// Rows that are read at once where rows are small.
const ROWS_AT_ONCE: usize = 1024;

/// How long the Parquet reader may take for them: crate parquet 60.1.0 does not return from some damaged page headers.
const PATIENCE: Duration = Duration::from_secs(60);

/// One Parquet file of a set.
#[derive(Debug)]
pub(super) struct Table {
    path: PathBuf,
    column: usize,
    /// Position in the set of the first row of each row group, and the position after the last.
    starts: Vec<usize>,
    /// Whether the reader did not return from it.
    is_given_up: AtomicBool,
}

impl Table {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads from it, unless the reader did not return from it before.
    fn watch<T: Send + 'static>(
        &self,
        patience: Duration,
        work: impl FnOnce(&Beats<T>) -> Result<T, DataError> + Send + 'static,
    ) -> Result<T, DataError> {
        if self.is_given_up.load(Ordering::Relaxed) {
            return Err(stuck(&self.path, patience));
        }
        watch(&self.path, patience, work)?.ok_or_else(|| {
            self.is_given_up.store(true, Ordering::Relaxed);
            stuck(&self.path, patience)
        })
    }

    /// Position in the set after the last row.
    pub(super) fn end(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }
}

/// Lists Parquet files. `flat`: a labels file is given, so that a label column is not needed.
pub(super) fn list(place: &Path, files: &[PathBuf], flat: bool) -> Result<Listing, DataError> {
    let mut names = Names::default();
    let mut labels = Labels::default();
    let mut class_names: Option<Vec<String>> = None;
    let mut tables = Vec::new();
    for (index, path) in files.iter().enumerate() {
        let shard = path.clone();
        let (mut before, mut labelled) = (take(&mut names), take(&mut labels));
        let read = watch(path, PATIENCE, move |pulse| {
            let reader = open(&shard)?;
            let table = add(&shard, &reader, &mut before, if flat { None } else { Some(&mut labelled) }, pulse)?;
            Ok((before, labelled, table, listed_names(&reader, &shard)?))
        });
        let (table, listed);
        (names, labels, table, listed) = read?.ok_or_else(|| stuck(path, PATIENCE))?;
        tables.push(table);
        if index > 0 && listed != class_names {
            return Err(DataError::labels(path, "lists other class names than the shards before; give one data set"));
        }
        class_names = listed;
    }
    let labels = match (flat, class_names) {
        (true, _) => None,
        (false, None) => Some((labels, Origin::Column)),
        (false, Some(class_names)) => Some((by_name(place, &labels, class_names)?, Origin::ListedColumn)),
    };
    Ok(Listing { names, labels, store: Store::Tables(tables), notes: Vec::new() })
}

/// Labels that are the listed names instead of numbers.
fn by_name(place: &Path, numbers: &Labels, class_names: Vec<String>) -> Result<Labels, DataError> {
    let known = class_names.len();
    let position = |text: &String| text.parse::<u32>().ok().filter(|&number| (number as usize) < known);
    let mut positions = Vec::new();
    for text in numbers.texts() {
        let beyond = || DataError::labels(place, format!("the label {text} is beyond the table's {known} class names"));
        positions.push(position(text).ok_or_else(beyond)?);
    }
    let of = numbers.of().iter().map(|&number| positions[number as usize]).collect();
    Ok(Labels::listed(class_names, of))
}

fn open(path: &Path) -> Result<SerializedFileReader<File>, DataError> {
    let file = regular::open(path).map_err(|error| DataError::io("read", path, error))?;
    SerializedFileReader::new(file).map_err(|error| damaged(path, &error))
}

type Beats<T> = Pulse<Result<T, DataError>>;

/// Runs code of the Parquet reader, which may panic on damaged files, or not return: `None`.
fn watch<T: Send + 'static>(
    path: &Path,
    patience: Duration,
    work: impl FnOnce(&Beats<T>) -> Result<T, DataError> + Send + 'static,
) -> Result<Option<T>, DataError> {
    let shard = path.to_path_buf();
    let gave_up = "is damaged: the reader gave up on it; download it again";
    let guarded =
        move |pulse: &Beats<T>| guard(|| work(pulse)).unwrap_or_else(|_| Err(DataError::damaged(&shard, gave_up)));
    let done = watched(patience, guarded).map_err(|error| DataError::io("read", path, error))?;
    done.transpose()
}

fn stuck(path: &Path, patience: Duration) -> DataError {
    let seconds = patience.as_secs();
    let reason = format!("gave no row for {seconds} s: it is damaged, or its disk does not answer; download it again");
    DataError::damaged(path, reason)
}

fn damaged(path: &Path, error: &ParquetError) -> DataError {
    let reason = match error {
        ParquetError::EOF(reason) => format!("is truncated ({reason}); download it again"),
        error => format!("is no Parquet file, or truncated or damaged ({error}); download it again"),
    };
    DataError::damaged(path, reason)
}

/// Adds the rows of one file.
fn add<T>(
    path: &Path,
    reader: &SerializedFileReader<File>,
    names: &mut Names,
    mut labels: Option<&mut Labels>,
    pulse: &Beats<T>,
) -> Result<Table, DataError> {
    let schema = reader.metadata().file_metadata().schema_descr();
    let columns: Vec<String> = schema.columns().iter().map(|column| column.path().string()).collect();
    let find = |wanted: &[&str], kinds: &[Type]| {
        let fits =
            |at: &usize| kinds.contains(&schema.column(*at).physical_type()) && schema.column(*at).max_rep_level() == 0;
        wanted.iter().find_map(|name| columns.iter().position(|column| column == name).filter(fits))
    };
    let missing = |what: &str| {
        let found = examples(columns.iter().map(String::as_str));
        DataError::layout(path, format!("has no {what}; its columns are {found}"))
    };
    let column = find(&IMAGE_COLUMNS, &[Type::BYTE_ARRAY])
        .ok_or_else(|| missing("column of image bytes (image.bytes, image, img or jpg)"))?;
    let label_column = match labels {
        None => None,
        Some(_) => Some(find(&LABEL_COLUMNS, &[Type::INT32, Type::INT64, Type::BYTE_ARRAY]).ok_or_else(|| {
            missing("column of labels (label, labels, cls, fine_label, target or class); give a labels file")
        })?),
    };
    let name_column = columns[column]
        .strip_suffix(".bytes")
        .and_then(|parent| columns.iter().position(|column| *column == format!("{parent}.path")))
        .filter(|&at| schema.column(at).physical_type() == Type::BYTE_ARRAY && schema.column(at).max_rep_level() == 0);
    let file_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();

    let mut starts = vec![names.len()];
    let mut row_of_file = 0_usize;
    for (group, metadata) in reader.metadata().row_groups().iter().enumerate() {
        let fits = |&rows: &usize| rows <= MAX_IMAGES - names.len();
        let rows = usize::try_from(metadata.num_rows()).ok().filter(fits).ok_or_else(|| {
            DataError::damaged(path, format!("says {} rows, more than {MAX_IMAGES} images", metadata.num_rows()))
        })?;
        for at in [Some(column), name_column, label_column].into_iter().flatten() {
            check_codec(path, metadata.column(at).compression())?;
        }
        let open_column = |at: usize| Column::open(path, reader, group, at);
        let (mut name_reader, mut label_reader) =
            (name_column.map(open_column).transpose()?, label_column.map(open_column).transpose()?);
        for start in (0..rows).step_by(ROWS_AT_ONCE) {
            pulse.beat();
            let size = ROWS_AT_ONCE.min(rows - start);
            let given = name_reader.as_mut().map(|reader| reader.texts(path, size)).transpose()?;
            if let (Some(labels), Some(reader)) = (labels.as_deref_mut(), &mut label_reader) {
                for (offset, label) in reader.texts(path, size)?.into_iter().enumerate() {
                    let row = row_of_file + offset;
                    match label.as_deref() {
                        None => {
                            return Err(DataError::labels(path, format!("row {row} has no label; give a labels file")));
                        }
                        Some("-1") => {
                            let reason =
                                "is -1: a test split without labels; take the validation split or give a labels file";
                            return Err(DataError::labels(path, format!("the label of row {row} {reason}")));
                        }
                        Some(label) => labels.push(label),
                    }
                }
            }
            for offset in 0..size {
                match given.as_ref().and_then(|given| given[offset].as_deref()) {
                    Some(name) => names.push(name),
                    None => names.push(&format!("{file_name}#{}", row_of_file + offset)),
                }
            }
            row_of_file += size;
        }
        starts.push(names.len());
    }
    Ok(Table { path: path.to_path_buf(), column, starts, is_given_up: AtomicBool::new(false) })
}

fn check_codec(path: &Path, codec: Compression) -> Result<(), DataError> {
    match codec {
        Compression::UNCOMPRESSED | Compression::SNAPPY => Ok(()),
        codec => {
            let name = format!("{codec:?}");
            let name = name.split('(').next().unwrap_or_default();
            Err(DataError::layout(
                path,
                format!("is compressed with {name}, which is not read; write it anew with Snappy"),
            ))
        }
    }
}

/// Class names that the Hub's library keeps beside a column of class numbers.
fn listed_names(reader: &SerializedFileReader<File>, path: &Path) -> Result<Option<Vec<String>>, DataError> {
    let entries = reader.metadata().file_metadata().key_value_metadata().into_iter().flatten();
    let Some(text) = entries.filter(|entry| entry.key == "huggingface").find_map(|entry| entry.value.as_deref()) else {
        return Ok(None);
    };
    let invalid = || DataError::damaged(path, "its `huggingface` metadata is no list of features; write it anew");
    let info: serde_json::Value = serde_json::from_str(text).map_err(|_| invalid())?;
    let features = &info["info"]["features"];
    let Some(names) = LABEL_COLUMNS.iter().find_map(|column| features[column].get("names")) else { return Ok(None) };
    if names.is_null() {
        return Ok(None);
    }
    let texts = names.as_array().ok_or_else(invalid)?.iter().map(|name| name.as_str().map(str::to_owned));
    texts.collect::<Option<Vec<String>>>().filter(|names| !names.is_empty()).ok_or_else(invalid).map(Some)
}

/// Reader of one column of one row group.
struct Column {
    reader: ColumnReader,
    /// Definition level of a value that is there.
    present: i16,
}

impl Column {
    fn open(path: &Path, reader: &SerializedFileReader<File>, group: usize, at: usize) -> Result<Self, DataError> {
        let group = reader.get_row_group(group).map_err(|error| damaged(path, &error))?;
        let present = group.metadata().column(at).column_descr().max_def_level();
        Ok(Self { reader: group.get_column_reader(at).map_err(|error| damaged(path, &error))?, present })
    }

    /// The next rows as text.
    fn texts(&mut self, path: &Path, rows: usize) -> Result<Vec<Option<String>>, DataError> {
        fn shown<T: ToString>(values: Vec<Option<T>>) -> Vec<Option<String>> {
            values.into_iter().map(|value| value.map(|value| value.to_string())).collect()
        }
        match &mut self.reader {
            ColumnReader::Int32ColumnReader(reader) => read(reader, self.present, path, rows).map(shown),
            ColumnReader::Int64ColumnReader(reader) => read(reader, self.present, path, rows).map(shown),
            ColumnReader::ByteArrayColumnReader(reader) => {
                let texts = read(reader, self.present, path, rows)?.into_iter().map(|value: Option<ByteArray>| {
                    let value = value.map(|value| String::from_utf8(value.data().to_vec())).transpose();
                    value
                        .map_err(|_| DataError::damaged(path, "holds a name or label that is not UTF-8; write it anew"))
                });
                texts.collect()
            }
            _ => Err(DataError::damaged(path, "a column's type changes between row groups; write it anew")),
        }
    }
}

fn read<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    present: i16,
    path: &Path,
    rows: usize,
) -> Result<Vec<Option<T::T>>, DataError> {
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    let mut done = 0;
    while done < rows {
        let (records, ..) = reader
            .read_records(rows - done, Some(&mut levels), None, &mut values)
            .map_err(|error| damaged(path, &error))?;
        if records == 0 {
            return Err(DataError::damaged(
                path,
                "is truncated: a column has fewer rows than its row group; download it again",
            ));
        }
        done += records;
    }
    if present == 0 {
        return Ok(values.into_iter().map(Some).collect());
    }
    let mut values = values.into_iter();
    let rows: Vec<_> = levels.iter().map(|&level| if level == present { values.next() } else { None }).collect();
    Ok(rows)
}

#[cfg(test)]
#[path = "parquet_tests.rs"]
mod tests;
