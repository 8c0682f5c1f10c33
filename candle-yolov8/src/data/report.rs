//! What was found while labels were read.

use std::fmt;

/// Counts of what labels hold, and what of it was not used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LabelReport {
    /// Images of the dataset, those left out included.
    pub images: usize,
    /// Objects that are used.
    pub objects: usize,
    /// Images without an object, those without a label file included.
    pub backgrounds: usize,
    /// Images without a label file.
    pub missing: usize,
    /// Images left out because their label file is wrong, or because an instances file names them and they are not there.
    pub left_out: usize,
    /// Objects left out: annotations of a COCO file that are wrong, and objects of classes that a model does not know.
    pub left_out_objects: usize,
    /// Rows of label files removed because they repeat another.
    pub duplicates: usize,
    /// One line per thing left out or removed, and per doubt: the file, the place in it and the reason.
    pub messages: Vec<String>,
}

impl LabelReport {
    /// Adds what was found in another file.
    pub(super) fn add(&mut self, other: Self) {
        let Self { images, objects, backgrounds, missing, left_out, left_out_objects, duplicates, messages } = other;
        for (sum, count) in [
            (&mut self.images, images),
            (&mut self.objects, objects),
            (&mut self.backgrounds, backgrounds),
            (&mut self.missing, missing),
            (&mut self.left_out, left_out),
            (&mut self.left_out_objects, left_out_objects),
            (&mut self.duplicates, duplicates),
        ] {
            *sum += count;
        }
        self.messages.extend(messages);
    }
}

impl fmt::Display for LabelReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = |count: usize, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
        let images = counted(self.images, "image", "images");
        write!(f, "{images}, {}", counted(self.objects, "object", "objects"))?;
        for (count, one, many) in [
            (self.backgrounds, "background", "backgrounds"),
            (self.missing, "without a label file", "without a label file"),
            (self.left_out, "image left out", "images left out"),
            (self.left_out_objects, "object left out", "objects left out"),
            (self.duplicates, "duplicate row removed", "duplicate rows removed"),
        ] {
            if count > 0 {
                write!(f, ", {}", counted(count, one, many))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_happened_is_told() {
        let mut report = LabelReport { images: 3, objects: 7, ..Default::default() };
        assert_eq!(report.to_string(), "3 images, 7 objects");
        report.left_out = 1;
        report.duplicates = 2;
        assert_eq!(report.to_string(), "3 images, 7 objects, 1 image left out, 2 duplicate rows removed");
    }
}
