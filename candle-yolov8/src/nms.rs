//! Non-maximum suppression: exact, deterministic, without a time limit.

use std::cmp::Ordering;

/// One box of one class, in pixels of the network's input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Class number.
    pub class_id: usize,
    /// Probability of the class.
    pub confidence: f32,
    /// Left, top, right, bottom.
    pub xyxy: [f32; 4],
}

/// What is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct NmsOptions {
    /// A candidate counts where its confidence is strictly above this.
    pub conf: f32,
    /// A box goes where it overlaps a better one by strictly more than this.
    pub iou: f32,
    /// Most boxes that are kept.
    pub max_det: usize,
    /// Whether boxes suppress those of other classes too.
    pub agnostic: bool,
    /// Only these classes; all where `None`.
    pub classes: Option<Vec<usize>>,
    /// Whether an anchor may count for several classes (as in validation) or for its best one only.
    pub multi_label: bool,
}

impl Default for NmsOptions {
    /// Ultralytics' defaults for prediction.
    fn default() -> Self {
        Self { conf: 0.25, iou: 0.7, max_det: 300, agnostic: false, classes: None, multi_label: false }
    }
}

/// Most candidates that take part: the best by confidence.
pub const MAX_CANDIDATES: usize = 30_000;

/// Intersection over union of two boxes; 0 where both are empty.
pub fn iou(a: &[f32; 4], b: &[f32; 4]) -> f32 {
    let side = |low: f32, high: f32| (high - low).max(0.);
    let overlap = side(a[0].max(b[0]), a[2].min(b[2])) * side(a[1].max(b[1]), a[3].min(b[3]));
    let area = |c: &[f32; 4]| (c[2] - c[0]) * (c[3] - c[1]);
    let union = area(a) + area(b) - overlap;
    if union > 0. { overlap / union } else { 0. }
}

/// Keeps the best of overlapping candidates, best first; equal confidences in the order they came.
///
/// Candidates with a NaN anywhere are dropped. Beyond [`MAX_CANDIDATES`] the least confident are not looked at.
pub fn nms(mut candidates: Vec<Candidate>, options: &NmsOptions) -> Vec<Candidate> {
    let is_wanted = |class_id| options.classes.as_ref().is_none_or(|classes| classes.contains(&class_id));
    candidates.retain(|c| c.confidence > options.conf && is_wanted(c.class_id) && !c.xyxy.iter().any(|v| v.is_nan()));
    candidates.sort_by(|a, b| b.confidence.partial_cmp(&a.confidence).unwrap_or(Ordering::Equal));
    candidates.truncate(MAX_CANDIDATES);
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        if kept.len() == options.max_det {
            break;
        }
        let is_suppressed = kept.iter().any(|better| {
            (options.agnostic || better.class_id == candidate.class_id)
                && iou(&better.xyxy, &candidate.xyxy) > options.iou
        });
        if !is_suppressed {
            kept.push(candidate);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidate(class_id: usize, confidence: f32, xyxy: [f32; 4]) -> Candidate {
        Candidate { class_id, confidence, xyxy }
    }

    #[test]
    fn overlaps_equal_those_computed_by_hand() {
        let unit = [0., 0., 10., 10.];
        for (other, expected) in [
            ([0., 0., 10., 10.], 1.),
            ([5., 0., 15., 10.], 50. / 150.),
            ([5., 5., 15., 15.], 25. / 175.),
            ([10., 0., 20., 10.], 0.),
            ([20., 20., 30., 30.], 0.),
            ([2., 2., 4., 4.], 4. / 100.),
            ([3., 3., 3., 3.], 0.),
        ] {
            assert_eq!(iou(&unit, &other), expected, "{other:?}");
        }
        assert_eq!(iou(&[1.; 4], &[1.; 4]), 0., "two empty boxes");
    }

    #[test]
    fn thresholds_are_strict_classes_apart_and_ties_in_order() {
        let near = [0., 0., 10., 10.];
        let options = NmsOptions { conf: 0.5, iou: 0.5, ..Default::default() };
        let boxes = vec![
            candidate(0, 0.5, [50., 50., 60., 60.]),
            candidate(0, 0.8, near),
            candidate(1, 0.8, near),
            candidate(0, 0.7, [0., 0., 10., 9.]),
            candidate(0, f32::NAN, [70., 70., 80., 80.]),
            candidate(0, 0.9, [f32::NAN, 70., 80., 80.]),
            // Exactly half of `near`: an overlap equal to the threshold stays.
            candidate(0, 0.6, [0., 0., 10., 5.]),
        ];
        let kept = nms(boxes.clone(), &options);
        assert_eq!(kept, [boxes[1], boxes[2], boxes[6]]);
        let agnostic = nms(boxes.clone(), &NmsOptions { agnostic: true, ..options.clone() });
        assert_eq!(agnostic, [boxes[1], boxes[6]]);
        let filtered = nms(boxes.clone(), &NmsOptions { classes: Some(vec![1]), ..options.clone() });
        assert_eq!(filtered, [boxes[2]]);
        assert_eq!(nms(boxes.clone(), &NmsOptions { max_det: 1, ..options }), [boxes[1]]);
    }

    /// The greedy definition, with removal instead of a list of what is kept.
    fn by_removal(candidates: &[Candidate], options: &NmsOptions) -> Vec<Candidate> {
        let mut left: Vec<(usize, Candidate)> = candidates.iter().copied().enumerate().collect();
        left.retain(|(_, c)| c.confidence > options.conf);
        let mut kept = Vec::new();
        while let Some((index, best)) =
            left.iter().copied().reduce(|a, b| if b.1.confidence > a.1.confidence { b } else { a })
        {
            kept.push(best);
            left.retain(|(i, c)| {
                *i != index
                    && !((options.agnostic || c.class_id == best.class_id) && iou(&c.xyxy, &best.xyxy) > options.iou)
            });
        }
        kept.truncate(options.max_det);
        kept
    }

    proptest! {
        #[test]
        fn results_equal_the_definition(
            boxes in prop::collection::vec((0..3usize, 0..8u8, 0..20u8, 0..20u8, 1..20u8, 1..20u8), 0..60),
            agnostic in any::<bool>(),
            max_det in 1..20usize,
        ) {
            let boxes: Vec<Candidate> = boxes
                .into_iter()
                .map(|(class_id, c, x, y, w, h)| {
                    let [x, y, w, h] = [x, y, w, h].map(f32::from);
                    candidate(class_id, f32::from(c) / 8., [x, y, x + w, y + h])
                })
                .collect();
            let options = NmsOptions { iou: 0.45, max_det, agnostic, ..Default::default() };
            let kept = nms(boxes.clone(), &options);
            prop_assert_eq!(&kept, &by_removal(&boxes, &options));
            for (i, a) in kept.iter().enumerate() {
                for b in &kept[..i] {
                    prop_assert!(b.confidence >= a.confidence);
                    prop_assert!((!agnostic && a.class_id != b.class_id) || iou(&a.xyxy, &b.xyxy) <= options.iou);
                }
            }
        }
    }
}
