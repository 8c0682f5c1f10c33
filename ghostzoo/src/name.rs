//! Names of files as text.

use std::ffi::OsStr;

/// A name for people and programs that read text: a byte that is not UTF-8 is `\xE9`.
pub fn shown(name: impl AsRef<OsStr>) -> String {
    let name = name.as_ref();
    let mut text = String::with_capacity(name.len());
    for chunk in name.as_encoded_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02X}")));
    }
    text
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn names_that_are_not_utf_8_are_shown_apart() {
        let shown =
            [&b"caf\xe9.jpg"[..], b"caf\xe8.jpg", "é.jpg".as_bytes()].map(|name| shown(OsStr::from_bytes(name)));
        assert_eq!(shown, ["caf\\xE9.jpg", "caf\\xE8.jpg", "é.jpg"]);
    }
}
