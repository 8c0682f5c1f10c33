//! Values as Python shows them, and the scalars of numpy that stand where others write a number or a string.

use super::value::{Arena, Id, Value};

/// Longest text of one value, in bytes.
const MAX_TEXT: usize = 4096;
/// Most nested containers that are shown.
const MAX_DEPTH: usize = 4;

impl Arena {
    /// What `str(value)` gives in Python; `None` for objects, tensors and whatever is too long.
    pub(crate) fn text(&self, id: Id) -> Option<String> {
        match self.get(id) {
            Value::Str(text) => (text.len() <= MAX_TEXT).then(|| text.clone()),
            _ => self.repr(id, MAX_DEPTH).filter(|text| text.len() <= MAX_TEXT),
        }
    }

    fn repr(&self, id: Id, depth: usize) -> Option<String> {
        let depth = depth.checked_sub(1)?;
        let list = |items: &[Id]| -> Option<String> {
            let mut out = String::new();
            for item in items {
                out += if out.is_empty() { "" } else { ", " };
                out += &self.repr(*item, depth)?;
                (out.len() <= MAX_TEXT).then_some(())?;
            }
            Some(out)
        };
        Some(match self.get(id) {
            Value::None => "None".to_owned(),
            Value::Bool(true) => "True".to_owned(),
            Value::Bool(false) => "False".to_owned(),
            Value::Int(int) => int.to_string(),
            Value::Float(float) => float_repr(*float),
            Value::Str(text) if text.len() <= MAX_TEXT => quoted(text.chars()),
            Value::Bytes(bytes) if bytes.len() <= MAX_TEXT => {
                let shown = |byte: &u8| match byte {
                    b'\t' | b'\n' | b'\r' | b' '..=b'~' => quotable(char::from(*byte)),
                    byte => format!("\\x{byte:02x}"),
                };
                let quote = quote(bytes.iter().map(|byte| char::from(*byte)));
                let text: String = bytes.iter().map(shown).collect();
                format!("b{quote}{}{quote}", escape(&text, quote))
            }
            Value::List(items) => format!("[{}]", list(items)?),
            Value::Tuple(items) if items.len() == 1 => format!("({},)", list(items)?),
            Value::Tuple(items) => format!("({})", list(items)?),
            _ => return None,
        })
    }

    /// The value of a scalar of numpy, from its element type (such as `i8` or `U3`) and its little-endian bytes.
    pub(crate) fn numpy_scalar(&self, dtype: &str, bytes: &[u8]) -> Option<Value> {
        let dtype = dtype.trim_start_matches(['<', '=', '|']);
        let signed = |bytes: &[u8]| {
            let fill = if bytes.last()? & 0x80 != 0 { 0xff } else { 0 };
            let mut wide = [fill; 8];
            wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
            Some(i64::from_le_bytes(wide))
        };
        Some(match (dtype.chars().next()?, bytes) {
            ('U', bytes) if bytes.len() <= MAX_TEXT => {
                let char = |word: &[u8]| char::from_u32(u32::from_le_bytes(word.try_into().ok()?));
                let text: Option<String> = bytes.chunks(4).map(char).collect();
                Value::Str(text?.trim_end_matches('\0').to_owned())
            }
            ('i', [_, ..]) => Value::Int(signed(bytes)?),
            ('u', [_, ..]) => match signed(&[bytes, &[0]].concat()[..(bytes.len() + 1).min(8)])? {
                int if int >= 0 => Value::Int(int),
                _ => Value::BigInt,
            },
            ('b', [byte]) => Value::Bool(*byte != 0),
            ('f', &[a, b]) => Value::Float(half::f16::from_le_bytes([a, b]).into()),
            ('f', &[a, b, c, d]) => Value::Float(f32::from_le_bytes([a, b, c, d]).into()),
            ('f', bytes) => Value::Float(f64::from_le_bytes(bytes.try_into().ok()?)),
            _ => return None,
        })
    }
}

/// A float as Python writes it: the shortest digits, with an exponent of two digits from 1e16 up and below 1e-4.
fn float_repr(float: f64) -> String {
    let size = float.abs();
    if size.is_nan() {
        return "nan".to_owned();
    }
    if size.is_infinite() || size == 0. || (1e-4..1e16).contains(&size) {
        return format!("{float:?}");
    }
    let text = format!("{float:e}");
    match text.split_once('e').map(|(digits, exponent)| (digits, exponent.parse::<i32>())) {
        Some((digits, Ok(exponent))) => {
            format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
        }
        _ => text,
    }
}

/// The mark that Python puts around a text.
fn quote(mut chars: impl Iterator<Item = char> + Clone) -> char {
    if chars.clone().any(|char| char == '\'') && !chars.any(|char| char == '"') { '"' } else { '\'' }
}

fn quoted(chars: impl Iterator<Item = char> + Clone) -> String {
    let quote = quote(chars.clone());
    let text: String = chars.map(quotable).collect();
    format!("{quote}{}{quote}", escape(&text, quote))
}

/// A character inside of quotes, whichever these are.
fn quotable(char: char) -> String {
    match char {
        '\\' => "\\\\".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        char if char.is_control() => format!("\\x{:02x}", u32::from(char)),
        char => char.to_string(),
    }
}

fn escape(text: &str, quote: char) -> String {
    if quote == '\'' { text.replace('\'', "\\'") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;

    /// Python 3.12: `[str(v) for v in values]`.
    #[test]
    fn values_are_shown_as_python_shows_them() {
        let mut arena = Arena::new(0, Budget::of(0, 0));
        let [none, truth, text, bytes] =
            [Value::None, Value::Bool(true), Value::Str("it's".to_owned()), Value::Bytes(b"a'\x00\n\\".to_vec())]
                .map(|value| arena.push(value).expect("room"));
        let one = arena.push(Value::Tuple(vec![text])).expect("room");
        let list = arena.push(Value::List(vec![none, truth, one])).expect("room");
        let shown = [none, truth, text, bytes, one, list].map(|id| arena.text(id).expect("plain data"));
        assert_eq!(shown, ["None", "True", "it's", r#"b"a'\x00\n\\""#, r#"("it's",)"#, r#"[None, True, ("it's",)]"#]);
        for (float, expected) in [
            (1., "1.0"),
            (0.1, "0.1"),
            (-0., "-0.0"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (1.5e-10, "1.5e-10"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.25e300, "1.25e+300"),
            (f64::INFINITY, "inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(float_repr(float), expected);
        }
    }

    #[test]
    fn scalars_of_numpy_are_their_values() {
        let arena = Arena::new(0, Budget::of(0, 0));
        let shown = |dtype: &str, bytes: &[u8]| format!("{:?}", arena.numpy_scalar(dtype, bytes));
        assert_eq!(shown("U3", b"a\0\0\0\xe9\0\0\0\0\0\0\0"), r#"Some(Str("aé"))"#);
        assert_eq!(shown("<i8", &(-3i64).to_le_bytes()), "Some(Int(-3))");
        assert_eq!((shown("u1", &[255]), shown("i1", &[255])), ("Some(Int(255))".into(), "Some(Int(-1))".into()));
        assert_eq!(shown("u8", &[255; 8]), "Some(BigInt)");
        assert_eq!(shown("f4", &0.5f32.to_le_bytes()), "Some(Float(0.5))");
        assert_eq!((shown("b1", &[1]), shown("V4", &[0; 4])), ("Some(Bool(true))".into(), "None".into()));
        assert_eq!(
            (shown("f8", &[0; 3]), shown("U1", &[0; 3]), shown("i8", &[])),
            ("None".into(), "None".into(), "None".into())
        );
    }
}
