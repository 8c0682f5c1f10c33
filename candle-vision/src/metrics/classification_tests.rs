use super::*;
use proptest::prelude::*;

/// Tallies of images given as logits and label.
fn tally(images: &[(Vec<f32>, usize)]) -> ClassificationMetrics {
    let mut tally = ClassificationMetrics::default();
    images.iter().for_each(|(logits, label)| {
        tally.add(logits, *label, &[*label]);
    });
    tally
}

#[test]
fn numbers_equal_those_computed_by_hand() {
    let mut tally = ClassificationMetrics::default();
    let (a, b) = (vec![2., 1., 0., -1., -2., -3., -4.], vec![0.; 7]);
    assert_eq!(tally.add(&a, 0, &[0]), SampleResult { predicted: 0, top1: true, top5: true });
    assert_eq!(tally.add(&a, 5, &[5]), SampleResult { predicted: 0, top1: false, top5: false });
    assert_eq!(
        tally.add(&b, 4, &[4]),
        SampleResult { predicted: 0, top1: false, top5: true },
        "equal logits: by class"
    );
    assert!(!tally.add(&b, 5, &[5]).top5);
    assert_eq!((tally.images(), tally.top1(), tally.top5()), (4, 0.25, 0.5));
    let total: f64 = (-4..=2).map(|x| f64::from(x).exp()).sum();
    let loss = ((total.ln() - 2.) + (total.ln() + 3.) + 2. * 7f64.ln()) / 4.;
    assert!((tally.loss() - loss).abs() < 1e-6, "{} {loss}", tally.loss());
    // Two images at e²/Σ, one of them right, and two at 1/7, both wrong.
    let confidence = 2f64.exp() / total;
    let error = ((2. * confidence - 1.).abs() + 2. / 7.) / 4.;
    assert!((tally.calibration_error() - error).abs() < 1e-6, "{} {error}", tally.calibration_error());
    assert_eq!((tally.predicted_classes(), tally.true_classes()), (1, 3));
}

#[test]
fn real_labels_accept_any_and_masked_classes_are_out_of_the_question() {
    let mut tally = ClassificationMetrics::default();
    assert!(tally.add(&[1., 3., 2.], 0, &[0, 1]).top1);
    let masked = [f32::NEG_INFINITY, 3., f32::NEG_INFINITY];
    assert_eq!(tally.add(&masked, 2, &[2]), SampleResult { predicted: 1, top1: false, top5: false });
}

#[test]
fn logits_that_are_not_finite_are_wrong_and_counted() {
    let mut tally = ClassificationMetrics::default();
    for logits in [[f32::NAN, 1.], [f32::INFINITY, 1.], [f32::NAN, f32::NAN]] {
        assert!(!tally.add(&logits, 0, &[0]).top1);
    }
    tally.add(&[1e30, -1e30], 1, &[1]);
    assert_eq!((tally.images(), tally.not_finite(), tally.top1(), tally.loss()), (4, 3, 0., 1e4));
    assert_eq!(ClassificationMetrics::default().loss(), 0.);
}

proptest! {
    #[test]
    fn parts_add_up_exactly_in_any_order(
        images in prop::collection::vec((prop::collection::vec(-9f32..9., 6), 0..6usize), 1..40),
        at in 0..40usize,
    ) {
        let (first, second) = images.split_at(at.min(images.len()));
        let mut merged = tally(second);
        merged.merge(&tally(first));
        prop_assert_eq!(&merged, &tally(&images));
        let text = serde_json::to_string(&merged).expect("JSON");
        prop_assert_eq!(serde_json::from_str::<ClassificationMetrics>(&text).expect("the same"), merged);
    }
}
