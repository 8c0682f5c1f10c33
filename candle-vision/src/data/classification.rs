//! Images to train a classifier on and images to test it on, with the same classes.

use std::collections::HashSet;
use std::path::Path;

use super::error::{count, examples};
use super::{CachedDataset, DataError, ImageIndex, held_out};

/// How a folder to train from has to look, for messages.
const LAYOUT: &str = "a training set has DIR/train/CLASS/*.jpg and DIR/val/CLASS/*.jpg, or DIR/train.tar and DIR/val.tar; \
                      where there is no val, `options.val_split` 0.2 holds back a fifth of the images";

/// The two parts of a training set. Its classes are the class folders of the training part, in sorted order.
#[derive(Debug)]
pub struct ClassificationDataset {
    /// Names of the classes, by index.
    pub classes: Vec<String>,
    /// What the model learns from.
    pub train: CachedDataset,
    /// What it is tested on: the split `val`, or `test` where there is none.
    pub val: CachedDataset,
    /// One line for each thing that was skipped or assumed, with counts.
    pub notes: Vec<String>,
}

impl ClassificationDataset {
    /// Lists `DIR/train` and `DIR/val` (or `DIR/test`; other usual names of splits count too): class folders, or tar
    /// files of such folders named after their split. Up to `cache_bytes` of decoded images are kept in memory, of both
    /// parts in proportion.
    ///
    /// # Errors
    /// Every category of [`DataError`]; also if a part is missing, if there are fewer than two classes, if the parts have
    /// other classes, or if a class has no image to learn from.
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<Self, DataError> {
        let (train, classes) = ImageIndex::open_own(dir, Some("train")).map_err(|error| advised(dir, error))?;
        let (val, val_classes) = open_val(dir)?;
        check_classes(dir, &classes, &val_classes)?;
        Self::of(dir, classes, train, val, cache_bytes)
    }

    /// Lists `DIR/train`, or `DIR` itself where it holds the class folders, and holds this share of each class back to test
    /// on, as [`held_out`] says it of their names.
    ///
    /// # Errors
    /// Those of [`open`](Self::open); also if there is a part to test on already.
    pub fn open_held_out(dir: &Path, share: f64, seed: u64, cache_bytes: u64) -> Result<Self, DataError> {
        match open_val(dir) {
            Ok(_) => {
                let reason = "has images to validate with already: remove that part, or leave `options.val_split` out";
                return Err(DataError::layout(dir, reason));
            }
            Err(DataError::Layout { .. }) => {}
            Err(other) => return Err(other),
        }
        let whole = ImageIndex::open_own(dir, Some("train")).or_else(|error| match error {
            DataError::Layout { .. } => ImageIndex::open_own(dir, None),
            other => Err(other),
        });
        let (all, classes) = whole.map_err(|error| advised(dir, error))?;
        check_classes(dir, &classes, &classes)?;
        let names: Vec<&str> = (0..all.len()).map(|index| all.name(index)).collect();
        let of: Vec<usize> = (0..all.len()).map(|index| all.class_of(index)).collect();
        let held = held_out(&names, &of, share, seed);
        if !held.contains(&true) {
            let reason = "has one image of each class: none can be held back to validate with";
            return Err(DataError::layout(dir, reason));
        }
        let (train, val) = (all.part(|index| !held[index]), all.part(|index| held[index]));
        let mut set = Self::of(dir, classes, train, val, cache_bytes)?;
        set.notes.extend(all.notes().iter().cloned());
        Ok(set)
    }

    /// The two parts, checked.
    fn of(
        dir: &Path,
        classes: Vec<String>,
        train: ImageIndex,
        val: ImageIndex,
        cache_bytes: u64,
    ) -> Result<Self, DataError> {
        let empty: Vec<&str> = (0..classes.len())
            .filter(|class| train.classes().binary_search(class).is_err())
            .map(|class| classes[class].as_str())
            .collect();
        if !empty.is_empty() {
            let folders = count(empty.len(), "class folder of train has", "class folders of train have");
            let reason = format!("{folders} no image: {}; a class is learnt from images", examples(empty.into_iter()));
            return Err(DataError::classes(dir, reason));
        }
        let mut notes = Vec::new();
        for (part, set) in [("train", &train), ("val", &val)] {
            let own = set.notes().iter().cloned().chain(repeated(set));
            notes.extend(own.map(|note| format!("{part}: {note}")));
        }
        let share = |images: usize| {
            let total = (train.len() + val.len()) as u128;
            (u128::from(cache_bytes) * images as u128 / total) as u64
        };
        let [train_bytes, val_bytes] = [train.len(), val.len()].map(share);
        let (train, val) = (CachedDataset::new(train, train_bytes), CachedDataset::new(val, val_bytes));
        Ok(Self { classes, train, val, notes })
    }
}

impl CachedDataset {
    /// Number of images of each class, for `num_classes` classes.
    #[must_use]
    pub fn class_counts(&self, num_classes: usize) -> Vec<usize> {
        let mut counts = vec![0; num_classes];
        for index in 0..self.set().len() {
            if let Some(count) = counts.get_mut(self.set().class_of(index)) {
                *count += 1;
            }
        }
        counts
    }
}

/// The part to test on.
fn open_val(dir: &Path) -> Result<(ImageIndex, Vec<String>), DataError> {
    ImageIndex::open_own(dir, Some("val")).or_else(|error| match error {
        DataError::Layout { .. } => ImageIndex::open_own(dir, Some("test")).map_err(|_| advised(dir, error)),
        other => Err(other),
    })
}

/// Says how a training set has to look where a split was not found.
fn advised(dir: &Path, error: DataError) -> DataError {
    match error {
        DataError::Layout { path, reason } if path == dir => DataError::layout(dir, format!("{reason}; {LAYOUT}")),
        other => other,
    }
}

fn check_classes(dir: &Path, train: &[String], val: &[String]) -> Result<(), DataError> {
    if train.len() < 2 {
        let found = count(train.len(), "class folder", "class folders");
        return Err(DataError::classes(
            dir,
            format!("has {found} to train on, and a classifier tells at least two apart; {LAYOUT}"),
        ));
    }
    let lacking = |all: &[String], part: &[String]| -> Vec<String> {
        let part: HashSet<&String> = part.iter().collect();
        all.iter().filter(|name| !part.contains(name)).cloned().collect()
    };
    let (only_train, only_val) = (lacking(train, val), lacking(val, train));
    let says = |names: &[String], part: &str| {
        (!names.is_empty()).then(|| {
            let verb = if names.len() == 1 { "is" } else { "are" };
            format!("{} {verb} in {part} alone", examples(names.iter().map(String::as_str)))
        })
    };
    let differences: Vec<String> = [says(&only_train, "train"), says(&only_val, "val")].into_iter().flatten().collect();
    if differences.is_empty() {
        return Ok(());
    }
    let reason =
        format!("train and val have other classes: {}; both need the same folders", differences.join(", and "));
    Err(DataError::classes(dir, reason))
}

/// Says which names occur more than once, as archives allow.
fn repeated(set: &ImageIndex) -> Option<String> {
    let mut seen = HashSet::new();
    let again: Vec<&str> = (0..set.len()).map(|index| set.name(index)).filter(|name| !seen.insert(*name)).collect();
    (!again.is_empty()).then(|| {
        let names = count(again.len(), "name occurs", "names occur");
        format!("{names} more than once, and all are used: {}", examples(again.iter().copied()))
    })
}

#[cfg(test)]
#[path = "classification_tests.rs"]
mod tests;
