//! The inert values that a pickle describes.

use std::collections::HashMap;

use candle_core::DType;

/// Index of a value in its [`Arena`].
pub(crate) type Id = usize;

/// One value. Containers hold indices, so that a value shared by many is stored once.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits, little-endian two's complement.
    BigInt(Vec<u8>),
    Float(f64),
    Str(String),
    Bytes(Vec<u8>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Set(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// `module.name`, never looked up.
    Global(String),
    /// An instance of a class that is not known: its type's name, its state and the items added to it.
    Object {
        class: String,
        args: Vec<Id>,
        state: Option<Id>,
        items: Vec<(Id, Id)>,
    },
    Storage(Storage),
    Tensor(TensorRef),
}

/// A run of elements in the file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Storage {
    pub(crate) key: String,
    /// `None` where the type is untyped bytes.
    pub(crate) element: Option<Element>,
    pub(crate) elements: usize,
    /// Start of a view into the storage, in elements (legacy files only).
    pub(crate) view_offset: usize,
}

/// A strided view of a storage; offset and strides in elements.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TensorRef {
    pub(crate) storage: Storage,
    pub(crate) element: Element,
    pub(crate) offset: usize,
    pub(crate) shape: Vec<usize>,
    pub(crate) stride: Vec<usize>,
}

/// PyTorch's element types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
#[derive(Debug, Default)]
pub(crate) struct Arena {
    values: Vec<Value>,
}

/// Most nested containers that a conversion to JSON follows.
const MAX_JSON_DEPTH: usize = 32;
/// Most values that one conversion to JSON visits.
const MAX_JSON_VALUES: usize = 100_000;

impl Arena {
    pub(crate) fn push(&mut self, value: Value) -> Id {
        self.values.push(value);
        self.values.len() - 1
    }

    pub(crate) fn get(&self, id: Id) -> &Value {
        &self.values[id]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Value> {
        self.values.iter()
    }

    pub(crate) fn get_mut(&mut self, id: Id) -> &mut Value {
        &mut self.values[id]
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
            Value::Object { state: Some(state), .. } => match self.get(*state) {
                Value::Dict(pairs) => Some(pairs),
                // A class with slots pickles (dict or None, slots).
                Value::Tuple(parts) => parts.iter().find_map(|part| match self.get(*part) {
                    Value::Dict(pairs) => Some(pairs.as_slice()),
                    _ => None,
                }),
                _ => None,
            },
            Value::Object { items, .. } => Some(items),
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
        let mut budget = MAX_JSON_VALUES;
        self.json_within(id, MAX_JSON_DEPTH, &mut budget)
    }

    fn json_within(&self, id: Id, depth: usize, budget: &mut usize) -> serde_json::Value {
        use serde_json::Value as Json;
        if depth == 0 || *budget == 0 {
            return Json::Null;
        }
        *budget -= 1;
        match self.get(id) {
            Value::Bool(b) => Json::Bool(*b),
            Value::Int(i) => Json::from(*i),
            Value::Float(f) => Json::from(*f),
            Value::Str(text) => Json::from(text.as_str()),
            Value::List(items) | Value::Tuple(items) | Value::Set(items) => {
                items.iter().map(|item| self.json_within(*item, depth - 1, budget)).collect()
            }
            Value::Dict(_) | Value::Object { state: Some(_), .. } => {
                let mut map = serde_json::Map::new();
                for (key, value) in self.pairs(id).unwrap_or_default() {
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
