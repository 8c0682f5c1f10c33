//! The JSON of COCO's instances, whose fields are written in many ways: `1.0` for 1, `NaN`, a text where nobody reads it.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::ImageId;

/// An instances file. Nothing in it is checked but that it has these lists.
#[derive(Deserialize)]
#[serde(expecting = "an object with images, annotations and categories")]
pub(super) struct Dataset {
    pub(super) images: Vec<Image>,
    #[serde(default)]
    pub(super) annotations: Vec<CocoAnnotation>,
    pub(super) categories: Vec<Category>,
}

#[derive(Deserialize, Default)]
#[serde(default, expecting = "an image, an object with id and file_name")]
pub(super) struct Image {
    pub(super) id: Field,
    pub(super) file_name: Field,
    pub(super) height: Field,
    pub(super) width: Field,
}

#[derive(Deserialize, Default)]
#[serde(default, expecting = "an annotation, an object with image_id, category_id and bbox")]
pub(super) struct CocoAnnotation {
    pub(super) id: Field,
    pub(super) image_id: Field,
    pub(super) category_id: Field,
    pub(super) bbox: Field,
    pub(super) area: Field,
    pub(super) iscrowd: Field,
}

#[derive(Deserialize, Default)]
#[serde(default, expecting = "a category, an object with id and name")]
pub(super) struct Category {
    pub(super) id: Field,
    pub(super) name: Field,
    pub(super) supercategory: Field,
}

/// A value of any type, so that none ends the reading of the file.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) enum Field {
    /// Absent or null; a number that is none, too.
    #[default]
    Nothing,
    Bool(bool),
    Whole(i64),
    Number(f64),
    Text(String),
    /// A list; what is no number in it is NaN.
    List(Vec<f64>),
    Object,
}

impl Field {
    /// An id: a text or a whole number, which may be written as 1.0.
    pub(super) fn id(&self) -> Option<ImageId> {
        const EXACT: f64 = (1_i64 << 53) as f64;
        match self {
            Self::Whole(number) => Some(ImageId::Number(*number)),
            Self::Number(number) if number.fract() == 0. && number.abs() <= EXACT => {
                Some(ImageId::Number(*number as i64))
            }
            Self::Text(text) => Some(ImageId::Name(text.clone())),
            _ => None,
        }
    }

    /// A number.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Whole(number) => Some(*number as f64),
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// A side of an image in pixels, where it is one.
    pub(super) fn side(&self) -> Option<usize> {
        self.number()
            .filter(|side| side.fract() == 0. && (1. ..=f64::from(u32::MAX)).contains(side))
            .map(|s| s as usize)
    }

    /// What Python takes for true.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Bool(flag) => *flag,
            Self::Whole(number) => *number != 0,
            Self::Number(number) => *number != 0.,
            Self::Text(text) => !text.is_empty(),
            Self::List(list) => !list.is_empty(),
            Self::Object => true,
        }
    }

    /// A text that is not empty.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Field, E> {
        Ok(Field::Nothing)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Field, E> {
        Ok(Field::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Field, E> {
        Ok(Field::Whole(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Field, E> {
        Ok(i64::try_from(value).map_or(Field::Number(value as f64), Field::Whole))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Field, E> {
        Ok(Field::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Field, E> {
        Ok(Field::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Field, A::Error> {
        let mut list = Vec::new();
        while let Some(Number(number)) = values.next_element()? {
            list.push(number);
        }
        Ok(Field::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Field, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Field::Object)
    }
}

/// An element of a list: a number, or NaN for anything else, however deep.
struct Number(f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyNumber)
    }
}

struct AnyNumber;

impl<'de> Visitor<'de> for AnyNumber {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Number, E> {
        Ok(Number(f64::NAN))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Number, E> {
        Ok(Number(f64::NAN))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Number, E> {
        Ok(Number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Number, E> {
        Ok(Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Number, E> {
        Ok(Number(value))
    }

    fn visit_str<E>(self, _: &str) -> Result<Number, E> {
        Ok(Number(f64::NAN))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Number, A::Error> {
        while values.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Number(f64::NAN))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Number, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Number(f64::NAN))
    }
}

/// Reads a file's bytes. As Python does, it takes `NaN` and `Infinity`, for null here.
///
/// # Errors
/// What is wrong, with line and column, in words of the format.
pub(super) fn parse(bytes: &[u8]) -> Result<Dataset, String> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return Err("a list, as results are; an instances file is an object with images, annotations and categories \
                    (a dataset is what is labelled, not what was predicted)"
            .into());
    }
    let error = match serde_json::from_slice(bytes) {
        Ok(dataset) => return Ok(dataset),
        Err(error) => error,
    };
    let read_again = without_literals(bytes).map(|bytes| serde_json::from_slice(&bytes));
    read_again.unwrap_or(Err(error)).map_err(|error| format!("no COCO instances file: {error}"))
}

/// The text with null for Python's `NaN`, `Infinity` and `-Infinity` where they are no part of a string; `None` where
/// there are none.
fn without_literals(bytes: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut rest) = (Vec::with_capacity(bytes.len()), bytes);
    let (mut in_string, mut found) = (false, false);
    while let Some(&byte) = rest.first() {
        let literal = ["NaN", "Infinity", "-Infinity"].into_iter().find(|literal| rest.starts_with(literal.as_bytes()));
        let taken = match (byte, literal) {
            (b'\\', _) if in_string => rest.len().min(2),
            (_, Some(literal)) if !in_string => {
                found = true;
                out.extend_from_slice(b"null");
                rest = &rest[literal.len()..];
                continue;
            }
            _ => {
                in_string ^= byte == b'"';
                1
            }
        };
        out.extend_from_slice(&rest[..taken]);
        rest = &rest[taken..];
    }
    found.then_some(out)
}
