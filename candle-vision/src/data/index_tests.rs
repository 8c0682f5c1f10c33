use std::fs;

use super::*;
use crate::data::fixtures::{Tree, digest, error, expected, open, pairs};

fn listed(tree: &Tree, num_classes: usize) -> Vec<(String, usize)> {
    pairs(&open(tree.path(), num_classes).unwrap())
}

fn owned(pairs: &[(&str, usize)]) -> Vec<(String, usize)> {
    pairs.iter().map(|(name, class)| ((*name).to_owned(), *class)).collect()
}

#[test]
fn folders_are_listed_as_torchvision_does() {
    let golden = &expected()["folder"];
    let files: Vec<&str> = golden["files"].as_array().unwrap().iter().map(|file| file.as_str().unwrap()).collect();
    let samples: Vec<(String, usize)> = serde_json::from_value(golden["samples"].clone()).unwrap();
    let tree = Tree::new(&files);
    let set = open(tree.path(), 6).unwrap();
    assert_eq!(pairs(&set), samples);
    assert!(set.order().contains("sorted order"), "{}", set.order());
    assert!(set.notes().iter().any(|note| note.contains("timm sorts")), "z10 before z9: {:?}", set.notes());
    assert!(set.notes().iter().any(|note| note.contains("1 file is no image")), "{:?}", set.notes());
}

#[test]
fn a_part_of_imagenet_keeps_its_indices() {
    let files = ["n15075141/a.jpg", "n01440764/b.JPEG", "n02119789/c.PNG"];
    let set = open(Tree::new(&files).path(), 1000).unwrap();
    assert_eq!(pairs(&set), owned(&[("n01440764/b.JPEG", 0), ("n02119789/c.PNG", 278), ("n15075141/a.jpg", 999)]));
    assert_eq!(set.classes(), [0, 278, 999]);
    assert_eq!(set.order(), "the class folders are WordNet ids, taken in ImageNet-1k's order");
    let missing = "3 of 1000 classes have images: `n01443537`, `n01484850`, `n01491361` and 994 others have none";
    assert_eq!(set.notes(), [missing]);
}

#[test]
fn one_missing_class_is_named() {
    let tree = Tree::new(&[]);
    for class in (0..1000).filter(|&class| class != 1) {
        tree.write(&format!("{}/a.jpg", imagenet::wnid(class).unwrap()), "");
    }
    let set = open(tree.path(), 1000).unwrap();
    assert_eq!((set.len(), set.class_of(1)), (999, 2));
    assert_eq!(set.notes(), ["999 of 1000 classes have images: `n01443537` has none"]);
}

#[test]
fn splits_are_found_below() {
    // Each row: files, split, what is listed; and the mistake it guards.
    type Case = (&'static [&'static str], Option<&'static str>, Result<&'static str, &'static str>, &'static str);
    let cases: [Case; 9] = [
        (&["train/a/1.jpg", "val/a/2.jpg"], None, Ok("a/2.jpg"), "evaluating on the training set"),
        (&["validation/a/2.jpg", "test/a/3.jpg"], None, Ok("a/2.jpg"), "test before validation"),
        (&["test/a/3.jpg", "train/a/1.jpg"], None, Ok("a/3.jpg"), "no validation folder"),
        (&["train/a/1.jpg", "val/a/2.jpg"], Some("train"), Ok("a/1.jpg"), "a split that is asked for"),
        (&["train/a/1.jpg", "val/a/2.jpg"], Some("validation"), Ok("a/2.jpg"), "timm's default split against val"),
        (
            &["val/a/2.jpg"],
            Some("test"),
            Err("no folder for the split `test`; its folders are `val`"),
            "an absent split",
        ),
        (&["dev/a/2.jpg", "val/a/3.jpg"], Some("dev"), Ok("a/2.jpg"), "a split of another name"),
        (&["a/2.jpg"], Some("val"), Err("no folder for the split `val`"), "a split that is not there"),
        (&["a/2.jpg"], None, Ok("a/2.jpg"), "no split at all"),
    ];
    for (files, split, expected, what) in cases {
        let tree = Tree::new(files);
        let found = ImageIndex::open(tree.path(), &DatasetOptions { num_classes: 1, split, ..Default::default() });
        match expected {
            Ok(name) => assert_eq!(pairs(&found.unwrap()), owned(&[(name, 0)]), "{what}"),
            Err(part) => assert!(error(found).contains(part), "{what}"),
        }
    }
    let tree = Tree::new(&["val/a/2.jpg"]);
    let inside = DatasetOptions { num_classes: 1, split: Some("validation"), ..Default::default() };
    assert_eq!(ImageIndex::open(&tree.join("val"), &inside).unwrap().len(), 1, "the split's own folder is given");
}

#[test]
fn wrong_inputs_give_one_clear_line() {
    // Each row: files, what is opened, the number of classes, and a part of the message.
    type Case = (&'static [&'static str], &'static str, usize, &'static str);
    let cases: [Case; 17] = [
        (&[], "none", 2, "there is no such file or folder"),
        (&[], "val-{00..03}.tar", 2, "braces are not expanded"),
        (&[], "val-*.tar", 2, "no file matches"),
        (&[], "", 2, "there is no JPEG, PNG, WebP or BMP image"),
        (&["a/x.txt", "b/"], "", 2, "no JPEG, PNG, WebP or BMP image (1 file is no image by the ending)"),
        (&["a/x.ppm"], "", 1, "(1 image is PPM, PGM or TIFF, which this build does not read"),
        (&["x.jpg", "y.jpg"], "", 2, "2 images and no class folders; give a labels file"),
        (&["x.jpg"], "x.jpg", 2, "is one image"),
        (&["x.tar.gz"], "x.tar.gz", 2, "unpack it"),
        (&["x.txt"], "x.txt", 2, "is no folder, tar file or Parquet file"),
        (&["1/x.jpg", "2/x.jpg"], "", 2, "numbers from 1 to 2 without 0; say how they count"),
        (&["0/x.jpg", "2/x.jpg"], "", 2, "1 of 2 class folders are not in 0..=1"),
        (&["cat/x.jpg", "dog/x.jpg", "cow/x.jpg"], "", 2, "3 class folders for a model of 2 classes"),
        (
            &["n01440764/x.jpg", "n00004475/x.jpg"],
            "",
            1000,
            "1 of 2 class folders are no class of ImageNet-1k: `n00004475`",
        ),
        (&["n01440764/x.jpg", "cat/x.jpg"], "", 1000, "1 of 2 class folders are no class of ImageNet-1k: `cat`"),
        (&["x.tar", "x.parquet"], "", 2, "holds 1 tar file and 1 Parquet file"),
        (&["x.tar", "x.jpg"], "", 2, "holds 1 image beside shards"),
    ];
    for (files, path, num_classes, part) in cases {
        let tree = Tree::new(files);
        let message = error(open(&tree.join(path), num_classes));
        assert!(message.contains(part), "{files:?} {path}: {message}");
        assert!(message.contains(tree.path().to_str().unwrap()), "{message} names the path");
    }
    let tree = Tree::new(&[]);
    for name in ["x.tar", "x.parquet"] {
        let message = error(open(&tree.write(name, ""), 2));
        assert!(message.contains("the file is empty"), "{message}");
    }
}

#[test]
fn what_is_passed_over_is_counted() {
    let tree = Tree::new(&[
        "a/1.jpg",
        "a/._1.jpg",
        "a/.DS_Store",
        "a/x.ppm",
        "a/x.txt",
        "b/2.jpg",
        "c/",
        ".git/3.jpg",
        "top.jpg",
    ]);
    let set = open(tree.path(), 2).unwrap();
    assert_eq!(pairs(&set), owned(&[("a/1.jpg", 0), ("b/2.jpg", 1)]));
    assert_eq!(
        set.notes(),
        [
            "1 image is PPM, PGM or TIFF, which this build does not read: convert them to JPEG, PNG, WebP or BMP",
            "1 image is hidden by the name (`._` and the like)",
            "1 file is no image by the ending",
            "1 image lies beside the class folders, in no class",
            "1 folder is without images: `c`",
        ]
    );
}

#[test]
fn a_folder_without_images_keeps_its_place() {
    let tree = Tree::new(&["a/", "b/1.jpg", "c/1.jpg"]);
    let set = open(tree.path(), 3).unwrap();
    assert_eq!(pairs(&set), owned(&[("b/1.jpg", 1), ("c/1.jpg", 2)]));
    assert_eq!(set.notes(), ["1 folder is without images: `a`", "2 of 3 classes have images: `0` has none"]);
    assert!(error(open(tree.path(), 4)).contains("2 class folders for a model of 4 classes"));
    let stray = Tree::new(&["n01440764/1.jpg", "misc/"]);
    assert_eq!(open(stray.path(), 1000).unwrap().class_of(0), 0);
}

#[cfg(unix)]
#[test]
fn links_are_followed_without_loops_and_broken_ones_refused() {
    use std::os::unix::fs::symlink;
    let tree = Tree::new(&["set/a/1.jpg", "elsewhere/2.jpg", "elsewhere/deep/3.jpg"]);
    symlink(tree.join("elsewhere"), tree.join("set/b")).unwrap();
    symlink(tree.join("set"), tree.join("set/a/again")).unwrap();
    symlink(tree.join("elsewhere"), tree.join("elsewhere/deep/up")).unwrap();
    let set = open(&tree.join("set"), 2).unwrap();
    let expected = [("a/1.jpg", 0), ("b/2.jpg", 1), ("b/deep/3.jpg", 1)].map(|(name, class)| (name.to_owned(), class));
    assert_eq!(pairs(&set), expected, "no image of b is one of a");
    assert!(set.notes().iter().any(|note| note.contains("back to a folder already listed")), "{:?}", set.notes());

    symlink(tree.join("gone.jpg"), tree.join("set/a/broken.jpg")).unwrap();
    assert!(error(open(&tree.join("set"), 2)).contains("1 image is a broken link: `a/broken.jpg`"));
    symlink(tree.join("gone"), tree.join("link")).unwrap();
    assert!(error(open(&tree.join("link"), 2)).contains("a link to"));
}

#[test]
fn images_are_read_in_order_and_in_parts() {
    let tree = Tree::new(&["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/3.jpg", "b/4.jpg"]);
    let set = open(tree.path(), 2).unwrap();
    let read = |range| set.images(range).map(|image| image.unwrap()).collect::<Vec<_>>();
    for (index, image) in read(0..5).iter().enumerate() {
        assert_eq!((image.index, image.name.as_str(), image.class), (index, set.name(index), set.class_of(index)));
        assert_eq!(image.read().unwrap(), image.name.as_bytes());
    }
    for parts in 1..=6 {
        let bounds = |part: usize| part * set.len() / parts..(part + 1) * set.len() / parts;
        let names: Vec<String> = (0..parts).flat_map(|part| read(bounds(part))).map(|image| image.name).collect();
        assert_eq!(names, read(0..5).into_iter().map(|image| image.name).collect::<Vec<_>>(), "{parts} shards");
    }
    assert_eq!(read(3..99).len(), 2);
    assert_eq!(read(7..9).len(), 0);
    fs::remove_file(tree.join("a/2.jpg")).unwrap();
    assert!(read(1..2)[0].read().is_err());
}

#[test]
fn the_fingerprint_tells_names_labels_and_order() {
    let base = Tree::new(&["a/1.jpg", "b/2.jpg"]);
    let set = open(base.path(), 2).unwrap();
    assert_eq!(set.fingerprint(), digest(b"a/1.jpg\0\0\0\0\0b/2.jpg\0\x01\0\0\0"));
    assert_eq!(set.fingerprint(), open(Tree::new(&["a/1.jpg", "b/2.jpg"]).path(), 2).unwrap().fingerprint());
    assert_ne!(set.fingerprint(), open(Tree::new(&["a/1.jpg", "b/3.jpg"]).path(), 2).unwrap().fingerprint());
    let names = ["b".to_owned(), "a".to_owned()];
    let swapped = DatasetOptions { num_classes: 2, class_names: &names, ..Default::default() };
    assert_ne!(set.fingerprint(), ImageIndex::open(base.path(), &swapped).unwrap().fingerprint());
}

#[test]
fn an_index_is_small() {
    let tree = Tree::new(&[]);
    let name = |n: usize| format!("n{:08}/ILSVRC2012_val_{n:08}.JPEG", n % 10);
    (0..1000).for_each(|n| {
        tree.write(&name(n), "");
    });
    let set = open(tree.path(), 10).unwrap();
    let bytes = set.names.bytes() + set.classes.capacity() * 4;
    assert!(bytes <= 60 * set.len(), "{bytes} bytes for {} images", set.len());
    assert_eq!(listed(&tree, 10).len(), 1000);
}

#[test]
fn a_reader_that_was_left_out_is_named() {
    let left_out = DataError::NotBuiltIn { path: "a/train.tar".into(), feature: "tar" };
    let expected = "a/train.tar: this program is built without the feature `tar` of candle-vision, which reads it";
    assert_eq!(error::<()>(Err(left_out)), expected);
}
