//! Images of a table one after another.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::column::reader::ColumnReader;
use parquet::data_type::ByteArray;
use parquet::file::reader::SerializedFileReader;

use super::{Beats, Column, PATIENCE, Table, damaged, open, read};
use crate::data::DataError;
use crate::data::error::count;
use crate::guard::guard;

/// Most rows that are read at once, and bytes after which no further one is: each time costs a thread.
const ROWS_AHEAD: usize = 64;
const BYTES_AHEAD: usize = 1 << 20;

/// What was read of a table, and where reading goes on.
pub(in crate::data) struct Cursor {
    table: usize,
    /// Position in the set of the first row in `ahead`.
    next: usize,
    ahead: VecDeque<Option<ByteArray>>,
    /// Behind the rows ahead; `None` after a row that cannot be read.
    stand: Option<Stand>,
}

impl Cursor {
    /// The bytes of the image at `index` of the set, in `table`, number `at` of the set's tables. `None` if the row
    /// has none. Goes on from where `cursor` stands if that is before it, and reads ahead as far as `end`.
    pub(in crate::data) fn read(
        cursor: &mut Option<Self>,
        table: &Table,
        at: usize,
        index: usize,
        end: usize,
    ) -> Result<Option<ByteArray>, DataError> {
        let taken = cursor.take().filter(|taken| taken.table == at);
        let mut here = taken.unwrap_or_else(|| Self { table: at, next: index, ahead: VecDeque::new(), stand: None });
        // What lies between is of another part of the set.
        match index.checked_sub(here.next) {
            Some(between) if between <= here.ahead.len() => drop(here.ahead.drain(..between)),
            _ => here.ahead.clear(),
        }
        here.next = index;
        if here.ahead.is_empty() {
            (here.ahead, here.stand) = rows(here.stand, table, index, end)?;
        }
        let bytes = here.ahead.pop_front().flatten();
        here.next += 1;
        *cursor = Some(here);
        Ok(bytes)
    }
}

/// The row at `index` and some behind it, and where reading goes on.
fn rows(
    stand: Option<Stand>,
    table: &Table,
    index: usize,
    end: usize,
) -> Result<(VecDeque<Option<ByteArray>>, Option<Stand>), DataError> {
    let path = table.path().to_path_buf();
    let group = table.starts.partition_point(|&start| start <= index) - 1;
    let (column, start) = (table.column, table.starts[group]);
    let end = end.min(table.starts[group + 1]).min(index + ROWS_AHEAD);
    let work = move |pulse: &Beats<_>| {
        let mut stand = match stand {
            Some(mut stand) if stand.group == group && stand.next <= index => {
                skip(&mut stand.column, &path, index - stand.next)?;
                stand.next = index;
                stand
            }
            stand => Stand::seek(path, stand.map(|stand| stand.file), column, group, [start, index])?,
        };
        let mut rows = VecDeque::from([stand.row()?]);
        let bytes = |row: &Option<ByteArray>| row.as_ref().map_or(0, ByteArray::len);
        let mut held = bytes(&rows[0]);
        while stand.next < end && held < BYTES_AHEAD {
            pulse.beat();
            // What is wrong with a row is said when it is its turn.
            let Ok(Ok(row)) = guard(|| stand.row()) else { return Ok((rows, None)) };
            held += bytes(&row);
            rows.push_back(row);
        }
        Ok((rows, Some(stand)))
    };
    table.watch(PATIENCE, work)
}

/// An open file at a row.
struct Stand {
    path: PathBuf,
    file: SerializedFileReader<File>,
    column: Column,
    group: usize,
    next: usize,
}

impl Stand {
    /// At the row `index` of a group whose first is `start`, in a file that may be open.
    fn seek(
        path: PathBuf,
        file: Option<SerializedFileReader<File>>,
        column: usize,
        group: usize,
        [start, index]: [usize; 2],
    ) -> Result<Self, DataError> {
        let file = file.map_or_else(|| open(&path), Ok)?;
        let mut column = Column::open(&path, &file, group, column)?;
        skip(&mut column, &path, index - start)?;
        Ok(Self { path, file, column, group, next: index })
    }

    /// The next row.
    fn row(&mut self) -> Result<Option<ByteArray>, DataError> {
        let ColumnReader::ByteArrayColumnReader(reader) = &mut self.column.reader else {
            return Err(DataError::damaged(&self.path, "has changed since it was opened"));
        };
        self.next += 1;
        Ok(read(reader, self.column.present, &self.path, 1)?.pop().flatten())
    }
}

fn skip(column: &mut Column, path: &Path, rows: usize) -> Result<(), DataError> {
    let ColumnReader::ByteArrayColumnReader(reader) = &mut column.reader else { return Ok(()) };
    let skipped = reader.skip_records(rows).map_err(|error| damaged(path, &error))?;
    match skipped == rows {
        true => Ok(()),
        false => Err(DataError::damaged(
            path,
            format!("is truncated: {} in a row group of more", count(skipped, "row", "rows")),
        )),
    }
}
