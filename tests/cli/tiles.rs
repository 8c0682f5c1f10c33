//! `--tile` of `ghostzoo detect` and `ghostzoo val`.

use crate::support::{CommandOutput, TestDir};
use image::{GenericImage, RgbImage};
use serde_json::{Value, json};

const CELLS: &[u8] = include_bytes!("../../ghostzoo/assets/BloodImage_00062.jpg");
/// The model that is built in.
const MODEL: &str = "yolov8n-ghostnet-bccd";

/// An image of the blood cells four times, each of half the size: 640x480, as the one that the model knows.
fn place() -> TestDir {
    let place = TestDir::new();
    let cells = image::load_from_memory(CELLS).unwrap().to_rgb8();
    let cells = image::imageops::resize(&cells, 320, 240, image::imageops::FilterType::Triangle);
    let mut four = RgbImage::new(640, 480);
    for (x, y) in [(0, 0), (320, 0), (0, 240), (320, 240)] {
        four.copy_from(&cells, x, y).unwrap();
    }
    four.save(place.path("four.png")).unwrap();
    place
}

fn detect(place: &TestDir, more: &str) -> CommandOutput {
    place.run(&format!("detect four.png --json --no-save -m {MODEL} {more}"))
}

fn detections(ran: CommandOutput) -> Vec<Value> {
    ran.succeeded().json()[0]["detections"].as_array().unwrap().clone()
}

#[test]
fn tiles_find_what_the_whole_image_is_too_large_for() {
    let place = place();
    let count = |found: &[Value], class: &str| found.iter().filter(|found| found["class"] == class).count();
    let whole = detections(detect(&place, "--imgsz 160"));
    let tiled = detections(detect(&place, "--imgsz 480 --tile 240,320 --overlap 0"));
    assert!(count(&tiled, "RBC") > 2 * count(&whole, "RBC"), "{} {}", tiled.len(), whole.len());
    assert_eq!((count(&tiled, "WBC"), count(&tiled, "Platelets")), (4, 4), "of each of the four images: {tiled:?}");
    for found in &tiled {
        let [x1, y1, x2, y2] = ["x1", "y1", "x2", "y2"].map(|side| found["box"][side].as_f64().unwrap());
        assert!(0. <= x1 && x1 < x2 && x2 <= 640. && 0. <= y1 && y1 < y2 && y2 <= 480., "{found}");
    }
    let confidences: Vec<f64> = tiled.iter().map(|found| found["confidence"].as_f64().unwrap()).collect();
    assert!(confidences.is_sorted_by(|a, b| a >= b), "{confidences:?}");
}

#[test]
fn options_of_tiles_are_obeyed_and_the_size_of_a_batch_changes_nothing() {
    let place = place();
    let run = |more: &str| detections(detect(&place, &format!("--imgsz 320 --tile 240 {more}")));
    let found = run("");
    assert_eq!(run("--tile-batch 1"), found);
    assert_eq!(run("--tile-merge nmm --tile-metric ios --tile-threshold 0.5 --overlap 0.2"), found, "the defaults");
    for more in ["--overlap 0.4", "--no-whole", "--tile-merge nms", "--tile-metric iou", "--tile-threshold 0.9"] {
        assert_ne!(run(more), found, "{more}");
    }
    assert_eq!(run("--conf 0.09"), run("--conf 0.09 --tile-merge nms --tile-metric iou"), "SAHI's rule");
    let agnostic = run("--agnostic-nms");
    assert!(agnostic.len() <= found.len() && !agnostic.is_empty());
    // Files are written as of any prediction.
    place.run(&format!("detect four.png --tile 240 --save-txt -m {MODEL} --save-dir o")).succeeded();
    assert_eq!(place.files("o"), ["four.png", "labels/four.txt"]);
}

#[test]
fn tiles_that_cannot_be_are_refused_in_a_line() {
    let place = place();
    let refused = |more: &str, part: &str| {
        for command in [format!("detect four.png -m {MODEL} {more}"), format!("val --data d.yaml -m {MODEL} {more}")] {
            let ran = place.run(&command);
            let said = ran.stderr.lines().next().unwrap_or_default();
            assert!(ran.code == 2 && said.contains(part), "{command}: {} {}", ran.code, ran.stderr);
        }
    };
    for size in ["0", "0,64", "-3", "large", "1000000000"] {
        refused(&format!("--tile={size}"), "give a side such as 640");
    }
    for overlap in ["1", "-0.1", "1.5", "NaN", "half"] {
        refused(&format!("--tile 64 --overlap={overlap}"), "give a share from 0 up to, but not, 1");
    }
    refused("--tile 64 --tile-threshold 0", "give a share above 0 and up to 1");
    refused("--tile 64 --tile-batch 0", "give a whole number from 1 to");
    refused("--tile 64 --tile-merge soft", "invalid value 'soft'");
    let alone = place.run(&format!("detect four.png -m {MODEL} --no-whole"));
    assert!(alone.code == 2 && alone.stderr.contains("--tile <"), "{}", alone.stderr);
    detect(&place, "--tile 1 --overlap 0.5 --quiet")
        .failed(1, &["four.png: the image of 640x480 pixels has 307200 such tiles, and 100000 are the most"]);
}

#[test]
fn a_validation_says_what_tiles_bring() {
    let place = place();
    let found = detections(detect(&place, "--imgsz 480 --tile 240,320 --overlap 0"));
    let row = |found: &Value| {
        let [x1, y1, x2, y2] = ["x1", "y1", "x2", "y2"].map(|side| found["box"][side].as_f64().unwrap());
        let (cx, cy, w, h) = ((x1 + x2) / 1280., (y1 + y2) / 960., (x2 - x1) / 640., (y2 - y1) / 480.);
        format!("{} {cx} {cy} {w} {h}\n", found["class_id"])
    };
    place.write("set/labels/four.txt", found.iter().map(row).collect::<String>());
    place.write("set/images/four.png", std::fs::read(place.path("four.png")).unwrap());
    place.write("set/data.yaml", "train: images\nval: images\nnames: [WBC, RBC, Platelets]\n");
    let val = |more: &str| {
        let ran = place.run(&format!("val --data set/data.yaml -m {MODEL} --json --plots false {more}"));
        ran.succeeded().json().remove(0)
    };
    let ap = |row: &Value, name: &str| row["coco"][name].as_f64().unwrap();
    let whole = val("--imgsz 160");
    let tiled = val("--imgsz 480 --tile 240,320 --overlap 0 --no-whole");
    assert_eq!(whole["tiles"], Value::Null);
    let expected = json!({
        "size": [240, 320], "overlap": 0.0, "whole": false, "threshold": 0.5, "merge": "nms", "metric": "iou",
    });
    assert_eq!(tiled["tiles"], expected);
    for name in ["AP50", "APs", "APm"] {
        let (without, with) = (ap(&whole, name), ap(&tiled, name));
        assert!(with > without + 0.2, "{name}: {without} {with}");
    }
    assert!(ap(&tiled, "AP50") > 0.9, "what tiles found is found again: {tiled}");
    let ran = place.run(&format!("val --data set/data.yaml -m {MODEL} --plots false --tile 240,320")).succeeded();
    let (text, said) = (ran.stdout, ran.stderr);
    assert!(text.contains("tiles of 240x320 in batches of 8") && text.contains("small"), "{text}");
    assert!(said.contains("note: --conf is below 0.1, where boxes of several tiles do not grow together"), "{said}");
}
