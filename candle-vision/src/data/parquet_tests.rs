use std::fs;
use std::time::Duration;

use super::{Beats, Table};
use crate::data::fixtures::{Tree, data, digest, error, expected, open};
use crate::data::{DataError, DatasetOptions, ImageIndex};

/// Name, label and digest of each row, as pyarrow reads them.
fn golden(name: &str) -> Vec<(Option<String>, usize, Option<String>)> {
    serde_json::from_value(expected()["tables"][name].clone()).unwrap()
}

fn digests(set: &ImageIndex, range: std::ops::Range<usize>) -> Vec<Option<String>> {
    set.images(range).map(|image| Some(digest(&image.ok()?.read().unwrap()))).collect()
}

#[test]
fn rows_are_read_as_pyarrow_reads_them() {
    for (name, num_classes) in [("hub.parquet", 10), ("pages.parquet", 7), ("nulls.parquet", 3)] {
        let set = open(&data(name), num_classes).unwrap();
        let golden = golden(name);
        assert_eq!(set.len(), golden.len(), "{name}");
        for (index, (path, label, _)) in golden.iter().enumerate() {
            assert_eq!(set.class_of(index), *label, "{name} row {index}");
            assert_eq!(set.name(index), path.clone().unwrap_or(format!("{name}#{index}")), "{name} row {index}");
        }
        let wanted: Vec<_> = golden.into_iter().map(|(.., digest)| digest).collect();
        for start in 0..=wanted.len() {
            for end in start..=wanted.len() {
                assert_eq!(digests(&set, start..end), wanted[start..end], "{name} rows {start}..{end}");
            }
        }
    }
}

#[test]
fn a_row_without_an_image_is_an_error_of_its_own() {
    let set = open(&data("nulls.parquet"), 3).unwrap();
    let found: Vec<_> = set.images(0..3).collect();
    assert!(found[0].is_ok() && found[2].is_ok());
    let error = found[1].as_ref().unwrap_err();
    assert_eq!((error.index, error.name.as_str()), (1, "nulls.parquet#1"));
    assert!(error.reason.contains("has no bytes there"), "{error}");
}

#[test]
fn listed_class_names_decide() {
    // The numbers 2, 0, 1 index n01440764, n02119789, n15075141.
    let set = open(&data("named.parquet"), 1000).unwrap();
    assert_eq!((0..3).map(|index| set.class_of(index)).collect::<Vec<_>>(), [999, 0, 278]);
    assert_eq!(set.order(), "the table's class names are WordNet ids, taken in ImageNet-1k's order");
    assert_eq!(open(&data("named.parquet"), 3).unwrap().class_of(0), 2);
    assert!(error(open(&data("named.parquet"), 10)).contains("3 class names for a model of 10 classes"));
}

#[test]
fn other_tables_are_refused() {
    for (name, part) in [
        ("no-image.parquet", "has no column of image bytes (image.bytes, image, img or jpg); its columns are `cls`"),
        ("no-label.parquet", "has no column of labels"),
        ("test-split.parquet", "the label of row 0 is -1: a test split without labels"),
        ("null-label.parquet", "row 1 has no label"),
        ("gzip.parquet", "is compressed with GZIP, which is not read; write it anew with Snappy"),
        ("truncated.parquet", "truncated"),
        ("gnu.tar", "truncated"),
    ] {
        let tree = Tree::new(&[]);
        let path = tree.write("x.parquet", fs::read(data(name)).unwrap());
        let message = error(open(&path, 1000));
        assert!(message.contains(part) && message.contains("x.parquet"), "{name}: {message}");
    }
}

#[test]
fn shards_and_a_labels_file() {
    let tree = Tree::new(&[]);
    for (name, from) in [
        ("validation-00000-of-00002", "hub.parquet"),
        ("validation-00001-of-00002", "nulls.parquet"),
        ("train-0", "gzip.parquet"),
    ] {
        tree.write(&format!("data/{name}.parquet"), fs::read(data(from)).unwrap());
    }
    let set = open(tree.path(), 10).unwrap();
    let wanted: Vec<_> =
        ["hub.parquet", "nulls.parquet"].into_iter().flat_map(golden).map(|(.., digest)| digest).collect();
    assert_eq!(digests(&set, 0..99), wanted);
    for at in 0..wanted.len() {
        assert_eq!(digests(&set, at..at + 1), wanted[at..=at], "row {at} alone");
    }
    assert_eq!(set.notes(), ["2 of 3 shards are of the split `val`, the others unread"]);

    let labels = tree.write("labels.txt", "2\n0\n1");
    let options = DatasetOptions { num_classes: 3, labels: Some(&labels), ..Default::default() };
    let set = ImageIndex::open(&data("test-split.parquet"), &options).unwrap();
    let name = |index| (set.name(index).to_owned(), set.class_of(index));
    assert_eq!(name(0), ("ILSVRC2012_val_00000001.JPEG".to_owned(), 2));
}

#[test]
fn damaged_tables_do_not_panic_and_keep_their_length() {
    for name in ["hub.parquet", "pages.parquet", "nulls.parquet"] {
        let bytes = fs::read(data(name)).unwrap();
        let tree = Tree::new(&[]);
        let (mut refused, mut differing) = (0, 0);
        for at in (0..bytes.len()).step_by(11) {
            for value in [0, 0x7F, 0xFF] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                match open(&tree.write("x.parquet", &damaged), 10) {
                    Ok(set) => {
                        let read = digests(&set, 0..set.len());
                        assert_eq!(read.len(), set.len());
                        differing += usize::from(read.iter().any(Option::is_none));
                    }
                    Err(_) => refused += 1,
                }
            }
        }
        assert!(refused > 20 && differing + refused > 40, "{name}: {refused} refused, {differing} with bad rows");
    }
}

#[test]
fn a_shard_that_the_reader_does_not_return_from_is_given_up() {
    let table = Table { path: "a.parquet".into(), column: 0, starts: vec![0, 1], is_given_up: false.into() };
    let patience = Duration::from_millis(300);
    assert_eq!(table.watch(patience, |_| Ok(7)).unwrap(), 7);
    let sleeps = move |_: &Beats<i32>| {
        std::thread::sleep(patience * 20);
        Ok(7)
    };
    let error = table.watch(patience, sleeps).unwrap_err().to_string();
    assert_eq!(error, "a.parquet: gave no row for 0 s: it is damaged, or its disk does not answer; download it again");
    let again = table.watch(patience, |_| -> Result<i32, DataError> { unreachable!("it is read no more") });
    assert_eq!(again.unwrap_err().to_string(), error);
}
