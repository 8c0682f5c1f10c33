//! Against Ultralytics, by way of `tests/oracle/metrics.py`.

use crate::metrics::coco::ScoredBox;
use crate::metrics::fixtures::{golden, names};
use crate::metrics::{ApAccumulator, ConfusionMatrix, Metrics, match_boxes};

/// Tolerance of every number.
const TOLERANCE: f64 = 1e-4;
/// The confidence that the oracle counts its confusions above.
const CONFUSION_CONF: f64 = 0.25;

type Boxes = Vec<(usize, [f32; 4])>;

fn xyxy([x, y, w, h]: [f64; 4]) -> [f32; 4] {
    let [x, y, w, h] = [x, y, w, h].map(|v| v as f32);
    [x, y, x + w, y + h]
}

fn close(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() <= TOLERANCE, "{what}: {found}, Ultralytics {expected}");
}

#[test]
fn every_number_is_that_of_ultralytics() {
    let mut compared = 0;
    for name in names() {
        let case = golden(name);
        let Some(expected) = &case.ultralytics else { continue };
        compared += 1;
        let (truths, detections) = (case.truths(), case.detections());
        let (mut collected, mut confusion) = (ApAccumulator::default(), ConfusionMatrix::new(case.classes));
        for image in 0..truths.iter().map(|t| t.image + 1).max().unwrap_or(0) {
            let truths: Boxes = truths.iter().filter(|t| t.image == image).map(|t| (t.class, xyxy(t.bbox))).collect();
            let mut found: Vec<&ScoredBox> = detections.iter().filter(|d| d.image == image).collect();
            found.sort_by(|a, b| b.score.total_cmp(&a.score));
            let boxes: Boxes = found.iter().map(|d| (d.class, xyxy(d.bbox))).collect();
            let levels = match_boxes(&boxes, &truths);
            let rows = found.iter().zip(levels).map(|(d, right)| (d.class, d.score as f32, right));
            collected.add(rows, &truths.iter().map(|t| t.0).collect::<Vec<_>>());
            let confident = found.iter().filter(|d| d.score > CONFUSION_CONF).count();
            confusion.add(&boxes[..confident], &truths);
        }
        let found = collected.finish();
        assert_eq!(found.classes.iter().map(|c| c.class).collect::<Vec<_>>(), expected.classes, "{name}");
        for (i, class) in found.classes.iter().enumerate() {
            let label = |what: &str| format!("{name} class {i} {what}");
            close(class.precision, expected.precision[i], &label("precision"));
            close(class.recall, expected.recall[i], &label("recall"));
            close(class.f1, expected.f1[i], &label("F1"));
            for (level, (found, expected)) in class.ap.iter().zip(&expected.ap[i]).enumerate() {
                close(*found, *expected, &label(&format!("AP {level}")));
            }
            let curves = &expected.curves;
            for (what, curve, expected) in [
                ("precision curve", &class.precision_curve, &curves.precision[i]),
                ("recall curve", &class.recall_curve, &curves.recall[i]),
                ("F1 curve", &class.f1_curve, &curves.f1[i]),
                ("PR curve", &class.pr_curve, &curves.pr[i]),
            ] {
                assert_eq!(curve.len().div_ceil(37), expected.len());
                curve
                    .iter()
                    .step_by(37)
                    .zip(expected)
                    .for_each(|(found, expected)| close(*found, *expected, &label(what)));
            }
        }
        for (predicted, row) in expected.confusion.iter().enumerate() {
            let found: Vec<u64> = (0..row.len()).map(|truth| confusion.count(predicted, truth)).collect();
            assert_eq!(&found, row, "{name} confusion, predicted {predicted}");
        }
    }
    assert_eq!(compared, 4);
}

#[test]
fn without_labels_or_without_detections_everything_is_zero() {
    assert_eq!(ApAccumulator::default().finish(), Metrics { classes: Vec::new(), best: 0 });
    let mut only_labels = ApAccumulator::default();
    only_labels.add([], &[2, 2, 0]);
    only_labels.add([(7, 0.9, [true; 10])], &[2]);
    let found = only_labels.finish();
    assert_eq!(found.classes.iter().map(|c| (c.class, c.images, c.truths)).collect::<Vec<_>>(), [(0, 1, 1), (2, 2, 3)]);
    assert_eq!(found.mean(|class| class.ap50_95()), 0.);
}
