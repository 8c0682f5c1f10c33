//! Precision, recall and average precision as Ultralytics defines them.
//!
//! Per class, the detections of all images, best first, draw a curve of recall and precision. Average precision is the
//! area under the curve's envelope, by the trapezoid rule over 101 recalls. Precision and recall are reported at the one
//! confidence where the smoothed mean F1 of all classes is largest.
//!
//! Source: what Ultralytics 8.4 computes; `tests/oracle/metrics.py` compares.

use super::curves::{argmax, interp, smooth, unit};
use super::matching::{IOU_LEVELS, IouMatches};

/// Points of each curve: confidences or recalls from 0 to 1.
pub const CURVE_POINTS: usize = 1000;
/// Points of the integral.
const RECALLS: usize = 101;
/// Points that F1 is smoothed over: a tenth of the curve, odd.
const SMOOTHED: usize = 101;

/// Collects the detections of a data set; then [`Self::finish`].
#[derive(Debug, Clone, Default)]
pub struct ApAccumulator {
    /// Class, confidence, rightness.
    detections: Vec<(usize, f32, IouMatches)>,
    /// Labelled objects by class.
    truths: Vec<usize>,
    /// Images that show a class.
    images: Vec<usize>,
}

/// One class of a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassMetrics {
    /// The class.
    pub class: usize,
    /// Images that show it.
    pub images: usize,
    /// Its labelled objects.
    pub truths: usize,
    /// Precision at [`Metrics::best`].
    pub precision: f64,
    /// Recall at [`Metrics::best`].
    pub recall: f64,
    /// F1 at [`Metrics::best`].
    pub f1: f64,
    /// Average precision at each overlap.
    pub ap: [f64; IOU_LEVELS],
    /// Precision by confidence.
    pub precision_curve: Vec<f64>,
    /// Recall by confidence.
    pub recall_curve: Vec<f64>,
    /// F1 by confidence.
    pub f1_curve: Vec<f64>,
    /// Precision by recall at overlap 0.5.
    pub pr_curve: Vec<f64>,
}

impl ClassMetrics {
    /// Average precision at overlap 0.5.
    pub fn ap50(&self) -> f64 {
        self.ap[0]
    }

    /// Average precision over all overlaps.
    pub fn ap50_95(&self) -> f64 {
        self.ap.iter().sum::<f64>() / IOU_LEVELS as f64
    }
}

/// The result of [`ApAccumulator::finish`]: the classes that have labels, in order, and their means.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// Classes with labels.
    pub classes: Vec<ClassMetrics>,
    /// The index on the curves where precision, recall and F1 are read; the confidence is `best / 999`.
    pub best: usize,
}

impl Metrics {
    /// Mean over the classes; 0 without any.
    pub fn mean(&self, of: impl Fn(&ClassMetrics) -> f64) -> f64 {
        if self.classes.is_empty() {
            return 0.;
        }
        self.classes.iter().map(of).sum::<f64>() / self.classes.len() as f64
    }

    /// Mean precision, recall, AP at 0.5 and AP at 0.5 to 0.95 over the classes.
    pub fn means(&self) -> [f64; 4] {
        [
            self.mean(|class| class.precision),
            self.mean(|class| class.recall),
            self.mean(ClassMetrics::ap50),
            self.mean(ClassMetrics::ap50_95),
        ]
    }

    /// The confidence at which precision and recall are read.
    pub fn confidence(&self) -> f64 {
        unit(self.best, CURVE_POINTS)
    }
}

impl ApAccumulator {
    /// Adds one image: its detections as (class, confidence, rightness by [`match_boxes`](super::match_boxes)), and
    /// the classes of its labels.
    pub fn add(&mut self, detections: impl IntoIterator<Item = (usize, f32, IouMatches)>, truths: &[usize]) {
        self.detections.extend(detections);
        let mut seen: Vec<usize> = truths.to_vec();
        seen.sort_unstable();
        let classes = seen.last().map_or(0, |last| last + 1).max(self.truths.len());
        self.truths.resize(classes, 0);
        self.images.resize(classes, 0);
        seen.iter().for_each(|class| self.truths[*class] += 1);
        seen.dedup();
        seen.iter().for_each(|class| self.images[*class] += 1);
    }

    /// The metrics of all images added. Detections of equal confidence count in the order they were added.
    pub fn finish(mut self) -> Metrics {
        self.detections.sort_by(|a, b| b.1.total_cmp(&a.1));
        let labelled = self.truths.iter().enumerate().filter(|(_, count)| **count > 0);
        let mut classes: Vec<ClassMetrics> = labelled
            .map(|(class, &truths)| {
                let of_class = self.detections.iter().filter(|(c, ..)| *c == class);
                let found: Vec<(f32, IouMatches)> =
                    of_class.map(|(_, confidence, right)| (*confidence, *right)).collect();
                ClassMetrics::new(class, self.images[class], truths, &found)
            })
            .collect();
        if classes.is_empty() {
            return Metrics { classes, best: 0 };
        }
        let mean = |i: usize| classes.iter().map(|class| class.f1_curve[i]).sum::<f64>() / classes.len() as f64;
        let best = argmax(&smooth(&(0..CURVE_POINTS).map(mean).collect::<Vec<_>>(), SMOOTHED));
        for class in &mut classes {
            class.precision = class.precision_curve[best];
            class.recall = class.recall_curve[best];
            class.f1 = class.f1_curve[best];
        }
        Metrics { classes, best }
    }
}

/// Guard against divisions by zero.
const EPS: f64 = 1e-16;

impl ClassMetrics {
    /// From detections, best first. Without any, every curve is 0.
    fn new(class: usize, images: usize, truths: usize, found: &[(f32, IouMatches)]) -> Self {
        let flat = || vec![0.; CURVE_POINTS];
        let mut metrics = Self {
            class,
            images,
            truths,
            precision: 0.,
            recall: 0.,
            f1: 0.,
            ap: [0.; IOU_LEVELS],
            precision_curve: flat(),
            recall_curve: flat(),
            f1_curve: flat(),
            pr_curve: flat(),
        };
        if found.is_empty() {
            return metrics;
        }
        let falling: Vec<f64> = found.iter().map(|(confidence, _)| -f64::from(*confidence)).collect();
        for level in 0..IOU_LEVELS {
            let curve = Curve::new(found.iter().map(|(_, right)| right[level]), truths);
            let envelope = curve.envelope();
            metrics.ap[level] = envelope.area();
            if level > 0 {
                continue;
            }
            for point in 0..CURVE_POINTS {
                let x = unit(point, CURVE_POINTS);
                // Above the largest confidence nothing is found, and nothing of it is wrong.
                let none = -x < falling[0];
                metrics.recall_curve[point] = if none { 0. } else { interp(-x, &falling, &curve.recall) };
                metrics.precision_curve[point] = if none { 1. } else { interp(-x, &falling, &curve.precision) };
                metrics.pr_curve[point] = interp(x, &envelope.recall, &envelope.precision);
            }
        }
        let f1 = |(p, r): (&f64, &f64)| 2. * p * r / (p + r + EPS);
        metrics.f1_curve = metrics.precision_curve.iter().zip(&metrics.recall_curve).map(f1).collect();
        metrics
    }
}

/// Recall and precision after each detection.
struct Curve {
    recall: Vec<f64>,
    precision: Vec<f64>,
}

impl Curve {
    fn new(right: impl Iterator<Item = bool>, truths: usize) -> Self {
        let (mut hits, mut recall, mut precision) = (0., Vec::new(), Vec::new());
        for (index, right) in right.enumerate() {
            hits += f64::from(u8::from(right));
            recall.push(hits / (truths as f64 + EPS));
            precision.push(hits / (index + 1) as f64);
        }
        Self { recall, precision }
    }

    /// The largest precision at or beyond each recall, from 1 at recall 0 to 0 beyond the last.
    fn envelope(&self) -> Self {
        let last = *self.recall.last().expect("there are detections");
        let recall: Vec<f64> = [0.].into_iter().chain(self.recall.iter().copied()).chain([last, 1.]).collect();
        let mut precision: Vec<f64> = [1.].into_iter().chain(self.precision.iter().copied()).chain([0., 0.]).collect();
        for index in (1..precision.len()).rev() {
            precision[index - 1] = f64::max(precision[index - 1], precision[index]);
        }
        Self { recall, precision }
    }

    fn area(&self) -> f64 {
        let at = |index: usize| interp(unit(index, RECALLS), &self.recall, &self.precision);
        let step = |index: usize| (unit(index, RECALLS) - unit(index - 1, RECALLS)) * (at(index) + at(index - 1)) / 2.;
        (1..RECALLS).map(step).sum()
    }
}

#[cfg(test)]
#[path = "precision_recall_tests.rs"]
mod tests;
