//! Images of a set, one by one.

use std::fmt;
use std::io::{self, Error, ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;

#[cfg(feature = "parquet")]
use parquet::data_type::ByteArray;

use super::ImageReadError;
use super::index::ImageIndex;
#[cfg(feature = "parquet")]
use super::{
    DataError,
    parquet::{Cursor, Table},
};
use crate::regular;

/// Most bytes of one image's file.
pub const MAX_IMAGE_BYTES: u64 = 1 << 30;

/// Where the bytes of a set's images are.
#[derive(Debug)]
pub(super) enum Store {
    /// Files named relative to a folder, with `/` between folders.
    Folder(PathBuf),
    /// Members of tar files.
    Tars { files: Vec<PathBuf>, spans: Vec<Span> },
    /// Rows of Parquet files.
    #[cfg(feature = "parquet")]
    Tables(Vec<Table>),
}

/// Where a member's bytes are in a tar file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// Index of the tar file.
    pub(super) file: u32,
    /// First byte.
    pub(super) offset: u64,
    /// Number of bytes.
    pub(super) length: u64,
}

/// One image: its name, its class, and the way to its bytes.
pub struct ImageRecord {
    /// Position in the set.
    pub index: usize,
    /// Path below the folder, member of the archive, or the table's own name for it.
    pub name: String,
    /// The model's class index.
    pub class: usize,
    content: Content,
}

enum Content {
    File(PathBuf),
    Span(PathBuf, Span),
    #[cfg(feature = "parquet")]
    Bytes(ByteArray),
}

impl fmt::Debug for ImageRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, name, class, content: _ } = self;
        f.debug_struct("Image").field("index", index).field("name", name).field("class", class).finish_non_exhaustive()
    }
}

impl ImageRecord {
    /// The bytes of the image's file.
    ///
    /// # Errors
    /// The file cannot be read, has changed since the set was opened, or exceeds [`MAX_IMAGE_BYTES`].
    pub fn read(&self) -> io::Result<Vec<u8>> {
        match &self.content {
            Content::File(path) => read_at_most(regular::open(path)?, MAX_IMAGE_BYTES),
            Content::Span(path, span) => {
                if span.length > MAX_IMAGE_BYTES {
                    return Err(too_large());
                }
                let mut file = regular::open(path)?;
                file.seek(SeekFrom::Start(span.offset))?;
                let bytes = read_at_most(file.take(span.length), span.length)?;
                if (bytes.len() as u64) < span.length {
                    return Err(Error::new(
                        ErrorKind::UnexpectedEof,
                        "the tar file is shorter than when it was opened",
                    ));
                }
                Ok(bytes)
            }
            #[cfg(feature = "parquet")]
            Content::Bytes(bytes) => Ok(bytes.data().to_vec()),
        }
    }
}

fn read_at_most(reader: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(too_large()) } else { Ok(bytes) }
}

fn too_large() -> Error {
    Error::new(ErrorKind::FileTooLarge, format!("the image has more than {MAX_IMAGE_BYTES} bytes"))
}

/// Iterator over a range of a set, in its order. Each index yields one item, whatever happens.
///
/// Of a Parquet file it holds one page at a time, and so does each [`ImageRecord`] from one until it is dropped.
pub struct Records<'a> {
    set: &'a ImageIndex,
    range: Range<usize>,
    #[cfg(feature = "parquet")]
    cursor: Option<Cursor>,
}

impl<'a> Records<'a> {
    /// Cut to the set's length.
    pub(super) fn new(set: &'a ImageIndex, range: Range<usize>) -> Self {
        let end = range.end.min(set.len());
        Self {
            set,
            range: range.start.min(end)..end,
            #[cfg(feature = "parquet")]
            cursor: None,
        }
    }

    fn content(&mut self, index: usize) -> Result<Content, String> {
        match self.set.store() {
            Store::Folder(root) => Ok(Content::File(root.join(self.set.name(index)))),
            Store::Tars { files, spans } => {
                let span = spans[self.set.place(index)];
                Ok(Content::Span(files[span.file as usize].clone(), span))
            }
            #[cfg(feature = "parquet")]
            Store::Tables(tables) => {
                let place = self.set.place(index);
                let end = self.set.place(self.range.end - 1) + 1;
                let at = tables.partition_point(|table| table.end() <= place);
                let table = &tables[at];
                let bytes = Cursor::read(&mut self.cursor, table, at, place, end)
                    .map_err(|error: DataError| error.to_string())?;
                match bytes {
                    None => Err(format!("the image column of {} has no bytes there", table.path().display())),
                    Some(bytes) if bytes.len() as u64 > MAX_IMAGE_BYTES => Err(too_large().to_string()),
                    Some(bytes) => Ok(Content::Bytes(bytes)),
                }
            }
        }
    }
}

impl fmt::Debug for Records<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Images").field("range", &self.range).finish_non_exhaustive()
    }
}

impl Iterator for Records<'_> {
    type Item = Result<ImageRecord, ImageReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let index = self.range.next()?;
        let name = self.set.name(index).to_owned();
        Some(match self.content(index) {
            Ok(content) => Ok(ImageRecord { index, name, class: self.set.class_of(index), content }),
            Err(reason) => Err(ImageReadError { index, name, reason }),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.range.size_hint()
    }
}

impl ExactSizeIterator for Records<'_> {}
