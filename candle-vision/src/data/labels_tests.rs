use super::*;
use crate::data::fixtures::{Tree, data, error, pairs};
use crate::data::{ClassIndexing, DatasetOptions, ImageIndex};

/// Classes of four images of ImageNet's names, by a labels file.
fn opened(file: &str, content: &str, order: Option<ClassIndexing>) -> Result<ImageIndex, DataError> {
    let names = ["ILSVRC2012_val_00000002.JPEG", "ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000010.JPEG"];
    let tree = Tree::new(&names);
    let labels = tree.write(&format!("labels/{file}"), content);
    let options = DatasetOptions { num_classes: 1000, labels: Some(&labels), order, ..Default::default() };
    std::fs::create_dir(tree.join("pictures")).unwrap();
    for name in names {
        std::fs::rename(tree.join(name), tree.join("pictures").join(name)).unwrap();
    }
    ImageIndex::open(&tree.join("pictures"), &options)
}

fn classes(set: &ImageIndex) -> Vec<usize> {
    pairs(set).into_iter().map(|(_, class)| class).collect()
}

#[test]
fn every_form_of_labels_is_read() {
    // Each row: name of the file, its content, the classes of images 1, 2 and 10, or a part of the error.
    const IMAGE: &str = "ILSVRC2012_val_000000";
    let named = |form: &str| form.replace('@', IMAGE);
    type Case = (&'static str, &'static str, Option<ClassIndexing>, Result<[usize; 3], &'static str>);
    let cases: [Case; 27] = [
        (
            "val.csv",
            "ImageId,PredictionString\n@01,n02119789 1 2 n02119789 5 6 \n@10,n01440764 1 2 3 4\n@02,n15075141 1 2 3 4",
            None,
            Ok([278, 999, 0]),
        ),
        ("val.csv", "filename,label\n@01.JPEG,5\n@02.JPEG,0\n@10.JPEG,7", None, Ok([5, 0, 7])),
        (
            "val.csv",
            "\u{feff}label,split,file\r\n5,val,\"x/@01.JPEG\"\r\n0,val,x/@02.JPEG\r\n7,val,x/@10.JPEG\r\n",
            None,
            Ok([5, 0, 7]),
        ),
        ("val.txt", "Image_ID,WNID\n@01,n01440764\n@02,n02119789\n@10,n15075141", None, Ok([0, 278, 999])),
        ("val.csv", "a,b\n@01,5", None, Err("no column of labels under a header of wnid")),
        ("val.csv", "a,label\n@01,5", None, Err("no column of names under a header of filename")),
        ("val.csv", "file,label\n@01,5\n@02", None, Err("is no valid csv")),
        ("val.csv", "file,label\n@01,5\n@02,\n@10,1", None, Err("line 3 has no label")),
        ("val.txt", "@01.JPEG 5\n@02.JPEG 0\n@10.JPEG 7", None, Ok([5, 0, 7])),
        ("val.txt", "val/@01.JPEG\t5\nval/@02.JPEG\t0\nval/@10.JPEG\t7\n", None, Ok([5, 0, 7])),
        ("val.txt", "@01.JPEG,5\n@02.JPEG,0\n@10.JPEG,7\n", None, Ok([5, 0, 7])),
        (
            "val.txt",
            "@01.JPEG 5\n@02.JPEG\n@10.JPEG 7\n",
            None,
            Err("line 2 `ILSVRC2012_val_00000002.JPEG` has a name and no label"),
        ),
        (
            "val.txt",
            "@01.JPEG 5\n@02.JPEG 0\n",
            None,
            Err("1 of 3 images have no label in it: `ILSVRC2012_val_00000010.JPEG`"),
        ),
        ("val.txt", "@01.JPEG 5\n@01.JPEG 6\n@02.JPEG 0\n@10.JPEG 7", None, Err("1 line gives a second, other label")),
        ("val.txt", "x/@01.JPEG 0\ny/@01.JPEG 6\n@02.JPEG 0\n@10.JPEG 7", None, Err("1 of 3 images have no label")),
        ("val.txt", "cat.jpg 5\ndog.jpg 0\ncow.jpg 7", None, Err("3 of 3 images have no label in it")),
        ("val.txt", "n01440764\nn02119789\r\n\nn15075141\n", None, Ok([0, 278, 999])),
        ("val.txt", "5\n0\n7", None, Ok([5, 0, 7])),
        ("val.csv", "label\n5\n0\n7", None, Ok([5, 0, 7])),
        ("val.txt", "5\n0", None, Err("2 labels for 3 images")),
        ("val.txt", "5\n1\n7", None, Err("are numbers from 1 to 7 without 0")),
        ("val.txt", "5\n1\n7", Some(ClassIndexing::OneBased), Ok([4, 0, 6])),
        ("val.txt", "5\n1\n7", Some(ClassIndexing::Index), Ok([5, 1, 7])),
        ("val.txt", "5\n1\n7", Some(ClassIndexing::Devkit), Err("put the devkit's meta.mat beside it")),
        ("ILSVRC2012_validation_ground_truth.txt", "1\n300\n3", None, Err("put the devkit's meta.mat beside it")),
        ("val.txt", "", None, Err("the file is empty")),
        ("val.txt", "great white shark\ncat\ndog", None, Err("neither WordNet ids, numbers nor")),
    ];
    for (file, content, order, expected) in cases {
        let found = opened(file, &named(content), order);
        match expected {
            Ok(expected) => assert_eq!(classes(&found.unwrap()), expected, "{content}"),
            Err(part) => {
                let message = error(found);
                assert!(message.contains(part) && message.contains(file), "{content}: {message}");
            }
        }
    }
}

#[test]
fn spare_and_repeated_labels_are_noted() {
    let lines = "ILSVRC2012_val_00000001 0\nILSVRC2012_val_00000002 1\nILSVRC2012_val_00000010 2\n\
                 ILSVRC2012_val_00000003 3\nILSVRC2012_val_00000001 0";
    let set = opened("val.txt", lines, None).unwrap();
    assert_eq!(
        set.notes()[..2],
        ["1 label is for images that are not there: `ILSVRC2012_val_00000003`", "1 line repeats a label given before"]
    );
}

#[test]
fn a_whole_list_labels_a_part_of_the_images() {
    let list: Vec<String> = (0..50_000).map(|at| (at % 1000).to_string()).collect();
    let set = opened("val.txt", &list.join("\n"), None).unwrap();
    assert_eq!(classes(&set), [0, 1, 9]);
    assert_eq!(set.notes()[0], "the labels are taken by the numbers in the names of 3 images");
}

#[test]
fn devkit_numbers_go_by_meta_mat_or_the_class_map() {
    let tree = Tree::new(&["val/a.jpg", "val/b.jpg", "val/c.jpg"]);
    let labels = tree.write("devkit/ILSVRC2012_validation_ground_truth.txt", "1\n300\n3\n");
    std::fs::copy(data("meta.mat"), tree.join("devkit/meta.mat")).unwrap();
    let options = DatasetOptions { num_classes: 1000, labels: Some(&labels), ..Default::default() };
    let set = ImageIndex::open(&tree.join("val"), &options).unwrap();
    assert_eq!(classes(&set), [278, 999, 0]);
    assert_eq!(set.order(), "the labels are ILSVRC2012_ID numbers, taken by their WordNet ids");

    let map = tree.write("map_clsloc.txt", "n01440764 1 tench\nn02119789 300 kit_fox\nn15075141 3 toilet_tissue\n");
    let by_map = DatasetOptions { class_map: Some(&map), ..options };
    assert_eq!(classes(&ImageIndex::open(&tree.join("val"), &by_map).unwrap()), [0, 278, 999]);

    tree.write("devkit/ILSVRC2012_validation_ground_truth.txt", "1\n1001\n3\n");
    assert!(error(ImageIndex::open(&tree.join("val"), &options)).contains("ILSVRC2012_ID `1001` is no class"));
    let tuned = DatasetOptions { num_classes: 10, ..options };
    assert!(error(ImageIndex::open(&tree.join("val"), &tuned)).contains("the model has 10"));
}

#[test]
fn numeric_folders_may_be_the_devkits() {
    let tree = Tree::new(&["1/a.jpg", "3/b.jpg"]);
    let options = DatasetOptions { num_classes: 1000, order: Some(ClassIndexing::Devkit), ..Default::default() };
    assert!(error(ImageIndex::open(tree.path(), &options)).contains("meta.mat"));
    std::fs::copy(data("meta.mat"), tree.join("meta.mat")).unwrap();
    assert_eq!(classes(&ImageIndex::open(tree.path(), &options).unwrap()), [278, 0]);
}

#[test]
fn paths_tell_equal_names_apart() {
    let tree = Tree::new(&["set/x/1.jpg", "set/y/1.jpg"]);
    let open = |content: &str| {
        let labels = tree.write("labels.txt", content);
        let options = DatasetOptions { num_classes: 2, labels: Some(&labels), ..Default::default() };
        ImageIndex::open(&tree.join("set"), &options)
    };
    assert_eq!(classes(&open("y/1.jpg 0\nx/1.jpg 1").unwrap()), [1, 0]);
    assert!(error(open("1.jpg 0\n2.jpg 1")).contains("2 of 2 images have a name that others have too"));
    assert!(error(open("z/1.jpg 0\nx/1.jpg 1")).contains("1 of 2 images have"));
}
