//! Arguments as text that keeps each of their bytes, so that names that are not UTF-8 are split and put together like others.

use std::ffi::{OsStr, OsString};

pub(crate) use ghostzoo::shown;

/// The first of 256 characters, the last of the private ones, each of which stands for a byte.
const FIRST: u32 = 0x10_ff00;

/// The byte that a character stands for.
pub(crate) fn of_character(character: char) -> Option<u8> {
    u8::try_from(u32::from(character).checked_sub(FIRST)?).ok()
}

/// The character that stands for a byte.
#[cfg(unix)]
fn character(byte: u8) -> char {
    char::from_u32(FIRST + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// A word as text, from which [`word`] makes the same word; each byte that is not UTF-8 is one character.
#[cfg(unix)]
pub(crate) fn text(word: &OsStr) -> String {
    let mut text = String::with_capacity(word.len());
    for chunk in word.as_encoded_bytes().utf8_chunks() {
        for given in chunk.valid().chars() {
            match of_character(given) {
                // Those that would be mistaken for bytes are given byte by byte too.
                Some(_) => text.extend(given.encode_utf8(&mut [0; 4]).bytes().map(character)),
                None => text.push(given),
            }
        }
        text.extend(chunk.invalid().iter().copied().map(character));
    }
    text
}

/// A word as text; what is no Unicode is lost.
#[cfg(not(unix))]
pub(crate) fn text(word: &OsStr) -> String {
    word.to_string_lossy().into_owned()
}

/// The word that [`text`] was made of.
#[cfg(unix)]
pub(crate) fn word(text: &str) -> OsString {
    use std::os::unix::ffi::OsStringExt as _;
    let mut bytes = Vec::with_capacity(text.len());
    for given in text.chars() {
        match of_character(given) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(given.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    OsString::from_vec(bytes)
}

/// The word that [`text`] was made of.
#[cfg(not(unix))]
pub(crate) fn word(text: &str) -> OsString {
    text.into()
}

/// What a list of names holds, as [`text`].
///
/// # Errors
/// Zero bytes, which no name has; elsewhere than on Unix, what is not UTF-8.
pub(crate) fn of_file(bytes: Vec<u8>) -> anyhow::Result<String> {
    anyhow::ensure!(!bytes.contains(&0), "it holds zero bytes, as UTF-16 does: save it as UTF-8");
    #[cfg(unix)]
    let text = text(&<OsString as std::os::unix::ffi::OsStringExt>::from_vec(bytes));
    #[cfg(not(unix))]
    let text = String::from_utf8(bytes)?;
    Ok(text)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn words_keep_their_bytes() {
        let all: Vec<u8> = (1..=255).collect();
        for given in [&b"a.jpg"[..], b"caf\xe9.jpg", b"\xe2\x82.jpg", "caf\u{e9} \u{10ffe9}".as_bytes(), &all] {
            let given = OsStr::from_bytes(given);
            assert_eq!(word(&text(given)), given);
        }
        assert_eq!(text(OsStr::new("source=犬.jpg")), "source=犬.jpg");
        assert_eq!(text(OsStr::from_bytes(b"source=caf\xe9")).split_once('='), Some(("source", "caf\u{10ffe9}")));
    }
}
