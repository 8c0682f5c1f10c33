//! Whether what arrived is what its name says, before it gets into the cache: a Hub, a proxy or the page of a login may send
//! anything under a name whose hash is not known.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use serde::de::IgnoredAny;

use crate::budget::Budget;
use crate::header::{self, Header, Wrong};
use crate::pickle::TorchFile;

/// Bytes that are looked at of a file's beginning, and of the end of a zip: its last record and the longest comment.
const START: u64 = 4096;
const END: u64 = 22 + 65_535;
/// Most bytes of a config that are looked at.
const MAX_TEXT: u64 = 64 << 20;

/// What is wrong with a file of the Hub by the name `name`; `None` where nothing is.
pub(super) fn complaint(mut file: &File, name: &str) -> io::Result<Option<String>> {
    let length = file.metadata()?.len();
    let start = part(file, 0, START)?;
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if length == 0 {
        return Ok(Some("nothing".to_owned()));
    }
    if is_page(&start) && !matches!(extension, "html" | "htm" | "md") {
        return Ok(Some("a web page, such as a login's or a proxy's".to_owned()));
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(match extension {
        "safetensors" => safetensors(file, length)?,
        "pt" | "pth" | "bin" => {
            if start.starts_with(b"PK\x03\x04") {
                let end = part(file, length.saturating_sub(END), END)?;
                let has_end = end.windows(4).any(|window| window == b"PK\x05\x06");
                (!has_end).then(|| "a zip without its end".to_owned())
            } else if TorchFile::is_one(&start) || matches!(start[..], [0x80, 2..=5, ..]) {
                None
            } else {
                Some(crate::foreign::file(&start).to_owned())
            }
        }
        "json" => {
            let text = BufReader::new(file.take(MAX_TEXT));
            // What cannot be read otherwise is none of the weights' harm; what ends too early was cut.
            let cut = serde_json::from_reader::<_, IgnoredAny>(text).err().filter(serde_json::Error::is_eof);
            cut.map(|error| format!("no JSON ({error})"))
        }
        "yaml" | "yml" | "txt" => {
            std::str::from_utf8(&start).is_err_and(|error| error.error_len().is_some()).then(|| "no text".to_owned())
        }
        _ => None,
    })
}

/// Up to `length` bytes from `at` on.
fn part(mut file: &File, at: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(at))?;
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn is_page(start: &[u8]) -> bool {
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    ["<!doctype html", "<html", "<head", "<body", "<script"]
        .iter()
        .any(|tag| start.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag.as_bytes())))
}

/// The header must parse, and its tensors must end where the file does.
fn safetensors(file: &File, length: u64) -> io::Result<Option<String>> {
    let wrong = |wrong: Wrong| match wrong {
        Wrong::Invalid(reason) => format!("no safetensors ({})", crate::read::clean(reason)),
        Wrong::Short(whole) => format!("{length} of the {whole} bytes that it should have"),
    };
    let first = part(file, 0, 9)?;
    if first.get(8) != Some(&b'{') {
        return Ok(Some(crate::foreign::file(&part(file, 0, START)?).to_owned()));
    }
    let json_length = match header::length_of(&first, length) {
        Ok(json_length) => json_length,
        Err(error) => return Ok(Some(wrong(error))),
    };
    let json = part(file, 8, json_length)?;
    // The tensors stay where they are.
    let mut budget = Budget::of(usize::try_from(length).unwrap_or(usize::MAX), json.len());
    Ok(Header::parse(&json, length - 8 - json_length, &mut budget).err().map(wrong))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_held_to_the_format_of_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let said = |name: &str, content: &[u8]| {
            std::fs::write(&path, content).expect("written");
            complaint(&File::open(&path).expect("the file"), name).expect("readable")
        };
        let header = br#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}"#;
        let whole = [&(header.len() as u64).to_le_bytes()[..], header, &[1, 2]].concat();
        let lines = br#"{"a\nerror: b":{"dtype":"U8","shape":[3],"data_offsets":[0,2]}}"#;
        let named = [&(lines.len() as u64).to_le_bytes()[..], lines, &[1, 2]].concat();
        let page = b"\n<!DOCTYPE HTML><html><body>Sign in</body></html>";
        for (name, content) in [
            ("a.safetensors", &whole[..]),
            ("sub/a.pt", b"PK\x03\x04 ... PK\x05\x06"),
            ("a.pth", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.rest"),
            ("pytorch_model.bin", b"\x80\x04}."),
            ("config.json", b"{\"a\": [1, 2]}\n"),
            ("config.json", b"{\"a\": NaN}"),
            ("a.yaml", "nc: 2 # fünf\n".as_bytes()),
            ("README.md", page),
            ("of.another.kind", b"\xff\xfe"),
        ] {
            assert_eq!(said(name, content), None, "{name}");
        }
        for (name, content, part) in [
            ("a.safetensors", &page[..], "web page"),
            ("a.pt", page, "web page"),
            ("config.json", page, "web page"),
            ("a.yaml", page, "web page"),
            ("a.other", page, "web page"),
            ("a.safetensors", &whole[..whole.len() - 1], "62 of the 63 bytes"),
            ("a.safetensors", &whole[..20], "20 of the"),
            ("a.safetensors", &[&whole[..], b"x"].concat(), "2 bytes, and 3 are there"),
            ("a.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
            ("a.safetensors", &named, "no safetensors (tensor a\u{fffd}error"),
            ("a.safetensors", b"no", "something else"),
            ("a.pt", b"PK\x03\x04 and no end", "a zip without its end"),
            ("a.pth", b"{\"error\": \"not found\"}", "something else"),
            ("a.bin", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
            ("config.json", b"{\"a\": [1, 2", "no JSON"),
            ("a.yml", b"a: \xff\xfe", "no text"),
            ("a.pt", b"", "nothing"),
        ] {
            let said = said(name, content).unwrap_or_default();
            assert!(said.contains(part), "{name}: `{said}` lacks `{part}`");
        }
    }
}
