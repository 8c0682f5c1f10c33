//! From YAML text to a tree of bounded size.

use std::collections::HashMap;

use yaml_rust2::parser::{Event, Parser};
use yaml_rust2::{ScanError, Yaml, YamlLoader};

/// Most collections within each other: the loader and the tree's destructor recurse.
const MAX_DEPTH: usize = 64;
/// Most bytes of text plus nodes of the tree, with each alias counted as what it stands for.
const MAX_SIZE: usize = 16 << 20;

/// Reads the one document of a text.
///
/// # Errors
/// One line with the place in the text.
pub(crate) fn load(text: &str) -> Result<Yaml, String> {
    check_size(text)?;
    let mut documents = YamlLoader::load_from_str(text).map_err(in_one_line)?;
    let count = documents.len();
    documents.pop().filter(|_| count == 1).ok_or_else(|| format!("{count} documents where one is needed"))
}

/// Refuses what the loader would recurse into too deeply or copy too often. Sees events only, in a loop.
fn check_size(text: &str) -> Result<(), String> {
    let mut parser = Parser::new_from_str(text);
    let mut anchored = HashMap::new();
    let mut open: Vec<(usize, usize)> = Vec::new();
    let mut total = 0_usize;
    loop {
        let (event, place) = parser.next_token().map_err(in_one_line)?;
        let (anchor, size) = match event {
            Event::StreamEnd => return Ok(()),
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                open.push((anchor, 1));
                if open.len() > MAX_DEPTH {
                    return Err(format!("line {}: more than {MAX_DEPTH} collections within each other", place.line()));
                }
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop().unwrap_or_default(),
            Event::Scalar(text, _, anchor, _) => (anchor, text.len().saturating_add(1)),
            Event::Alias(anchor) => (0, anchored.get(&anchor).copied().unwrap_or(1)),
            _ => continue,
        };
        if anchor > 0 {
            anchored.insert(anchor, size);
        }
        let sum = open.last_mut().map_or(&mut total, |(_, sum)| sum);
        *sum = sum.saturating_add(size);
        if *sum > MAX_SIZE {
            return Err(format!("line {}: its aliases stand for more than {MAX_SIZE} bytes", place.line()));
        }
    }
}

fn in_one_line(error: ScanError) -> String {
    let text = error.to_string().replace('\n', " ");
    // yaml-rust2 shows a key as its own code would: String("a").
    match text.strip_prefix("String(\"").and_then(|text| text.split_once("\"): duplicated key in mapping")) {
        Some((key, place)) => format!("duplicated key `{key}`{place}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_tree() {
        for text in ["a: 1\nb: [2, {c: 3}]", "a: &x [1]\nb: *x", "---\na: 1\n", "text"] {
            assert!(load(text).is_ok(), "{text}");
        }
        assert_eq!(load("a: &x [1]\nb: *x"), load("a: [1]\nb: [1]"));
    }

    #[test]
    fn what_is_no_tree_or_too_large_a_one_is_refused() {
        let laughs = (1..30).fold("a0: &a0 ha\n".to_owned(), |text, level| {
            let below = level - 1;
            text + &format!("a{level}: &a{level} [*a{below}, *a{below}]\n")
        });
        let copies = format!("- &a {}\n{}", "x".repeat(1 << 12), "- *a\n".repeat(1 << 13));
        for (text, problem) in [
            (String::new(), "0 documents"),
            ("a: 1\n---\nb: 2".into(), "2 documents"),
            ("a: [1".into(), "line"),
            ("a: 1\na: 2".into(), "duplicated key `a` at byte"),
            ("- ".repeat(100_000), "within each other"),
            ("[".repeat(1000), "recursion limit exceeded"),
            ("{a: ".repeat(100), "within each other"),
            ("? ".repeat(100_000), "within each other"),
            (laughs, "stand for more than"),
            (copies, "stand for more than"),
        ] {
            let error = load(&text).expect_err("an error");
            assert!(error.contains(problem) && !error.contains('\n'), "{error} for {:.40}", text);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "([-?:,{}\\[\\]&*!|>'\"%@# \n\ta0]|---|\\.\\.\\.|&a |\\*a ){0,40}") {
            let _ = load(&text);
        }
    }
}
