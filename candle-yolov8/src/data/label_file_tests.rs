use proptest::prelude::*;

use super::label_file::{Labels, Rows, parse};
use super::{Annotation, BBox, label_path};

/// Ultralytics finds the box of an outline in 32 bits: one rounding per sum, one per half.
const ROUNDING: f64 = 2. * f32::EPSILON as f64;

/// Rows of boxes and outlines, of `classes`.
fn rows(classes: usize) -> Rows {
    Rows { classes, single_cls: false, pose: 0 }
}

fn boxes(text: &str, nc: usize) -> Vec<(usize, [f64; 4])> {
    let Labels { labels, duplicates: 0 } = parse(text, rows(nc)).unwrap_or_else(|error| panic!("{text:?}: {error}"))
    else {
        panic!("{text:?} has duplicates")
    };
    let of = |label: &Annotation| match label.place {
        BBox::Normalised(xywhn) => (label.class, xywhn),
        BBox::Pixels(_) => panic!("{label:?}"),
    };
    labels.iter().map(of).collect()
}

/// By `tests/oracle/labels.py`.
#[test]
fn files_hold_what_ultralytics_finds_in_them() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/yolov8/labels.json");
    let golden: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let nc = golden["nc"].as_u64().unwrap() as usize;
    for case in golden["cases"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let pose = |shape: &Vec<serde_json::Value>| shape.iter().map(|n| n.as_u64().unwrap() as usize).product();
        let rows = Rows {
            classes: nc,
            single_cls: case["single_cls"] == true,
            pose: case["kpt_shape"].as_array().map_or(0, pose),
        };
        let found = parse(text.strip_prefix('\u{feff}').unwrap_or(text), rows);
        let Some(expected) = case["rows"].as_array() else {
            assert!(found.is_err(), "{text:?} is refused there and is here {found:?}");
            continue;
        };
        let Labels { labels, duplicates } = found.unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!((labels.len(), Some(duplicates as u64)), (expected.len(), case["duplicates"].as_u64()), "{text:?}");
        let mut rows: Vec<Vec<f64>> = labels
            .iter()
            .map(|label| [label.class as f64].into_iter().chain(label.xywhn([1, 1]).map(f64::from)).collect())
            .collect();
        rows.sort_by(|a, b| a.partial_cmp(b).unwrap());
        for (row, expected) in rows.iter().flatten().zip(expected.iter().flat_map(|row| row.as_array().unwrap())) {
            assert!((row - expected.as_f64().unwrap()).abs() <= ROUNDING, "{text:?}: {row} and not {expected}");
        }
    }
    for (image, labels) in golden["paths"].as_object().unwrap() {
        assert_eq!(label_path(image.as_ref()).to_str(), labels.as_str(), "{image}");
    }
}

#[test]
fn rows_are_boxes() {
    let middle = [0.5, 0.5, 0.25, 0.125];
    for (text, expected, what) in [
        ("", vec![], "empty file"),
        ("\n  \n\r\n", vec![], "blank lines"),
        ("1 0.5 0.5 0.25 0.125", vec![(1, middle)], "no line end"),
        ("1 0.5 0.5 0.25 0.125\r\n\r\n0 5e-1 .5 0.25 0.125\r\n", vec![(1, middle), (0, middle)], "Windows' line ends"),
        ("\t1\t0.5  0.5 0.25 0.125  \n", vec![(1, middle)], "tabs and blanks"),
        ("1.0 0.5 0.5 0.25 0.125", vec![(1, middle)], "class with a decimal point"),
        ("0 1.01 -0.01 1.01 0", vec![(0, [1.01, -0.01, 1.01, 0.])], "a hundredth beyond the image, no height"),
        ("1 0.375 0.4375 0.625 0.5 0.5 0.5625", vec![(1, middle)], "outline of three points"),
        ("0 0 0 1 0 1 1 0 1", vec![(0, [0.5, 0.5, 1., 1.])], "outline of four points"),
        ("0 0 0 1 1 0.5 0.5\n1 0 0 1 0 1 1 0 1", vec![(0, [0.5, 0.5, 1., 1.]), (1, [0.5, 0.5, 1., 1.])], "outlines"),
    ] {
        assert_eq!(boxes(text, 2), expected, "{what}");
    }
}

#[test]
fn rows_that_repeat_another_are_dropped() {
    for (text, kept, duplicates, what) in [
        ("0 .5 .5 .1 .1\n0 0.50 5e-1 .1 .1\n", 1, 1, "other digits"),
        ("0 .5 .5 .1 .1\n1 .5 .5 .1 .1\n", 2, 0, "another class"),
        ("0 .5 .5 .1 .1\n0 .5 .5 .1 .1000000001\n", 1, 1, "equal as 32-bit numbers"),
        ("0 0 .5 .1 .1\n0 -0 .5 .1 .1\n", 1, 1, "both zeros"),
        ("0 0 0 1 0 1 1\n0 0 0 1 0 1 1\n0 0 0 0 1 1 1\n", 2, 1, "outlines with one box"),
    ] {
        let found = parse(text, rows(2)).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((found.labels.len(), found.duplicates), (kept, duplicates), "{what}");
    }
}

#[test]
fn a_wrong_row_is_named() {
    let good = "0 .5 .5 .1 .1\n\n";
    for (row, problem) in [
        ("3 .5 .5 .1 .1", "3: class 3, where the dataset has 3 classes, 0 to 2"),
        ("-1 .5 .5 .1 .1", "3: class -1 is no whole number from 0"),
        ("0.5 .5 .5 .1 .1", "3: class 0.5 is no whole number from 0"),
        ("1e300 .5 .5 .1 .1", "the dataset has 3 classes"),
        ("dog .5 .5 .1 .1", "3: `dog` is no number"),
        ("nan .5 .5 .1 .1", "3: `nan` is not finite"),
        ("0 nan .5 .1 .1", "3: `nan` is not finite"),
        ("0 .5 inf .1 .1", "3: `inf` is not finite"),
        ("0 .5 .5 .1 0x1", "3: `0x1` is no number"),
        ("0 .5 .5 .1 0,1", "3: `0,1` is no number"),
        ("0 320 240 100 50", "3: centre x is 320, where a fraction of the image, 0 to 1, is needed"),
        ("0 .5 1.02 .1 .1", "3: centre y is 1.02"),
        ("0 -.02 .5 .1 .1", "3: centre x is -0.02"),
        ("0 .5 .5 -.001 .1", "3: width is -0.001"),
        ("0 .5 .5 .1 1.02", "3: height is 1.02"),
        ("0", "3: 1 columns"),
        ("0 .5 .5 .1", "3: 4 columns"),
        ("0 .5 .5 .1 .1 .9", "3: 6 columns"),
    ] {
        let error = parse(&format!("{good}{row}\n"), rows(3)).expect_err(row);
        assert!(error.contains(problem), "{row}: {error}");
    }
    for (text, problem) in [
        ("0 0 0 1 0 1 1\n0 .5 .5 .1 .1", "2: a box among rows of outlines"),
        ("0 .5 .5 .1 .1\n0 0 0 1 0 1 1", "1: a box among rows of outlines"),
        ("0 0 0 1 0 1 1 1", "1: 8 columns"),
        ("0 0 0 3 0 1 1", "1: centre x is 1.5"),
    ] {
        let error = parse(text, rows(3)).expect_err(text);
        assert!(error.contains(problem), "{text}: {error}");
    }
    let pose = Rows { pose: 4, ..rows(3) };
    let error = parse("0 .5 .5 .1 .1 .1 .2 .3", pose).expect_err("a column too few");
    assert!(error.contains("8 columns") && error.ends_with("points, of a pose by 8"), "{error}");
    let error = parse(&"x".repeat(1000), rows(3)).expect_err("no number");
    assert!(error.len() < 100, "{error}");
}

proptest! {
    #[test]
    fn no_text_panics(text in "([-+.0-9eE \t\n]|nan|inf|\\PC){0,200}", nc in 0..4usize) {
        if let Ok(Labels { labels, .. }) = parse(&text, rows(nc)) {
            for Annotation { class, place, .. } in labels {
                prop_assert!(class < nc);
                let BBox::Normalised(values) = place else { panic!("{place:?}") };
                prop_assert!(values.iter().all(|value| (-0.01..=1.01).contains(&(*value as f32))));
            }
        }
    }

    #[test]
    fn written_boxes_are_read_back(
        rows in prop::collection::vec((0..9usize, 0_f64..=1., 0_f64..=1., 0_f64..=1., 0_f64..=1.), 0..20),
    ) {
        let text: String = rows.iter().map(|(c, x, y, w, h)| format!("{c} {x} {y} {w} {h}\n")).collect();
        let expected: Vec<_> = rows.iter().map(|&(c, x, y, w, h)| (c, [x, y, w, h])).collect();
        prop_assert_eq!(boxes(&text, 9), expected);
    }
}
