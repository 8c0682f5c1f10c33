//! ImageNet-1k: its WordNet ids and the numbers in its file names.

use std::sync::LazyLock;

use super::files::base_name;

/// Number of classes.
pub(super) const CLASSES: usize = 1000;

/// Number of images of the validation set.
pub(super) const IMAGES: usize = 50_000;

/// WordNet ids in class order, which is their sorted order.
static WNIDS: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| include_str!("../../assets/imagenet_synsets.txt").split_whitespace().collect());

/// Whether the text is of the form of a WordNet id: `n` and eight digits.
pub(super) fn is_wnid(text: &str) -> bool {
    text.len() == 9 && text.starts_with('n') && text[1..].bytes().all(|byte| byte.is_ascii_digit())
}

/// The class index of a WordNet id.
pub(super) fn class_of(wnid: &str) -> Option<usize> {
    WNIDS.binary_search(&wnid).ok()
}

/// The WordNet id of a class index.
pub(super) fn wnid(class: usize) -> Option<&'static str> {
    WNIDS.get(class).copied()
}

/// The number from 1 to 50,000 in a name such as `val/ILSVRC2012_val_00000293_n01440764.JPEG`.
pub(super) fn image_number(name: &str) -> Option<usize> {
    let digits = base_name(name).strip_prefix("ILSVRC2012_val_")?.get(..8)?;
    let number = if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok()? } else { return None };
    (1..=IMAGES).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_sorted_and_found() {
        assert_eq!(WNIDS.len(), CLASSES);
        assert!(WNIDS.is_sorted() && WNIDS.iter().all(|id| is_wnid(id)));
        assert_eq!(
            [class_of("n01440764"), class_of("n02119789"), class_of("n15075141")],
            [Some(0), Some(278), Some(999)]
        );
        assert_eq!([class_of("n00000000"), class_of("")], [None, None]);
        assert!(["n0144076", "n014407640", "m01440764", "n0144076é", "01440764n"].iter().all(|text| !is_wnid(text)));
    }

    #[test]
    fn numbers_are_read_from_names() {
        for (name, expected) in [
            ("ILSVRC2012_val_00000001.JPEG", Some(1)),
            ("val/n01/ILSVRC2012_val_00050000.JPEG", Some(50_000)),
            ("ILSVRC2012_val_00000293_n01440764.jpg", Some(293)),
            ("ILSVRC2012_val_00050001.JPEG", None),
            ("ILSVRC2012_val_00000000.JPEG", None),
            ("ILSVRC2012_val_+0000001.JPEG", None),
            ("ILSVRC2012_val_0001.JPEG", None),
            ("ILSVRC2012_val_0000000é.JPEG", None),
            ("n01440764_10026.JPEG", None),
        ] {
            assert_eq!(image_number(name), expected, "{name}");
        }
    }
}
