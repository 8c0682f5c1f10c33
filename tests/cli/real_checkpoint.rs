//! A trained checkpoint against the boxes that Ultralytics finds with it (`tests/oracle/real_checkpoint.py`).
//!
//! Ignored by default, because neither the checkpoint nor the images may ship: `make real` fetches them and sets
//! `GHOSTZOO_REAL` (the unpacked wheels) and `GHOSTZOO_DATA` (a folder with `bccd/` and `imagenet-100/`).

use std::path::{Path, PathBuf};
use std::process::Command;

use candle_core::{DType, Device};
use candle_nn::VarBuilder;
use candle_vision::image::{self, Letterbox, letterbox, to_tensor};
use candle_yolov8::{Yolo, config_from_shapes};
use ghostzoo_kernels::Isa;
use serde_json::Value;

/// Two boxes of one class are the same finding above this overlap and within this distance of confidence.
const SAME_IOU: f64 = 0.99;
const SAME_CONFIDENCE: f64 = 0.005;

#[derive(Debug)]
struct Finding {
    class_id: u64,
    confidence: f64,
    corners: [f64; 4],
}

fn iou(a: &[f64; 4], b: &[f64; 4]) -> f64 {
    let side = |low: f64, high: f64| (high - low).max(0.);
    let area = |c: &[f64; 4]| side(c[0], c[2]) * side(c[1], c[3]);
    let overlap = side(a[0].max(b[0]), a[2].min(b[2])) * side(a[1].max(b[1]), a[3].min(b[3]));
    overlap / (area(a) + area(b) - overlap)
}

/// The largest number of pairs of the same finding, each finding in one pair at most (augmenting paths).
fn matched(ours: &[Finding], theirs: &[Finding]) -> usize {
    fn place(i: usize, edges: &[Vec<usize>], taken: &mut [Option<usize>], seen: &mut [bool]) -> bool {
        edges[i].iter().any(|j| {
            if std::mem::replace(&mut seen[*j], true) {
                return false;
            }
            if taken[*j].is_none_or(|other| place(other, edges, taken, seen)) {
                taken[*j] = Some(i);
                return true;
            }
            false
        })
    }
    let same = |a: &Finding, b: &Finding| {
        a.class_id == b.class_id
            && (a.confidence - b.confidence).abs() <= SAME_CONFIDENCE
            && iou(&a.corners, &b.corners) >= SAME_IOU
    };
    let edges: Vec<Vec<usize>> =
        ours.iter().map(|a| (0..theirs.len()).filter(|j| same(a, &theirs[*j])).collect()).collect();
    let mut taken = vec![None; theirs.len()];
    (0..ours.len()).filter(|i| place(*i, &edges, &mut taken, &mut vec![false; theirs.len()])).count()
}

fn golden(part: &str) -> (f64, Vec<(String, Vec<Finding>)>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/real_checkpoint.json");
    let golden: Value = serde_json::from_slice(&std::fs::read(path).expect("golden file")).expect("golden JSON");
    let part = &golden[part];
    let finding = |value: &Value| Finding {
        class_id: value["class_id"].as_u64().expect("class_id"),
        confidence: value["confidence"].as_f64().expect("confidence"),
        corners: std::array::from_fn(|i| value["box"][i].as_f64().expect("box")),
    };
    let images = part["pictures"].as_array().expect("pictures").iter().map(|image| {
        let findings = image["detections"].as_array().expect("detections").iter().map(finding).collect();
        (image["path"].as_str().expect("path").to_owned(), findings)
    });
    (part["conf"].as_f64().expect("conf"), images.collect())
}

fn ghostzoo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_ghostzoo")).args(arguments).output().expect("the binary runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8 output")
}

fn detect(model: &Path, conf: f64, images: &[PathBuf]) -> Vec<Vec<Finding>> {
    let conf = conf.to_string();
    let mut arguments =
        vec!["detect", "--json", "--no-save", "--conf", &conf, "--model", model.to_str().expect("path")];
    arguments.extend(images.iter().map(|path| path.to_str().expect("path")));
    let lines = ghostzoo(&arguments);
    let finding = |value: &Value| Finding {
        class_id: value["class_id"].as_u64().expect("class_id"),
        confidence: value["confidence"].as_f64().expect("confidence"),
        corners: ["x1", "y1", "x2", "y2"].map(|side| value["box"][side].as_f64().expect("box")),
    };
    lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a JSON line"))
        .map(|line| line["detections"].as_array().expect("detections").iter().map(finding).collect())
        .collect()
}

/// Boxes of theirs, of ours, and the same ones, over all images.
fn agreement(found: &[Vec<Finding>], expected: &[(String, Vec<Finding>)]) -> [usize; 3] {
    assert_eq!(found.len(), expected.len(), "a line per image");
    let pairs = found.iter().zip(expected);
    pairs.fold([0; 3], |[theirs, ours, same], (found, (_, expected))| {
        [theirs + expected.len(), ours + found.len(), same + matched(found, expected)]
    })
}

fn environment(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: run `make real`")))
}

#[test]
#[ignore = "needs a checkpoint and images that may not ship: make real"]
fn bus_and_zidane_give_the_boxes_of_ultralytics_from_pt_and_from_safetensors() {
    let wheels = environment("GHOSTZOO_REAL");
    let checkpoint = wheels.join("fall_detection/models/best.pt");
    let folder = tempfile::tempdir().expect("temporary folder");
    let converted = folder.path().join("best.safetensors");
    ghostzoo(&["convert", checkpoint.to_str().expect("path"), converted.to_str().expect("path")]);
    let (conf, expected) = golden("assets");
    let images: Vec<PathBuf> = expected.iter().map(|(path, _)| wheels.join("ultralytics/assets").join(path)).collect();
    for model in [&checkpoint, &converted] {
        for (ours, (path, theirs)) in detect(model, conf, &images).iter().zip(&expected) {
            assert_eq!(ours.len(), theirs.len(), "{path}: {ours:#?} against {theirs:#?}");
            assert_eq!(matched(ours, theirs), theirs.len(), "{path}: {ours:#?} against {theirs:#?}");
        }
    }
}

#[test]
#[ignore = "needs a checkpoint and images that may not ship: make real"]
fn twenty_images_at_low_confidence_match_in_98_of_100_boxes() {
    let checkpoint = environment("GHOSTZOO_REAL").join("fall_detection/models/best.pt");
    let data = environment("GHOSTZOO_DATA");
    if !data.join("bccd").is_dir() {
        println!("skipped: {} has no bccd/", data.display());
        return;
    }
    let (conf, expected) = golden("data");
    let images: Vec<PathBuf> = expected.iter().map(|(path, _)| data.join(path)).collect();
    let [theirs, ours, same] = agreement(&detect(&checkpoint, conf, &images), &expected);
    println!("{theirs} boxes of Ultralytics, {ours} of ours, {same} the same");
    assert!(same * 100 >= theirs * 98, "{same} of {theirs} boxes matched");
    assert!(ours.abs_diff(theirs) * 100 <= theirs, "{ours} boxes against {theirs}");
}

/// Largest difference of the plan's raw levels from those of the same network in f64, relative to the largest logit: trained
/// weights and a photograph, with Winograd in most of the layers.
const PLAN_TOLERANCE: f64 = 4e-6;

#[test]
#[ignore = "needs a checkpoint and images that may not ship: make real"]
fn the_plan_gives_a_trained_networks_levels_in_f64() -> candle_core::Result<()> {
    let wheels = environment("GHOSTZOO_REAL");
    let checkpoint = ghostzoo_weights::read(&wheels.join("fall_detection/models/best.pt")).expect("a checkpoint");
    let shapes = checkpoint.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shape().clone())).collect();
    let (_, def) = config_from_shapes(&shapes).expect("a YOLOv8");
    let build = |dtype| {
        let tensors = checkpoint.tensors.clone().into_iter().collect();
        Yolo::new(&def.for_inference(), VarBuilder::from_tensors(tensors, dtype, &Device::Cpu))
    };
    let image = image::open(&wheels.join("ultralytics/assets/bus.jpg")).expect("an image");
    let (image, _) = letterbox(&image, &Letterbox::rect([320; 2], 32));
    let xs = to_tensor(&image, &Device::Cpu)?.unsqueeze(0)?;
    let exact = build(DType::F64)?.forward_t(&xs.to_dtype(DType::F64)?, false)?;
    let mut network = build(DType::F32)?;
    for isa in Isa::available() {
        network.set_isa(isa)?;
        for (level, exact) in network.forward_t(&xs, false)?.iter().zip(&exact) {
            let scale = exact.abs()?.max_all()?.to_scalar::<f64>()?;
            let worst = (level.to_dtype(DType::F64)? - exact)?.abs()?.max_all()?.to_scalar::<f64>()? / scale;
            println!("{isa}, level {:?}: {worst:.1e} of {scale:.1}", exact.dims());
            assert!(worst > 0. && worst < PLAN_TOLERANCE, "{isa}: {worst:e}");
        }
    }
    Ok(())
}
