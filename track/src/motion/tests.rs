//! Against OpenCV and Ultralytics, on frames of `tests/oracle/motion.py`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use serde_json::Value;

use super::*;

#[path = "../../tests/scene/mod.rs"]
mod scene;

use scene::{Scene, mixed};

/// How far a followed point may lie from OpenCV's, in pixels: the golden file has 4 decimals, and the last step of the iteration, of
/// less than 0.01 pixels, is taken or not as the last bit of a sum in single precision falls.
const FLOW_TOLERANCE: f32 = 0.01;
/// How far the motion may take a point of the frame from where Ultralytics' takes it, in pixels.
const MOTION_TOLERANCE: f64 = 0.1;

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
            for x in [0.0, scene.width as f64 - 1.0] {
                for y in [0.0, scene.height as f64 - 1.0] {
                    let [ours, theirs] =
                        [&motion[..], &expected].map(|m| (m[0] * x + m[1] * y + m[2], m[3] * x + m[4] * y + m[5]));
                    let distance = (ours.0 - theirs.0).hypot(ours.1 - theirs.1);
                    assert!(distance <= MOTION_TOLERANCE, "{name}, frame {at}: {motion:?} is not {expected:?}");
                }
            }
        }
    }
}
