//! Shipped models and images through the binary: no file of weights, an empty cache, and a Hub that must not be asked.

use crate::hub;
use crate::support::{TestDir, seeded_tensors};
use candle_yolov8::{model_config, spec};
use ghostzoo_weights::{Checkpoint, Registry, Task, read, write};
use serde_json::{Value, json};

const DETECTOR: &str = "yolov8n-ghostnet-bccd";
const CLASSIFIER: &str = "ghostnet_050-cifar10";
const CELLS: &[u8] = include_bytes!("../../ghostzoo/assets/BloodImage_00062.jpg");

const SHIP: &[u8] = include_bytes!("../../ghostzoo/assets/freighter.jpg");

fn detections(line: &Value) -> &Vec<Value> {
    line["detections"].as_array().expect("detections")
}

#[test]
fn detect_without_arguments_asks_nobody() {
    let place = TestDir::new();
    let server = hub::Server::start(|_, _| hub::Answer::new(404));
    let mut command = place.command("detect");
    let output = command.env("HF_ENDPOINT", &server.address).env("HF_HUB_OFFLINE", "0").output().unwrap();
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(lines[0].starts_with("image 1/1 BloodImage_00062.jpg: 384x480 "), "{stdout}");
    assert!(lines[1].starts_with("Speed: "), "{stdout}");
    assert_eq!(lines[2..], ["Results saved to runs/detect/predict"]);
    assert_eq!(place.files("runs"), ["detect/predict/BloodImage_00062.jpg"]);
    assert_ne!(std::fs::read(place.path("runs/detect/predict/BloodImage_00062.jpg")).unwrap(), CELLS);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    for part in ["note: ", DETECTOR, "WBC, RBC, Platelets", "BloodImage_00062.jpg", "ghostzoo detect IMAGE"] {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
    assert!(server.requests().is_empty(), "{:?}", server.requests());
    assert_eq!(place.files("hf"), [""; 0], "nothing goes into a cache");
}

#[test]
fn classify_without_arguments_asks_nobody() {
    let place = TestDir::new();
    let server = hub::Server::start(|_, _| hub::Answer::new(404));
    let mut command = place.command("classify");
    let output = command.env("HF_ENDPOINT", &server.address).env("HF_HUB_OFFLINE", "0").output().unwrap();
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(lines[0].starts_with("image 1/1 freighter.jpg: ship 0."), "{stdout}");
    assert!(lines[1].starts_with("Speed: ") && lines[1].ends_with(" (1, 3, 64, 64)"), "{stdout}");
    assert_eq!((lines.len(), stderr.lines().count()), (2, 1), "{stdout}{stderr}");
    for part in ["note: ", CLASSIFIER, "tells apart airplane, ", "freighter.jpg", "ghostzoo classify IMAGE"] {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
    assert!(server.requests().is_empty(), "{:?}", server.requests());
    assert_eq!(place.files(""), [""; 0], "nothing is written");
}

#[test]
fn the_shipped_classifier_gives_the_same_from_the_program_and_from_a_file() {
    let place = TestDir::new();
    place.write("ship.jpg", SHIP);
    let run = |arguments: &str| {
        let run = place.run(&format!("classify {arguments} --json --quiet --topk 10")).succeeded();
        assert_eq!(run.stderr, "");
        run.json()[0]["top"].as_array().expect("classes").clone()
    };
    let built_in = run("");
    assert_eq!((built_in.len(), &built_in[0]["class"]), (10, &json!("ship")), "{built_in:?}");
    place.run(&format!("convert {CLASSIFIER} mine.safetensors")).succeeded();
    for arguments in [&format!("--model {CLASSIFIER}"), "-m mine.safetensors", "ship.jpg -m mine.safetensors"] {
        assert_eq!(run(arguments), built_in, "{arguments}");
    }
}

#[test]
fn the_shipped_detector_gives_the_same_from_the_program_and_from_a_file() {
    let place = TestDir::new();
    place.write("cells.jpg", CELLS);
    // Many boxes, whatever the weights make of the image.
    let run = |arguments: &str| {
        let run = place.run(&format!("detect {arguments} --json --no-save --conf 0.001 --quiet")).succeeded();
        assert_eq!(run.stderr, "");
        run.json()
    };
    let built_in = run("");
    assert_eq!(built_in.len(), 1);
    assert_eq!((&built_in[0]["width"], &built_in[0]["height"]), (&json!(640), &json!(480)));
    assert_eq!(built_in[0]["path"], "BloodImage_00062.jpg");
    assert!(detections(&built_in[0]).len() > 20, "{}", built_in[0]);
    for found in detections(&built_in[0]) {
        assert!(["WBC", "RBC", "Platelets"].contains(&found["class"].as_str().unwrap()), "{found}");
    }
    let sure = detections(&built_in[0]).iter().filter(|found| found["confidence"].as_f64().unwrap() > 0.25);
    let count = |class: &str| sure.clone().filter(|found| found["class"] == class).count();
    let counts = ["WBC", "RBC", "Platelets"].map(count);
    assert!(counts[0] == 1 && counts[1] >= 8 && counts[2] >= 1, "1, 11 and 1 are labelled: {counts:?}");
    let written = place.run(&format!("convert {DETECTOR} mine.safetensors")).succeeded();
    assert!(written.stdout.starts_with("mine.safetensors: "), "{}", written.stdout);
    assert_eq!(read(&place.path("mine.safetensors")).unwrap().metadata.licence.as_deref(), Some("MIT OR Apache-2.0"));
    for arguments in [&format!("--model {DETECTOR}"), "--model mine.safetensors", "cells.jpg -m mine.safetensors"] {
        assert_eq!(detections(&run(arguments)[0]), detections(&built_in[0]), "{arguments}");
    }
    let noted = place.run("detect --no-save -m mine.safetensors").succeeded();
    assert!(noted.stderr.contains("no SOURCE is given") && noted.stderr.contains("built in"), "{}", noted.stderr);
}

#[test]
fn the_detector_of_crops_finds_a_flower_and_names_whom_its_licence_asks_to() {
    let place = TestDir::new();
    place.write("flower.jpg", include_bytes!("../../ghostzoo/assets/okra_flower.jpg"));
    let found = place.run("detect flower.jpg --model yolov8n-crops --json --no-save").succeeded().json();
    let flowers = detections(&found[0]);
    assert_eq!((flowers.len(), &flowers[0]["class"]), (1, &json!("okraFlower")), "{}", found[0]);
    // The label, in pixels: three in a hundred of the image's side away at most.
    for (side, labelled) in [("x1", 109.9), ("y1", 223.7), ("x2", 269.6), ("y2", 314.5)] {
        let side = flowers[0]["box"][side].as_f64().unwrap();
        assert!((side - labelled).abs() < 9.6, "{side}, {labelled}");
    }
    let attribution = "Okra, Pepper & Eggplant Detection Dataset, Fatih Emin, CC BY 4.0, images re-encoded";
    let text = place.run("models").succeeded().stdout;
    assert!(text.contains(&format!("    attribution: {attribution}\n")), "{text}");
    let rows = place.run("models --json").succeeded().json();
    let said: Vec<_> = rows.iter().filter(|row| !row["attribution"].is_null()).collect();
    assert_eq!(
        (said.len(), &said[0]["model"], &said[0]["attribution"]),
        (1, &json!("yolov8n-crops"), &json!(attribution))
    );
}

#[test]
fn shipped_models_are_listed_and_need_no_download() {
    let place = TestDir::new();
    let text = place.run("models").succeeded().stdout;
    let row = text.lines().find(|line| line.starts_with(DETECTOR)).unwrap();
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells[1..6], ["detect", "MIT", "OR", "Apache-2.0", "shipped"], "{row}");
    assert!(text.contains("yolov8n-ghostnet-bccd finds WBC, RBC, Platelets"), "{text}");
    let rows = place.run("models --json").succeeded().json();
    let row = rows.iter().find(|row| row["model"] == DETECTOR).unwrap();
    assert_eq!((&row["source"], &row["repository"]), (&json!("shipped"), &Value::Null));
    assert_eq!(row["file"], "yolov8n-ghostnet-bccd.safetensors");
    let pulled = place.run(&format!("pull {DETECTOR}")).succeeded();
    assert_eq!(pulled.stdout, "", "there is no path to print");
    assert!(pulled.stderr.contains("needs no download"), "{}", pulled.stderr);
}

#[test]
fn a_shipped_name_is_a_models_name_everywhere() {
    let place = TestDir::new();
    let registry = Registry::builtin();
    for entry in registry.shipped(Task::Detect).chain(registry.shipped(Task::Classify)) {
        let sizes = place.run(&format!("summary {} --json", entry.name)).succeeded().json();
        assert_eq!(sizes[0]["parameters"], entry.parameters, "the registry says so of {}", entry.name);
    }
    let bench = place.run(&format!("bench --model {DETECTOR} --imgsz 64 --runs 1 --json")).succeeded().json();
    assert_eq!(bench[0]["model"], DETECTOR);
    for split in ["train", "val"] {
        place.write(&format!("{split}/images/a.jpg"), CELLS);
        place.write(&format!("{split}/labels/a.txt"), "0 0.265625 0.6875 0.246875 0.2875\n");
    }
    place.write("data.yaml", "train: train/images\nval: val/images\nnames: [WBC, RBC, Platelets]\n");
    let val = place.run(&format!("val --data data.yaml --model {DETECTOR} --json --imgsz 64")).succeeded();
    assert_eq!(val.json()[0]["model"], DETECTOR);
    let train =
        format!("train detect --data data.yaml --model {DETECTOR} --epochs 1 --batch 2 --imgsz 64 --plots false");
    let trained = place.run(&train).succeeded();
    assert!(trained.stderr.contains(&format!("tensors are taken from {DETECTOR}")), "{}", trained.stderr);
}

#[test]
fn images_without_a_model_mean_the_hubs_and_its_licence() {
    let place = TestDir::new();
    place.image("a.png", [64, 48], 1);
    let def = model_config("yolov8n", None).unwrap();
    let tensors = seeded_tensors(&spec(&def).unwrap());
    let cached = place.write("hf/hub/models--Ultralytics--YOLOv8/snapshots/main/yolov8n.pt", "");
    write(&cached, &Checkpoint { tensors, ..Default::default() }).unwrap();
    let run = place.run("detect a.png --no-save --imgsz 64").succeeded();
    assert!(run.lines()[0].starts_with("image 1/1 a.png: "), "{}", run.stdout);
    for part in ["no --model is given: this is yolov8n", "AGPL-3.0"] {
        assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
    }
}

#[test]
fn without_the_hub_one_line_says_what_is_built_in() {
    let place = TestDir::new();
    place.image("a.png", [64, 48], 1);
    let ways_out = ["yolov8n.pt", "give --model a local file", "yolov8n-ghostnet-bccd finds WBC, RBC, Platelets"];
    place.run("detect a.png --no-save").failed(1, &["HF_HUB_OFFLINE"]).failed(1, &ways_out);
    place.run("detect a.png --no-save --json").failed(1, &ways_out);
    let named = place.run("detect a.png --no-save --model yolov8n").failed(1, &ways_out[..2]);
    assert!(!named.stderr.contains(DETECTOR), "who names a model wants that one: {}", named.stderr);
    let classify = place.run("classify a.png").failed(1, &["timm/ghostnet_100.in1k", "give --model a local file"]);
    assert!(!classify.stderr.contains(DETECTOR), "a detector does not classify: {}", classify.stderr);
    assert!(classify.stderr.contains("ghostnet_050-cifar10 tells apart airplane, "), "{}", classify.stderr);
    // A port that nobody listens on.
    let mut command = place.command("detect a.png --no-save");
    let output = command.env("HF_HUB_OFFLINE", "0").env("HF_ENDPOINT", "http://127.0.0.1:9").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(1), 1), "{stderr}");
    assert!(ways_out.iter().all(|part| stderr.contains(part)), "{stderr}");
}

#[test]
fn the_readme_shows_what_its_first_command_prints() {
    let place = TestDir::new();
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let command = readme.lines().find_map(|line| line.strip_prefix("cargo run --release -- ")).expect("a command");
    let run = place.run(command).succeeded();
    let (found, _) = run.lines()[0].rsplit_once(", ").expect("classes, then a time");
    assert!(readme.contains(&format!("\n{found}, ")), "{found:?} is not in README.md");
    assert!(readme.contains(&format!("\n{}\n", run.lines()[2])), "{}", run.stdout);
}
