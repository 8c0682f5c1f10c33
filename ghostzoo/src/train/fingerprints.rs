//! What tells that a run which goes on finds other images than it began with.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::{Value, json};

/// Bytes of a file's beginning and end that are looked at.
const PART: u64 = 4096;
/// Digits of an image's fingerprint.
const DIGITS: usize = 8;
/// Most images that are named.
const SHOWN: usize = 3;

/// An image of the data: what names it, where it is, and what else makes it what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRecord {
    /// Its file's name, or another that lasts.
    pub name: String,
    /// Its file; empty for one that has none.
    pub path: PathBuf,
    /// Its labels as text, and what else makes it what it is.
    pub labels: String,
}

/// The fingerprints of a split's images, in their order: of name, labels, length, and the first and last bytes, so that
/// large data sets are not read through. A file that cannot be read has that of its name.
pub(super) fn of(items: &[ImageRecord]) -> Value {
    let digits: Vec<String> = items.par_iter().map(|item| format!("{:08x}", fingerprint(item))).collect();
    json!(digits.concat())
}

fn fingerprint(item: &ImageRecord) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(format!("{}\n{}\n", item.name, item.labels).as_bytes());
    if let Ok(parts) = parts(&item.path) {
        hasher.update(&parts);
    }
    hasher.finalize()
}

/// A file's length, and its first and last bytes.
fn parts(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut bytes = length.to_le_bytes().to_vec();
    (&mut file).take(PART).read_to_end(&mut bytes)?;
    if length > PART {
        file.seek(SeekFrom::Start(length.saturating_sub(PART).max(PART)))?;
        file.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// What differs between a split's images then and now: how many, and the names of those that are new or other ones.
/// `then` of an older run, which has no fingerprints, differs in nothing.
pub(super) fn differing(split: &str, then: &Value, now: &Value, items: &[ImageRecord]) -> Option<String> {
    let [then, now] = [then.as_str()?, now.as_str()?];
    if then == now {
        return None;
    }
    let mut known: HashMap<&str, usize> = HashMap::new();
    for piece in split_digits(then) {
        *known.entry(piece).or_default() += 1;
    }
    let mut names = Vec::new();
    for (piece, item) in split_digits(now).zip(items) {
        match known.get_mut(piece) {
            Some(count) if *count > 0 => *count -= 1,
            _ => names.push(item.name.as_str()),
        }
    }
    let [before, after] = [then, now].map(|text| text.len() / DIGITS);
    let counts = if before == after { String::new() } else { format!("{before} then, {after} now; ") };
    let more = match names.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let which = match names.as_slice() {
        [] if before == after => "in another order".to_owned(),
        [] => "some are gone".to_owned(),
        names => format!("new or changed: {}{more}", names[..names.len().min(SHOWN)].join(", ")),
    };
    Some(format!("{split} images ({counts}{which})"))
}

fn split_digits(text: &str) -> impl Iterator<Item = &str> {
    (0..text.len() / DIGITS).filter_map(move |place| text.get(place * DIGITS..(place + 1) * DIGITS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error;

    #[test]
    fn images_that_are_others_are_named() -> Result<(), Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let item = |name: &str, labels: &str| ImageRecord {
            name: name.to_owned(),
            path: folder.path().join(name),
            labels: labels.to_owned(),
        };
        let names = ["a", "b", "c", "d", "e"];
        for (name, length) in names.iter().zip([0, 1, 5000, 9000, 20_000]) {
            std::fs::write(folder.path().join(name), vec![7; length])?;
        }
        let items = |names: &[&str]| names.iter().map(|name| item(name, "0 1")).collect::<Vec<_>>();
        let all = items(&names);
        let then = of(&all);
        let said = |items: &[ImageRecord]| differing("training", &then, &of(items), items);
        assert_eq!(said(&all), None);
        assert_eq!(differing("training", &Value::Null, &of(&all), &all), None, "of an older run");
        assert_eq!(said(&all[1..]).as_deref(), Some("training images (5 then, 4 now; some are gone)"));
        let turned: Vec<ImageRecord> = names.iter().rev().map(|name| item(name, "0 1")).collect();
        assert_eq!(said(&turned).as_deref(), Some("training images (in another order)"));
        let mut labelled = items(&names);
        labelled[1] = item("b", "0 2");
        assert_eq!(said(&labelled).as_deref(), Some("training images (new or changed: b)"));
        // The length, the first and the last bytes count.
        for (name, bytes) in
            [("c", vec![7; 5001]), ("d", [vec![8], vec![7; 8999]].concat()), ("e", [vec![7; 19_999], vec![8]].concat())]
        {
            let before = std::fs::read(folder.path().join(name))?;
            std::fs::write(folder.path().join(name), bytes)?;
            assert_eq!(said(&all), Some(format!("training images (new or changed: {name})")));
            std::fs::write(folder.path().join(name), before)?;
        }
        std::fs::write(folder.path().join("f"), "")?;
        let more = items(&["f", "a", "b", "c", "d", "e", "f", "f", "f"]);
        assert_eq!(said(&more).as_deref(), Some("training images (5 then, 9 now; new or changed: f, f, f and 1 more)"));
        Ok(())
    }
}
