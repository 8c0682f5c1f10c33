//! The text of a data.yaml, as Ultralytics hands it to PyYAML.

/// Makes of a text what yaml-rust2 reads as PyYAML does: control characters go, line ends of other systems become line feeds,
/// and a tab behind a key's colon becomes a blank.
pub(super) fn plain(text: &str) -> String {
    let is_kept = |character: &char| !matches!(character, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{7f}'..='\u{84}' | '\u{86}'..='\u{9f}');
    let unix = |character: char| match character {
        '\u{85}' | '\u{2028}' | '\u{2029}' => '\n',
        character => character,
    };
    let text: String = text.chars().filter(is_kept).map(unix).collect();
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    text.split('\n').map(without_tab).collect::<Vec<_>>().join("\n")
}

/// The line with a blank for the tabs behind the colon of its key.
fn without_tab(line: &str) -> String {
    match line.split_once(':') {
        Some((key, value)) if value.starts_with('\t') && !key.contains(['#', '"', '\'', '{', '[']) => {
            format!("{key}: {}", value.trim_start_matches('\t'))
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each is one text to Ultralytics 8.4.190's `YAML.load`.
    #[test]
    fn other_systems_texts_are_the_same() {
        let expected = "val: a\nnames: [x, y]\n";
        for text in [
            "val: a\r\nnames: [x, y]\r\n",
            "val: a\rnames: [x, y]\r",
            "val: a\u{85}names: [x, y]\u{2028}",
            "val:\ta\n\u{c}names:\t\t[x, y]\n",
            "val: a\u{b}\nnames: [x\u{1b}, y]\n\0",
        ] {
            assert_eq!(plain(text), expected, "{text:?}");
        }
        for kept in ["a: \"x:\ty\"", "# a:\tb", "a: b:\tc", "ключ: 日本"] {
            assert_eq!(plain(kept), kept);
        }
    }
}
