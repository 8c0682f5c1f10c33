//! The two containers of `torch.save`, over a file held in memory or mapped into it.

use std::collections::HashMap;
use std::ops::Range;

use candle_core::{DType, Device, Tensor, WithDType};

use super::directory;
use super::machine::unpickle;
use super::refusal::Refusal;
use super::value::{Arena, Element, Id, TensorRef, Value};
use crate::budget::Budget;
use crate::elements;

/// What starts the plain container: the number 0x1950a86a20f9469cfc6c as a pickle.
const LEGACY_MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// The same as protocol 1 writes it.
const LEGACY_LINE: &[u8] = b"L119547037146038801333356L\n.";

/// What a storage's place takes beside its key, in bytes.
const STORAGE: usize = 160;

/// An opened file: its values, and where its storages lie.
pub(crate) struct TorchFile<'a> {
    pub(crate) arena: Arena,
    pub(crate) root: Id,
    bytes: &'a [u8],
    storages: HashMap<String, Range<usize>>,
    /// What further tensors are paid from.
    pub(crate) budget: Budget,
    /// Those that are there, by the bytes that they show: tied weights are held once.
    shown: HashMap<Shown, Tensor>,
}

/// What a tensor shows of a file: element type, first byte, size and strides.
type Shown = (Element, usize, Vec<usize>, Vec<usize>);

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

    /// Opens a file whose values and tensors are paid from `budget`.
    pub(crate) fn open(bytes: &'a [u8], budget: Budget) -> Result<Self, Refusal> {
        if Self::is_legacy(bytes) { Self::open_legacy(bytes, budget) } else { Self::open_zip(bytes, budget) }
    }

    fn open_zip(bytes: &'a [u8], mut budget: Budget) -> Result<Self, Refusal> {
        let mut whole = budget;
        let entries = directory::entries(bytes, &mut whole)?;
        let name = |entry: &directory::ModelEntry<'a>| entry.name;
        let Some(pickle) = entries.iter().map(name).find(|name| *name == "data.pkl" || name.ends_with("/data.pkl"))
        else {
            return Err(Refusal::Unsupported(crate::foreign::archive(entries.iter().map(name)).to_owned()));
        };
        let root = &pickle[..pickle.len() - "data.pkl".len()];
        if entries.iter().any(|entry| entry.name.strip_prefix(root) == Some("constants.pkl")) {
            return Err(Refusal::Unsupported(crate::foreign::archive(entries.iter().map(name)).to_owned()));
        }
        let mut spans = HashMap::new();
        let mut unread = bytes.len() as u64;
        for entry in &entries {
            let Some(name) = entry.name.strip_prefix(root) else { continue };
            if name != "byteorder" && name != "data.pkl" && !name.starts_with("data/") {
                continue;
            }
            if !entry.is_stored {
                return invalid(format!("entry {name} is compressed, which torch.save never does"));
            }
            // Entries that lie over one another could be read without end.
            let Some(left) = unread.checked_sub(entry.size) else {
                return invalid("its entries are longer than the file");
            };
            unread = left;
            let span = entry.span(bytes, name)?;
            if name == "byteorder" {
                let order = String::from_utf8_lossy(&bytes[span.start..span.end.min(span.start + 16)]);
                if order.trim() != "little" {
                    return invalid(format!("byte order `{}`; only little-endian files are read", order.trim()));
                }
                continue;
            }
            let paid = STORAGE + name.len();
            whole.charge(paid).and(budget.charge(paid))?;
            spans.insert(name, span);
        }
        drop(entries);
        let Some(pickle) = spans.get("data.pkl") else { return invalid("a zip without data.pkl") };
        let (arena, root, _) = unpickle(&bytes[pickle.clone()], budget).map_err(|refusal| match refusal {
            // The zip is whole.
            Refusal::Incomplete(reason) => Refusal::Invalid { offset: 0, reason },
            other => other,
        })?;
        let storages =
            spans.into_iter().filter_map(|(name, span)| Some((name.strip_prefix("data/")?.to_owned(), span)));
        let (storages, budget) = (storages.collect(), arena.budget);
        Ok(Self { arena, root, bytes, storages, budget, shown: HashMap::new() })
    }

    /// Magic number, protocol, system information, the object, the list of storage keys, then each storage with its
    /// element count in front.
    fn open_legacy(bytes: &'a [u8], mut budget: Budget) -> Result<Self, Refusal> {
        let mut at = 0;
        let mut next = |at: &mut usize| -> Result<(Arena, Id), Refusal> {
            let (arena, root, used) = unpickle(&bytes[*at..], budget).map_err(|refusal| match refusal {
                Refusal::Invalid { offset, reason } => Refusal::Invalid { offset: offset + *at, reason },
                other => other,
            })?;
            *at += used;
            budget = arena.budget;
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
        let mut elements = HashMap::new();
        for (key, element) in arena.storages() {
            budget.charge(STORAGE)?;
            elements.insert(key, element);
        }
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
            budget.charge(STORAGE + key.len())?;
            storages.insert(key.to_owned(), span);
        }
        drop(elements);
        Ok(Self { arena, root, bytes, storages, budget, shown: HashMap::new() })
    }

    /// Copies a tensor out of its storage; every offset, stride and size is checked first.
    pub(crate) fn tensor(&mut self, id: Id) -> Result<Tensor, Refusal> {
        let Self { arena, bytes, storages, budget, shown, .. } = self;
        let Value::Tensor(tensor) = arena.get(id) else { return invalid("a tensor that is none") };
        let TensorRef { storage, element, offset, shape, stride } = &**tensor;
        let Value::Storage(storage) = arena.get(*storage) else { return invalid("a tensor without its storage") };
        let Some(span) = storages.get(&storage.key) else {
            return invalid(format!("storage {} is not in the file", storage.key));
        };
        let size = element.bytes();
        let data = &bytes[span.clone()];
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
        let first = if count == 0 { 0 } else { storage.view_offset + offset };
        let key = (*element, span.start + first * size, shape.clone(), stride.clone());
        if let Some(tensor) = shown.get(&key) {
            return Ok(tensor.clone());
        }
        // Signed bytes become integers of candle's.
        let size_there = if element.dtype().is_some() { size } else { size_of::<i64>() };
        if count.checked_mul(size_there).is_none_or(|bytes| budget.charge(bytes).is_err()) {
            return invalid(match element.dtype() {
                Some(_) => {
                    "its tensors are views that expand to more than twice its length and 64 MB; save their clone()"
                }
                None => "its tensors of int8 take more than twice its length and 64 MB as int64; save their float()",
            });
        }
        let is_whole = count == 0 || (is_contiguous(shape, stride) && element.dtype().is_some());
        let built = match element.dtype() {
            Some(dtype) if is_whole => elements::tensor(&data[first * size..(first + count) * size], dtype, shape),
            _ => {
                let strided = Strided { data, first, shape, stride, count };
                match element {
                    Element::F64 => strided.gather(f64::from_le_bytes),
                    Element::F32 => strided.gather(f32::from_le_bytes),
                    Element::F16 => strided.gather(half::f16::from_le_bytes),
                    Element::BF16 => strided.gather(half::bf16::from_le_bytes),
                    Element::I64 => strided.gather(i64::from_le_bytes),
                    Element::I32 => strided.gather(i32::from_le_bytes),
                    Element::I16 => strided.gather(i16::from_le_bytes),
                    Element::I8 => strided.gather(|byte| i64::from(i8::from_le_bytes(byte))),
                    Element::U8 | Element::Bool => strided.gather(u8::from_le_bytes),
                }
            }
        };
        let built = built.map_err(|error| Refusal::Invalid { offset: 0, reason: error.to_string() })?;
        shown.insert(key, built.clone());
        Ok(built)
    }

    /// Whether it is a whole number without dimensions.
    pub(crate) fn is_counter(&self, id: Id) -> bool {
        let is_float = |element: Element| element.dtype().is_some_and(|dtype: DType| dtype.is_float());
        matches!(self.arena.get(id), Value::Tensor(tensor) if !is_float(tensor.element) && tensor.shape.is_empty())
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

/// Row-major without gaps, for a shape whose element count is known to fit.
fn is_contiguous(shape: &[usize], stride: &[usize]) -> bool {
    let mut expected = 1;
    shape.iter().zip(stride).rev().all(|(side, stride)| {
        let fits = *side <= 1 || *stride == expected;
        expected *= side;
        fits
    })
}

/// Elements of a storage by strides, all of them within it.
struct Strided<'a> {
    data: &'a [u8],
    first: usize,
    shape: &'a [usize],
    stride: &'a [usize],
    count: usize,
}

impl Strided<'_> {
    /// A tensor of these elements of `N` bytes each.
    fn gather<T: WithDType, const N: usize>(&self, from_bytes: fn([u8; N]) -> T) -> candle_core::Result<Tensor> {
        let Self { data, first, shape, stride, count } = *self;
        let mut out = Vec::with_capacity(count);
        let mut index = vec![0; shape.len()];
        for _ in 0..count {
            let at = first + index.iter().zip(stride).map(|(i, stride)| i * stride).sum::<usize>();
            let mut bytes = [0; N];
            bytes.copy_from_slice(&data[at * N..(at + 1) * N]);
            out.push(from_bytes(bytes));
            for axis in (0..shape.len()).rev() {
                index[axis] += 1;
                if index[axis] < shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        Tensor::from_vec(out, shape, &Device::Cpu)
    }
}
