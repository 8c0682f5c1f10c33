//! The table `synsets` of a MATLAB file: `meta.mat` of ImageNet's devkit.
//!
//! Level 5 MAT-files of little-endian machines, with zlib-compressed elements or without:
//! MathWorks, *MAT-File Format*, <https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf>.

use std::io::Read;
use std::path::Path;

use flate2::read::ZlibDecoder;

use super::DataError;
use super::files::read_bounded;

/// Most bytes of a file, and of one compressed element when unpacked.
const MAX_BYTES: u64 = 64 << 20;

/// Most rows and most fields of the table.
const MAX_ENTRIES: usize = 1 << 20;

/// Bytes before the first element.
const HEADER: usize = 128;

const COMPRESSED: u32 = 15;
const MATRIX: u32 = 14;
const CHAR_ARRAY: u8 = 4;
const STRUCT_ARRAY: u8 = 2;

/// Reads the fields `ILSVRC2012_ID` and `WNID` of every row.
pub(super) fn read_synsets(path: &Path) -> Result<Vec<(usize, String)>, DataError> {
    let bytes = read_bounded(path, MAX_BYTES)?;
    synsets(&bytes).map_err(|reason| {
        DataError::damaged(
            path,
            format!("is no meta.mat of ImageNet's devkit ({reason}); take it from the devkit anew"),
        )
    })
}

fn synsets(bytes: &[u8]) -> Result<Vec<(usize, String)>, String> {
    match bytes.get(126..HEADER) {
        Some(b"IM") => {}
        Some(_) => return Err("it is no little-endian level 5 MAT-file".to_owned()),
        None => return Err("it ends in its header".to_owned()),
    }
    let mut elements = Elements { rest: &bytes[HEADER..] };
    while let Some((kind, data)) = elements.next()? {
        let unpacked;
        let (kind, data) = match kind {
            COMPRESSED => {
                let mut content = Vec::new();
                let read = ZlibDecoder::new(data).take(MAX_BYTES + 1).read_to_end(&mut content);
                read.map_err(|error| format!("a compressed element is damaged: {error}"))?;
                if content.len() as u64 > MAX_BYTES {
                    return Err(format!("an element has more than {MAX_BYTES} bytes"));
                }
                unpacked = content;
                Elements { rest: &unpacked }.next()?.ok_or("a compressed element is empty")?
            }
            _ => (kind, data),
        };
        if kind == MATRIX
            && let Some(table) = table(data)?
        {
            return Ok(table);
        }
    }
    Err("it has no table `synsets`".to_owned())
}

/// Data elements one after another: a kind, a length and the bytes.
struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    fn number(&self, at: usize) -> Result<u32, String> {
        let bytes = self.rest.get(at..at + 4).and_then(|bytes| bytes.first_chunk()).ok_or("it is truncated")?;
        Ok(u32::from_le_bytes(*bytes))
    }

    fn next(&mut self) -> Result<Option<(u32, &'a [u8])>, String> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.number(0)?;
        // Four bytes or fewer may stand in the tag itself, with their length in its upper half.
        let (kind, start, length, padded) = match tag >> 16 {
            0 => {
                let length = self.number(4)? as usize;
                let padded = if tag == COMPRESSED { length } else { length.saturating_add(7) & !7 };
                (tag, 8, length, padded)
            }
            length => (tag & 0xFFFF, 4, length as usize, 4),
        };
        let data = self.rest.get(start..).and_then(|rest| rest.get(..length)).ok_or("it is truncated")?;
        self.rest = self.rest.get(start.saturating_add(padded)..).unwrap_or_default();
        Ok(Some((kind, data)))
    }

    fn need(&mut self, what: &str) -> Result<(u32, &'a [u8]), String> {
        self.next()?.ok_or_else(|| format!("an array has no {what}"))
    }
}

/// The head of an array: its class and its number of entries; the elements after its name follow.
struct Array<'a> {
    class: u8,
    length: usize,
    name: &'a [u8],
    elements: Elements<'a>,
}

fn array(data: &[u8]) -> Result<Array<'_>, String> {
    let mut elements = Elements { rest: data };
    let (_, flags) = elements.need("flags")?;
    let word = Elements { rest: flags }.number(0)?;
    let sizes = numbers(elements.need("dimensions")?)?;
    let length = sizes.iter().try_fold(1_usize, |product, &size| product.checked_mul(size as usize));
    let length = length.filter(|&length| length <= MAX_ENTRIES).ok_or("an array is too large")?;
    let (_, name) = elements.need("name")?;
    Ok(Array { class: (word & 0xFF) as u8, length, name, elements })
}

/// The rows of the table, if the array is it.
fn table(data: &[u8]) -> Result<Option<Vec<(usize, String)>>, String> {
    let Array { class, length, name, mut elements } = array(data)?;
    if class != STRUCT_ARRAY || name != b"synsets" {
        return Ok(None);
    }
    let width = numbers(elements.need("length of field names")?)?;
    let width = width.first().map_or(0, |&width| width as usize);
    let (_, names) = elements.need("field names")?;
    if width == 0 || names.len() / width > MAX_ENTRIES {
        return Err("its field names are damaged".to_owned());
    }
    let fields: Vec<&[u8]> =
        names.chunks(width).map(|name| name.split(|&byte| byte == 0).next().unwrap_or_default()).collect();
    let mut rows = Vec::new();
    for _ in 0..length {
        let (mut id, mut wnid) = (None, None);
        for field in &fields {
            let (kind, value) = elements.need("more entries")?;
            if kind != MATRIX {
                return Err("a field is no array".to_owned());
            }
            match *field {
                b"ILSVRC2012_ID" => id = Some(number(value)?),
                b"WNID" => wnid = Some(text(value)?),
                _ => {}
            }
        }
        rows.push((id.ok_or("it has no field ILSVRC2012_ID")?, wnid.ok_or("it has no field WNID")?));
    }
    Ok(Some(rows))
}

/// An array of one whole number.
fn number(data: &[u8]) -> Result<usize, String> {
    let mut array = array(data)?;
    let values = numbers(array.elements.need("values")?)?;
    match values.as_slice() {
        &[value] if value >= 0.0 && value <= f64::from(u32::MAX) && value.fract() == 0.0 => Ok(value as usize),
        _ => Err("an ILSVRC2012_ID is no whole number".to_owned()),
    }
}

/// An array of characters.
fn text(data: &[u8]) -> Result<String, String> {
    let mut array = array(data)?;
    let (kind, bytes) = array.elements.need("characters")?;
    let text = match (array.class, kind) {
        (CHAR_ARRAY, 1 | 2 | 16) => String::from_utf8(bytes.to_vec()).ok(),
        (CHAR_ARRAY, 4 | 17 | 18) => {
            let integers = match kind {
                17 => 4,
                18 => 6,
                kind => kind,
            };
            let codes = numbers((integers, bytes))?;
            codes.into_iter().map(|code| char::from_u32(code as u32)).collect()
        }
        _ => None,
    };
    text.ok_or_else(|| "a WNID is no text".to_owned())
}

/// The values of a numeric element: types 1 to 13 of the format.
fn numbers((kind, bytes): (u32, &[u8])) -> Result<Vec<f64>, String> {
    fn values<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.as_chunks().0.iter().map(|&bytes| value(bytes)).collect()
    }
    Ok(match kind {
        1 => values(bytes, |b| f64::from(i8::from_le_bytes(b))),
        2 => values(bytes, |b| f64::from(u8::from_le_bytes(b))),
        3 => values(bytes, |b| f64::from(i16::from_le_bytes(b))),
        4 => values(bytes, |b| f64::from(u16::from_le_bytes(b))),
        5 => values(bytes, |b| f64::from(i32::from_le_bytes(b))),
        6 => values(bytes, |b| f64::from(u32::from_le_bytes(b))),
        7 => values(bytes, |b| f64::from(f32::from_le_bytes(b))),
        9 => values(bytes, f64::from_le_bytes),
        12 => values(bytes, |b| i64::from_le_bytes(b) as f64),
        13 => values(bytes, |b| u64::from_le_bytes(b) as f64),
        kind => return Err(format!("an element has the unknown type {kind}")),
    })
}

#[cfg(test)]
#[path = "matlab_tests.rs"]
mod tests;
