//! The two containers of `torch.save`, over a file held in memory or mapped into it.

use std::collections::HashMap;
use std::io::Cursor;
use std::ops::Range;

use candle_core::{DType, Device, Tensor};
use zip::{CompressionMethod, ZipArchive};

use super::machine::unpickle;
use super::refusal::Refusal;
use super::value::{Arena, Id, TensorRef, Value};

/// What starts the plain container: the number 0x1950a86a20f9469cfc6c as a pickle.
const LEGACY_MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// The same as protocol 1 writes it.
const LEGACY_LINE: &[u8] = b"L119547037146038801333356L\n.";

/// Bytes that all tensors of a file may take, as a multiple of the file's length: views may share a storage.
const MAX_EXPANSION: usize = 4;

/// An opened file: its values, and where its storages lie.
pub(crate) struct TorchFile<'a> {
    pub(crate) arena: Arena,
    pub(crate) root: Id,
    bytes: &'a [u8],
    storages: HashMap<String, Range<usize>>,
    /// Bytes that further tensors may take.
    budget: usize,
}

fn invalid<T>(reason: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Invalid { offset: 0, reason: reason.into() })
}

impl<'a> TorchFile<'a> {
    /// Whether `bytes` begin like one of the two containers.
    pub(crate) fn is_one(bytes: &[u8]) -> bool {
        bytes.starts_with(b"PK\x03\x04") || Self::is_legacy(bytes)
    }

    fn is_legacy(bytes: &[u8]) -> bool {
        // PROTO n, then the number after LONG1 10; protocols 4 and 5 put FRAME and a length of eight bytes between the two.
        let number = match bytes {
            [0x80, 2..=3, number @ ..] => number,
            [0x80, 4..=5, 0x95, _, _, _, _, _, _, _, _, number @ ..] | [0x80, 4..=5, number @ ..] => number,
            _ => return bytes.starts_with(LEGACY_LINE),
        };
        number.strip_prefix(&[0x8a, 0x0a]).is_some_and(|number| number.starts_with(&LEGACY_MAGIC))
    }

    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self, Refusal> {
        if Self::is_legacy(bytes) { Self::open_legacy(bytes) } else { Self::open_zip(bytes) }
    }

    fn open_zip(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let damaged = |error: zip::result::ZipError| Refusal::Invalid { offset: 0, reason: format!("zip: {error}") };
        if !has_directory(bytes) {
            return Err(Refusal::Incomplete("the directory at the end of the zip is missing".to_owned()));
        }
        // Nothing precedes the archive. Where the library looks for a prefix it takes the second entry for the first if
        // the first is as long as the zip64 records, which PyTorch always writes (a file name of 21 letters does it).
        let config = zip::read::Config { archive_offset: zip::read::ArchiveOffset::Known(0) };
        let mut archive = ZipArchive::with_config(config, Cursor::new(bytes)).map_err(damaged)?;
        let names: Vec<String> = archive.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect();
        let Some(pickle) = names.iter().find(|name| *name == "data.pkl" || name.ends_with("/data.pkl")) else {
            return Err(Refusal::Unsupported(crate::foreign::archive(&names).to_owned()));
        };
        let root = &pickle[..pickle.len() - "data.pkl".len()];
        if names.iter().any(|name| *name == format!("{root}constants.pkl")) {
            return Err(Refusal::Unsupported(crate::foreign::archive(&names).to_owned()));
        }
        let mut spans = HashMap::new();
        let mut unread = bytes.len() as u64;
        for index in 0..archive.len() {
            let entry = archive.by_index_raw(index).map_err(damaged)?;
            let name = entry.name().map_err(damaged)?;
            let Some(name) = name.strip_prefix(root).map(str::to_owned) else { continue };
            if name != "byteorder" && name != "data.pkl" && !name.starts_with("data/") {
                continue;
            }
            let (start, size, sum) = (entry.data_start(), entry.size(), entry.crc32());
            if entry.compression() != CompressionMethod::Stored {
                return invalid(format!("entry {name} is compressed, which torch.save never does"));
            }
            // Entries that lie over one another could be read without end.
            let Some(left) = unread.checked_sub(size) else { return invalid("its entries are longer than the file") };
            unread = left;
            drop(entry);
            // `torch.serialization.set_crc32_options(False)` leaves 0 in the place of the sum.
            if sum != 0 {
                let mut entry = archive.by_index(index).map_err(damaged)?;
                if let Err(error) = std::io::copy(&mut entry, &mut std::io::sink()) {
                    return invalid(format!("entry {name}: {error}"));
                }
            }
            let span = start.and_then(|start| {
                let start = usize::try_from(start).ok()?;
                let end = start.checked_add(usize::try_from(size).ok()?)?;
                (end <= bytes.len()).then_some(start..end)
            });
            let Some(span) = span else { return invalid(format!("entry {name} ends past the file")) };
            if name == "byteorder" {
                let order = String::from_utf8_lossy(&bytes[span.start..span.end.min(span.start + 16)]);
                if order.trim() != "little" {
                    return invalid(format!("byte order `{}`; only little-endian files are read", order.trim()));
                }
                continue;
            }
            spans.insert(name, span);
        }
        let Some(pickle) = spans.get("data.pkl") else { return invalid("a zip without data.pkl") };
        let (arena, root, _) = unpickle(&bytes[pickle.clone()]).map_err(|refusal| match refusal {
            // The zip is whole.
            Refusal::Incomplete(reason) => Refusal::Invalid { offset: 0, reason },
            other => other,
        })?;
        let storages =
            spans.into_iter().filter_map(|(name, span)| Some((name.strip_prefix("data/")?.to_owned(), span)));
        Ok(Self { arena, root, bytes, storages: storages.collect(), budget: bytes.len().saturating_mul(MAX_EXPANSION) })
    }

    /// Magic number, protocol, system information, the object, the list of storage keys, then each storage with its
    /// element count in front.
    fn open_legacy(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let mut at = 0;
        let next = |at: &mut usize| -> Result<(Arena, Id), Refusal> {
            let (arena, root, used) = unpickle(&bytes[*at..]).map_err(|refusal| match refusal {
                Refusal::Invalid { offset, reason } => Refusal::Invalid { offset: offset + *at, reason },
                other => other,
            })?;
            *at += used;
            Ok((arena, root))
        };
        next(&mut at)?;
        next(&mut at)?;
        let (system, info) = next(&mut at)?;
        if let Some(Value::Bool(false)) = system.field(info, "little_endian").map(|id| system.get(id)) {
            return invalid("a big-endian file; only little-endian files are read");
        }
        let (arena, root) = next(&mut at)?;
        let (keys_arena, keys) = next(&mut at)?;
        let elements: HashMap<String, Option<usize>> = arena.storages().collect();
        let mut storages = HashMap::new();
        for key in keys_arena.sequence(keys).unwrap_or_default() {
            let Some(key) = keys_arena.str(*key) else { return invalid("a storage key that is no string") };
            let element = match elements.get(key) {
                Some(Some(element)) => element,
                Some(None) => return invalid(format!("storage {key} is of a type whose size is not known")),
                None => return invalid(format!("storage {key} is used by no tensor")),
            };
            let count = bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
            let span = count.and_then(|count| {
                let length = usize::try_from(count).ok()?.checked_mul(*element)?;
                let end = (at + 8).checked_add(length)?;
                (end <= bytes.len()).then_some(at + 8..end)
            });
            let Some(span) = span else {
                return Err(Refusal::Incomplete(format!("storage {key} ends past the file")));
            };
            at = span.end;
            storages.insert(key.to_owned(), span);
        }
        Ok(Self { arena, root, bytes, storages, budget: bytes.len().saturating_mul(MAX_EXPANSION) })
    }

    /// Copies a tensor out of its storage; every offset, stride and size is checked first.
    pub(crate) fn tensor(&mut self, tensor: &TensorRef) -> Result<Tensor, Refusal> {
        let TensorRef { storage, element, offset, shape, stride } = tensor;
        let Value::Storage(storage) = self.arena.get(*storage) else { return invalid("a tensor without its storage") };
        let Some(span) = self.storages.get(&storage.key) else {
            return invalid(format!("storage {} is not in the file", storage.key));
        };
        let size = element.bytes();
        let data = &self.bytes[span.clone()];
        // An empty tensor's other sides still have to multiply, in its row-major strides.
        let extent = shape.iter().try_fold(size, |extent, side| extent.checked_mul((*side).max(1)));
        let count = extent.map(|_| shape.iter().product::<usize>());
        let reach =
            shape.iter().zip(stride).try_fold(storage.view_offset.checked_add(*offset), |reach, (side, stride)| {
                Some(reach?.checked_add(side.saturating_sub(1).checked_mul(*stride)?))
            });
        let (Some(count), Some(Some(reach))) = (count, reach) else { return invalid("a tensor's extents overflow") };
        if count > 0 && reach.checked_add(1).and_then(|end| end.checked_mul(size)).is_none_or(|end| end > data.len()) {
            return invalid(format!("a tensor of size {shape:?} reaches past its storage {}", storage.key));
        }
        let Some(budget) = count.checked_mul(size).and_then(|bytes| self.budget.checked_sub(bytes)) else {
            return invalid("its tensors are views that expand to many times the file");
        };
        self.budget = budget;
        let gathered;
        let raw = if count == 0 {
            &[]
        } else {
            let first = storage.view_offset + offset;
            if is_contiguous(shape, stride) {
                &data[first * size..(first + count) * size]
            } else {
                gathered = gather(data, size, first, shape, stride, count);
                gathered.as_slice()
            }
        };
        let built = match element.dtype() {
            Some(dtype) => Tensor::from_raw_buffer(raw, dtype, shape, &Device::Cpu),
            None => {
                let values: Vec<i64> = raw.iter().map(|byte| i64::from(*byte as i8)).collect();
                Tensor::from_vec(values, shape.as_slice(), &Device::Cpu)
            }
        };
        built.map_err(|error| Refusal::Invalid { offset: 0, reason: error.to_string() })
    }

    /// Whether the element type has an exact place among candle's.
    pub(crate) fn is_float(tensor: &TensorRef) -> bool {
        tensor.element.dtype().is_some_and(|dtype: DType| dtype.is_float())
    }
}

impl Arena {
    /// Key and element size of every storage that a tensor uses.
    fn storages(&self) -> impl Iterator<Item = (String, Option<usize>)> + '_ {
        self.iter().filter_map(|value| match value {
            Value::Storage(storage) => Some((storage.key.clone(), storage.bytes())),
            _ => None,
        })
    }
}

/// Whether the record that ends a zip is there: PyTorch puts no comment behind it, other programs up to 65,535 bytes.
fn has_directory(bytes: &[u8]) -> bool {
    let tail = &bytes[bytes.len().saturating_sub(22 + 65_535)..];
    tail.windows(4).any(|window| window == b"PK\x05\x06")
}

/// Row-major without gaps, for a shape whose element count is known to fit.
fn is_contiguous(shape: &[usize], stride: &[usize]) -> bool {
    let mut expected = 1;
    shape.iter().zip(stride).rev().all(|(side, stride)| {
        let fits = *side <= 1 || *stride == expected;
        expected *= side;
        fits
    })
}

fn gather(data: &[u8], size: usize, first: usize, shape: &[usize], stride: &[usize], count: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(count * size);
    let mut index = vec![0; shape.len()];
    for _ in 0..count {
        let at = first + index.iter().zip(stride).map(|(i, stride)| i * stride).sum::<usize>();
        out.extend_from_slice(&data[at * size..(at + 1) * size]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    out
}
