//! COCO's average precision and recall of boxes, as pycocotools' `COCOeval` computes them.
//!
//! Source: <https://cocodataset.org/#detection-eval> and pycocotools 2.0.11. Per class and range of areas, the detections
//! of each image, best first, take the ground truth that they overlap most; what may be ignored (crowds, areas outside
//! the range) is taken only where nothing else is left. Precision is made monotone and read at 101 recalls.
//!
//! One difference: pycocotools takes a ground truth whose id is 0 for unmatched; ids play no part here.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Overlaps at which a detection counts: 0.50 to 0.95.
const IOUS: usize = 10;
/// Recalls at which precision is read: 0 to 1.
const RECALLS: usize = 101;
/// Most detections per image and class, of AR@1, AR@10 and all else.
const MAX_DETECTIONS: [usize; 3] = [1, 10, 100];
/// Areas in square pixels, both ends inclusive: all, small, medium, large.
const AREAS: [[f64; 2]; 4] = [[0., 1e10], [0., 1024.], [1024., 9216.], [9216., 1e10]];

/// One labelled object.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GroundTruth {
    /// The image. Images count in the order of their numbers, which decides between equal scores.
    pub image: usize,
    /// The class.
    pub class: usize,
    /// Left, top, width, height in pixels.
    pub bbox: [f64; 4],
    /// Area in square pixels; for COCO, of the outline, not of the box.
    pub area: f64,
    /// Whether it stands for many objects: detections in it are neither right nor wrong.
    pub crowd: bool,
}

/// One detection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoredBox {
    /// The image.
    pub image: usize,
    /// The class.
    pub class: usize,
    /// Left, top, width, height in pixels.
    pub bbox: [f64; 4],
    /// Confidence; NaN counts as the least.
    pub score: f64,
}

/// The twelve numbers of COCO, from 0 to 1; `None` where no ground truth falls into the range (pycocotools prints −1).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CocoStats {
    /// Average precision over overlaps 0.50 to 0.95.
    pub ap: Option<f64>,
    /// Average precision at overlap 0.50.
    pub ap50: Option<f64>,
    /// Average precision at overlap 0.75.
    pub ap75: Option<f64>,
    /// Average precision of small, medium and large objects.
    pub ap_by_area: [Option<f64>; 3],
    /// Average recall with 1, 10 and 100 detections per image.
    pub ar: [Option<f64>; 3],
    /// Average recall of small, medium and large objects.
    pub ar_by_area: [Option<f64>; 3],
}

impl CocoStats {
    /// Names of [`Self::stats`], in pycocotools' order.
    pub const NAMES: [&str; 12] =
        ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"];

    /// The numbers in pycocotools' order.
    pub fn stats(&self) -> [Option<f64>; 12] {
        let [ap_s, ap_m, ap_l] = self.ap_by_area;
        let [ar_1, ar_10, ar_100] = self.ar;
        let [ar_s, ar_m, ar_l] = self.ar_by_area;
        [self.ap, self.ap50, self.ap75, ap_s, ap_m, ap_l, ar_1, ar_10, ar_100, ar_s, ar_m, ar_l]
    }
}

/// What [`evaluate`] finds.
#[derive(Debug, Clone, PartialEq)]
pub struct CocoEval {
    /// Over all classes.
    pub summary: CocoStats,
    /// [AP, AP50] by class; `None` where a class has no ground truth.
    pub by_class: Vec<[Option<f64>; 2]>,
}

/// Compares detections with ground truth. Classes are 0 to `classes` - 1; others do not count.
///
/// Equal scores keep the order of the images, and within an image that of the slice.
pub fn evaluate(truths: &[GroundTruth], detections: &[ScoredBox], classes: usize) -> CocoEval {
    let truths = by_class(truths, classes, |t| (t.class, t.image));
    let detections = by_class(detections, classes, |d| (d.class, d.image));
    let found: Vec<ClassResult> = truths.par_iter().zip(&detections).map(|(t, d)| ClassResult::new(t, d)).collect();
    let precision = |area: usize, range: std::ops::Range<usize>| {
        mean(
            found
                .iter()
                .filter_map(|class| class.areas[area].as_ref())
                .flat_map(|found| &found.precision[range.clone()])
                .flatten(),
        )
    };
    let recall = |area: usize, limit: usize| {
        mean(found.iter().filter_map(|class| class.areas[area].as_ref()).flat_map(|found| &found.recall[limit]))
    };
    let summary = CocoStats {
        ap: precision(0, 0..IOUS),
        ap50: precision(0, 0..1),
        ap75: precision(0, 5..6),
        ap_by_area: [1, 2, 3].map(|area| precision(area, 0..IOUS)),
        ar: [0, 1, 2].map(|limit| recall(0, limit)),
        ar_by_area: [1, 2, 3].map(|area| recall(area, 2)),
    };
    let of_class = |class: &ClassResult| {
        let curves = class.areas[0].as_ref().map(|found| &found.precision);
        [curves.and_then(|c| mean(c.iter().flatten())), curves.and_then(|c| mean(c[0].iter()))]
    };
    CocoEval { summary, by_class: found.iter().map(of_class).collect() }
}

fn mean<'a>(values: impl Iterator<Item = &'a f64>) -> Option<f64> {
    let (count, sum) = values.fold((0usize, 0.), |(count, sum), value| (count + 1, sum + value));
    (count > 0).then(|| sum / count as f64)
}

/// Items by class, those of a class in the order of their images.
fn by_class<T: Copy>(items: &[T], classes: usize, key: impl Fn(&T) -> (usize, usize)) -> Vec<Vec<T>> {
    let mut sorted = vec![Vec::new(); classes];
    for item in items {
        if let Some(class) = sorted.get_mut(key(item).0) {
            class.push(*item);
        }
    }
    sorted.iter_mut().for_each(|class| class.sort_by_key(|item| key(item).1));
    sorted
}

/// One class: for each range of areas, unless it holds no ground truth that counts.
struct ClassResult {
    areas: [Option<AreaResult>; AREAS.len()],
}

struct AreaResult {
    /// By overlap, at each recall.
    precision: [[f64; RECALLS]; IOUS],
    /// By limit on detections and overlap: the largest recall.
    recall: [[f64; IOUS]; MAX_DETECTIONS.len()],
}

impl ClassResult {
    fn new(truths: &[GroundTruth], detections: &[ScoredBox]) -> Self {
        let images = images(truths, detections);
        Self { areas: AREAS.map(|area| AreaResult::new(&images, &area)) }
    }
}

/// One image's objects of one class.
struct Image<'a> {
    truths: &'a [GroundTruth],
    /// Best first, at most 100.
    detections: Vec<ScoredBox>,
    /// Overlap of detection d and truth t at `d * truths.len() + t`.
    overlaps: Vec<f64>,
}

fn images<'a>(mut truths: &'a [GroundTruth], mut detections: &[ScoredBox]) -> Vec<Image<'a>> {
    let mut images = Vec::new();
    while let Some(image) = truths.first().map(|t| t.image).into_iter().chain(detections.first().map(|d| d.image)).min()
    {
        let (here, rest) = truths.split_at(truths.partition_point(|t| t.image <= image));
        truths = rest;
        let (found, rest) = detections.split_at(detections.partition_point(|d| d.image <= image));
        detections = rest;
        let mut found = found.to_vec();
        found.sort_by(|a, b| descending(a.score, b.score));
        found.truncate(MAX_DETECTIONS[2]);
        let overlaps = found.iter().flat_map(|d| here.iter().map(|t| overlap(&d.bbox, &t.bbox, t.crowd))).collect();
        images.push(Image { truths: here, detections: found, overlaps });
    }
    images
}

/// NaN last.
fn descending(a: f64, b: f64) -> std::cmp::Ordering {
    b.partial_cmp(&a).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// Intersection over union of boxes x, y, w, h; over the detection's area where the truth is a crowd.
fn overlap(detection: &[f64; 4], truth: &[f64; 4], crowd: bool) -> f64 {
    let side = |axis: usize| {
        (detection[axis] + detection[axis + 2]).min(truth[axis] + truth[axis + 2]) - detection[axis].max(truth[axis])
    };
    let (w, h) = (side(0), side(1));
    if w <= 0. || h <= 0. {
        return 0.;
    }
    let (of_detection, of_truth) = (detection[2] * detection[3], truth[2] * truth[3]);
    w * h / if crowd { of_detection } else { of_detection + of_truth - w * h }
}

/// A detection's fate at each overlap.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Right,
    Wrong,
    Ignored,
}

/// A detection within its class.
struct Judged {
    score: f64,
    /// Better detections of the same image.
    rank: usize,
    fates: [Fate; IOUS],
}

impl AreaResult {
    fn new(images: &[Image], area: &[f64; 2]) -> Option<Self> {
        let outside = |value: f64| value < area[0] || value > area[1];
        let ignored = |truth: &GroundTruth| truth.crowd || outside(truth.area);
        let positives = images.iter().flat_map(|image| image.truths).filter(|truth| !ignored(truth)).count();
        if positives == 0 {
            return None;
        }
        let mut judged = Vec::new();
        for image in images {
            image.judge(&ignored, &outside, &mut judged);
        }
        judged.sort_by(|a, b| descending(a.score, b.score));
        let mut precision = [[0.; RECALLS]; IOUS];
        let mut recall = [[0.; IOUS]; MAX_DETECTIONS.len()];
        for level in 0..IOUS {
            for (limit, recall) in MAX_DETECTIONS.iter().zip(&mut recall) {
                let right = judged.iter().filter(|d| d.rank < *limit && d.fates[level] == Fate::Right).count();
                recall[level] = right as f64 / positives as f64;
            }
            precision[level] = precision_at_recalls(judged.iter().map(|d| d.fates[level]), positives);
        }
        Some(Self { precision, recall })
    }
}

impl Image<'_> {
    fn judge(&self, ignored: &impl Fn(&GroundTruth) -> bool, outside: &impl Fn(f64) -> bool, out: &mut Vec<Judged>) {
        // What counts comes before what is ignored.
        let mut order: Vec<usize> = (0..self.truths.len()).collect();
        order.sort_by_key(|t| ignored(&self.truths[*t]));
        let mut fates = vec![[Fate::Wrong; IOUS]; self.detections.len()];
        for level in 0..IOUS {
            let mut taken = vec![false; self.truths.len()];
            for (d, fates) in fates.iter_mut().enumerate() {
                let mut best: Option<usize> = None;
                let mut least = threshold(level).min(1. - 1e-10);
                for &t in &order {
                    let truth = &self.truths[t];
                    if taken[t] && !truth.crowd {
                        continue;
                    }
                    if best.is_some_and(|best| !ignored(&self.truths[best])) && ignored(truth) {
                        break;
                    }
                    let overlap = self.overlaps[d * self.truths.len() + t];
                    if overlap >= least {
                        (least, best) = (overlap, Some(t));
                    }
                }
                fates[level] = match best {
                    Some(t) => {
                        taken[t] = true;
                        if ignored(&self.truths[t]) { Fate::Ignored } else { Fate::Right }
                    }
                    None if outside(self.detections[d].bbox[2] * self.detections[d].bbox[3]) => Fate::Ignored,
                    None => Fate::Wrong,
                };
            }
        }
        let scores = self.detections.iter().map(|d| d.score);
        out.extend(scores.zip(fates).enumerate().map(|(rank, (score, fates))| Judged { score, rank, fates }));
    }
}

/// numpy's `linspace(0.5, 0.95, 10)[level]`.
fn threshold(level: usize) -> f64 {
    if level == IOUS - 1 { 0.95 } else { level as f64 * ((0.95 - 0.5) / (IOUS - 1) as f64) + 0.5 }
}

/// The largest precision at or beyond each recall; 0 where a recall is not reached.
fn precision_at_recalls(fates: impl Iterator<Item = Fate>, positives: usize) -> [f64; RECALLS] {
    let (mut right, mut wrong) = (0., 0.);
    let (mut recalls, mut precisions) = (Vec::new(), Vec::new());
    for fate in fates {
        match fate {
            Fate::Right => right += 1.,
            Fate::Wrong => wrong += 1.,
            Fate::Ignored => {}
        }
        recalls.push(right / positives as f64);
        precisions.push(right / (wrong + right + f64::EPSILON));
    }
    for index in (1..precisions.len()).rev() {
        precisions[index - 1] = f64::max(precisions[index - 1], precisions[index]);
    }
    std::array::from_fn(|index| {
        let recall = if index == RECALLS - 1 { 1. } else { index as f64 * (1. / (RECALLS - 1) as f64) };
        let first = recalls.partition_point(|reached| *reached < recall);
        precisions.get(first).copied().unwrap_or(0.)
    })
}

#[cfg(test)]
#[path = "coco_tests.rs"]
mod tests;
