//! Values as Python and YAML write them.

use anyhow::Result;

use crate::error::usage;

/// Whether `text` says that nothing is given.
pub(in crate::cli) fn is_none(text: &str) -> bool {
    matches!(text, "" | "~") || text.eq_ignore_ascii_case("none") || text.eq_ignore_ascii_case("null")
}

/// The truth value that `text` is.
pub(in crate::cli) fn truth(text: &str) -> Option<bool> {
    match () {
        () if text.eq_ignore_ascii_case("true") => Some(true),
        () if text.eq_ignore_ascii_case("false") => Some(false),
        () => None,
    }
}

/// What stands for `key=value` where the option `long` without a value says that the key is `on`.
///
/// # Errors
/// A value that is neither true nor false, nor nothing.
pub(in crate::cli) fn switch(key: &str, value: &str, long: &str, on: bool) -> Result<Vec<String>> {
    match truth(value) {
        Some(truth) if truth == on => Ok(vec![format!("--{long}")]),
        Some(_) => Ok(Vec::new()),
        None if is_none(value) => Ok(Vec::new()),
        None => Err(usage(format!("{key}={value}: give True or False"))),
    }
}

/// The number that `text` is; a truth value is one in Python.
fn number(text: &str) -> Option<f64> {
    text.parse().ok().or_else(|| truth(text).map(|truth| f64::from(u8::from(truth))))
}

/// Whether two values are equal in Python.
pub(super) fn same(a: &str, b: &str) -> bool {
    (is_none(a) && is_none(b)) || a == b || number(a).zip(number(b)).is_some_and(|(a, b)| a == b)
}

/// What stands between the brackets of a list or a tuple, without blanks and quotes.
pub(in crate::cli) fn elements(text: &str) -> Option<Vec<String>> {
    let inner =
        [('[', ']'), ('(', ')')].iter().find_map(|(open, close)| text.strip_prefix(*open)?.strip_suffix(*close))?;
    let clean = |part: &str| part.trim().trim_matches(['"', '\'']).to_owned();
    Some(inner.split(',').map(clean).filter(|part| !part.is_empty()).collect())
}

/// A whole number that is written as `100.0` or `1e2`.
pub(super) fn whole(text: &str) -> Option<i64> {
    let value: f64 = text.parse().ok()?;
    (value.fract() == 0. && value.abs() < 1e15 && text.parse::<i64>().is_err()).then_some(value as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_equal_as_in_python() {
        for (a, b) in
            [("None", "null"), ("True", "true"), ("0.0", "False"), ("1", "True"), ("7e-1", "0.7"), ("flip", "flip")]
        {
            assert!(same(a, b), "{a} {b}");
        }
        for (a, b) in [("None", "False"), ("True", "False"), ("0.7", "0.71"), ("flip", "mixup"), ("nan", "nan0")] {
            assert!(!same(a, b), "{a} {b}");
        }
        assert_eq!(elements("[0, '22.cv2']"), Some(vec!["0".to_owned(), "22.cv2".to_owned()]));
        assert_eq!((elements("(0.5, 2.0)").map(|parts| parts.len()), elements("5,")), (Some(2), None));
        assert_eq!(
            [whole("1e2"), whole("100.0"), whole("100"), whole("0.5"), whole("x")],
            [Some(100), Some(100), None, None, None]
        );
    }
}
