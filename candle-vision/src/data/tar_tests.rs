use std::fs;

use super::*;
use crate::data::fixtures::{Tree, data, digest, error, expected, open, pairs};
use crate::data::{DatasetOptions, ImageIndex};

const A: &str = "n01440764";
const B: &str = "n02119789";

fn names(set: &ImageIndex) -> Vec<(String, usize)> {
    pairs(set)
}

#[test]
fn members_are_found_as_python_finds_them() {
    for name in ["gnu.tar", "pax.tar"] {
        let golden: Vec<(String, String)> = serde_json::from_value(expected()["tars"][name].clone()).unwrap();
        let set = open(&data(name), 1000).unwrap();
        let read = set.images(0..set.len()).map(|image| {
            let image = image.unwrap();
            (image.name.clone(), digest(&image.read().unwrap()))
        });
        let wanted = golden.into_iter().map(|(name, digest)| (name.trim_start_matches("./").to_owned(), digest));
        assert_eq!(read.collect::<Vec<_>>(), wanted.take(3).collect::<Vec<_>>(), "{name}");
        assert_eq!(set.classes(), [0, 278], "{name}");
        let skipped = ["1 image is hidden by the name (`._` and the like)", "1 file is no image by the ending"];
        assert_eq!(set.notes()[..2], skipped, "{name}");
    }
}

#[test]
fn a_cut_archive_is_never_a_shorter_set() {
    for name in ["gnu.tar", "pax.tar"] {
        let bytes = fs::read(data(name)).unwrap();
        let whole = names(&open(&data(name), 1000).unwrap());
        let content = bytes.iter().rposition(|&byte| byte != 0).unwrap();
        let tree = Tree::new(&[]);
        for length in (1..bytes.len()).step_by(64) {
            match open(&tree.write("cut.tar", &bytes[..length]), 1000) {
                Ok(set) => {
                    assert!(length > content, "{name} cut to {length} bytes");
                    assert_eq!(names(&set), whole, "{name} cut to {length} bytes");
                }
                Err(error) => {
                    assert!(length < content + 2 * 512, "{name} cut to {length} bytes: {error}");
                    assert!(
                        error.to_string().contains("cut.tar: is truncated"),
                        "{name} cut to {length} bytes: {error}"
                    );
                }
            }
        }
    }
    let tree = Tree::new(&[]);
    let path = tree.tar("x.tar", &[(&format!("{A}/1.jpg"), "one"), (&format!("{A}/2.jpg"), "two")]);
    let bytes = fs::read(&path).unwrap();
    for (length, part) in [
        (1024, "is truncated after the member `n01440764/1.jpg`"),
        (1024 + 100, "is truncated after the member `n01440764/1.jpg`"),
        (1024 + 514, "is truncated in the member `n01440764/2.jpg`"),
        (2048, "is truncated after the member `n01440764/2.jpg`"),
    ] {
        fs::write(&path, &bytes[..length]).unwrap();
        let message = error(open(&path, 1000));
        assert!(message.contains(part), "{length}: {message}");
    }
}

#[test]
fn damaged_archives_do_not_panic() {
    let bytes = fs::read(data("pax.tar")).unwrap();
    let tree = Tree::new(&[]);
    let mut refused = 0;
    for at in (0..bytes.len()).step_by(37) {
        for value in [0, b'7', 0xFF] {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            refused += usize::from(open(&tree.write("x.tar", &damaged), 1000).is_err());
        }
    }
    assert!(refused > 50, "{refused}");
    for (content, part) in
        [(&b"hello"[..], "is truncated"), (&[b'x'; 2048], "is no tar file"), (b"\x1F\x8B\x08", "unpack it")]
    {
        assert!(error(open(&tree.write("x.tar", content), 1000)).contains(part));
    }
}

#[test]
fn layouts_in_archives_are_told_apart() {
    // Each row: members, the names and classes or a part of the error, and the mistake it guards.
    type Members = &'static [(&'static str, &'static str)];
    type Case = (Members, Result<&'static [(&'static str, usize)], &'static str>, &'static str);
    let cases: [Case; 14] = [
        (
            &[("n01440764/x.jpg", ""), ("n02119789/x.jpg", "")],
            Ok(&[("n01440764/x.jpg", 0), ("n02119789/x.jpg", 278)]),
            "class folders",
        ),
        (
            &[("v/t/n02119789/x.jpg", ""), ("v/t/n01440764/y.jpg", "")],
            Ok(&[("v/t/n02119789/x.jpg", 278), ("v/t/n01440764/y.jpg", 0)]),
            "folders above",
        ),
        (&[("val/n02119789/x.jpg", "")], Ok(&[("val/n02119789/x.jpg", 278)]), "one class below a folder"),
        (&[("n02119789/deep/x.jpg", "")], Ok(&[("n02119789/deep/x.jpg", 278)]), "a class is no folder above"),
        (
            &[("n02119789/deep/x.jpg", ""), ("n01440764/y.jpg", "")],
            Ok(&[("n02119789/deep/x.jpg", 278), ("n01440764/y.jpg", 0)]),
            "folders below",
        ),
        (&[("../../n01440764/x.jpg", "")], Ok(&[("../../n01440764/x.jpg", 0)]), "paths are only names"),
        (&[("x.jpg", ""), ("y.jpg", "")], Err("2 images and no class folders; give a labels file"), "images alone"),
        (
            &[("a.cls", "278"), ("a.jpg", ""), ("b.jpg", ""), ("b.cls", "0\n")],
            Ok(&[("a.jpg", 278), ("b.jpg", 0)]),
            "WebDataset, in any order",
        ),
        (
            &[("s/a.b.jpg", ""), ("s/a.cls", "278")],
            Err("1 of 1 image have no .cls member: `s/a.b.jpg`"),
            "the key ends at the first dot",
        ),
        (
            &[("a.jpg", ""), ("a.cls", "0"), ("b.jpg", "")],
            Err("1 of 2 images have no .cls member: `b.jpg`"),
            "a sample without a label",
        ),
        (
            &[("s/a.png", ""), ("s/a.cls", "n02119789"), ("s/a.json", "{}")],
            Ok(&[("s/a.png", 278)]),
            "ids and other members",
        ),
        (&[("a.jpg", ""), ("a.cls", "")], Err("the member `a.cls`: is empty"), "an empty label"),
        (&[("a.jpg", ""), ("a.cls", "0"), ("a.cls", "1")], Err("the member `a.cls` is there twice"), "a label twice"),
        (&[("readme.txt", "")], Err("there is no JPEG"), "no images"),
    ];
    for (members, expected, what) in cases {
        let tree = Tree::new(&[]);
        let found = open(&tree.tar("x.tar", members), 1000);
        match expected {
            Ok(expected) => {
                let expected: Vec<_> = expected.iter().map(|(name, class)| ((*name).to_owned(), *class)).collect();
                assert_eq!(names(&found.unwrap()), expected, "{what}");
            }
            Err(part) => {
                let message = error(found);
                assert!(message.contains(part), "{what}: {message}");
            }
        }
    }
}

#[test]
fn images_beside_folders_and_links_are_counted() {
    let tree = Tree::new(&[]);
    let path = tree.tar("x.tar", &[("n01440764/x.jpg", ""), ("stray.jpg", "")]);
    assert_eq!(open(&path, 1000).unwrap().notes()[0], "1 image lies beside the class folders, in no class");

    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "n01440764/y.jpg", "/etc/passwd").unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    builder.append_data(&mut header, "n01440764/x.jpg", &b"one"[..]).unwrap();
    let set = open(&tree.write("l.tar", builder.into_inner().unwrap()), 1000).unwrap();
    assert_eq!((set.len(), set.notes()[0].as_str()), (1, "1 link is passed over"));
}

#[test]
fn shards_are_one_set() {
    let tree = Tree::new(&[]);
    for (name, label) in [("val-1.tar", "1"), ("val-0.tar", "0"), ("train-0.tar", "2")] {
        tree.tar(name, &[("a.jpg", name), ("a.cls", label)]);
    }
    let read = |path: &Path| {
        let set = open(path, 1000).unwrap();
        let read = set.images(0..set.len()).map(|image| String::from_utf8(image.unwrap().read().unwrap()).unwrap());
        (read.collect::<Vec<_>>(), set.notes()[0].clone())
    };
    let (shards, note) = read(tree.path());
    assert_eq!(shards, ["val-0.tar", "val-1.tar"]);
    assert_eq!(note, "2 of 3 shards are of the split `val`, the others unread");
    assert_eq!(read(&tree.join("val-*.tar")).0, ["val-0.tar", "val-1.tar"]);
    assert_eq!(read(&tree.join("*-0.tar")).0, ["val-0.tar"]);
    let train = DatasetOptions {
        num_classes: 1000,
        split: Some("train"),
        order: Some(crate::data::ClassIndexing::Index),
        ..Default::default()
    };
    assert_eq!(ImageIndex::open(tree.path(), &train).unwrap().classes(), [2]);
    let test = DatasetOptions { split: Some("test"), ..train };
    assert!(error(ImageIndex::open(tree.path(), &test)).contains("none of 3 shards is of the split `test`"));
}

#[test]
fn a_flat_archive_takes_a_labels_file() {
    let tree = Tree::new(&[]);
    let path = tree.tar("val.tar", &[("val/b.JPEG", "b"), ("val/a.JPEG", "a")]);
    let labels = tree.write("labels.txt", format!("{A}\n{B}\n"));
    let options = DatasetOptions { num_classes: 1000, labels: Some(&labels), ..Default::default() };
    let set = ImageIndex::open(&path, &options).unwrap();
    assert_eq!(names(&set), [("val/b.JPEG".to_owned(), 278), ("val/a.JPEG".to_owned(), 0)]);
}

#[test]
fn an_archive_cut_after_opening_is_noticed() {
    let tree = Tree::new(&[]);
    let path = tree.tar("x.tar", &[("n01440764/x.jpg", "one"), ("n01440764/y.jpg", "two")]);
    let set = open(&path, 1000).unwrap();
    fs::write(&path, &fs::read(&path).unwrap()[..1536]).unwrap();
    let read: Vec<_> = set.images(0..2).map(|image| image.unwrap().read()).collect();
    assert_eq!(read[0].as_ref().unwrap(), b"one");
    assert_eq!(read[1].as_ref().unwrap_err().kind(), ErrorKind::UnexpectedEof);
}
