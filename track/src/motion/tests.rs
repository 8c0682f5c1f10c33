//! Against OpenCV and Ultralytics, on frames of `tests/oracle/motion.py`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use serde_json::Value;

use super::*;

#[path = "../../tests/scene/mod.rs"]
mod scene;

use scene::{Scene, mixed};

/// How far a followed point may lie from OpenCV's, in pixels: the golden file has 4 decimals, and OpenCV sums in single precision what
/// is exact here.
const FLOW_TOLERANCE: f32 = 0.001;
/// How far the motion may take a point of the frame from where Ultralytics' takes it, in pixels: as the points, and the fit there is
/// ten steps towards the least squares.
const MOTION_TOLERANCE: f64 = 0.001;
/// How far the motion may take a corner of the frame from where the camera that drew it does, in pixels: levels are rounded.
const TRUTH_TOLERANCE: f64 = 1.0;

fn golden() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/track/motion.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// FNV-1a, as `common.py`.
fn digest(bytes: &[u8]) -> String {
    let hash = bytes
        .iter()
        .fold(0xCBF2_9CE4_8422_2325_u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3));
    format!("{hash:016x}")
}

/// Name, scenes and what the peers made of them, of each sequence.
fn sequences(golden: &Value) -> impl Iterator<Item = (&str, Vec<(Scene, &Value)>)> {
    golden["sequences"].as_array().unwrap().iter().map(|sequence| {
        let frames = sequence["frames"].as_array().unwrap().iter().map(Scene::from_json);
        (sequence["name"].as_str().unwrap(), frames.zip(sequence["expected"].as_array().unwrap()).collect())
    })
}

fn numbers(values: &Value) -> Vec<f64> {
    values.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

/// How far apart two motions take a corner of the frame, at most.
fn distance(scene: &Scene, a: &[f64], b: &[f64]) -> f64 {
    let corners = [0.0, scene.width as f64 - 1.0].into_iter().flat_map(|x| [[x, 0.0], [x, scene.height as f64 - 1.0]]);
    let distances = corners.map(|[x, y]| {
        let [(ax, ay), (bx, by)] = [a, b].map(|m| (m[0] * x + m[1] * y + m[2], m[3] * x + m[4] * y + m[5]));
        (ax - bx).hypot(ay - by)
    });
    distances.fold(0.0, f64::max)
}

fn pyramid(scene: &Scene) -> Pyramid {
    let pixels = scene.draw();
    Pyramid::new(&GrayImage::halved(&GrayFrame::new(scene.width, scene.height, &pixels).unwrap()).unwrap())
}

#[test]
fn color_to_luma_and_halving_are_opencvs_to_the_bit() {
    let golden = golden();
    for case in golden["images"].as_array().unwrap() {
        let [width, height] = [0, 1].map(|at| case["size"][at].as_u64().unwrap() as usize);
        let places = (0..height as i64).flat_map(|y| (0..3 * width as i64).map(move |x| (x, y)));
        let pixels: Vec<u8> = places.map(|(x, y)| mixed(x, y, 7) as u8).collect();
        let rgb = GrayImage::from_rgb(width, height, &pixels).unwrap();
        let bgr = GrayImage::from_bgr(width, height, &pixels).unwrap();
        let half = GrayImage::halved(&rgb.frame()).unwrap();
        for (key, image) in [("rgb", &rgb), ("bgr", &bgr), ("half", &half)] {
            assert_eq!(digest(image.frame().pixels), case[key], "{key} of {width}x{height}");
        }
    }
}

#[test]
fn corners_are_opencvs_in_the_same_order() {
    let golden = golden();
    for (name, frames) in sequences(&golden) {
        for (at, (scene, expected)) in frames.iter().enumerate() {
            let pixels = scene.draw();
            assert_eq!(digest(&pixels), expected["gray"], "{name}, frame {at}: the frame itself");
            let half = GrayImage::halved(&GrayFrame::new(scene.width, scene.height, &pixels).unwrap()).unwrap();
            assert_eq!(digest(half.frame().pixels), expected["half"], "{name}, frame {at}: its half");
            let corners = corners::corners(&Pyramid::new(&half).levels[0]);
            assert_eq!(corners.len() as u64, expected["corners"], "{name}, frame {at}");
            let list: Vec<String> = corners.iter().map(|[x, y]| format!("{x},{y}")).collect();
            assert_eq!(digest(list.join(";").as_bytes()), expected["corners_digest"], "{name}, frame {at}");
        }
    }
}

#[test]
fn points_are_followed_to_where_opencv_follows_them() {
    let golden = golden();
    let stride = golden["stride"].as_u64().unwrap() as usize;
    let mut compared = 0;
    for (name, frames) in sequences(&golden) {
        for (at, pair) in frames.windows(2).enumerate() {
            let [(before, _), (scene, expected)] = pair else { unreachable!() };
            let Some(flow) = expected["flow"].as_array() else { continue };
            let before = pyramid(before);
            let found = flow::track(&before, &pyramid(scene), &corners::corners(&before.levels[0]));
            let count = found.iter().flatten().count();
            assert_eq!(count as u64, expected["found"], "{name}, frame {}", at + 1);
            for (index, (found, expected)) in found.iter().step_by(stride).zip(flow).enumerate() {
                let Some([x, y]) = *found else {
                    assert!(expected.is_null(), "{name}, frame {}, point {}: lost", at + 1, index * stride);
                    continue;
                };
                let expected = numbers(expected);
                let distance = (x - expected[0] as f32).hypot(y - expected[1] as f32);
                assert!(
                    distance <= FLOW_TOLERANCE,
                    "{name}, frame {}, point {}: ({x}, {y}) lies {distance} from {expected:?}",
                    at + 1,
                    index * stride
                );
                compared += 1;
            }
        }
    }
    assert!(compared > 2000, "{compared} points");
}

#[test]
fn the_motion_is_ultralytics_on_the_whole_frame() {
    let golden = golden();
    for (name, frames) in sequences(&golden) {
        let mut compensation = Compensation::new();
        for (at, (scene, expected)) in frames.iter().enumerate() {
            let pixels = scene.draw();
            let motion =
                compensation.apply(&GrayFrame { width: scene.width, height: scene.height, pixels: &pixels }, &[]);
            let expected = numbers(&expected["motion"]);
            let distance = distance(scene, &motion, &expected);
            assert!(distance <= MOTION_TOLERANCE, "{name}, frame {at}: {motion:?} is not {expected:?}");
        }
    }
}

/// From the pixels of one frame to those of another, by the maps that they were drawn with.
fn truth(from: &Scene, to: &Scene) -> [f64; 6] {
    let [[a, b, c, d, e, f], [p, q, r, s, t, u]] = [from, to].map(|scene| scene.map.map(|value| value as f64));
    let determinant = p * t - q * s;
    let inverse = |x: f64, y: f64| [(t * x - q * y) / determinant, (p * y - s * x) / determinant];
    let [[m0, m3], [m1, m4], [m2, m5]] = [inverse(a, d), inverse(b, e), inverse(c - r, f - u)];
    [m0, m1, m2, m3, m4, m5]
}

#[test]
fn the_motion_is_that_of_the_camera_that_drew_the_frames() {
    let golden = golden();
    let names = ["still", "translation", "rotation", "zoom", "noise"];
    for (name, frames) in sequences(&golden).filter(|(name, _)| names.contains(name)) {
        let mut compensation = Compensation::new();
        for (at, (scene, _)) in frames.iter().enumerate() {
            let pixels = scene.draw();
            let motion = compensation.apply(&GrayFrame::new(scene.width, scene.height, &pixels).unwrap(), &[]);
            let truth = if at == 0 { IDENTITY } else { truth(&frames[at - 1].0, scene) };
            let distance = distance(scene, &motion, &truth);
            assert!(distance <= TRUTH_TOLERANCE, "{name}, frame {at}: {motion:?} is {distance} from {truth:?}");
        }
    }
}

#[test]
fn after_a_frame_that_is_none_the_next_is_a_first() {
    let golden = golden();
    let (_, frames) = sequences(&golden).find(|(name, _)| *name == "zoom").unwrap();
    let drawn: Vec<Vec<u8>> = frames.iter().map(|(scene, _)| scene.draw()).collect();
    let frame = |at: usize| GrayFrame::new(320, 240, &drawn[at]).unwrap();
    let none = [
        GrayFrame { pixels: &drawn[1][1..], ..frame(1) },
        GrayFrame { width: usize::MAX, height: usize::MAX, ..frame(1) },
        GrayFrame { width: 1, height: 4, pixels: &[1, 2, 3, 4] },
        GrayFrame { width: 0, height: 0, pixels: &[] },
    ];
    for none in none {
        let mut compensation = Compensation::new();
        compensation.apply(&frame(0), &[]);
        assert_eq!(compensation.apply(&none, &[]), IDENTITY);
        assert_eq!(compensation.apply(&frame(1), &[]), IDENTITY);
        assert_ne!(compensation.apply(&frame(2), &[]), IDENTITY);
    }
}

#[test]
fn frames_of_any_size_have_a_motion_of_finite_numbers() {
    for width in (0..9).chain([20, 21, 22, 23, 43, 44, 45, 85, 86, 90]) {
        for height in [0, 1, 2, 3, 6, 21, 43, 44, 47, 91] {
            let mut compensation = Compensation::new();
            for seed in 0..3 {
                let pixels: Vec<u8> = (0..width * height).map(|at| mixed(at, 0, seed) as u8).collect();
                let frame = GrayFrame::new(width as usize, height as usize, &pixels).unwrap();
                let motion = compensation.apply(&frame, &[]);
                assert!(motion.iter().all(|value| value.is_finite()), "{width}x{height}: {motion:?}");
            }
        }
    }
}

#[test]
fn bytes_that_are_not_whole_rows_are_told() {
    let told = "a frame of 4x3 pixels has 12 bytes, but 11 were given: give whole rows without padding";
    assert_eq!(GrayFrame::new(4, 3, &[0; 11]).unwrap_err().to_string(), told);
    assert_eq!(GrayFrame::new(4, 3, &[0; 12]).unwrap().pixels.len(), 12);
    assert!(GrayImage::from_rgb(4, 3, &[0; 12]).is_err());
    assert!(GrayImage::from_bgr(usize::MAX, usize::MAX, &[0; 36]).is_err());
    assert_eq!(GrayImage::from_bgr(4, 3, &[7; 36]).unwrap().frame().pixels, [7; 12]);
}

#[test]
fn the_motion_of_most_pairs_is_found_among_others() {
    let motion = affine::Similarity { a: 0.98, b: 0.05, c: 4.5, d: -7.25 };
    let pairs: Vec<affine::Pair> = (0..100)
        .map(|at| {
            let [x, y] = [0, 1].map(|axis| mixed(at, axis, 1) as f64);
            let to = [motion.a * x - motion.b * y + motion.c, motion.b * x + motion.a * y + motion.d];
            let off = if at % 5 < 2 { 20.0 + mixed(at, 2, 1) as f64 } else { 0.0 };
            [[x as f32, y as f32], [(to[0] + off) as f32, (to[1] - off) as f32]]
        })
        .collect();
    let found = affine::estimate(&pairs).unwrap();
    let pairs_of = |m: affine::Similarity| [m.a, m.b, m.c, m.d];
    for (found, drawn) in pairs_of(found).into_iter().zip(pairs_of(motion)) {
        assert!((found - drawn).abs() < 1e-4, "{found} is not {drawn}");
    }
    assert_eq!(affine::estimate(&pairs), Some(found));
}

#[test]
fn points_of_one_place_have_no_motion() {
    assert_eq!(affine::estimate(&[]), None);
    assert_eq!(affine::estimate(&[[[1.0, 2.0], [3.0, 4.0]]]), None);
    assert_eq!(affine::estimate(&[[[1.0, 2.0], [3.0, 4.0]]; 9]), None);
}
