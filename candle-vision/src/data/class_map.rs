//! Class maps: which class folder, WordNet id or label is which class.
//!
//! | lines | meaning |
//! |---|---|
//! | `folder` | classes in the order of the lines, as timm's `--class-map` |
//! | `n01440764 tench, Tinca tinca` | the same, with a description |
//! | `folder index` | the class index from 0 |
//! | `n02119789 1 kit_fox`, `n02119789 1` with no 0 among them | `ILSVRC2012_ID` of ImageNet's devkit |

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::error::examples;
use super::files::read_text;
use super::imagenet::is_wnid;
use super::{ClassIndexing, DataError};

/// A class map by its kind.
#[derive(Debug)]
pub(super) enum ClassMap {
    /// Class index of each label.
    Classes(HashMap<String, usize>),
    /// WordNet id of each `ILSVRC2012_ID`.
    Devkit(HashMap<usize, String>),
}

impl ClassMap {
    /// Reads a class map for a model of `num_classes` classes. `order` tells how numbers without a 0 count.
    pub(super) fn read(path: &Path, num_classes: usize, order: Option<ClassIndexing>) -> Result<Self, DataError> {
        let text = read_text(path)?;
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let rows = numbered(&lines).unwrap_or_else(|| listed(&lines));
        let mut seen = HashSet::new();
        let repeated: Vec<&str> =
            rows.iter().map(|(name, _)| name.as_str()).filter(|name| !seen.insert(*name)).collect();
        if !repeated.is_empty() {
            return Err(DataError::classes(path, format!("names {} more than once", examples(repeated))));
        }
        let from_one = rows.iter().all(|(_, number)| *number > 0);
        if from_one && rows.iter().all(|(name, _)| is_wnid(name)) && matches!(order, None | Some(ClassIndexing::Devkit))
        {
            return Ok(Self::Devkit(rows.into_iter().map(|(name, number)| (number, name)).collect()));
        }
        let base = match (from_one, order) {
            (false, _) | (true, Some(ClassIndexing::Index)) => 0,
            (true, Some(ClassIndexing::OneBased)) => 1,
            (true, _) => {
                let reason = "its numbers start at 1; say whether they are one-based, or count them from 0";
                return Err(DataError::order(path, reason));
            }
        };
        let mut classes = HashMap::new();
        for (name, number) in rows {
            let class = number.checked_sub(base).filter(|&class| class < num_classes).ok_or_else(|| {
                let reason = format!("gives `{name}` the number {number}, and the model has {num_classes} classes");
                DataError::classes(path, reason)
            })?;
            classes.insert(name, class);
        }
        Ok(Self::Classes(classes))
    }
}

/// `name number` on every line; a description may follow the number of a WordNet id.
fn numbered(lines: &[&str]) -> Option<Vec<(String, usize)>> {
    let row = |line: &&str| {
        let words: Vec<&str> = line.split([' ', '\t', ',']).filter(|word| !word.is_empty()).collect();
        let (first, number) = (*words.first()?, *words.get(1)?);
        if is_wnid(first) {
            return Some((first.to_owned(), number.parse().ok()?));
        }
        let (name, number) = line.rsplit_once([' ', '\t', ','])?;
        Some((name.trim_end_matches([' ', '\t', ',']).to_owned(), number.parse().ok()?))
    };
    lines.iter().map(row).collect()
}

/// The name on each line; of a WordNet id without its description.
fn listed(lines: &[&str]) -> Vec<(String, usize)> {
    let name = |line: &str| match line.split([' ', '\t', ',']).next() {
        Some(first) if is_wnid(first) => first.to_owned(),
        _ => line.to_owned(),
    };
    lines.iter().enumerate().map(|(index, line)| (name(line), index)).collect()
}
