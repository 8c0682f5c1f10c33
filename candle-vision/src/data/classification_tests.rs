use super::*;
use crate::data::fixtures::{Tree, error};
use crate::image::fixtures::synthetic;
use crate::image::save;

/// More than any of these sets needs.
const ROOM: u64 = 1 << 20;

fn open(tree: &Tree) -> Result<ClassificationDataset, DataError> {
    ClassificationDataset::open(tree.path(), ROOM)
}

fn names(set: &CachedDataset) -> Vec<(String, usize)> {
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
            "there is no JPEG, PNG, WebP or BMP image",
            "no images",
        ),
    ];
    for (files, part, mistake) in cases {
        let message = error(open(&Tree::new(files)));
        assert!(message.contains(part), "{mistake}: {message}");
    }
}

#[test]
fn a_class_without_images_is_refused_in_train_and_told_in_val() {
    let tree = Tree::new(&["train/a/1.jpg", "train/b/1.jpg", "train/c/1.jpg", "val/a/", "val/b/1.jpg", "val/c/1.jpg"]);
    let set = open(&tree).unwrap();
    assert_eq!(set.classes, ["a", "b", "c"]);
    assert_eq!((set.train.class_counts(3), set.val.class_counts(3)), (vec![1, 1, 1], vec![0, 1, 1]));
    assert!(set.notes.iter().any(|note| note == "val: 1 folder is without images: `a`"), "{:?}", set.notes);

    let tree = Tree::new(&["train/a/", "train/b/1.jpg", "train/c/1.jpg", "val/a/1.jpg", "val/b/1.jpg", "val/c/1.jpg"]);
    assert!(error(open(&tree)).contains("1 class folder of train has no image: `a`"));
}

#[test]
fn images_are_kept_as_far_as_they_fit_and_always_the_same() {
    let tree = Tree::new(&["train/a/", "train/b/", "val/a/1.jpg", "val/b/1.jpg"]);
    for index in 0..6 {
        let path = tree.join(&format!("train/{}/{index}.png", if index < 3 { "a" } else { "b" }));
        save(&synthetic(index, 10, 10), &path).unwrap();
    }
    // The training part has six of eight images, so 3/4 of the room: two images of 300 bytes and a rest.
    for (room, kept) in [(0, 0), (1000, 2), (ROOM, 6)] {
        let set = ClassificationDataset::open(tree.path(), room).unwrap().train;
        for _ in 0..2 {
            for index in 0..6 {
                assert_eq!(*set.image(index).unwrap(), synthetic(index as u32, 10, 10));
            }
        }
        assert_eq!(set.kept(), kept, "room for {room} bytes");
    }
}

#[test]
fn unreadable_images_are_remembered_once() {
    let tree = Tree::new(&["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "val/b/1.jpg"]);
    let set = open(&tree).unwrap().train;
    assert!(set.unreadable().is_empty());
    for _ in 0..2 {
        let error = set.image(1).unwrap_err();
        assert_eq!((error.index, error.name.as_str()), (1, "b/1.jpg"));
        assert!(error.reason.starts_with("not an image"), "{}", error.reason);
    }
    assert_eq!(set.unreadable().len(), 1);
}

#[test]
fn a_part_of_each_class_is_held_back_where_there_is_none_to_validate_with() {
    let files: Vec<String> =
        [("a", 8), ("b", 4)].iter().flat_map(|(c, n)| (0..*n).map(move |i| format!("{c}/{i}.png"))).collect();
    let below = |folder: &str| -> Vec<String> { files.iter().map(|name| format!("{folder}{name}")).collect() };
    let tree = |names: &[String]| {
        let tree = Tree::new(&[]);
        for (number, name) in names.iter().enumerate() {
            tree.write(name, "");
            save(&synthetic(number as u32, 8, 8), &tree.path().join(name)).unwrap();
        }
        tree
    };
    let held = |tree: &Tree| ClassificationDataset::open_held_out(tree.path(), 0.25, 3, ROOM);
    let (flat, split) = (tree(&below("")), tree(&below("train/")));
    let (flat_set, split_set) = (held(&flat).unwrap(), held(&split).unwrap());
    assert_eq!(names(&flat_set.val), names(&split_set.val), "with or without a folder `train`");
    assert_eq!((flat_set.train.class_counts(2), flat_set.val.class_counts(2)), (vec![6, 3], vec![2, 1]));
    let mut all = [names(&flat_set.train), names(&flat_set.val)].concat();
    all.sort();
    assert_eq!(all.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), files);
    // Each name has its own bytes, of folders and of archives.
    let archive = Tree::new(&[]);
    let bytes: Vec<Vec<u8>> = files.iter().map(|name| std::fs::read(flat.path().join(name)).unwrap()).collect();
    archive
        .tar("train.tar", &files.iter().map(String::as_str).zip(bytes.iter().map(Vec::as_slice)).collect::<Vec<_>>());
    let archived = held(&archive).unwrap();
    assert_eq!(names(&archived.val), names(&flat_set.val));
    for set in [&flat_set.train, &flat_set.val, &archived.train, &archived.val] {
        for index in 0..set.set().len() {
            let place = files.iter().position(|name| name == set.set().name(index)).unwrap();
            assert_eq!(*set.image(index).unwrap(), synthetic(place as u32, 8, 8), "{}", set.set().name(index));
        }
    }
    let lone = error(held(&tree(&["a/0.png".to_owned(), "b/0.png".to_owned()])));
    assert!(lone.contains("one image of each class"), "{lone}");
    let both = [below("train/"), below("test/")].concat();
    let both = error(held(&tree(&both)));
    assert!(both.contains("has images to validate with already"), "{both}");
}

#[test]
fn a_part_of_a_table_has_the_bytes_of_its_rows() {
    let whole = crate::data::fixtures::open(&crate::data::fixtures::data("hub.parquet"), 10).unwrap();
    let bytes = |set: &ImageIndex| -> Vec<(String, usize, Vec<u8>)> {
        let images = set.images(0..set.len()).map(|image| image.unwrap());
        images.map(|image| (image.name.clone(), image.class, image.read().unwrap())).collect()
    };
    let all = bytes(&whole);
    for step in [2, 3] {
        let part = whole.part(|index| index % step == 1);
        let expected: Vec<_> = all.iter().skip(1).step_by(step).cloned().collect();
        assert!(!expected.is_empty() && bytes(&part) == expected, "{step}");
        let again = part.part(|index| index % 2 == 1);
        assert!(bytes(&again) == expected.iter().skip(1).step_by(2).cloned().collect::<Vec<_>>(), "a part of a part");
    }
}
