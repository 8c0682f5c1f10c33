//! What a detector takes for what.

use super::matching::iou;

/// Counts by predicted class (rows) and true class (columns); the last of each is the background: a detection of nothing,
/// and an object that was not found.
///
/// As Ultralytics counts: detections above a confidence, best first, take the object of any class that they overlap most
/// and that is still free, above an overlap of 0.45.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfusionMatrix {
    classes: usize,
    counts: Vec<u64>,
}

/// Overlap above which a detection means an object.
const OVERLAP: f32 = 0.45;

impl ConfusionMatrix {
    /// Of `classes` classes, nothing counted.
    pub fn new(classes: usize) -> Self {
        Self { classes, counts: vec![0; (classes + 1) * (classes + 1)] }
    }

    /// Classes without the background, whose number this is.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How often `predicted` was said of `truth`.
    pub fn count(&self, predicted: usize, truth: usize) -> u64 {
        self.counts[predicted * (self.classes + 1) + truth]
    }

    /// Adds one image: detections (class, box) above the wished confidence, best first, and its objects. Classes
    /// beyond the matrix do not count.
    pub fn add(&mut self, detections: &[(usize, [f32; 4])], truths: &[(usize, [f32; 4])]) {
        let pairs = self.pairs(detections, truths);
        pairs.into_iter().for_each(|(predicted, truth)| self.increment(predicted, truth));
    }

    /// What [`Self::add`] counts of an image: pairs of predicted and true class.
    pub fn pairs(&self, detections: &[(usize, [f32; 4])], truths: &[(usize, [f32; 4])]) -> Vec<(usize, usize)> {
        let background = self.classes;
        let mut taken_by: Vec<Option<usize>> = vec![None; truths.len()];
        let mut pairs = Vec::new();
        for (class, bbox) in detections {
            let free = (0..truths.len()).filter(|t| taken_by[*t].is_none()).map(|t| (t, iou(&truths[t].1, bbox)));
            let best = free.reduce(|best, other| if other.1 > best.1 { other } else { best });
            match best {
                Some((truth, overlap)) if overlap > OVERLAP => taken_by[truth] = Some(*class),
                _ => pairs.push((*class, background)),
            }
        }
        let of_truths = truths.iter().zip(taken_by);
        pairs.extend(of_truths.map(|((truth, _), predicted)| (predicted.unwrap_or(background), *truth)));
        pairs
    }

    /// Counts one pair of [`Self::pairs`]. Classes beyond the matrix do not count.
    pub fn increment(&mut self, predicted: usize, truth: usize) {
        if predicted <= self.classes && truth <= self.classes {
            self.counts[predicted * (self.classes + 1) + truth] += 1;
        }
    }
}
