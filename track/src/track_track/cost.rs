//! What it costs to give a detection to an object.

use super::corner::CornerDirections;
use crate::boxes::overlaps;

/// Boxes that overlap by no more than this are never matched.
const LEAST_IOU: f32 = 0.1;

/// A detection that an object may take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    /// Place among the objects.
    pub(super) row: usize,
    /// Place among the detections.
    pub(super) column: usize,
    /// From 0 to 1.
    pub(super) cost: f32,
}

/// An object as the costs see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ObjectCue {
    /// Predicted box.
    pub(super) xyxy: [f32; 4],
    /// The box that a detection's direction is taken from.
    pub(super) earlier: [f64; 4],
    /// Where its corners went.
    pub(super) motion: CornerDirections,
    /// The score that its last two detections lead to expect.
    pub(super) expected_score: f32,
}

/// A detection as the costs see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct DetectionCue {
    pub(super) xyxy: [f32; 4],
    pub(super) score: f32,
    /// What it costs more than others.
    pub(super) penalty: f32,
}

/// Weights of what is added to the distance of the boxes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weights {
    /// Of the difference of scores.
    pub(super) score: f32,
    /// Of the angle.
    pub(super) angle: f64,
}

/// Costs of the pairs whose boxes overlap enough, by row, then by column.
///
/// `1 - h·iou + score·|expected - score| + angle`, cut to 0..1, plus the penalty, cut to 0..1: `h` is the overlap of the vertical
/// extents over their union (Hybrid-SORT, Yang et al., AAAI 2024, arXiv 2308.00783), and the angle between the motion of
/// the object's corners and their way to the detection counts by the detection's score.
pub(super) fn candidates(objects: &[ObjectCue], detections: &[DetectionCue], weights: Weights) -> Vec<Candidate> {
    let object_boxes: Vec<[f32; 4]> = objects.iter().map(|object| object.xyxy).collect();
    let detection_boxes: Vec<[f32; 4]> = detections.iter().map(|detection| detection.xyxy).collect();
    let pairs = overlaps(&object_boxes, &detection_boxes).into_iter().filter(|pair| pair.iou > LEAST_IOU);
    let candidates = pairs.map(|pair| {
        let (object, detection) = (&objects[pair.row], &detections[pair.column]);
        let distance = 1.0 - height_overlap(&object.xyxy, &detection.xyxy) * pair.iou;
        let cost = distance + weights.score * (object.expected_score - detection.score).abs();
        let way = CornerDirections::between(&object.earlier, &detection.xyxy.map(f64::from));
        let angle = object.motion.angle_to(&way) * f64::from(detection.score);
        let cost = (f64::from(cost) + weights.angle * angle) as f32;
        let cost = (cost.clamp(0.0, 1.0) + detection.penalty).clamp(0.0, 1.0);
        Candidate { row: pair.row, column: pair.column, cost }
    });
    candidates.collect()
}

/// Intersection over union of the vertical extents of two boxes that overlap.
fn height_overlap(a: &[f32; 4], b: &[f32; 4]) -> f32 {
    let intersection = a[3].min(b[3]) - a[1].max(b[1]);
    let union = a[3].max(b[3]) - a[1].min(b[1]);
    (intersection / union).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STILL: Weights = Weights { score: 0.0, angle: 0.0 };

    fn object(xyxy: [f32; 4]) -> ObjectCue {
        ObjectCue { xyxy, earlier: xyxy.map(f64::from), motion: CornerDirections::default(), expected_score: 0.5 }
    }

    fn detection(xyxy: [f32; 4]) -> DetectionCue {
        DetectionCue { xyxy, score: 0.5, penalty: 0.0 }
    }

    #[test]
    fn a_vertical_shift_costs_more_than_a_horizontal_one() {
        let objects = [object([0.0, 0.0, 10.0, 10.0])];
        let shifted = [detection([5.0, 0.0, 15.0, 10.0]), detection([0.0, 5.0, 10.0, 15.0])];
        let costs: Vec<f32> = candidates(&objects, &shifted, STILL).iter().map(|candidate| candidate.cost).collect();
        assert!((costs[0] - (1.0 - 1.0 / 3.0)).abs() < 1e-6, "{costs:?}");
        assert!((costs[1] - (1.0 - 1.0 / 9.0)).abs() < 1e-6, "{costs:?}");
    }

    #[test]
    fn boxes_that_overlap_by_a_tenth_or_less_are_no_candidates() {
        let objects = [object([0.0, 0.0, 11.0, 10.0])];
        let shifted = [detection([9.0, 0.0, 20.0, 10.0]), detection([8.0, 0.0, 19.0, 10.0])];
        let columns: Vec<usize> = candidates(&objects, &shifted, STILL).iter().map(|pair| pair.column).collect();
        assert_eq!(columns, [1]);
    }

    #[test]
    fn penalty_score_and_angle_add_to_the_cost_up_to_one() {
        let square = [0.0, 0.0, 10.0, 10.0];
        let ahead = CornerDirections::between(&[0.0; 4], &[4.0, 0.0, 4.0, 0.0]);
        let moving = ObjectCue { motion: ahead, expected_score: 1.0, ..object(square) };
        let cost = |penalty, score, angle| {
            let behind = DetectionCue { penalty, ..detection([-2.0, 0.0, 8.0, 10.0]) };
            candidates(&[moving], &[behind], Weights { score, angle })[0].cost
        };
        let plain = 1.0 - 8.0 / 12.0;
        assert!((cost(0.0, 0.0, 0.0) - plain).abs() < 1e-6);
        assert!((cost(0.25, 0.0, 0.0) - (plain + 0.25)).abs() < 1e-6);
        assert!((cost(0.0, 0.5, 0.0) - (plain + 0.5 * 0.5)).abs() < 1e-6);
        // Straight back: an angle of π, by the detection's score of a half.
        assert!((cost(0.0, 0.0, 0.5) - (plain + 0.5 * 0.5)).abs() < 1e-3);
        assert_eq!(cost(0.9, 0.0, 0.0), 1.0);
    }
}
