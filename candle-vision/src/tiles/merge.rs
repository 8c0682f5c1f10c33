//! One box of several that show the same object.

use crate::nms::{Candidate, MAX_CANDIDATES, NmsOutput};

/// What becomes of boxes that match a more confident one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Merge {
    /// The more confident box grows until it holds them: greedy non-maximum merging.
    #[default]
    GreedyNmm,
    /// They go: non-maximum suppression.
    Nms,
}

/// How far two boxes are the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MatchMetric {
    /// Intersection over the smaller area: an object's part, cut off by a tile's edge, matches the whole.
    #[default]
    Ios,
    /// Intersection over union.
    Iou,
}

/// How [`merge`] merges.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct MergeOptions {
    /// What becomes of boxes that match.
    pub merge: Merge,
    /// How far boxes are the same.
    pub metric: MatchMetric,
    /// Boxes match from here on, above 0 and up to 1. At 0 and below, those that do not touch match too.
    pub threshold: f64,
    /// Whether boxes of different classes match.
    pub agnostic: bool,
}

impl Default for MergeOptions {
    /// SAHI's: greedy merging within a class from an intersection of half the smaller area on.
    fn default() -> Self {
        Self { merge: Merge::default(), metric: MatchMetric::default(), threshold: 0.5, agnostic: false }
    }
}

impl MergeOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What becomes of boxes that match.
    #[must_use]
    pub fn merge(self, merge: Merge) -> Self {
        Self { merge, ..self }
    }

    /// How far boxes are the same.
    #[must_use]
    pub fn metric(self, metric: MatchMetric) -> Self {
        Self { metric, ..self }
    }

    /// Boxes match from here on, above 0 and up to 1.
    #[must_use]
    pub fn threshold(self, threshold: f64) -> Self {
        Self { threshold, ..self }
    }

    /// Whether boxes of different classes match.
    #[must_use]
    pub fn agnostic(self, agnostic: bool) -> Self {
        Self { agnostic, ..self }
    }
}

/// Merges boxes of one image, the most confident first; equal confidences go by class, then by left, top, right, bottom, then
/// as they came. A grown box has the confidence of its best part, and of equally confident parts the last one's class.
///
/// A box that is taken into another, and no longer matches what that has grown to, goes without making it larger.
/// Candidates whose confidence is NaN, or whose box is not finite, do not count, nor do any beyond the best
/// [`MAX_CANDIDATES`]: of those, the number is given.
pub fn merge(mut candidates: Vec<Candidate>, options: &MergeOptions) -> NmsOutput {
    candidates.retain(|c| !c.confidence.is_nan() && c.xyxy.iter().all(|v| v.is_finite()));
    candidates.sort_by(|a, b| {
        let by_corners = || a.xyxy.iter().zip(&b.xyxy).map(|(a, b)| order(*a, *b)).find(|order| order.is_ne());
        order(b.confidence, a.confidence).then_with(|| by_corners().unwrap_or(std::cmp::Ordering::Equal))
    });
    let dropped = candidates.len().saturating_sub(MAX_CANDIDATES);
    candidates.truncate(MAX_CANDIDATES);
    let mut groups: Vec<Vec<Candidate>> = Vec::new();
    for candidate in candidates {
        // Groups are of few classes, or of one.
        let same = |group: &&mut Vec<Candidate>| options.agnostic || group[0].class_id == candidate.class_id;
        match groups.iter_mut().find(same) {
            Some(group) => group.push(candidate),
            None => groups.push(vec![candidate]),
        }
    }
    groups.sort_by_key(|group| group[0].class_id);
    let mut merged: Vec<Candidate> = groups.into_iter().flat_map(|group| of_group(group, options)).collect();
    merged.sort_by(|a, b| order(b.confidence, a.confidence));
    NmsOutput { candidates: merged, dropped, ..Default::default() }
}

/// The order of two numbers that are not NaN; zeros of both signs are equal.
fn order(a: f32, b: f32) -> std::cmp::Ordering {
    a.partial_cmp(&b).unwrap_or(std::cmp::Ordering::Equal)
}

/// What is left of boxes that may match, sorted.
fn of_group(group: Vec<Candidate>, options: &MergeOptions) -> Vec<Candidate> {
    let mut is_taken = vec![false; group.len()];
    let mut kept = Vec::new();
    for (index, best) in group.iter().enumerate() {
        if is_taken[index] {
            continue;
        }
        let mut grown = *best;
        for (other, is_taken) in group.iter().zip(&mut is_taken).skip(index + 1) {
            if !*is_taken && overlap(options.metric, best.xyxy, other.xyxy) >= options.threshold as f32 {
                *is_taken = true;
                if options.merge == Merge::GreedyNmm {
                    grow(&mut grown, other, options);
                }
            }
        }
        kept.push(grown);
    }
    kept
}

/// Takes a box that matched the best one into what that has grown to, where it still matches.
fn grow(grown: &mut Candidate, other: &Candidate, options: &MergeOptions) {
    let [a, b] = [grown.xyxy, other.xyxy].map(|xyxy| xyxy.map(f64::from));
    if overlap(options.metric, a, b) >= options.threshold {
        let [[ax1, ay1, ax2, ay2], [bx1, by1, bx2, by2]] = [grown.xyxy, other.xyxy];
        grown.xyxy = [ax1.min(bx1), ay1.min(by1), ax2.max(bx2), ay2.max(by2)];
        // The best one's is the highest.
        if grown.confidence <= other.confidence {
            grown.class_id = other.class_id;
        }
    }
}

/// Overlap of two boxes in the type they are in; 0 where it would be divided by nothing.
fn overlap<T: num_traits::Float>(metric: MatchMetric, a: [T; 4], b: [T; 4]) -> T {
    let area = |[x1, y1, x2, y2]: [T; 4]| (x2 - x1) * (y2 - y1);
    let side = |low: T, high: T| (high - low).max(T::zero());
    let shared = side(a[0].max(b[0]), a[2].min(b[2])) * side(a[1].max(b[1]), a[3].min(b[3]));
    let of = match metric {
        MatchMetric::Ios => area(a).min(area(b)),
        MatchMetric::Iou => area(a) + area(b) - shared,
    };
    if of > T::zero() { shared / of } else { T::zero() }
}
