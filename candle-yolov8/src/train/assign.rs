//! Task-aligned assignment: which anchors answer for which object, and with what score.
//!
//! An anchor inside an object's box has the metric `p^α · max(CIoU, 0)^β`, p being its probability of the object's class.
//! Each object takes its best anchors; one that several objects took goes to the object of the highest CIoU. The score of
//! an anchor is its metric, scaled so that the best of its object has that object's highest CIoU.
//! Source: Feng et al., TOOD, <https://arxiv.org/abs/2108.07755>, with the constants of Ultralytics' YOLOv8.

use super::anchors::Anchor;
use super::ciou::ciou;

/// Most anchors that an object takes.
const TOP_K: usize = 10;
/// α: the square root of the probability.
const ALPHA: f64 = 0.5;
/// β
const BETA: i32 = 6;
/// How far inside a box an anchor lies at least, in pixels; and what keeps the scale of scores finite.
const EPS: f64 = 1e-9;

/// An object of an image, its box as left, top, right and bottom in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct BoxTarget {
    pub(super) class: usize,
    pub(super) xyxy: [f64; 4],
}

/// An anchor that answers for an object.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Positive {
    /// Number of the anchor.
    pub(super) anchor: usize,
    /// Number of the object.
    pub(super) object: usize,
    /// The probability that the anchor should give the object's class.
    pub(super) score: f64,
}

/// An anchor inside an object's box.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    anchor: usize,
    object: usize,
    overlap: f64,
    metric: f64,
}

/// The positive anchors of an image, in the order of their numbers.
///
/// `predict` gives an anchor's box in pixels and its probability of a class. Sides of objects below `least_side` pixels
/// count as such where anchors inside are sought. Of equal metrics the first anchor's is taken, of equal overlaps the
/// first object; anchors of metric 0, which would weigh nothing, are not taken.
pub(super) fn assign(
    objects: &[BoxTarget],
    anchors: &[Anchor],
    least_side: f64,
    predict: impl Fn(usize, usize) -> ([f64; 4], f64),
) -> Vec<Positive> {
    let mut closest: Vec<Option<Candidate>> = vec![None; anchors.len()];
    let mut taken = Vec::new();
    let mut inside: Vec<Candidate> = Vec::new();
    for (number, object) in objects.iter().enumerate().filter(|(_, object)| object.xyxy.iter().sum::<f64>() > 0.) {
        let [x1, y1, x2, y2] = at_least(object.xyxy, least_side);
        inside.clear();
        for (anchor, place) in anchors.iter().enumerate() {
            let [x, y] = place.centre.map(|centre| centre * place.stride);
            if [x - x1, y - y1, x2 - x, y2 - y].iter().any(|margin| *margin <= EPS) {
                continue;
            }
            let (xyxy, probability) = predict(anchor, object.class);
            let overlap = ciou(object.xyxy, xyxy);
            let overlap = if overlap < 0. { 0. } else { overlap };
            let metric = probability.powf(ALPHA) * overlap.powi(BETA);
            let candidate = Candidate { anchor, object: number, overlap, metric };
            if closest[anchor].is_none_or(|other| overlap > other.overlap) {
                closest[anchor] = Some(candidate);
            }
            inside.push(candidate);
        }
        inside.retain(|candidate| candidate.metric != 0.);
        // NaN, whatever its sign, comes first.
        inside.sort_by(|a, b| b.metric.abs().total_cmp(&a.metric.abs()));
        taken.extend(inside.iter().take(TOP_K));
    }
    resolve(&mut taken, &closest);
    scores(&taken, objects.len())
}

/// The box with sides of at least `least` about its centre.
fn at_least([x1, y1, x2, y2]: [f64; 4], least: f64) -> [f64; 4] {
    let axis = |low: f64, high: f64| {
        let (centre, side) = ((low + high) / 2., if high - low < least { least } else { high - low });
        [centre - side / 2., centre + side / 2.]
    };
    let ([x1, x2], [y1, y2]) = (axis(x1, x2), axis(y1, y2));
    [x1, y1, x2, y2]
}

/// Leaves one candidate per anchor, in their order: where there are several, the one of the highest overlap of all objects
/// around the anchor, whether they took it or not.
fn resolve(taken: &mut Vec<Candidate>, closest: &[Option<Candidate>]) {
    taken.sort_by_key(|candidate| candidate.anchor);
    taken.dedup_by(|next, kept| {
        let same = next.anchor == kept.anchor;
        if let (true, Some(closest)) = (same, closest[kept.anchor]) {
            *kept = closest;
        }
        same
    });
}

/// Scales each object's metrics so that the highest becomes the object's highest overlap.
fn scores(taken: &[Candidate], objects: usize) -> Vec<Positive> {
    let mut highest = vec![[0f64; 2]; objects];
    for candidate in taken {
        let [metric, overlap] = &mut highest[candidate.object];
        *metric = metric.max(candidate.metric);
        *overlap = overlap.max(candidate.overlap);
    }
    let positive = |candidate: &Candidate| {
        let [metric, overlap] = highest[candidate.object];
        let score = candidate.metric * overlap / (metric + EPS);
        Positive { anchor: candidate.anchor, object: candidate.object, score }
    };
    taken.iter().map(positive).collect()
}
