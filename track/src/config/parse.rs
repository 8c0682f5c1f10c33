//! From YAML text to keys and values. Nothing is nested in such a file, so that no text can make the reader recurse.

use std::collections::HashSet;

use yaml_rust2::parser::{Event, Parser};

use crate::error::{TrackError, quoted};

/// Keys and values as they stand, in their order.
pub(super) fn entries(text: &str) -> Result<Vec<(String, String)>, TrackError> {
    let malformed = |problem: String| TrackError::Malformed { problem };
    let mut parser = Parser::new_from_str(text);
    let (mut entries, mut seen, mut key) = (Vec::new(), HashSet::new(), None);
    let (mut opened, mut closed) = (false, false);
    loop {
        let (event, mark) = parser.next_token().map_err(|error| malformed(error.to_string().replace('\n', " ")))?;
        let at_line = |what: &str| malformed(format!("line {}: {what}", mark.line()));
        match event {
            Event::StreamEnd if closed => return Ok(entries),
            Event::StreamEnd => return Err(malformed("the text is empty".to_owned())),
            Event::MappingStart(..) if !opened => opened = true,
            Event::MappingEnd => closed = true,
            Event::Scalar(text, ..) if opened && !closed => match key.take() {
                None if seen.insert(text.clone()) => key = Some(text),
                None => return Err(at_line(&format!("`{}` stands there twice", quoted(&text)))),
                Some(key) => entries.push((key, text)),
            },
            Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..) | Event::Alias(_) => {
                return Err(at_line("neither a key nor the one value of a key"));
            }
            _ => {}
        }
    }
}
