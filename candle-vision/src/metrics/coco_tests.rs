//! Against pycocotools, by way of `tests/oracle/metrics.py`, and against what is known without it.

use super::*;
use crate::metrics::fixtures::{golden, names};

/// Tolerance of all twelve numbers.
const TOLERANCE: f64 = 1e-6;

#[test]
fn all_twelve_numbers_are_those_of_pycocotools() {
    assert_eq!(names().len(), 7);
    for name in names() {
        let case = golden(name);
        let (truths, detections) = (case.truths(), case.detections());
        let found = evaluate(&truths, &detections, case.classes);
        let shown = |value: Option<f64>| value.unwrap_or(-1.);
        for ((label, found), expected) in CocoStats::NAMES.iter().zip(found.summary.stats()).zip(&case.coco.stats) {
            assert!((shown(found) - expected).abs() <= TOLERANCE, "{name} {label}: {found:?}, pycocotools {expected}");
        }
        for (class, (found, expected)) in found.by_class.iter().zip(&case.coco.by_class).enumerate() {
            for (found, expected) in found.iter().zip(expected) {
                assert!((shown(*found) - expected).abs() <= TOLERANCE, "{name} class {class}: {found:?}, {expected}");
            }
        }
    }
}

fn truth(image: usize, bbox: [f64; 4]) -> GroundTruth {
    GroundTruth { image, class: 0, bbox, area: bbox[2] * bbox[3], crowd: false }
}

fn scored(image: usize, bbox: [f64; 4], score: f64) -> ScoredBox {
    ScoredBox { image, class: 0, bbox, score }
}

#[test]
fn a_perfect_detector_has_precision_one_and_an_empty_set_has_none() {
    let boxes = [[0., 0., 10., 10.], [50., 50., 50., 50.], [0., 100., 200., 200.]];
    let truths: Vec<GroundTruth> = boxes.map(|bbox| truth(3, bbox)).to_vec();
    let right: Vec<ScoredBox> = boxes.map(|bbox| scored(3, bbox, 0.5)).to_vec();
    let stats = evaluate(&truths, &right, 1).summary.stats();
    for (name, value) in CocoStats::NAMES.iter().zip(stats) {
        let expected = if *name == "AR1" { 1. / 3. } else { 1. };
        assert!((value.expect("there are truths") - expected).abs() < 1e-12, "{name} {value:?}");
    }
    assert_eq!(evaluate(&[], &right, 1).summary.stats(), [None; 12]);
    assert_eq!(evaluate(&truths, &right, 0).by_class, Vec::<[Option<f64>; 2]>::new());
}

#[test]
fn scores_that_are_no_numbers_come_last() {
    let truths = [truth(0, [0., 0., 10., 10.])];
    let wrong = scored(0, [20., 20., 5., 5.], f64::NAN);
    let right = scored(0, [0., 0., 10., 10.], 0.1);
    let ap = evaluate(&truths, &[wrong, right], 1).summary.ap.expect("there is a truth");
    assert!((ap - 1.).abs() < 1e-12, "{ap}");
}
