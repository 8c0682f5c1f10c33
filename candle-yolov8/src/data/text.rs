//! Lines and columns of text, where Python ends them.
//!
//! The files of a data set were written for `str.splitlines` and `str.split`. A lone carriage return, a form feed or U+2028
//! ends a line for them; read otherwise, rows run together and are taken for something else.

/// The lines of a text, without their ends: those of `str.splitlines`, `\r` and `\r\n` included.
pub fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((at, end)) = rest.char_indices().find(|(_, character)| ends_line(*character)) else {
            return Some(std::mem::take(&mut rest));
        };
        let (line, behind) = rest.split_at(at);
        rest = behind.strip_prefix("\r\n").unwrap_or(&behind[end.len_utf8()..]);
        Some(line)
    })
}

/// The columns of a line: those of `str.split`.
pub(super) fn columns(line: &str) -> impl Iterator<Item = &str> {
    line.split(is_blank).filter(|column| !column.is_empty())
}

/// A line without blanks around it, as `str.strip` leaves it.
pub(super) fn trimmed(line: &str) -> &str {
    line.trim_matches(is_blank)
}

fn ends_line(character: char) -> bool {
    matches!(character, '\n'..='\r' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_blank(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{1c}'..='\u{1f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Measured with Python 3.11: `text.splitlines()`.
    #[test]
    fn lines_end_where_python_ends_them() {
        for (text, expected) in [
            ("", vec![]),
            ("a", vec!["a"]),
            ("a\n", vec!["a"]),
            ("a\rb\r", vec!["a", "b"]),
            ("a\r\nb\n\rc\r\r\nd", vec!["a", "b", "", "c", "", "d"]),
            (
                "a\u{b}b\u{c}c\u{1c}d\u{1d}e\u{1e}f\u{85}g\u{2028}h\u{2029}i",
                "abcdefghi".split("").skip(1).take(9).collect(),
            ),
            ("a\u{1f}b\u{a0}c\u{200b}d\u{0}", vec!["a\u{1f}b\u{a0}c\u{200b}d\u{0}"]),
            ("\n\n", vec!["", ""]),
        ] {
            assert_eq!(lines(text).collect::<Vec<_>>(), expected, "{text:?}");
        }
    }

    /// Measured with Python 3.11: `text.split()`.
    #[test]
    fn columns_are_those_of_python() {
        for (text, expected) in [
            (" \t\u{1f}", vec![]),
            ("a\u{1f}b\u{1c}c\u{a0}d\u{3000}e\u{202f}f\u{1680}g", "abcdefg".split("").skip(1).take(7).collect()),
            ("a\u{200b}b\u{feff}c\u{180e}d\u{0}", vec!["a\u{200b}b\u{feff}c\u{180e}d\u{0}"]),
        ] {
            assert_eq!(columns(text).collect::<Vec<_>>(), expected, "{text:?}");
        }
        assert_eq!(trimmed("\u{1f} a b\u{a0}\u{1c}"), "a b");
    }
}
