use super::*;
use crate::data::fixtures::{Tree, error, expected};

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Classes of labels, or the error.
fn resolve_as(
    labels: &[&str],
    origin: Origin,
    names: &[&str],
    num_classes: usize,
    order: Option<ClassIndexing>,
) -> Result<Resolved, DataError> {
    let names = strings(names);
    let options = DatasetOptions { num_classes, class_names: &names, order, ..Default::default() };
    resolve(&strings(labels), origin, Path::new("set"), &options)
}

#[test]
fn each_kind_of_label_is_understood() {
    const FILE: Origin = Origin::File { devkit: false };
    const FOLDERS: Origin = Origin::Folders;
    const LISTED: Origin = Origin::ListedColumn;
    use ClassIndexing::{Index, OneBased};
    type Case = (
        &'static str,
        &'static [&'static str],
        Origin,
        &'static [&'static str],
        usize,
        Option<ClassIndexing>,
        Result<&'static [usize], &'static str>,
    );
    let cases: [Case; 33] = [
        (
            "ImageNet-V2: sorted as text, 10 comes before 2",
            &["0", "10", "2"],
            FOLDERS,
            &[],
            1000,
            None,
            Ok(&[0, 10, 2]),
        ),
        ("padded numbers", &["000", "011"], FOLDERS, &[], 12, None, Ok(&[0, 11])),
        ("numbers from 1", &["1", "2"], FOLDERS, &[], 2, None, Err("say how they count")),
        (
            "numbers from 1 in a file",
            &["3", "1"],
            FILE,
            &[],
            1000,
            None,
            Err("the labels are numbers from 1 to 3 without 0"),
        ),
        ("numbers from 1, stated", &["1", "2"], FOLDERS, &[], 2, Some(OneBased), Ok(&[0, 1])),
        ("a part of the indices, stated", &["3", "1"], FILE, &[], 4, Some(Index), Ok(&[3, 1])),
        (
            "0 in numbers from 1",
            &["0", "1"],
            FILE,
            &[],
            2,
            Some(OneBased),
            Err("1 of 2 distinct labels are not in 1..=2"),
        ),
        ("a number too high", &["0", "2"], FILE, &[], 2, None, Err("are not in 0..=1, the model's classes: `2`")),
        ("numbers that are names of the model", &["2", "1"], FOLDERS, &["1", "2"], 2, None, Ok(&[1, 0])),
        ("a negative number", &["0", "-1"], FILE, &[], 2, None, Err("neither WordNet ids, numbers nor")),
        ("a huge number", &["0", "99999999999999999999999"], FILE, &[], 2, None, Err("neither WordNet ids")),
        ("ids", &["n15075141", "n01440764"], FILE, &[], 1000, None, Ok(&[999, 0])),
        ("ids of another data set", &["n01440764", "n00004475"], FILE, &[], 1000, None, Err("`n00004475`")),
        ("ids for a tuned model", &["n02", "n01"], FOLDERS, &[], 2, None, Ok(&[1, 0])),
        ("ids for a tuned model that names them", &["n02", "n01"], FOLDERS, &["n02", "n01"], 2, None, Ok(&[0, 1])),
        ("ids in a model of ImageNet that names lemmas", &["n01440764"], FOLDERS, &["tench"], 1000, None, Ok(&[0])),
        ("names", &["dog", "cat"], FILE, &["cat", "cow", "dog"], 3, None, Ok(&[2, 0])),
        ("case and underscores", &["Great_White-Shark"], FOLDERS, &["tench", "great white shark"], 2, None, Ok(&[1])),
        ("the first synonym", &["tench"], FOLDERS, &["cat", "tench, Tinca tinca"], 2, None, Ok(&[1])),
        (
            "a name of two classes",
            &["crane", "cat"],
            FOLDERS,
            &["crane", "crane", "cat"],
            3,
            None,
            Err("1 of 2 class folders"),
        ),
        (
            "two labels of one class",
            &["t-shirt", "T_shirt"],
            FILE,
            &["t shirt", "cat"],
            2,
            None,
            Err("two labels mean the class 0"),
        ),
        ("one name spelled otherwise", &["cat", "hund"], FOLDERS, &["cat", "dog"], 2, None, Err("class names: `hund`")),
        ("other names, as many", &["y", "x"], FOLDERS, &[], 2, None, Ok(&[1, 0])),
        ("other names, too few", &["y", "x"], FOLDERS, &[], 3, None, Err("2 class folders for a model of 3 classes")),
        ("other names in a file", &["y", "x"], FILE, &[], 2, None, Err("nor the model's class names: `y`, `x`")),
        ("listed names keep their order", &["y", "x"], LISTED, &[], 2, None, Ok(&[0, 1])),
        ("listed names that the model orders otherwise", &["y", "x"], LISTED, &["x", "y"], 2, None, Ok(&[1, 0])),
        (
            "listed names, one twice",
            &["crane", "x", "crane"],
            LISTED,
            &["crane", "x", "crane"],
            3,
            None,
            Ok(&[0, 1, 2]),
        ),
        ("listed names, one elsewhere", &["x", "?", "z"], LISTED, &["x", "z", "y"], 3, None, Err("1 of 3 class names")),
        ("members and columns count from 0", &["3", "1"], Origin::Members, &[], 4, None, Ok(&[3, 1])),
        (
            "a column that counts from 1",
            &["3", "1"],
            Origin::Column,
            &[],
            3,
            None,
            Err("1 of 2 distinct labels are not in 0..=2"),
        ),
        ("listed numbers", &["1", "2"], LISTED, &[], 2, None, Ok(&[0, 1])),
        ("listed names of a part", &["n02119789", "n01440764"], LISTED, &[], 1000, None, Ok(&[278, 0])),
    ];
    for (what, labels, origin, names, num_classes, order, expected) in cases {
        let found = resolve_as(labels, origin, names, num_classes, order);
        match expected {
            Ok(classes) => assert_eq!(found.unwrap().classes, classes, "{what}"),
            Err(part) => {
                let message = error(found);
                assert!(message.contains(part), "{what}: {message}");
            }
        }
    }
}

#[test]
fn an_order_that_labels_do_not_need_is_noted() {
    let resolved = resolve_as(&["n01440764"], Origin::Folders, &[], 1000, Some(ClassIndexing::Devkit)).unwrap();
    assert_eq!(resolved.notes, ["the label order Devkit was not needed: the class folders are no numbers"]);
}

#[test]
fn class_maps_are_read() {
    use ClassIndexing::{Devkit, Index, OneBased};
    // Each row: the map, labels, the order, the classes; and the mistake it guards. The model has 1000 classes.
    type Case = (
        &'static str,
        &'static [&'static str],
        Option<ClassIndexing>,
        Result<&'static [usize], &'static str>,
        &'static str,
    );
    let cases: [Case; 19] = [
        ("dog\ncat\n", &["cat", "dog"], None, Ok(&[1, 0]), "lines in class order"),
        ("great white shark\ncat", &["great white shark"], None, Ok(&[0]), "names of several words"),
        ("n02119789 kit fox\nn01440764 tench, Tinca tinca", &["n01440764"], None, Ok(&[1]), "Kaggle's synset mapping"),
        ("dog 5\ncat 0", &["cat", "dog"], None, Ok(&[0, 5]), "folder and index"),
        ("dog,5\ncat,0", &["cat", "dog"], None, Ok(&[0, 5]), "folder and index in csv"),
        ("great white shark 7\ncat 0", &["great white shark"], None, Ok(&[7]), "index after several words"),
        ("dog 2\ncat 1", &["cat"], None, Err("its numbers start at 1"), "indices from 1, unstated"),
        ("dog 2\ncat 1", &["cat", "dog"], Some(OneBased), Ok(&[0, 1]), "indices from 1, stated"),
        ("dog 2\ncat 1", &["cat", "dog"], Some(Index), Ok(&[1, 2]), "indices from 0 without 0, stated"),
        ("dog 1000\ncat 0", &["cat"], None, Err("`dog` the number 1000"), "an index beyond the model"),
        ("dog\ncat\ndog", &["cat"], None, Err("names `dog` more than once"), "a folder twice"),
        (
            "dog\ncat",
            &["cow"],
            None,
            Err("1 of 1 class folder are not in the class map"),
            "a folder that is not in the map",
        ),
        (
            "n02119789 1 kit_fox\nn01440764 3 tench",
            &["n01440764"],
            Some(Devkit),
            Ok(&[0]),
            "the devkit's numbers are no indices",
        ),
        (
            "n02119789 1 kit_fox\nn01440764 3 tench",
            &["1", "3"],
            Some(Devkit),
            Ok(&[278, 0]),
            "the devkit's numbers by id",
        ),
        (
            "n02119789 1 kit_fox",
            &["1", "2"],
            Some(Devkit),
            Err("ILSVRC2012_ID `2` is no class"),
            "a number beyond the map",
        ),
        (
            "n02119789\nn01440764",
            &["1"],
            Some(Devkit),
            Err("gives no devkit numbers"),
            "class order taken for the devkit's",
        ),
        (
            "n01440764 5\nn01443537 9",
            &["n01440764", "n01443537"],
            Some(Index),
            Ok(&[5, 9]),
            "a map of ids whose numbers are said to be indices",
        ),
        (
            "n01440764 5\nn01443537 9",
            &["n01440764", "n01443537"],
            None,
            Err("taken for the devkit's"),
            "a map that would not be used",
        ),
        ("", &["cat"], None, Err("the file is empty"), "an empty map"),
    ];
    for (map, labels, order, expected, what) in cases {
        let tree = Tree::new(&[]);
        let path = tree.write("map.txt", map);
        let options = DatasetOptions { num_classes: 1000, class_map: Some(&path), order, ..Default::default() };
        let found = resolve(&strings(labels), Origin::Folders, Path::new("set"), &options);
        match expected {
            Ok(classes) => assert_eq!(found.unwrap().classes, classes, "{what}"),
            Err(part) => {
                let message = error(found);
                assert!(message.contains(part), "{what}: {message}");
            }
        }
    }
}

#[test]
fn names_sort_as_timm_sorts_them() {
    let golden = &expected()["natural"];
    let mut names: Vec<String> = serde_json::from_value(golden["names"].clone()).unwrap();
    let sorted: Vec<String> = serde_json::from_value(golden["sorted"].clone()).unwrap();
    names.sort_by_cached_key(|name| natural_key(name));
    assert_eq!(names, sorted);
}
