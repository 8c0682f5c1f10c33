use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;

/// Writes files below a folder, with the folders they need.
fn write(root: &Path, files: &[(&str, &str)]) {
    for (name, content) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

fn read(root: &Path, yaml: &str) -> Result<DataYaml, DataError> {
    write(root, &[("data.yaml", yaml)]);
    DataYaml::read(&root.join("data.yaml"))
}

/// The images of a split relative to `root`.
fn open(root: &Path, yaml: &str, split: &str) -> Result<Vec<String>, DataError> {
    let shown = |path: &PathBuf| path.strip_prefix(root).unwrap_or(path).display().to_string();
    Ok(DatasetSplit::open(&read(root, yaml)?, split)?.images().iter().map(shown).collect())
}

#[test]
fn names_are_a_list_a_map_or_a_count() {
    let root = tempfile::tempdir().unwrap();
    for (names, expected) in [
        ("names: [cat, dog]", vec!["cat", "dog"]),
        ("names: {1: dog, 0: cat}", vec!["cat", "dog"]),
        ("names:\n  '0': cat\n  '1': dog", vec!["cat", "dog"]),
        ("nc: 2\nnames: [cat, dog]", vec!["cat", "dog"]),
        ("nc: '2'\nnames: [1, 2.50]", vec!["1", "2.50"]),
        ("nc: 2.0", vec!["class_0", "class_1"]),
        ("names:\nnc: 1", vec!["class_0"]),
        ("names: [ключ, '日本 語']", vec!["ключ", "日本 語"]),
        ("nc: 2\rnames: [cat, dog]\r", vec!["cat", "dog"]),
        ("nc:\t2\u{85}\u{c}names:\t[cat, dog]\u{2028}", vec!["cat", "dog"]),
    ] {
        let data =
            read(root.path(), &format!("train: x\n{names}\n")).unwrap_or_else(|error| panic!("{names}: {error}"));
        assert_eq!(data.names(), expected, "{names}");
    }
    let bom = read(root.path(), "\u{feff}train: x\nnames: [a]").expect("a byte-order mark is no text");
    assert_eq!(bom.names(), ["a"]);
}

#[test]
fn what_is_wrong_with_a_yaml_is_said_in_one_line() {
    let root = tempfile::tempdir().unwrap();
    for (yaml, problem) in [
        ("", "0 documents"),
        ("- a", "keys such as `train:` and `names:` are needed"),
        ("train: [", "line"),
        ("names: [a]", "it has no split; `train:` and `val:` are needed"),
        ("train:\nnames: [a]", "it has no split"),
        ("train: []\nnames: [a]", "key `train`: the list is empty"),
        ("train: {a: b}\nnames: [a]", "key `train`: a path is needed"),
        ("train: ['']\nnames: [a]", "key `train`: a path is needed"),
        ("train: x\npath: [a]\nnames: [a]", "key `path`: a path is needed"),
        ("train: x", "`names:` is needed"),
        ("train: x\nnames: dog", "key `names`: a list or a map"),
        ("train: x\nnames: []", "key `names`: 0 classes"),
        ("train: x\nnames: [[a]]", "key `names`: class 0 has no name"),
        ("train: x\nnames: [a, ~]", "key `names`: class 1 has no name"),
        ("train: x\nnames: {0: a, 2: b}", "key `names`: the numbers must be 0 to 1, each once, and one is 2"),
        ("train: x\nnames: {0: a, '0': b}", "each once, and one is 0"),
        ("train: x\nnames: {dog: 0}", "and one is dog"),
        ("train: x\nnames: {-1: a}", "and one is -1"),
        ("train: x\nnames: [a, b, a]", "key `names`: two classes are called `a`"),
        ("train: x\nnc: 3\nnames: [a, b]", "`nc:` says 3 classes and `names:` has 2"),
        ("train: x\nnc: 1.5", "key `nc`: a whole number from 1"),
        ("train: x\nnc: 0", "key `nc`: a whole number from 1"),
        ("train: x\nnc: 1000000000000", "key `nc`: a whole number from 1 to 65536"),
        ("train: x\nnc: many", "key `nc`: a whole number from 1"),
        ("train: x\nnames: [a]\nkpt_shape: 17", "key `kpt_shape`: the number of points and of numbers of each"),
        ("train: x\nnames: [a]\nkpt_shape: [17]", "key `kpt_shape`: the number of points"),
        ("train: x\nnames: [a]\nkpt_shape: [17, -1]", "key `kpt_shape`: the number of points"),
        ("train: x.json", "there is nothing at"),
    ] {
        let error = read(root.path(), yaml).expect_err(yaml).to_string();
        assert!(error.contains("data.yaml") && error.contains(problem) && !error.contains('\n'), "{yaml}: {error}");
    }
    fs::write(root.path().join("data.yaml"), b"names: [\xff]").unwrap();
    let error = DataYaml::read(&root.path().join("data.yaml")).expect_err("no UTF-8").to_string();
    assert!(error.contains("no UTF-8 text"), "{error}");
    let error = DataYaml::read(&root.path().join("none.yaml")).expect_err("no file").to_string();
    assert!(error.contains("cannot read") && error.contains("none.yaml"), "{error}");
}

#[test]
fn entries_are_folders_and_lists() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    for name in [
        "images/val/b.JPG",
        "images/val/a.png",
        "images/val/sub/c.webp",
        "images/val/note.md",
        "images/val/.hidden.jpg",
        "images/val/.cache/d.jpg",
        "more/e.bmp",
        "images/val.jpg",
        "images/val-b.jpg",
        "empty/readme",
    ] {
        write(root, &[(name, "")]);
    }
    write(
        root,
        &[
            ("lists/val.txt", "\u{feff}./x.jpg\r\n\n../more/e.bmp\nmissing.jpg\n"),
            ("lists/old_mac.txt", "./x.jpg\r../more/e.bmp\r"),
            ("lists/bad.txt", "a.jpg\nnote.md\n"),
            ("lists/blank.txt", " \n\n"),
        ],
    );
    let folder = ["images/val/a.png", "images/val/b.JPG", "images/val/sub/c.webp"];
    for (yaml, expected, what) in [
        ("val: images/val", folder.to_vec(), "folder without `path`"),
        ("validation: images/val", folder.to_vec(), "another name of val"),
        ("path: .\nval: ./images/val/", folder.to_vec(), "dots and a slash"),
        ("path: images\nval: val", folder.to_vec(), "relative path"),
        ("val: ../images/val", folder.to_vec(), "dots that count from a deeper folder"),
        ("val: [more, images/val]", [&folder[..], &["more/e.bmp"]].concat(), "list of folders"),
        ("val: [more, more]", vec!["more/e.bmp", "more/e.bmp"], "the same folder twice"),
        (
            "val: images",
            [&["images/val-b.jpg", "images/val.jpg"], &folder[..]].concat(),
            "order of the whole path's bytes",
        ),
        ("val: lists/val.txt", vec!["lists/../more/e.bmp", "lists/missing.jpg", "lists/x.jpg"], "list of images"),
        ("val: lists/old_mac.txt", vec!["lists/../more/e.bmp", "lists/x.jpg"], "list with old line ends"),
        ("val: images/val/a.png", vec!["images/val/a.png"], "one image"),
        ("val: images/*/?.png", vec!["images/val/a.png"], "pattern of images"),
        ("val: images/val/**/*", folder.to_vec(), "pattern of all below"),
        ("path: images\nval: '[v]al'", folder.to_vec(), "pattern of a folder"),
        ("val: lists/v*.txt", vec!["lists/../more/e.bmp", "lists/missing.jpg", "lists/x.jpg"], "pattern of lists"),
        (
            "val: ['images/v*', more]",
            [&["images/val-b.jpg", "images/val.jpg"], &folder[..], &["more/e.bmp"]].concat(),
            "pattern of images and a folder",
        ),
    ] {
        let images = open(root, &format!("{yaml}\nnames: [a]"), "val").unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(images, expected, "{what}");
    }
    let absolute = format!("path: {}\nval: images/val\nnames: [a]", root.display());
    assert_eq!(open(root, &absolute, "val").expect("an absolute path"), folder);
    for (yaml, split, problem) in [
        ("train: images\nval: more", "test", "it has no split `test`, only train, val; add the key `test:`"),
        ("val: empty", "val", "there is no image in"),
        ("val: [more, empty]", "val", "there is no image in"),
        ("val: lists/blank.txt", "val", "there is no image in"),
        ("val: lists/bad.txt", "val", "bad.txt: line 2: `note.md` does not end like an image"),
        (
            "val: images/val/note.md",
            "val",
            "note.md: a split is a folder of images, a .txt list of them, or COCO's instances in a .json",
        ),
        ("val: images/val/*.md", "val", "names `images/val/*.md` as its val split; there is nothing at"),
        ("val: 'images/[val'", "val", "no pattern of names"),
    ] {
        let error = open(root, &format!("{yaml}\nnames: [a]"), split).expect_err(yaml).to_string();
        assert!(error.contains(problem), "{yaml}: {error}");
    }
}

#[test]
fn a_missing_folder_is_told_with_every_path_tried() {
    let root = tempfile::tempdir().unwrap();
    let error = open(root.path(), "path: data\nval: ../val\nnames: [a]", "val").expect_err("no folder");
    let DataError::NotFound { tried, .. } = &error else { panic!("{error}") };
    let here = std::env::current_dir().unwrap();
    let expected = [root.path(), &here].map(|base| [base.join("data/../val"), base.join("data/val")]);
    assert_eq!(tried, expected.as_flattened());
    let text = error.to_string();
    assert!(expected.as_flattened().iter().all(|path| text.contains(&path.display().to_string())), "{text}");
    assert!(text.contains("names `../val` as its val split"), "{text}");
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_end() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    write(root, &[("images/a.jpg", ""), ("elsewhere/b.jpg", "")]);
    std::os::unix::fs::symlink(root.join("images"), root.join("images/loop")).unwrap();
    std::os::unix::fs::symlink(root.join("elsewhere"), root.join("images/linked")).unwrap();
    let images = open(root, "val: images\nnames: [a]", "val").expect("pictures");
    assert_eq!(images, ["images/a.jpg", "images/linked/b.jpg"]);
}

#[test]
fn the_last_images_folder_holds_the_labels() {
    for (image, expected) in [
        ("/d/images/val/x.jpg", "/d/labels/val/x.txt"),
        ("images/x.jpg", "labels/x.txt"),
        ("/images/images/x.y.JPEG", "/images/labels/x.y.txt"),
        ("/images2/x.jpg", "/images2/x.txt"),
        ("/d/images", "/d/images.txt"),
        ("/d/x.jpg", "/d/x.txt"),
    ] {
        assert_eq!(label_path(Path::new(image)), Path::new(expected), "{image}");
    }
}

#[test]
fn labels_are_read_and_counted() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    for name in ["1.jpg", "b.jpg", "empty.jpg", "missing.jpg", "twice.jpg", "wrong.jpg", "binary.jpg"] {
        write(root, &[(&format!("images/{name}"), "")]);
    }
    write(
        root,
        &[
            ("labels/1.txt", "1 .5 .5 .25 .125\n"),
            ("labels/b.txt", "\u{feff}0 0 0 1 0 1 1\n"),
            ("labels/empty.txt", "\n"),
            ("labels/twice.txt", "0 .5 .5 .1 .1\n0 .5 .5 .1 .1\n0 .5 .5 .1 .1\n"),
            ("labels/wrong.txt", "0 .5 .5 .1 .1\n2 .5 .5 .1 .1\n"),
        ],
    );
    fs::write(root.join("labels/binary.txt"), [0xff; 9]).unwrap();
    let data = read(root, "val: images\nnames: [a, b]").unwrap();
    let (images, report) = DatasetSplit::open(&data, "val").unwrap().labels().unwrap();
    let shown: Vec<_> = images.iter().map(|p| (p.image_id.to_string(), p.labels.len())).collect();
    let expected = [("1", 1), ("b", 1), ("empty", 0), ("missing", 0), ("twice", 1)];
    assert_eq!(shown, expected.map(|(name, count)| (name.to_owned(), count)));
    assert_eq!(images[0].image_id, ImageId::Number(1));
    assert_eq!((images[0].labels[0].class, images[0].size), (1, None));
    assert_eq!(images[0].labels[0].xyxy([80, 40]), [15., 35., 25., 45.]);
    let counts =
        LabelReport { images: 7, objects: 3, backgrounds: 2, missing: 1, left_out: 2, duplicates: 2, ..report.clone() };
    assert_eq!(report, counts);
    let [binary, twice, wrong] = &report.messages[..] else { panic!("{:?}", report.messages) };
    assert!(binary.contains("binary.txt: no UTF-8 text"), "{binary}");
    assert!(twice.ends_with("twice.txt: 2 duplicate rows removed"), "{twice}");
    let file = root.join("labels/wrong.txt");
    let reason = "class 2, where the dataset has 2 classes, 0 to 1; the image is left out";
    assert_eq!(wrong, &format!("{}:2: {reason}", file.display()));
}

#[test]
fn images_that_share_a_label_file_are_named() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    write(root, &[("images/a.jpg", ""), ("images/a.png", ""), ("images/b.jpg", ""), ("images/b.png", "")]);
    write(root, &[("labels/a.txt", "0 .5 .5 .25 .125\n")]);
    let data = read(root, "val: images\nnames: [a, b]").unwrap();
    let (images, report) = DatasetSplit::open(&data, "val").unwrap().labels().unwrap();
    assert_eq!((images.len(), report.objects), (4, 2));
    let file = root.join("labels/a.txt");
    assert_eq!(report.messages, [format!("{}: the labels of both a.jpg and a.png", file.display())]);
}

#[test]
fn a_split_without_labels_is_told() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    write(root, &[("images/a.jpg", "")]);
    let data = read(root, "val: images\nnames: [a]").unwrap();
    let split = DatasetSplit::open(&data, "val").unwrap();
    let (images, report) = split.labels().unwrap();
    assert_eq!((images.len(), report.missing), (1, 1));
    let place = root.join("labels/a.txt").display().to_string();
    assert!(report.messages.len() == 1 && report.messages[0].contains(&place), "{:?}", report.messages);
    write(root, &[("labels/a.txt", "9 9 9 9 9")]);
    let error = split.labels().expect_err("all left out").to_string();
    assert!(error.contains("none of the 1 images") && error.contains("a.txt:1: class 9"), "{error}");
}

#[test]
fn poses_count_as_their_boxes() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    write(root, &[("images/a.jpg", ""), ("images/b.jpg", "")]);
    write(root, &[("labels/a.txt", "1 .5 .5 .25 .125 .1 .2 .3 .4\n"), ("labels/b.txt", "0 .5 .5 .25 .125\n")]);
    let read = |yaml: &str| DatasetSplit::open(&read(root, yaml).unwrap(), "val").unwrap().labels().unwrap().0;
    let place = BBox::Normalised([0.5, 0.5, 0.25, 0.125]);
    for images in
        [read("val: images\nnames: [a, b]\nkpt_shape: [2, 2]"), read("val: images\nnames: [a, b]\nkpt_shape: ['1', 4]")]
    {
        let found: Vec<_> = images.iter().flat_map(|image| &image.labels).map(|l| (l.class, l.place)).collect();
        assert_eq!(found, [(1, place), (0, place)]);
    }
    let outline = read("val: images\nnames: [a, b]");
    assert_ne!(outline[0].labels[0].place, place, "without kpt_shape the row is an outline");
}

#[test]
fn a_single_class_takes_the_labels_of_all() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    write(root, &[("images/a.jpg", ""), ("labels/a.txt", "7 .5 .5 .25 .125\n1 .5 .5 .25 .125\n")]);
    let data = read(root, "val: images\nnames: [a, b]").unwrap();
    let (images, report) = DatasetSplit::open(&data, "val").unwrap().single_cls(true).labels().unwrap();
    let classes: Vec<usize> = images[0].labels.iter().map(|label| label.class).collect();
    assert_eq!((classes, report.left_out), (vec![0, 0], 0), "rows of two classes are no duplicates");
    assert!(DatasetSplit::open(&data, "val").unwrap().labels().is_err(), "class 7 is one too many else");
}

#[test]
fn numbers_in_two_forms_are_two_ids() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    for name in ["images/1.jpg", "images/001.jpg", "images/2.jpg", "images/2.png", "images/sub/1.jpg", "images/3.jpg"] {
        write(root, &[(name, "")]);
    }
    let data = read(root, "val: images\nnames: [a]").unwrap();
    let (images, _) = DatasetSplit::open(&data, "val").unwrap().labels().unwrap();
    let ids: Vec<_> = images.iter().map(|image| image.image_id.clone()).collect();
    let name = |name: &str| ImageId::Name(name.into());
    let expected = [name("001"), name("1"), name("2"), name("2-2"), ImageId::Number(3), name("1-2")];
    assert_eq!(ids, expected);
}

/// Two instances files as splits, and a yaml around them.
fn coco_splits(root: &Path, names: &str, categories: &str) -> Result<DataYaml, DataError> {
    let file = |split: &str| {
        format!(
            r#"{{"images": [{{"id": 1, "file_name": "{split}.jpg", "width": 20, "height": 10}}], "categories": [{categories}],
            "annotations": [{{"image_id": 1, "category_id": 7, "bbox": [5, 5, 10, 2.5]}},
                            {{"image_id": 1, "category_id": 3, "bbox": [0, 0, 20, 10], "iscrowd": 1}}]}}"#
        )
    };
    let (train, val) = (file("train"), file("val"));
    write(root, &[("images/train/train.jpg", ""), ("val/val.jpg", "")]);
    write(root, &[("annotations/instances_train.json", &train), ("val/_annotations.coco.json", &val)]);
    read(root, &format!("train: annotations/instances_train.json\nval: val/_annotations.coco.json\n{names}"))
}

#[test]
fn a_split_may_be_cocos_instances() {
    const CATEGORIES: &str = r#"{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}, {"id": 9, "name": "elk"}"#;
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    for (names, expected, classes, ids, what) in [
        ("", vec!["cat", "dog", "elk"], [1, 0], vec![Some(3), Some(7), Some(9)], "the file's categories"),
        ("names: [Dog, owl, cat]", vec!["Dog", "owl", "cat"], [0, 2], vec![Some(7), None, Some(3)], "the yaml's names"),
    ] {
        let data = coco_splits(root, names, CATEGORIES).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(data.names(), expected, "{what}");
        for (split, path) in [("train", "images/train/train.jpg"), ("val", "val/val.jpg")] {
            let split = DatasetSplit::open(&data, split).unwrap();
            let found: Vec<_> = split.categories().unwrap().iter().map(|c| c.map(|category| category.id)).collect();
            assert_eq!(found, ids, "{what}");
            let (images, report) = split.labels().unwrap_or_else(|error| panic!("{what}: {error}"));
            let [image] = &images[..] else { panic!("{what}: {images:?}") };
            assert_eq!(fs::canonicalize(&image.path).unwrap(), fs::canonicalize(root.join(path)).unwrap(), "{what}");
            let labels: Vec<_> = image.labels.iter().map(|label| (label.class, label.crowd)).collect();
            assert_eq!(labels, [(classes[0], false), (classes[1], true)], "{what}");
            assert_eq!(image.labels[0].xywhn([10, 20]), [0.5, 0.625, 0.5, 0.25], "{what}");
            assert_eq!((report.images, report.objects, report.missing), (1, 2, 0), "{what}");
            let (united, _) = split.single_cls(true).labels().unwrap();
            assert!(united[0].labels.iter().all(|label| label.class == 0), "{what}");
        }
    }
    let data = coco_splits(root, "names: [dog, owl]", CATEGORIES).unwrap();
    let error = DatasetSplit::open(&data, "val").unwrap().labels().expect_err("a category too many").to_string();
    assert!(error.contains("key `names`: it lacks `cat`, a category of") && error.contains("coco.json"), "{error}");
    let error = coco_splits(root, "", r#"{"id": 3, "name": "a"}, {"id": 7, "name": "a"}"#).expect_err("one name");
    assert!(error.to_string().contains("two classes are called `a`"), "{error}");
    let data = coco_splits(root, "", CATEGORIES).unwrap();
    fs::remove_file(root.join("val/val.jpg")).unwrap();
    assert!(matches!(DatasetSplit::open(&data, "val").unwrap().labels(), Err(DataError::NotFound { .. })));
    write(root, &[("val.jpg", "")]);
    assert!(DatasetSplit::open(&data, "val").unwrap().labels().is_ok(), "below the yaml's path");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_yaml_panics(text in "((train|val|names|nc|path): |[-?:,{}\\[\\]&*! \n0a]|\\PC){0,60}") {
        let root = tempfile::tempdir().unwrap();
        let _ = read(root.path(), &text);
    }
}
