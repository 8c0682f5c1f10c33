//! COCO's ids of its 80 classes.

use std::path::Path;

/// Ids up to 90 that no image of COCO has an object of.
const UNUSED: [i64; 10] = [12, 26, 29, 30, 45, 66, 68, 69, 71, 83];
/// Number of COCO's classes.
const CLASSES: usize = 80;
/// Ends of the paths of COCO's own splits.
const SPLITS: [&str; 2] = ["val2017.txt", "test-dev2017.txt"];

/// COCO's ids of the classes of a split, where its entries are one list of COCO's own. It is by Ultralytics 8.4.190's rule:
/// the list is called `val2017.txt` or `test-dev2017.txt`, and `coco` stands somewhere in its path. Else `None`, as for more
/// than 80 classes.
///
/// Measured: class 79, toothbrush, is 90.
#[must_use]
pub fn coco_category_ids(entries: &[impl AsRef<Path>], classes: usize) -> Option<Vec<i64>> {
    let [list] = entries else { return None };
    let list = list.as_ref();
    let list = std::fs::canonicalize(list).unwrap_or_else(|_| list.to_path_buf());
    let is_coco = list.to_string_lossy().contains("coco")
        && SPLITS.iter().any(|name| list.file_name().is_some_and(|found| found == *name));
    let used = (1..=90).filter(|id| !UNUSED.contains(id));
    (is_coco && classes <= CLASSES).then(|| used.take(classes).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cocos_own_lists_have_cocos_ids() {
        let ids = coco_category_ids(&["/data/coco/val2017.txt"], 80).expect("COCO's own");
        assert_eq!((ids.len(), ids[0], ids[10], ids[11], ids[79]), (80, 1, 11, 13, 90));
        assert_eq!(coco_category_ids(&["/data/mscoco-mini/test-dev2017.txt"], 12).map(|ids| ids[11]), Some(13));
        for (entries, classes) in [
            (vec!["/data/coco/val2017"], 80),
            (vec!["/data/coco/train2017.txt"], 80),
            (vec!["/data/mine/val2017.txt"], 80),
            (vec!["/data/coco/my-val2017.txt"], 80),
            (vec!["/data/coco/val2017.txt"], 81),
            (vec!["/data/coco/val2017.txt", "/data/coco/val2017.txt"], 80),
            (vec![], 80),
        ] {
            assert_eq!(coco_category_ids(&entries, classes), None, "{entries:?}, {classes}");
        }
    }
}
