use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// The sum over all rows: the cost of the pair that a row is in, or the limit. Checks that the matches are ones.
fn total(rows: usize, columns: usize, pairs: &[Pair], limit: f64, found: &Assignment) -> f64 {
    let (mut seen_rows, mut seen_columns) = (found.rows.clone(), found.columns.clone());
    let mut sum = limit * found.rows.len() as f64;
    for &(row, column) in &found.matches {
        let pair = pairs.iter().find(|pair| (pair.row, pair.column) == (row, column)).expect("a pair that was given");
        assert!(pair.cost < limit);
        sum += pair.cost;
        seen_rows.push(row);
        seen_columns.push(column);
    }
    seen_rows.sort_unstable();
    seen_columns.sort_unstable();
    assert_eq!((seen_rows, seen_columns), ((0..rows).collect(), (0..columns).collect()));
    sum
}

/// The least sum, by trying everything.
fn least(costs: &[Vec<Option<f64>>], limit: f64, taken: &mut Vec<bool>) -> f64 {
    let Some((row, rest)) = costs.split_first() else { return 0.0 };
    let mut best = limit + least(rest, limit, taken);
    for (column, cost) in row.iter().enumerate() {
        if let (Some(cost), false) = (cost, taken[column]) {
            taken[column] = true;
            best = best.min(cost + least(rest, limit, taken));
            taken[column] = false;
        }
    }
    best
}

fn pairs_of(costs: &[Vec<Option<f64>>]) -> Vec<Pair> {
    let row = |(row, costs): (usize, &Vec<Option<f64>>)| -> Vec<Pair> {
        costs.iter().enumerate().filter_map(|(column, cost)| Some(Pair { row, column, cost: (*cost)? })).collect()
    };
    costs.iter().enumerate().flat_map(row).collect()
}

proptest! {
    #[test]
    fn no_other_assignment_costs_less(
        costs in (0_usize..6).prop_flat_map(|columns| {
            // Whole multiples make ties; a few costs are below zero.
            let cost = proptest::option::weighted(0.7, (-3_i32..20).prop_map(|steps| f64::from(steps) / 16.0));
            proptest::collection::vec(proptest::collection::vec(cost, columns), 0..6)
        }),
        limit in 0.0..1.2,
    ) {
        let columns = costs.first().map_or(0, Vec::len);
        let pairs = pairs_of(&costs);
        let found = assign(costs.len(), columns, &pairs, limit);
        let sum = total(costs.len(), columns, &pairs, limit, &found);
        prop_assert!((sum - least(&costs, limit, &mut vec![false; columns])).abs() < 1e-12, "{sum}: {found:?}");
    }
}

proptest! {
    #[test]
    fn costs_that_rounding_swallows_lead_to_an_assignment_all_the_same(
        costs in proptest::collection::vec(
            proptest::collection::vec(proptest::option::weighted(0.8, (-1.0..1.0, -20..38).prop_map(|(of, power)| of * 10_f64.powi(power))), 8),
            0..9,
        ),
    ) {
        let pairs = pairs_of(&costs);
        total(costs.len(), 8, &pairs, 0.8, &assign(costs.len(), 8, &pairs, 0.8));
    }
}

#[test]
fn the_sum_is_that_of_scipy_and_the_matches_are_those_of_lap() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/track/assignment.json");
    let cases: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(cases.len() > 10);
    for case in &cases {
        let number = |key: &str| case[key].as_u64().unwrap() as usize;
        let (rows, columns, limit) = (number("rows"), number("columns"), case["limit"].as_f64().unwrap());
        let listed: Vec<[usize; 3]> = serde_json::from_value(case["pairs"].clone()).unwrap();
        let cost = |steps: usize| steps as f64 / number("unit") as f64;
        let pairs: Vec<Pair> =
            listed.iter().map(|&[row, column, steps]| Pair { row, column, cost: cost(steps) }).collect();
        let found = assign(rows, columns, &pairs, limit);
        // Scipy's sum has half the limit for each row and each column that stays alone.
        let sum = total(rows, columns, &pairs, limit, &found) + limit / 2.0 * (columns as f64 - rows as f64);
        assert!((sum - case["least"].as_f64().unwrap()).abs() < 1e-9, "{rows}x{columns}: {sum}");
        let matches: Vec<(usize, usize)> = serde_json::from_value(case["matches"].clone()).unwrap();
        assert_eq!(found.matches, matches, "{rows}x{columns}");
    }
}

#[test]
fn a_pair_at_the_limit_is_no_match() {
    let pairs = [Pair { row: 0, column: 0, cost: 0.5 }];
    assert_eq!(assign(1, 1, &pairs, 0.5).matches, []);
    assert_eq!(assign(1, 1, &pairs, 0.500_001).matches, [(0, 0)]);
}
