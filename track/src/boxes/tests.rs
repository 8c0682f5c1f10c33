use proptest::prelude::*;

use super::*;

fn boxes() -> impl Strategy<Value = Vec<[f32; 4]>> {
    // Whole numbers make edges that touch; a few boxes have no area, or are no boxes at all.
    let corner = prop_oneof![20 => (-20_i8..20).prop_map(f32::from), 1 => Just(f32::NAN), 1 => Just(1e30_f32)];
    proptest::collection::vec((corner.clone(), corner, -1_i8..15, -1_i8..15), 0..12)
        .prop_map(|list| list.into_iter().map(|(x, y, w, h)| [x, y, x + f32::from(w), y + f32::from(h)]).collect())
}

proptest! {
    #[test]
    fn the_pairs_are_all_that_overlap(rows in boxes(), columns in boxes()) {
        let mut expected = Vec::new();
        for (row, a) in rows.iter().enumerate() {
            for (column, b) in columns.iter().enumerate() {
                let iou = iou(a, b);
                if iou > 0.0 && a.iter().chain(b).all(|value| value.is_finite()) {
                    expected.push(Overlap { row, column, iou });
                }
            }
        }
        prop_assert_eq!(overlaps(&rows, &columns), expected);
    }
}

#[test]
fn intersection_over_union_is_a_part_of_the_area_that_both_cover() {
    assert!((iou(&[0.0, 0.0, 2.0, 2.0], &[1.0, 0.0, 3.0, 2.0]) - 1.0 / 3.0).abs() < 1e-6);
    assert!((iou(&[0.0, 0.0, 2.0, 2.0], &[0.0, 0.0, 2.0, 2.0]) - 1.0).abs() < 1e-6);
    assert_eq!(iou(&[0.0, 0.0, 2.0, 2.0], &[2.0, 0.0, 3.0, 2.0]), 0.0);
}
