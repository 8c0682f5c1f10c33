//! Which object takes which detection, and which detections begin objects.

use super::cost::Candidate;
use crate::assignment::Assignment;
use crate::boxes::iou;

/// Gives each object the detection that costs it least, where the object is what costs that detection least: track-perspective
/// association.
///
/// A round takes all such pairs below `limit`; then both leave, and the next round's limit is lower by `step`. A round that
/// takes none is the last. Of equal costs the first counts: `candidates` are by row, then by column. Matches are in the order in
/// which they were taken.
pub(super) fn associate(
    rows: usize,
    columns: usize,
    mut candidates: Vec<Candidate>,
    mut limit: f64,
    step: f64,
) -> Assignment {
    let mut row_is_free = vec![true; rows];
    let mut column_is_free = vec![true; columns];
    let mut matches = Vec::new();
    loop {
        let mut best_of_row: Vec<Option<Candidate>> = vec![None; rows];
        let mut best_of_column: Vec<Option<Candidate>> = vec![None; columns];
        for candidate in &candidates {
            for best in [&mut best_of_row[candidate.row], &mut best_of_column[candidate.column]] {
                if best.is_none_or(|best| candidate.cost < best.cost) {
                    *best = Some(*candidate);
                }
            }
        }
        let before = matches.len();
        for best in best_of_row.into_iter().flatten() {
            if best_of_column[best.column] == Some(best) && best.cost < limit as f32 {
                matches.push((best.row, best.column));
                row_is_free[best.row] = false;
                column_is_free[best.column] = false;
            }
        }
        if matches.len() == before {
            break;
        }
        candidates.retain(|candidate| row_is_free[candidate.row] && column_is_free[candidate.column]);
        limit -= step;
    }
    Assignment { matches, rows: set(&row_is_free), columns: set(&column_is_free) }
}

/// Which detections (box and score) begin objects: those that score more than `least_score` and overlap no active object, and
/// none of the others that scores more, by more than `most_iou`. Of equal scores the later detection counts as the higher.
pub(super) fn track_aware_nms(
    active: &[[f32; 4]],
    detections: &[([f32; 4], f32)],
    most_iou: f64,
    least_score: f64,
) -> Vec<bool> {
    let (most_iou, least_score) = (most_iou as f32, least_score as f32);
    let is_new = |xyxy: &[f32; 4]| active.iter().all(|object| iou(object, xyxy) <= most_iou);
    let mut begins: Vec<bool> = detections.iter().map(|(xyxy, score)| *score > least_score && is_new(xyxy)).collect();
    let mut order = set(&begins);
    order.sort_by(|a, b| detections[*b].1.total_cmp(&detections[*a].1).then(b.cmp(a)));
    for (place, &better) in order.iter().enumerate() {
        if begins[better] {
            for &worse in &order[place + 1..] {
                begins[worse] &= iou(&detections[better].0, &detections[worse].0) <= most_iou;
            }
        }
    }
    begins
}

/// Places of the flags that are set.
fn set(flags: &[bool]) -> Vec<usize> {
    (0..flags.len()).filter(|place| flags[*place]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(costs: &[[f32; 3]]) -> Vec<Candidate> {
        let rows = costs.iter().enumerate();
        let cells = rows.flat_map(|(row, costs)| {
            costs.iter().enumerate().map(move |(column, &cost)| Candidate { row, column, cost })
        });
        cells.collect()
    }

    #[test]
    fn a_pair_that_prefers_each_other_goes_before_the_least_sum() {
        // The least sum would be 0.2 + 0.2; row 0 and column 0 prefer each other, and row 1 takes what is left.
        let found = associate(2, 3, candidates(&[[0.1, 0.2, 1.0], [0.2, 0.6, 1.0]]), 0.7, 0.0);
        assert_eq!(found.matches, [(0, 0), (1, 1)]);
        assert_eq!((found.rows, found.columns), (vec![], vec![2]));
    }

    #[test]
    fn the_limit_sinks_with_each_round() {
        let costs = [[0.1, 0.2, 1.0], [0.2, 0.6, 1.0]];
        assert_eq!(associate(2, 3, candidates(&costs), 0.7, 0.05).matches, [(0, 0), (1, 1)]);
        assert_eq!(associate(2, 3, candidates(&costs), 0.7, 0.1).matches, [(0, 0)]);
        assert_eq!(associate(2, 3, candidates(&costs), 0.1, 0.0).matches, []);
    }

    #[test]
    fn of_equal_costs_the_first_counts() {
        assert_eq!(associate(2, 3, candidates(&[[0.5; 3], [0.5; 3]]), 0.7, 0.0).matches, [(0, 0), (1, 1)]);
    }

    #[test]
    fn a_detection_over_an_object_or_over_a_better_detection_begins_none() {
        let at = |x: f32| [x, 0.0, x + 10.0, 10.0];
        let detections = [(at(1.0), 0.9), (at(30.0), 0.8), (at(31.0), 0.95), (at(32.0), 0.75), (at(60.0), 0.6)];
        assert_eq!(track_aware_nms(&[at(0.0)], &detections, 0.55, 0.7), [false, false, true, false, false]);
        assert_eq!(track_aware_nms(&[], &detections, 0.55, 0.5), [true, false, true, false, true]);
    }

    #[test]
    fn a_detection_that_begins_none_does_not_keep_others_from_it() {
        let at = |x: f32| [x, 0.0, x + 10.0, 10.0];
        // Two of ten pixels of shift are an overlap of 0.67; four are one of 0.43.
        let detections = [(at(4.0), 0.9), (at(6.0), 0.8)];
        assert_eq!(track_aware_nms(&[at(0.0)], &detections, 0.55, 0.7), [true, false]);
        assert_eq!(track_aware_nms(&[at(2.0)], &detections, 0.55, 0.7), [false, true]);
    }

    #[test]
    fn of_equal_scores_the_later_detection_begins_an_object() {
        let detections = [([0.0, 0.0, 10.0, 10.0], 0.9), ([1.0, 0.0, 11.0, 10.0], 0.9)];
        assert_eq!(track_aware_nms(&[], &detections, 0.55, 0.7), [false, true]);
    }
}
