//! Overlaps of boxes, in `f32` and in the order of operations that Ultralytics has, so that costs near a limit fall on the
//! same side.

/// Two boxes that overlap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Overlap {
    /// Place in the first list.
    pub(crate) row: usize,
    /// Place in the second list.
    pub(crate) column: usize,
    /// Intersection over union, above 0.
    pub(crate) iou: f32,
}

/// Keeps a union from being zero.
const LEAST_UNION: f32 = 1e-7;

/// Intersection over union of two boxes `[left, top, right, bottom]`.
pub(crate) fn iou(a: &[f32; 4], b: &[f32; 4]) -> f32 {
    let width = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
    let height = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    let intersection = width * height;
    let area = |of: &[f32; 4]| (of[2] - of[0]) * (of[3] - of[1]);
    intersection / (area(b) + area(a) - intersection + LEAST_UNION)
}

/// All pairs of the two lists that overlap, by row, then by column.
pub(crate) fn overlaps(rows: &[[f32; 4]], columns: &[[f32; 4]]) -> Vec<Overlap> {
    // Columns from left to right: those that can overlap a row begin between its left, less the widest column, and its right.
    let mut order: Vec<usize> =
        (0..columns.len()).filter(|column| columns[*column].iter().all(|v| v.is_finite())).collect();
    order.sort_unstable_by(|a, b| columns[*a][0].total_cmp(&columns[*b][0]));
    let widest = order.iter().map(|column| f64::from(columns[*column][2]) - f64::from(columns[*column][0]));
    let widest = widest.fold(0.0, f64::max);
    let mut pairs: Vec<Overlap> = Vec::with_capacity(4 * rows.len());
    for (row, a) in rows.iter().enumerate() {
        let first = order.partition_point(|column| f64::from(columns[*column][0]) < f64::from(a[0]) - widest);
        let begin = pairs.len();
        for &column in order[first..].iter().take_while(|column| columns[**column][0] < a[2]) {
            let iou = iou(a, &columns[column]);
            if iou > 0.0 {
                pairs.push(Overlap { row, column, iou });
            }
        }
        pairs[begin..].sort_unstable_by_key(|pair| pair.column);
    }
    pairs
}

#[cfg(test)]
mod tests;
