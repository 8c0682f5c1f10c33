use super::*;
use crate::data::fixtures::{Tree, error};
use crate::image::fixtures::synthetic;
use crate::image::save;

/// More than any of these sets needs.
const ROOM: u64 = 1 << 20;

fn open(tree: &Tree) -> Result<ClassifySet, DataError> {
    ClassifySet::open(tree.path(), ROOM)
}

fn names(set: &DecodedSet) -> Vec<(String, usize)> {
    crate::data::fixtures::pairs(set.set())
}

fn owned(pairs: &[(&str, usize)]) -> Vec<(String, usize)> {
    pairs.iter().map(|(name, class)| ((*name).to_owned(), *class)).collect()
}

#[test]
fn classes_are_the_sorted_folders_of_the_training_part() {
    let tree = Tree::new(&["train/b/1.jpg", "train/Z/2.jpg", "train/10/3.jpg", "train/9/4.jpg"]);
    for class in ["b", "Z", "10", "9"] {
        tree.write(&format!("val/{class}/0.jpg"), "");
    }
    let set = open(&tree).unwrap();
    assert_eq!(set.classes, ["10", "9", "Z", "b"], "as Python sorts");
    assert_eq!(names(&set.train), owned(&[("10/3.jpg", 0), ("9/4.jpg", 1), ("Z/2.jpg", 2), ("b/1.jpg", 3)]));
    assert_eq!(names(&set.val), owned(&[("10/0.jpg", 0), ("9/0.jpg", 1), ("Z/0.jpg", 2), ("b/0.jpg", 3)]));
    assert_eq!(set.train.class_counts(4), [1, 1, 1, 1]);
}

#[test]
fn numbered_folders_and_imagenet_s_keep_their_names() {
    for classes in [["0", "1"], ["1", "2"], ["n02119789", "n01440764"]] {
        let tree = Tree::new(&[]);
        for class in classes {
            tree.write(&format!("train/{class}/1.jpg"), "");
            tree.write(&format!("test/{class}/1.jpg"), "");
        }
        let set = open(&tree).unwrap();
        let mut sorted = classes;
        sorted.sort_unstable();
        assert_eq!(set.classes, sorted);
        assert_eq!(names(&set.val)[1].1, 1, "the split `test` stands for `val`");
    }
}

#[test]
fn tar_files_are_named_after_their_split() {
    let tree = Tree::new(&[]);
    tree.tar("train.tar", &[("train/dog/1.jpg", ""), ("train/cat/1.jpg", ""), ("train/cat/1.jpg", "again")]);
    tree.tar("test.tar", &[("test/cat/1.jpg", ""), ("test/dog/1.jpg", "")]);
    let set = open(&tree).unwrap();
    assert_eq!(set.classes, ["cat", "dog"]);
    assert_eq!(names(&set.train)[0], ("train/dog/1.jpg".to_owned(), 1));
    assert_eq!(set.train.class_counts(2), [2, 1]);
    let note = "train: 1 name occurs more than once, and all are used: `train/cat/1.jpg`";
    assert!(set.notes.iter().any(|found| found == note), "{:?}", set.notes);
}

#[test]
fn what_is_missing_or_differs_is_said() {
    // Each row: files, what the error says, and the mistake.
    let cases: [(&[&str], &str, &str); 8] = [
        (
            &["a/1.jpg", "b/1.jpg"],
            "no folder for the split `train`; its folders are `a`, `b`; a training set has DIR/train",
            "no parts",
        ),
        (&["1.jpg"], "no folder for the split `train`; it has no folders; a training set has DIR/train", "no classes"),
        (
            &["train/a/1.jpg", "train/b/1.jpg"],
            "no folder for the split `val`; its folders are `train`; a training",
            "no val",
        ),
        (&["train/a/1.jpg", "val/a/1.jpg"], "has 1 class folder to train on", "one class"),
        (
            &["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg"],
            "other classes: `b` is in train alone; both",
            "a class less",
        ),
        (
            &["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "val/b/1.jpg", "val/c/1.jpg", "val/d/1.jpg"],
            "other classes: `c`, `d` are in val alone; both",
            "classes that are not trained",
        ),
        (
            &["train/a/1.jpg", "train/b/1.jpg", "val/A/1.jpg", "val/B/1.jpg"],
            "other classes: `a`, `b` are in train alone, and `A`, `B` are in val alone",
            "as many classes of other names",
        ),
        (
            &["train/a/", "train/b/", "val/a/1.jpg", "val/b/1.jpg"],
            "there is no JPEG, PNG, WebP or BMP picture",
            "no pictures",
        ),
    ];
    for (files, part, mistake) in cases {
        let message = error(open(&Tree::new(files)));
        assert!(message.contains(part), "{mistake}: {message}");
    }
}

#[test]
fn a_class_without_pictures_is_refused_in_train_and_told_in_val() {
    let tree = Tree::new(&["train/a/1.jpg", "train/b/1.jpg", "train/c/1.jpg", "val/a/", "val/b/1.jpg", "val/c/1.jpg"]);
    let set = open(&tree).unwrap();
    assert_eq!(set.classes, ["a", "b", "c"]);
    assert_eq!((set.train.class_counts(3), set.val.class_counts(3)), (vec![1, 1, 1], vec![0, 1, 1]));
    assert!(set.notes.iter().any(|note| note == "val: 1 folder is without pictures: `a`"), "{:?}", set.notes);

    let tree = Tree::new(&["train/a/", "train/b/1.jpg", "train/c/1.jpg", "val/a/1.jpg", "val/b/1.jpg", "val/c/1.jpg"]);
    assert!(error(open(&tree)).contains("1 class folder of train has no picture: `a`"));
}

#[test]
fn pictures_are_kept_as_far_as_they_fit_and_always_the_same() {
    let tree = Tree::new(&["train/a/", "train/b/", "val/a/1.jpg", "val/b/1.jpg"]);
    for index in 0..6 {
        let path = tree.join(&format!("train/{}/{index}.png", if index < 3 { "a" } else { "b" }));
        save(&synthetic(index, 10, 10), &path).unwrap();
    }
    // The training part has six of eight pictures, so 3/4 of the room: two pictures of 300 bytes and a rest.
    for (room, kept) in [(0, 0), (1000, 2), (ROOM, 6)] {
        let set = ClassifySet::open(tree.path(), room).unwrap().train;
        for _ in 0..2 {
            for index in 0..6 {
                assert_eq!(*set.get(index).unwrap(), synthetic(index as u32, 10, 10));
            }
        }
        assert_eq!(set.kept(), kept, "room for {room} bytes");
    }
}

#[test]
fn unreadable_pictures_are_remembered_once() {
    let tree = Tree::new(&["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "val/b/1.jpg"]);
    let set = open(&tree).unwrap().train;
    assert!(set.unreadable().is_empty());
    for _ in 0..2 {
        let error = set.get(1).unwrap_err();
        assert_eq!((error.index, error.name.as_str()), (1, "b/1.jpg"));
        assert!(error.reason.starts_with("not a picture"), "{}", error.reason);
    }
    assert_eq!(set.unreadable().len(), 1);
}
