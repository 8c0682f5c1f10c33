//! Non-maximum suppression: exact, deterministic, without a time limit.

mod decoded;

pub use decoded::nms_batched;

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
///
/// ```
/// use candle_vision::nms::NmsOptions;
///
/// let options = NmsOptions::new().conf(0.4).classes(vec![0, 2]);
/// assert_eq!((options.iou, options.classes), (0.7, Some(vec![0, 2])));
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
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
    /// The overlap of a second, looser suppression, for [`NmsOutput::loose`].
    pub loose_iou: Option<f32>,
}

impl Default for NmsOptions {
    /// Ultralytics' defaults for prediction.
    fn default() -> Self {
        Self { conf: 0.25, iou: 0.7, max_det: 300, agnostic: false, classes: None, multi_label: false, loose_iou: None }
    }
}

impl NmsOptions {
    /// The defaults of prediction.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A candidate counts where its confidence is strictly above this.
    #[must_use]
    pub fn conf(self, conf: f32) -> Self {
        Self { conf, ..self }
    }

    /// A box goes where it overlaps a better one by strictly more than this.
    #[must_use]
    pub fn iou(self, iou: f32) -> Self {
        Self { iou, ..self }
    }

    /// Most boxes that are kept.
    #[must_use]
    pub fn max_det(self, max_det: usize) -> Self {
        Self { max_det, ..self }
    }

    /// Whether boxes suppress those of other classes too.
    #[must_use]
    pub fn agnostic(self, agnostic: bool) -> Self {
        Self { agnostic, ..self }
    }

    /// Only these classes; all where `None`.
    #[must_use]
    pub fn classes(self, classes: impl Into<Option<Vec<usize>>>) -> Self {
        Self { classes: classes.into(), ..self }
    }

    /// Whether an anchor may count for several classes (as in validation) or for its best one only.
    #[must_use]
    pub fn multi_label(self, multi_label: bool) -> Self {
        Self { multi_label, ..self }
    }

    /// The overlap of a second, looser suppression, for [`NmsOutput::loose`].
    #[must_use]
    pub fn loose_iou(self, loose_iou: impl Into<Option<f32>>) -> Self {
        Self { loose_iou: loose_iou.into(), ..self }
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

/// What suppression leaves of one image's candidates.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NmsOutput {
    /// Best first; equal confidences in the order they came.
    pub candidates: Vec<Candidate>,
    /// What a suppression by [`NmsOptions::loose_iou`] leaves, those of `candidates` among them; empty where none was asked for.
    pub loose: Vec<Candidate>,
    /// How many candidates above the threshold were not looked at, being beyond the best [`MAX_CANDIDATES`].
    pub dropped: usize,
}

/// Keeps the best of overlapping candidates.
///
/// Candidates whose confidence is NaN, or whose box is not finite, do not count.
pub fn nms(mut candidates: Vec<Candidate>, options: &NmsOptions) -> NmsOutput {
    let is_wanted = |class_id| options.classes.as_ref().is_none_or(|classes| classes.contains(&class_id));
    candidates.retain(|c| c.confidence > options.conf && is_wanted(c.class_id) && c.xyxy.iter().all(|v| v.is_finite()));
    candidates.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    let dropped = candidates.len().saturating_sub(MAX_CANDIDATES);
    candidates.truncate(MAX_CANDIDATES);
    let loose = options.loose_iou.map(|iou| suppress(&candidates, iou, options)).unwrap_or_default();
    NmsOutput { candidates: suppress(&candidates, options.iou, options), loose, dropped }
}

/// Keeps the best of candidates, best first, that overlap by more than `iou`.
fn suppress(candidates: &[Candidate], most: f32, options: &NmsOptions) -> Vec<Candidate> {
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        if kept.len() == options.max_det {
            break;
        }
        let is_suppressed = kept.iter().any(|better| {
            (options.agnostic || better.class_id == candidate.class_id) && iou(&better.xyxy, &candidate.xyxy) > most
        });
        if !is_suppressed {
            kept.push(*candidate);
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
            candidate(0, 0.9, [70., 70., f32::INFINITY, 80.]),
            // Exactly half of `near`: an overlap equal to the threshold stays.
            candidate(0, 0.6, [0., 0., 10., 5.]),
        ];
        let nms = |boxes, options: &NmsOptions| nms(boxes, options).candidates;
        let kept = nms(boxes.clone(), &options);
        assert_eq!(kept, [boxes[1], boxes[2], boxes[7]]);
        let agnostic = nms(boxes.clone(), &NmsOptions { agnostic: true, ..options.clone() });
        assert_eq!(agnostic, [boxes[1], boxes[7]]);
        let filtered = nms(boxes.clone(), &NmsOptions { classes: Some(vec![1]), ..options.clone() });
        assert_eq!(filtered, [boxes[2]]);
        assert_eq!(nms(boxes.clone(), &NmsOptions { max_det: 1, ..options }), [boxes[1]]);
    }

    #[test]
    fn candidates_beyond_the_cap_are_counted_and_are_the_least_confident() {
        // Class 0 is the most confident; the last, class 1 alone, lies beyond the cap where there is one candidate more.
        let of = |count: usize| {
            let last = move |i: usize| usize::from(i + 1 == count);
            let one = move |i: usize| candidate(last(i), 0.9 - i as f32 * 1e-5, [0., 0., 1., 1.]);
            (0..count).rev().map(one).collect::<Vec<_>>()
        };
        let classes = |kept: &NmsOutput| kept.candidates.iter().map(|c| c.class_id).collect::<Vec<_>>();
        let kept = nms(of(MAX_CANDIDATES), &NmsOptions::default());
        assert_eq!((classes(&kept), kept.dropped), (vec![0, 1], 0));
        let kept = nms(of(MAX_CANDIDATES + 1), &NmsOptions::default());
        assert_eq!((classes(&kept), kept.dropped), (vec![0], 1));
    }

    /// Candidates of rows of x, y, w, h and scores, in the order of the anchors.
    fn from_rows(rows: &[f32], anchors: usize, options: &NmsOptions) -> Vec<(usize, Candidate)> {
        let (boxes, scores) = rows.split_at(4 * anchors);
        let of = |anchor: usize| {
            let [x, y, w, h] = [0, 1, 2, 3].map(|row| boxes[row * anchors + anchor]);
            let xyxy = [x - w / 2., y - h / 2., x + w / 2., y + h / 2.];
            let classes = (0..scores.len() / anchors).map(|class| (class, scores[class * anchors + anchor]));
            let best = classes.clone().reduce(|a, b| if b.1 > a.1 { b } else { a }).expect("a class");
            let counted = classes.filter(|class| options.multi_label || class.0 == best.0);
            counted.map(|(class_id, c)| (anchor, candidate(class_id, c, xyxy))).collect::<Vec<_>>()
        };
        (0..anchors).flat_map(of).collect()
    }

    /// `candidates` of `tests/oracle/yolov8.py`: rows of x, y, w, h and four classes, in its order of operations.
    fn rows(index: usize, anchors: usize) -> Vec<f32> {
        let (name, shape) = (format!("nms{index}"), (8 * anchors).into());
        let u = crate::seeded::uniform(&name, &shape, &candle_core::Device::Cpu).expect("a tensor");
        let u = u.to_vec1::<f32>().expect("a vector");
        let u = |row: usize, anchor: usize| u[row * anchors + anchor];
        let value = |row: usize, anchor: usize| match row {
            0 | 1 => (u(row, anchor) * 3.).floor() * 90. + 320. + u(row + 2, anchor) * 12.,
            2 | 3 => u(5 - row, anchor) * 25. + 80.,
            _ => {
                let share = (u(row, anchor) + 1.) * 0.5;
                share * share * share
            }
        };
        (0..8).flat_map(|row| (0..anchors).map(move |anchor| (row, anchor))).map(|(r, a)| value(r, a)).collect()
    }

    #[test]
    fn the_same_boxes_stay_as_in_ultralytics_and_torchvision() {
        const ANCHORS: usize = 300;
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/yolov8/nms.json");
        let text = std::fs::read_to_string(path).expect("golden values");
        let cases: Vec<serde_json::Value> = serde_json::from_str(&text).expect("JSON");
        assert_eq!(cases.len(), 5);
        for (index, case) in cases.iter().enumerate() {
            let given = &case["options"];
            let threshold = |key: &str| given[key].as_f64().expect("a threshold") as f32;
            let options = NmsOptions {
                conf: threshold("conf_thres"),
                iou: threshold("iou_thres"),
                max_det: given["max_det"].as_u64().map_or(300, |n| n as usize),
                classes: given["classes"]
                    .as_array()
                    .map(|c| c.iter().map(|n| n.as_u64().expect("n") as usize).collect()),
                agnostic: given["agnostic"].as_bool().unwrap_or_default(),
                multi_label: given["multi_label"].as_bool().unwrap_or_default(),
                loose_iou: None,
            };
            let anchors_kept = |rows: &[f32], options: &NmsOptions| {
                let all = from_rows(rows, ANCHORS, options);
                let anchor = |kept: &Candidate| all.iter().find(|(_, c)| c == kept).expect("one of all").0;
                let kept = nms(all.iter().map(|(_, c)| *c).collect(), options).candidates;
                kept.iter().map(|kept| (anchor(kept), kept.class_id)).collect::<Vec<_>>()
            };
            let rows = rows(index, ANCHORS);
            let kept = anchors_kept(&rows, &options);
            assert_eq!(serde_json::to_value(kept).expect("JSON"), case["kept"], "{options:?}");

            let everything = NmsOptions { conf: -1., iou: options.iou, ..Default::default() };
            let order: Vec<usize> = anchors_kept(&rows[..5 * ANCHORS], &everything).iter().map(|kept| kept.0).collect();
            assert_eq!(serde_json::to_value(order).expect("JSON"), case["torchvision"], "{}", options.iou);
        }
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
            let options = NmsOptions { iou: 0.45, max_det, agnostic, loose_iou: Some(0.8), ..Default::default() };
            let NmsOutput { candidates: kept, loose, dropped: 0 } = nms(boxes.clone(), &options) else { panic!("dropped") };
            prop_assert_eq!(loose, by_removal(&boxes, &NmsOptions { iou: 0.8, ..options.clone() }));
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
