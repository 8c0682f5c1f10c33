//! Accuracy of a classifier.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Bins of the calibration error.
pub const BINS: usize = 15;
/// Fixed point: sums of losses and confidences are whole numbers of 2⁻³², so that they do not depend on the order.
const UNIT: f64 = (1u64 << 32) as f64;
/// The largest loss of one image that is told from larger ones.
const MAX_LOSS: f64 = 1e4;

/// Counts of the images that a classifier has looked at.
///
/// Two tallies [`merge`](Self::merge) to exactly what one would hold that has seen the images of both.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassificationMetrics {
    images: u64,
    top1: u64,
    top5: u64,
    /// Images whose logits hold NaN or +∞; they count as wrong and not into the loss.
    not_finite: u64,
    loss: u64,
    bins: [Bin; BINS],
    /// Images by (true class, predicted class).
    #[serde(with = "triples")]
    confusion: BTreeMap<(u32, u32), u64>,
}

/// Images whose confidence falls into one range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bin {
    images: u64,
    right: u64,
    confidence: u64,
}

/// What the model said of one image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleResult {
    /// The likeliest class, the first of equals.
    pub predicted: usize,
    /// Whether that is right.
    pub top1: bool,
    /// Whether a right class is among the five likeliest.
    pub top5: bool,
}

impl ClassificationMetrics {
    /// Adds one image: its logits by class and its class. A prediction is right where `accepted` holds it, which is
    /// `[label]` but for ReaL labels. Classes with the logit −∞ are out of the question.
    ///
    /// The loss is the cross entropy with `label`. A class beyond the logits is an error of the caller and never right.
    pub fn add(&mut self, logits: &[f32], label: usize, accepted: &[usize]) -> SampleResult {
        self.images += 1;
        let best = argmax(logits);
        *self.confusion.entry((label as u32, best as u32)).or_default() += 1;
        if logits.iter().any(|logit| logit.is_nan() || *logit == f32::INFINITY) {
            self.not_finite += 1;
            return SampleResult { predicted: best, top1: false, top5: false };
        }
        let top1 = accepted.contains(&best);
        let top5 = accepted.iter().any(|class| rank(logits, *class).is_some_and(|rank| rank < 5));
        self.top1 += u64::from(top1);
        self.top5 += u64::from(top5);
        let most = f64::from(logits.get(best).copied().unwrap_or(0.));
        let total: f64 = logits.iter().map(|logit| (f64::from(*logit) - most).exp()).sum();
        let of_label = logits.get(label).map_or(f64::NEG_INFINITY, |logit| f64::from(*logit));
        let loss = (most + total.ln() - of_label).clamp(0., MAX_LOSS);
        self.loss = self.loss.saturating_add((loss * UNIT).round() as u64);
        let confidence = 1. / total;
        // The range of a bin is open below and closed above.
        let bin = ((confidence * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
        let bin = &mut self.bins[bin];
        bin.images += 1;
        bin.right += u64::from(top1);
        bin.confidence += (confidence * UNIT).round() as u64;
        SampleResult { predicted: best, top1, top5 }
    }

    /// Adds the images of another tally.
    pub fn merge(&mut self, other: &Self) {
        self.images += other.images;
        self.top1 += other.top1;
        self.top5 += other.top5;
        self.not_finite += other.not_finite;
        self.loss = self.loss.saturating_add(other.loss);
        for (bin, other) in self.bins.iter_mut().zip(&other.bins) {
            bin.images += other.images;
            bin.right += other.right;
            bin.confidence += other.confidence;
        }
        for (cell, count) in &other.confusion {
            *self.confusion.entry(*cell).or_default() += count;
        }
    }

    /// Whether the counts can be those of at most `images` images of `classes` classes: for tallies from elsewhere.
    pub fn is_sound(&self, images: u64, classes: usize) -> bool {
        let binned = self.bins.iter().map(|bin| bin.images).try_fold(0u64, u64::checked_add);
        let confused = self.confusion.values().copied().try_fold(0u64, u64::checked_add);
        let finite = self.images.checked_sub(self.not_finite);
        self.images <= images
            && self.top1 <= self.top5
            && finite.is_some_and(|finite| self.top5 <= finite)
            && binned == finite
            && confused == Some(self.images)
            && self.confusion.keys().all(|(label, predicted)| (*label.max(predicted) as usize) < classes)
    }

    /// Images seen.
    pub fn images(&self) -> u64 {
        self.images
    }

    /// Images whose logits were not finite.
    pub fn not_finite(&self) -> u64 {
        self.not_finite
    }

    /// Images whose likeliest class is right, from 0 to 1.
    pub fn top1(&self) -> f64 {
        share(self.top1, self.images)
    }

    /// Images with a right class among the five likeliest, from 0 to 1.
    pub fn top5(&self) -> f64 {
        share(self.top5, self.images)
    }

    /// Mean cross entropy of the images with finite logits.
    pub fn loss(&self) -> f64 {
        share(self.loss, self.images - self.not_finite) / UNIT
    }

    /// Expected calibration error: the mean distance of confidence and accuracy over 15 bins of equal width, weighted by
    /// their images. Source: <https://arxiv.org/abs/1706.04599>.
    pub fn calibration_error(&self) -> f64 {
        let distance = |bin: &Bin| (bin.confidence as f64 / UNIT - bin.right as f64).abs();
        let total: f64 = self.bins.iter().map(distance).sum();
        total / (self.images - self.not_finite).max(1) as f64
    }

    /// Images by (true class, predicted class), in order; pairs that never came are absent.
    pub fn confusion(&self) -> impl Iterator<Item = ((usize, usize), u64)> {
        self.confusion.iter().map(|((label, predicted), count)| ((*label as usize, *predicted as usize), *count))
    }

    /// Different classes that were predicted.
    pub fn predicted_classes(&self) -> usize {
        let mut classes: Vec<u32> = self.confusion.keys().map(|(_, predicted)| *predicted).collect();
        classes.sort_unstable();
        classes.dedup();
        classes.len()
    }

    /// Different true classes.
    pub fn true_classes(&self) -> usize {
        let mut classes: Vec<u32> = self.confusion.keys().map(|(label, _)| *label).collect();
        classes.dedup();
        classes.len()
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0. } else { part as f64 / whole as f64 }
}

/// The first of the largest; 0 where there is none.
fn argmax(logits: &[f32]) -> usize {
    let mut best = 0;
    for (class, logit) in logits.iter().enumerate() {
        if *logit > logits[best] || logits[best].is_nan() && !logit.is_nan() {
            best = class;
        }
    }
    best
}

/// How many classes come before `class`: larger logits, and equal ones of smaller classes. `None` where it is out of the
/// question.
fn rank(logits: &[f32], class: usize) -> Option<usize> {
    let own = *logits.get(class).filter(|own| **own > f32::NEG_INFINITY)?;
    Some(logits.iter().enumerate().filter(|(other, logit)| **logit > own || **logit == own && *other < class).count())
}

/// A map of pairs as a list of triples: JSON's keys are strings.
mod triples {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(map: &BTreeMap<(u32, u32), u64>, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(map.iter().map(|((a, b), count)| (a, b, count)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<(u32, u32), u64>, D::Error> {
        let rows = Vec::<(u32, u32, u64)>::deserialize(from)?;
        Ok(rows.into_iter().map(|(a, b, count)| ((a, b), count)).collect())
    }
}

#[cfg(test)]
#[path = "classification_tests.rs"]
mod tests;
