//! ReaL labels: ImageNet's validation images with every class that is in them.
//!
//! Beyer et al., *Are we done with ImageNet?*, <https://arxiv.org/abs/2006.07159>; the labels are `real.json` of
//! <https://github.com/google-research/reassessed-imagenet>. Images whose list is empty do not count.

use std::path::Path;

use super::error::{count, examples};
use super::files::read_text;
use super::imagenet::{CLASSES, IMAGES, image_number};
use super::{DataError, ImageIndex};

/// The classes of each of the 50,000 images.
#[derive(Debug)]
pub struct RealLabels {
    classes: Vec<usize>,
    ends: Vec<usize>,
}

impl RealLabels {
    /// Reads `real.json`: a list of 50,000 lists of class indices.
    ///
    /// # Errors
    /// The file cannot be read, or is no such list.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let text = read_text(path)?;
        let lists: Vec<Vec<usize>> = serde_json::from_str(&text).map_err(|error| {
            DataError::damaged(path, format!("is no list of lists of class indices ({error}); give ReaL's real.json"))
        })?;
        if lists.len() != IMAGES {
            let reason = format!("has labels of {} images, not of {IMAGES}; give ReaL's real.json", lists.len());
            return Err(DataError::labels(path, reason));
        }
        if let Some(class) = lists.iter().flatten().find(|&&class| class >= CLASSES) {
            return Err(DataError::labels(path, format!("has the class {class}; ImageNet-1k's are 0..{CLASSES}")));
        }
        let mut ends = Vec::with_capacity(IMAGES);
        let mut classes = Vec::new();
        for list in lists {
            classes.extend(list);
            ends.push(classes.len());
        }
        Ok(Self { classes, ends })
    }

    /// The classes of an image, by the number in a name such as `val/ILSVRC2012_val_00000001.JPEG`; may be empty.
    /// `None` if the name has no such number.
    #[must_use]
    pub fn labels_of(&self, name: &str) -> Option<&[usize]> {
        let at = image_number(name)? - 1;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        Some(&self.classes[start..self.ends[at]])
    }

    /// Checks that every image of a set has a number.
    ///
    /// # Errors
    /// How many have none, and the first of them.
    pub fn check(&self, set: &ImageIndex, path: &Path) -> Result<(), DataError> {
        let names = (0..set.len()).map(|index| set.name(index));
        let without: Vec<&str> = names.filter(|name| image_number(name).is_none()).collect();
        if without.is_empty() {
            return Ok(());
        }
        let found =
            format!("{} of {} have no number of ImageNet's", without.len(), count(set.len(), "image", "images"));
        let reason = format!("{found}, such as ILSVRC2012_val_00000001: {}; ReaL labels go by it", examples(without));
        Err(DataError::labels(path, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::DatasetOptions;
    use crate::data::fixtures::{Tree, error};

    #[test]
    fn lists_are_found_by_the_number() {
        let mut lists = vec!["[7]".to_owned(); IMAGES];
        lists[0] = "[]".to_owned();
        lists[1] = "[5, 999]".to_owned();
        lists[IMAGES - 1] = "[0]".to_owned();
        let tree = Tree::new(&[]);
        let real = RealLabels::read(&tree.write("real.json", format!("[{}]", lists.join(",")))).unwrap();
        for (name, expected) in [
            ("ILSVRC2012_val_00000001.JPEG", Some(&[][..])),
            ("val/n01440764/ILSVRC2012_val_00000002.JPEG", Some(&[5, 999][..])),
            ("ILSVRC2012_val_00000003_n01440764.JPEG", Some(&[7][..])),
            ("ILSVRC2012_val_00050000.JPEG", Some(&[0][..])),
            ("cat.jpg", None),
        ] {
            assert_eq!(real.labels_of(name), expected, "{name}");
        }
        let tree = Tree::new(&["n01440764/ILSVRC2012_val_00000001.JPEG", "n01440764/cat.jpg"]);
        let set = ImageIndex::open(tree.path(), &DatasetOptions { num_classes: 1000, ..Default::default() }).unwrap();
        let message = error(real.check(&set, Path::new("real.json")));
        assert!(message.contains("1 of 2 images") && message.contains("`n01440764/cat.jpg`"), "{message}");
    }

    #[test]
    fn other_files_are_refused() {
        let tree = Tree::new(&[]);
        let beyond = format!("[{}]", vec!["[1000]"; IMAGES].join(","));
        for (content, part) in [
            ("", "empty"),
            ("{}", "no list of lists"),
            ("[[0], [1]]", "labels of 2 images"),
            ("[[-1]]", "no list of lists"),
            (beyond.as_str(), "the class 1000"),
        ] {
            let message = error(RealLabels::read(&tree.write("real.json", content)));
            assert!(message.contains("real.json") && message.contains(part), "{message}");
        }
    }
}
