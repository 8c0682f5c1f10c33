//! The inert values that a pickle describes.

use std::collections::HashMap;

use candle_core::DType;

use super::refusal::Refusal;
use crate::budget::Budget;

/// Index of a value in its [`Arena`].
pub(crate) type Id = u32;

/// One value. Containers hold indices, so that a value shared by many is stored once; large kinds are boxed, so that
/// millions of small ones stay small.
#[derive(Debug)]
pub(crate) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits; none of a model's is.
    BigInt,
    Float(f64),
    Str(String),
    Bytes(Vec<u8>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Set(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// `module.name`, never looked up.
    Global(String),
    Object(Box<Object>),
    Storage(Box<Storage>),
    Tensor(Box<TensorRef>),
    /// A tensor that cannot be one of candle's: see [`crate::Metadata::unread`].
    Unread(String),
}

/// An instance of a class that is not known: the global that names the class, its state, the items set on it.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) class: Id,
    pub(crate) state: Option<Id>,
    pub(crate) items: Vec<(Id, Id)>,
}

/// A run of elements in the file.
#[derive(Debug)]
pub(crate) struct Storage {
    pub(crate) key: String,
    /// Last part of the class's name, such as `FloatStorage`.
    pub(crate) class: String,
    /// `None` where the type is untyped bytes, or one that is not read.
    pub(crate) element: Option<Element>,
    /// Start of a view into the storage, in elements (legacy files only).
    pub(crate) view_offset: usize,
}

impl Storage {
    /// Bytes of an element, where the type is known.
    pub(crate) fn bytes(&self) -> Option<usize> {
        let unread = || UNREAD.iter().find(|(class, ..)| *class == self.class).map(|(.., bytes)| *bytes);
        self.element.map(Element::bytes).or_else(unread)
    }

    /// The element type as PyTorch calls it.
    pub(crate) fn dtype(&self) -> &str {
        let unread = UNREAD.iter().find(|(class, ..)| *class == self.class).map(|(_, name, _)| *name);
        unread.unwrap_or(&self.class)
    }
}

/// Storages that are not read: class, element type, bytes of an element.
const UNREAD: [(&str, &str, usize); 9] = [
    ("UntypedStorage", "untyped bytes", 1),
    ("ComplexHalfStorage", "complex32", 4),
    ("ComplexFloatStorage", "complex64", 8),
    ("ComplexDoubleStorage", "complex128", 16),
    ("QInt8Storage", "qint8", 1),
    ("QUInt8Storage", "quint8", 1),
    ("QInt32Storage", "qint32", 4),
    ("QUInt4x2Storage", "quint4x2", 1),
    ("QUInt2x4Storage", "quint2x4", 1),
];

/// A strided view of a storage; offset and strides in elements.
#[derive(Debug, Clone)]
pub(crate) struct TensorRef {
    /// The value that is its [`Storage`].
    pub(crate) storage: Id,
    pub(crate) element: Element,
    pub(crate) offset: usize,
    pub(crate) shape: Vec<usize>,
    pub(crate) stride: Vec<usize>,
}

/// PyTorch's element types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Element {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

impl Element {
    /// The element type of a storage class or a dtype, by the last part of its name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "DoubleStorage" | "float64" | "double" => Self::F64,
            "FloatStorage" | "float32" | "float" => Self::F32,
            "HalfStorage" | "float16" | "half" => Self::F16,
            "BFloat16Storage" | "bfloat16" => Self::BF16,
            "LongStorage" | "int64" | "long" => Self::I64,
            "IntStorage" | "int32" | "int" => Self::I32,
            "ShortStorage" | "int16" | "short" => Self::I16,
            "CharStorage" | "int8" => Self::I8,
            "ByteStorage" | "uint8" => Self::U8,
            "BoolStorage" | "bool" => Self::Bool,
            _ => return None,
        })
    }

    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// candle's type of the same bytes; signed bytes have none.
    pub(crate) fn dtype(self) -> Option<DType> {
        Some(match self {
            Self::F64 => DType::F64,
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::BF16 => DType::BF16,
            Self::I64 => DType::I64,
            Self::I32 => DType::I32,
            Self::I16 => DType::I16,
            Self::U8 | Self::Bool => DType::U8,
            Self::I8 => return None,
        })
    }
}

/// All values of one pickle.
#[derive(Debug)]
pub(crate) struct Arena {
    /// In blocks of [`BLOCK`], so that they never move.
    blocks: Vec<Vec<Value>>,
    /// What all of them are paid from.
    pub(super) budget: Budget,
    /// Bytes that may still be copied from one value into another.
    copies: usize,
}

/// Values in one block of an arena.
const BLOCK: usize = 1024;
/// What a piece of memory takes beside its bytes.
const PIECE: usize = 16;
/// The values that every arena begins with, since nothing can change them.
const NONE: Id = 0;
const TRUE: Id = 1;
const FALSE: Id = 2;
const EMPTY_TUPLE: Id = 3;

impl Value {
    /// Bytes that it takes beside its own place.
    fn room(&self) -> usize {
        let bytes = match self {
            Self::None | Self::Bool(_) | Self::Int(_) | Self::BigInt | Self::Float(_) => return 0,
            Self::Str(text) | Self::Global(text) | Self::Unread(text) => text.capacity(),
            Self::Bytes(bytes) => bytes.capacity(),
            Self::List(items) | Self::Tuple(items) | Self::Set(items) => items.capacity() * size_of::<Id>(),
            Self::Dict(pairs) => pairs.capacity() * size_of::<(Id, Id)>(),
            Self::Object(object) => size_of::<Object>() + object.items.capacity() * size_of::<(Id, Id)>(),
            Self::Storage(storage) => size_of::<Storage>() + storage.key.capacity() + storage.class.capacity() + PIECE,
            Self::Tensor(tensor) => {
                let sides = tensor.shape.capacity() + tensor.stride.capacity();
                size_of::<TensorRef>() + sides * size_of::<usize>() + PIECE
            }
        };
        if bytes == 0 { 0 } else { bytes + PIECE }
    }
}

/// Most nested containers that a conversion to JSON follows.
const MAX_JSON_DEPTH: usize = 32;
/// Most bytes that one conversion to JSON may take.
const MAX_JSON_BYTES: usize = 3 << 20;
/// What an item of a list and one of a dict take in JSON, beside their texts.
const JSON_ITEM: usize = 32;
const JSON_PAIR: usize = 256;

impl Arena {
    /// An arena for a pickle of `length` bytes.
    pub(crate) fn new(length: usize, budget: Budget) -> Self {
        let mut first = Vec::with_capacity(BLOCK);
        first.extend([Value::None, Value::Bool(true), Value::Bool(false), Value::Tuple(Vec::new())]);
        Self { blocks: vec![first], budget, copies: length.saturating_mul(4).saturating_add(1 << 16) }
    }

    /// Adds a value, which is paid for with all that it holds.
    pub(crate) fn push(&mut self, value: Value) -> Result<Id, Refusal> {
        match &value {
            Value::None => return Ok(NONE),
            Value::Bool(true) => return Ok(TRUE),
            Value::Bool(false) => return Ok(FALSE),
            Value::Tuple(items) if items.is_empty() => return Ok(EMPTY_TUPLE),
            _ => self.budget.charge(value.room())?,
        }
        let full = self.blocks.len() - 1;
        if self.blocks[full].len() == BLOCK {
            self.budget.charge(BLOCK * size_of::<Value>() + 3 * size_of::<Vec<Value>>())?;
            self.blocks.push(Vec::with_capacity(BLOCK));
        }
        let last = self.blocks.len() - 1;
        self.blocks[last].push(value);
        Ok(Id::try_from(last * BLOCK + self.blocks[last].len() - 1).expect("the machine stops long before 2^32 values"))
    }

    /// Pays for a copy of memoized data, which one short instruction could otherwise repeat without end.
    pub(crate) fn charge(&mut self, bytes: usize) -> Result<(), Refusal> {
        match self.copies.checked_sub(bytes) {
            Some(left) => {
                self.copies = left;
                Ok(())
            }
            None => Err(Refusal::Invalid { offset: 0, reason: "it copies data many times over".to_owned() }),
        }
    }

    pub(crate) fn get(&self, id: Id) -> &Value {
        &self.blocks[id as usize / BLOCK][id as usize % BLOCK]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Value> {
        self.blocks.iter().flatten()
    }

    /// A value, and what it pays from where it grows.
    pub(super) fn get_mut(&mut self, id: Id) -> (&mut Value, &mut Budget) {
        (&mut self.blocks[id as usize / BLOCK][id as usize % BLOCK], &mut self.budget)
    }

    pub(crate) fn str(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn usize(&self, id: Id) -> Option<usize> {
        match self.get(id) {
            Value::Int(i) => usize::try_from(*i).ok(),
            _ => None,
        }
    }

    /// The elements of a list, tuple or set.
    pub(crate) fn sequence(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::List(items) | Value::Tuple(items) | Value::Set(items) => Some(items),
            _ => None,
        }
    }

    /// The pairs of a dict, or of the dict that is an object's state; an object's own items where it has no state.
    pub(crate) fn pairs(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.get(id) {
            Value::Dict(pairs) => Some(pairs),
            Value::Object(object) => match object.state.map(|state| self.get(state)) {
                Some(Value::Dict(pairs)) => Some(pairs),
                // A class with slots pickles (dict or None, slots).
                Some(Value::Tuple(parts)) => parts.iter().take(2).find_map(|part| match self.get(*part) {
                    Value::Dict(pairs) => Some(pairs.as_slice()),
                    _ => None,
                }),
                Some(_) => None,
                None => Some(&object.items),
            },
            _ => None,
        }
    }

    /// The value under a string key of a dict or of an object's state. The last of equal keys wins, as in Python.
    pub(crate) fn field(&self, id: Id, key: &str) -> Option<Id> {
        let pairs = self.pairs(id)?;
        pairs.iter().rev().find(|(k, _)| self.str(*k) == Some(key)).map(|(_, value)| *value)
    }

    /// Plain data as JSON; objects, tensors and whatever lies beyond the limits become null.
    pub(crate) fn json(&self, id: Id) -> serde_json::Value {
        let mut budget = MAX_JSON_BYTES;
        self.json_within(id, MAX_JSON_DEPTH, &mut budget)
    }

    fn json_within(&self, id: Id, depth: usize, budget: &mut usize) -> serde_json::Value {
        use serde_json::Value as Json;
        let text = self.str(id).map_or(0, str::len);
        let Some(left) = budget.checked_sub(text).filter(|_| depth > 0) else { return Json::Null };
        *budget = left;
        match self.get(id) {
            Value::Bool(b) => Json::Bool(*b),
            Value::Int(i) => Json::from(*i),
            Value::Float(f) => Json::from(*f),
            Value::Str(text) => Json::from(text.as_str()),
            Value::List(items) | Value::Tuple(items) | Value::Set(items) => {
                let count = items.len().min(*budget / JSON_ITEM);
                *budget -= count * JSON_ITEM;
                Json::Array(items[..count].iter().map(|item| self.json_within(*item, depth - 1, budget)).collect())
            }
            Value::Dict(_) | Value::Object(_) => {
                let Some(pairs) = self.pairs(id) else { return Json::Null };
                let mut map = serde_json::Map::new();
                for (key, value) in pairs {
                    let length = self.str(*key).map_or(0, str::len);
                    let Some(left) = budget.checked_sub(JSON_PAIR + length) else { break };
                    *budget = left;
                    let key = match self.get(*key) {
                        Value::Str(text) => text.clone(),
                        Value::Int(i) => i.to_string(),
                        _ => continue,
                    };
                    map.insert(key, self.json_within(*value, depth - 1, budget));
                }
                Json::Object(map)
            }
            _ => Json::Null,
        }
    }
}

/// What the unpickler remembers by number.
pub(crate) type Memo = HashMap<u32, Id>;
