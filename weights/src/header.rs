//! The header of a safetensors file, read within a budget.
//!
//! The crate `safetensors` puts every value of a header into a tree first, at up to fifty times its bytes. Here each tensor
//! pays when it is read.

use std::collections::HashSet;
use std::fmt;

use safetensors::tensor::Dtype;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};

use crate::budget::{Budget, json_bytes};
use crate::write::METADATA_KEY;

/// Most bytes of a header: the format's own limit.
pub(crate) const MAX_HEADER: u64 = 100_000_000;
/// Longest name of a tensor, in bytes.
const MAX_NAME: usize = 1024;
/// Most dimensions of a tensor: PyTorch's limit.
const MAX_RANK: usize = 64;
/// What a tensor takes beside its elements and its name, in bytes: here, as candle's and in the maps by its name.
const TENSOR: usize = 400;
/// How often its name is there at a time: before and after names are mapped to ours.
const NAMES: usize = 2;

/// What is wrong with a header.
#[derive(Debug)]
pub(crate) enum Wrong {
    /// A rule is broken: which.
    Invalid(String),
    /// The file has fewer bytes than this.
    Short(u64),
}

fn invalid<T>(reason: impl ToString) -> Result<T, Wrong> {
    Err(Wrong::Invalid(reason.to_string()))
}

/// A tensor of the file.
pub(crate) struct Info {
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    /// First byte and the one behind the last, from the header's end on.
    pub(crate) span: (usize, usize),
}

/// What a header says.
#[derive(Default)]
pub(crate) struct Header {
    /// In the order of their bytes.
    pub(crate) tensors: Vec<Info>,
    /// Our own metadata as JSON.
    pub(crate) described: Option<String>,
    /// Architecture, where another program wrote it.
    pub(crate) arch: Option<String>,
}

/// The header's length by the file's first eight bytes, for a file of `length` bytes.
pub(crate) fn length_of(first: &[u8], length: u64) -> Result<u64, Wrong> {
    let Some(announced) = first.get(..8).and_then(|first| first.try_into().ok()).map(u64::from_le_bytes) else {
        return invalid("it is too short for a header");
    };
    if announced > MAX_HEADER {
        return invalid(format!("its header has {announced} bytes; the most are {MAX_HEADER}"));
    }
    if announced + 8 > length { Err(Wrong::Short(announced + 8)) } else { Ok(announced) }
}

impl Header {
    /// Reads the JSON of a header, before `data` bytes of tensors, and checks that these are all of them.
    pub(crate) fn parse(json: &[u8], data: u64, budget: &mut Budget) -> Result<Self, Wrong> {
        // Of all tensors together: a cut file announces more.
        budget.charge(usize::try_from(data).unwrap_or(usize::MAX)).or_else(invalid)?;
        // A string with escapes is put together in a place of its own.
        if json.contains(&b'\\') {
            budget.afford(json.len().saturating_mul(2)).or_else(invalid)?;
        }
        let mut header = Self::default();
        let mut exceeded = None;
        let mut from = serde_json::Deserializer::from_slice(json);
        let read = Fields { header: &mut header, budget, exceeded: &mut exceeded }.deserialize(&mut from);
        if let Err(error) = read.and_then(|()| from.end()) {
            return invalid(exceeded.unwrap_or_else(|| format!("its header: {error}")));
        }
        header.tensors.sort_unstable_by(|a, b| (a.span, &a.name).cmp(&(b.span, &b.name)));
        match header.check(data) {
            // From the file's beginning on.
            Err(Wrong::Short(end)) => Err(Wrong::Short(end + 8 + json.len() as u64)),
            checked => checked.map(|()| header),
        }
    }

    /// Each byte belongs to one tensor, of as many bytes as its shape says.
    fn check(&self, data: u64) -> Result<(), Wrong> {
        let mut end = 0;
        let mut names = HashSet::with_capacity(self.tensors.len());
        for Info { name, dtype, shape, span } in &self.tensors {
            if !names.insert(name.as_str()) {
                return invalid(format!("tensor {name} is there twice"));
            }
            let bits = shape.iter().try_fold(dtype.bitsize(), |bits, side| bits.checked_mul(*side));
            let size = bits.filter(|bits| bits % 8 == 0).map(|bits| bits / 8);
            if span.0 != end || size.is_none() || span.1.checked_sub(span.0) != size {
                let (start, end) = *span;
                return invalid(format!(
                    "tensor {name} of {dtype:?} and size {shape:?} has the bytes {start} to {end}"
                ));
            }
            end = span.1;
        }
        match end as u64 {
            end if end > data => Err(Wrong::Short(end)),
            end if end < data => invalid(format!("its tensors have {end} bytes, and {data} are there")),
            _ => Ok(()),
        }
    }
}

/// The fields of a header.
struct Fields<'a> {
    header: &'a mut Header,
    budget: &'a mut Budget,
    /// That the budget did not suffice, apart from the errors of JSON, which name a line.
    exceeded: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tensors by their names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { header, budget, exceeded } = self;
        while let Some(name) = map.next_key_seed(Text { most: MAX_NAME, refuse: true })? {
            let name = name.unwrap_or_default();
            if name == "__metadata__" {
                map.next_value_seed(Described { header, budget, exceeded })?;
                continue;
            }
            let Tensor { dtype, shape: Shape(shape), data_offsets } = map.next_value()?;
            let takes = TENSOR + 4 * size_of_val(shape.as_slice()) + NAMES * name.len();
            budget.charge(takes).map_err(|error| {
                *exceeded = Some(error.to_string());
                A::Error::custom(error)
            })?;
            header.tensors.push(Info { name, dtype, shape, span: data_offsets });
        }
        Ok(())
    }
}

/// The fields of `__metadata__`, of which two are kept.
struct Described<'a> {
    header: &'a mut Header,
    budget: &'a mut Budget,
    exceeded: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Described<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Described<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("texts by their names")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(Text { most: MAX_NAME, refuse: false })? {
            match name.as_deref() {
                Some("arch") => self.header.arch = map.next_value_seed(Text { most: MAX_NAME, refuse: false })?,
                Some(METADATA_KEY) => {
                    let text = map.next_value_seed(Text { most: usize::MAX, refuse: false })?.unwrap_or_default();
                    if let Err(error) = self.budget.charge(json_bytes(text.as_bytes())) {
                        *self.exceeded = Some(error.to_string());
                        return Err(A::Error::custom(error));
                    }
                    self.header.described = Some(text);
                }
                _ => drop(map.next_value_seed(Text { most: 0, refuse: false })?),
            }
        }
        Ok(())
    }
}

/// A text of at most as many bytes. A longer one is refused, or passed over.
struct Text {
    most: usize,
    refuse: bool,
}

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Option<String>;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Text {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        if text.len() <= self.most {
            return Ok(Some(text.to_owned()));
        }
        if self.refuse { Err(E::custom(format!("a name of {} bytes", text.len()))) } else { Ok(None) }
    }
}

#[derive(Deserialize)]
struct Tensor {
    dtype: Dtype,
    shape: Shape,
    data_offsets: (usize, usize),
}

/// Sides of a tensor.
struct Shape(Vec<usize>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Sides;

        impl<'de> Visitor<'de> for Sides {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the sides of a tensor")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sides: A) -> Result<Shape, A::Error> {
                let mut shape = Vec::new();
                while let Some(side) = sides.next_element()? {
                    if shape.len() == MAX_RANK {
                        return Err(A::Error::custom(format!("a tensor of more than {MAX_RANK} dimensions")));
                    }
                    shape.push(side);
                }
                shape.shrink_to_fit();
                Ok(Shape(shape))
            }
        }

        from.deserialize_seq(Sides)
    }
}
