//! Subsets of a model's classes, for sets that hold images of some classes alone.

use std::path::Path;

use super::error::{count, examples};
use super::files::read_text;
use super::{DataError, imagenet};

/// The class indices of a subset, sorted and each once: those of ImageNet-A or ImageNet-R for the names `imagenet-a`
/// and `imagenet-r`; else those of a file with a class index (from 0) or a WordNet id on each line, as timm's
/// `--valid-labels`.
///
/// ImageNet-A: <https://arxiv.org/abs/1907.07174>; ImageNet-R: <https://arxiv.org/abs/2006.16241>.
///
/// # Errors
/// There is no such name or file, or a line is no class of a model of `num_classes` classes.
pub fn subset(name_or_path: impl AsRef<Path>, num_classes: usize) -> Result<Vec<usize>, DataError> {
    let path = name_or_path.as_ref();
    let text = match path.to_str().unwrap_or_default() {
        "imagenet-a" => include_str!("../../assets/imagenet_a_indices.txt").to_owned(),
        "imagenet-r" => include_str!("../../assets/imagenet_r_indices.txt").to_owned(),
        _ if !path.exists() => {
            let reason = "there is no such file, nor a subset of this name; the names are imagenet-a and imagenet-r";
            return Err(DataError::not_found(path, reason));
        }
        _ => read_text(path)?,
    };
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut classes = Vec::with_capacity(lines.len());
    let mut unknown = Vec::new();
    for line in &lines {
        let id = if num_classes == imagenet::CLASSES { imagenet::class_of(line) } else { None };
        match id.or_else(|| line.parse().ok()).filter(|&class| class < num_classes) {
            Some(class) => classes.push(class),
            None => unknown.push(*line),
        }
    }
    if !unknown.is_empty() {
        let found = format!("{} of {} are no class", unknown.len(), count(lines.len(), "line", "lines"));
        let reason = format!("{found} of a model of {num_classes} classes: {}", examples(unknown));
        return Err(DataError::classes(path, reason));
    }
    classes.sort_unstable();
    classes.dedup();
    Ok(classes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::fixtures::{Tree, error};

    #[test]
    fn known_subsets_are_of_200_classes() {
        for (name, first, last) in [("imagenet-a", 6, 988), ("imagenet-r", 1, 988)] {
            let classes = subset(name, 1000).unwrap();
            assert_eq!((classes.len(), classes[0], classes[199]), (200, first, last), "{name}");
            assert!(classes.is_sorted());
            assert!(subset(name, 10).is_err(), "{name} for ten classes");
        }
    }

    #[test]
    fn files_name_indices_or_ids() {
        let tree = Tree::new(&[]);
        for (content, num_classes, expected) in [
            ("999\n0\n", 1000, Ok(vec![0, 999])),
            ("n02119789\r\n\r\nn01440764\n3\n3", 1000, Ok(vec![0, 3, 278])),
            ("0\n1000\nn00000000", 1000, Err("2 of 3 lines")),
            ("n01440764", 10, Err("1 of 1 line")),
            ("", 1000, Err("empty")),
        ] {
            let path = tree.write("valid.txt", content);
            let found = subset(path.to_str().unwrap(), num_classes);
            match expected {
                Ok(expected) => assert_eq!(found.unwrap(), expected, "{content}"),
                Err(part) => assert!(error(found).contains(part), "{content}"),
            }
        }
        assert!(error(subset("imagenet-b", 1000)).contains("imagenet-a and imagenet-r"));
    }
}
