use std::path::PathBuf;

use image::{Rgb, RgbImage};
use proptest::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::*;
use crate::nms::{Candidate, MAX_CANDIDATES};

/// A file that `tests/oracle/tiles.py` wrote.
fn golden<T: DeserializeOwned>(name: &str) -> T {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/tiles").join(name);
    serde_json::from_slice(&std::fs::read(path).expect("a committed file")).expect("of this form")
}

#[derive(Deserialize)]
struct Position {
    image: [usize; 2],
    tile: [usize; 2],
    overlap: f64,
    /// Left, top, right, bottom.
    boxes: Vec<[usize; 4]>,
}

#[test]
fn tiles_lie_where_sahi_lays_them() {
    let cases: Vec<Position> = golden("positions.json");
    assert!(cases.len() > 90 && cases.iter().any(|case| case.boxes.len() > 50));
    for Position { image, tile, overlap, boxes } in cases {
        let found = grid(image, tile, overlap).expect("tiles");
        let found: Vec<_> = found.iter().map(|t| [t.x, t.y, t.x + t.width, t.y + t.height]).collect();
        assert_eq!(found, boxes, "{image:?} in {tile:?} by {overlap}");
    }
}

/// x1, y1, x2, y2, score, class.
type Row = (f32, f32, f32, f32, f32, usize);

#[derive(Deserialize)]
struct Merged {
    predictions: Vec<Row>,
    results: Vec<MergedBy>,
}

#[derive(Deserialize)]
struct MergedBy {
    merge: String,
    metric: String,
    threshold: f64,
    agnostic: bool,
    rows: Vec<Row>,
}

fn candidates(rows: &[Row]) -> Vec<Candidate> {
    let candidate =
        |&(x1, y1, x2, y2, confidence, class_id): &Row| Candidate { xyxy: [x1, y1, x2, y2], confidence, class_id };
    rows.iter().map(candidate).collect()
}

#[test]
fn merged_boxes_equal_sahis() {
    let mut compared = 0;
    for Merged { predictions, results } in golden::<Vec<Merged>>("merge.json") {
        for MergedBy { merge: how, metric, threshold, agnostic, rows } in results {
            let how = if how == "nms" { Merge::Nms } else { Merge::GreedyNmm };
            let metric = if metric == "ios" { MatchMetric::Ios } else { MatchMetric::Iou };
            let options = MergeOptions { merge: how, metric, threshold, agnostic };
            // Its boxes come class by class.
            let mut expected = candidates(&rows);
            expected.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
            let found = merge(candidates(&predictions), &options);
            assert_eq!((found.candidates, found.dropped), (expected, 0), "{} boxes, {options:?}", predictions.len());
            compared += rows.len();
        }
    }
    assert!(compared > 2000, "{compared}");
}

#[test]
fn a_part_beyond_a_tiles_edge_joins_the_whole() {
    let candidate = |class_id, confidence, xyxy| Candidate { class_id, confidence, xyxy };
    let boxes = vec![candidate(0, 0.6, [100., 0., 160., 50.]), candidate(0, 0.9, [60., 0., 130., 50.])];
    let options = MergeOptions::default();
    let found = |options: &MergeOptions| merge(boxes.clone(), options).candidates;
    assert_eq!(found(&options), [candidate(0, 0.9, [60., 0., 160., 50.])], "half of the smaller one is shared");
    assert_eq!(found(&options.clone().threshold(0.51)).len(), 2);
    assert_eq!(found(&options.clone().metric(MatchMetric::Iou)).len(), 2, "three tenths of the union are");
    assert_eq!(found(&options.clone().merge(Merge::Nms)), boxes[1..]);
    let other = vec![boxes[0], Candidate { class_id: 1, ..boxes[1] }];
    assert_eq!(merge(other.clone(), &options).candidates.len(), 2);
    assert_eq!(merge(other, &options.agnostic(true)).candidates, [candidate(1, 0.9, [60., 0., 160., 50.])]);
}

#[test]
fn what_is_no_box_does_not_count_and_no_more_than_the_most_do() {
    let good = Candidate { class_id: 0, confidence: 0.5, xyxy: [0., 0., 4., 4.] };
    let bad = [
        Candidate { confidence: f32::NAN, ..good },
        Candidate { xyxy: [0., 0., f32::INFINITY, 4.], ..good },
        Candidate { xyxy: [f32::NAN, 0., 4., 4.], ..good },
    ];
    let found = merge([&bad[..], &[good]].concat(), &MergeOptions::default());
    assert_eq!((found.candidates, found.dropped), (vec![good], 0));
    let many = vec![good; MAX_CANDIDATES + 7];
    let found = merge(many, &MergeOptions::default());
    assert_eq!((found.candidates, found.dropped), (vec![good], 7));
    let flat = Candidate { xyxy: [1., 1., 1., 3.], ..good };
    assert_eq!(merge(vec![flat, flat], &MergeOptions::default()).candidates.len(), 2, "nothing shares no area");
}

#[test]
fn tiles_that_cannot_be_are_refused() {
    let error = |size, overlap| grid([480, 640], size, overlap).expect_err("refused").to_string();
    assert!(error([0, 8], 0.2).starts_with("a tile of 8x0 pixels has none"), "{}", error([0, 8], 0.2));
    for overlap in [-0.1, 1., 1.5, f64::NAN, f64::INFINITY] {
        assert!(error([64; 2], overlap).contains("give a share from 0 up to, but not, 1"), "{overlap}");
    }
    let many = error([1; 2], 0.);
    assert!(many.contains("640x480 pixels has 307200 such tiles, and 100000 are the most"), "{many}");
    let largest = [usize::MAX; 2];
    assert!(grid(largest, [1; 2], 0.).is_err() && grid([1; 2], largest, 0.9999).is_ok_and(|tiles| tiles.len() == 1));
    assert_eq!(grid([0, 640], [64; 2], 0.2), Ok(vec![]));
}

#[test]
fn a_tile_shows_its_pixels() {
    let image = RgbImage::from_fn(50, 30, |x, y| Rgb([x as u8, y as u8, 7]));
    let tile = Tile { x: 20, y: 10, width: 30, height: 20 };
    let found = crop(&image, &tile);
    assert_eq!(found.dimensions(), (30, 20));
    assert!(found.enumerate_pixels().all(|(x, y, pixel)| pixel.0 == [x as u8 + 20, y as u8 + 10, 7]));
    assert_eq!(crop(&image, &Tile { x: 60, ..tile }).len(), 0);
}

proptest! {
    #[test]
    fn tiles_cover_the_image_and_stay_in_it(
        image in prop::array::uniform2(1..300usize), size in prop::array::uniform2(1..120usize), overlap in 0.0..1.0,
    ) {
        let Ok(tiles) = grid(image, size, overlap) else { return Ok(()) };
        let mut seen = vec![false; image[0] * image[1]];
        for Tile { x, y, width, height } in tiles {
            prop_assert_eq!([height, width], [size[0].min(image[0]), size[1].min(image[1])]);
            prop_assert!(x + width <= image[1] && y + height <= image[0]);
            (y..y + height).for_each(|y| seen[y * image[1] + x..][..width].fill(true));
        }
        prop_assert!(seen.iter().all(|seen| *seen));
    }
}
