//! `publish` through the binary: what is in the folder, and what is refused.

use std::path::Path;

use crate::support::TestDir;
use ghostzoo_weights::read;
use serde_json::{Value, json};
use yaml_rust2::{Yaml, YamlLoader};

const DETECTOR: &str = "yolov8n-ghostnet-bccd";
const CLASSIFIER: &str = "ghostnet_050-cifar10";

/// The metadata of a card, and what follows them.
fn card(place: &TestDir, folder: &str) -> (Yaml, String) {
    card_of(&place.read(&format!("{folder}/README.md")))
}

fn card_of(text: &str) -> (Yaml, String) {
    let (front, body) = text.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap();
    (YamlLoader::load_from_str(front).unwrap().remove(0), body.to_owned())
}

fn config(place: &TestDir, folder: &str) -> Value {
    serde_json::from_str(&place.read(&format!("{folder}/config.json"))).unwrap()
}

#[test]
fn a_detectors_folder_has_a_card_with_its_metrics_and_a_file_that_detects() {
    let place = TestDir::new();
    place.write(
        "val.json",
        json!({
            "images": 72, "imgsz": 480,
            "ultralytics": {"map50": 0.894, "map50_95": 0.592, "precision": 0.839, "recall": 0.869},
            "coco": {"AP": 0.597, "AP50": 0.893},
        })
        .to_string(),
    );
    let line = format!(
        "publish --model {DETECTOR} --dry-run -o cells --name me/cells --license mit --dataset bccd --split test \
         --metrics val.json --attribution Shenggan"
    );
    let ran = place.run(&line).succeeded();
    assert!(ran.stderr.contains("`hf upload me/cells cells`"), "{}", ran.stderr);
    assert_eq!(place.files("cells"), ["LICENSE", "README.md", "config.json", "model.safetensors"]);
    let (front, body) = card(&place, "cells");
    assert_eq!(front["license"].as_str(), Some("mit"));
    assert_eq!(front["pipeline_tag"].as_str(), Some("object-detection"));
    assert_eq!(front["datasets"][0].as_str(), Some("bccd"));
    assert!(front["tags"].as_vec().unwrap().iter().any(|tag| tag.as_str() == Some("yolov8n-ghostnet")));
    let result = &front["model-index"][0]["results"][0];
    assert_eq!(front["model-index"][0]["name"].as_str(), Some("me/cells"));
    assert_eq!(result["task"]["type"].as_str(), Some("object-detection"));
    assert_eq!((result["dataset"]["name"].as_str(), result["dataset"]["split"].as_str()), (Some("bccd"), Some("test")));
    let metrics: Vec<_> = result["metrics"]
        .as_vec()
        .unwrap()
        .iter()
        .map(|row| (row["type"].as_str().unwrap(), row["value"].as_f64().unwrap()))
        .collect();
    assert_eq!(metrics[..2], [("mAP50-95", 0.592), ("mAP50", 0.894)]);
    assert_eq!(metrics.len(), 6);
    for part in
        ["`WBC`, `RBC`, `Platelets`", "2,357,141", "hf://me/cells/model.safetensors", "Shenggan", "72 images of bccd"]
    {
        assert!(body.contains(part), "{part}: {body}");
    }
    assert!(place.read("cells/LICENSE").starts_with("Shenggan\n"));
    let config = config(&place, "cells");
    assert_eq!((&config["architecture"], &config["imgsz"]), (&json!("yolov8n-ghostnet"), &json!(480)));
    assert_eq!((&config["label_names"][0], &config["strides"]), (&json!("WBC"), &json!([8, 16, 32])));

    let written = read(&place.path("cells/model.safetensors")).unwrap();
    assert_eq!(written.metadata.licence.as_deref(), Some("mit"));
    place.run(&format!("convert {DETECTOR} same.safetensors --quiet")).succeeded();
    assert_eq!(written.shapes(), read(&place.path("same.safetensors")).unwrap().shapes());
    place.image("a.png", [96, 64], 1);
    let found = |model: &str| {
        let line = format!("detect a.png --no-save --json --imgsz 64 --conf 0.0001 -m {model}");
        place.run(&line).succeeded().json()[0]["detections"].clone()
    };
    assert!(!found(DETECTOR).as_array().unwrap().is_empty(), "there is something to compare");
    assert_eq!(found("cells/model.safetensors"), found(DETECTOR));
    place.run(&line).failed(2, &["cells exists"]);
}

#[test]
fn a_classifiers_configuration_says_how_images_are_prepared() {
    let place = TestDir::new();
    let row = json!({"top1": 83.16, "top5": 99.27, "pictures": 10_000, "img_size": 64});
    place.write("eval.json", format!("{row}\n"));
    let line = format!(
        "publish --model {CLASSIFIER} --dry-run -o things --license apache-2.0 --dataset CIFAR-10@2009 --metrics eval.json --quiet"
    );
    assert_eq!(place.run(&line).succeeded().stdout, "");
    let (front, body) = card(&place, "things");
    assert_eq!(front["pipeline_tag"].as_str(), Some("image-classification"));
    assert!(front["datasets"].is_badvalue(), "no name that the Hub could have");
    let result = &front["model-index"][0]["results"][0];
    assert_eq!(result["dataset"]["type"].as_str(), Some("cifar-10-2009"));
    assert_eq!(result["metrics"][0]["value"].as_f64(), Some(0.8316));
    assert!(body.contains("top-5 accuracy | 0.9927") && body.contains("10,000 images"), "{body}");
    let config = config(&place, "things");
    assert_eq!((&config["architecture"], &config["num_classes"]), (&json!("ghostnet_050"), &json!(10)));
    let prepared = &config["pretrained_cfg"];
    assert_eq!((&prepared["input_size"], &prepared["interpolation"]), (&json!([3, 64, 64]), &json!("bilinear")));
    assert_eq!((&prepared["crop_pct"], &prepared["mean"]), (&json!(1.0), &json!([0.485, 0.456, 0.406])));
}

#[test]
fn weights_are_not_published_without_their_licence_or_under_another() {
    let place = TestDir::new();
    let publish = |model: &str, rest: &str| place.run(&format!("publish --model {model} -o out {rest}"));
    publish(DETECTOR, "--license mit").failed(2, &["uploads nothing", "`hf upload out out`"]);
    publish(DETECTOR, "--dry-run").failed(2, &["--license mit or apache-2.0"]);
    publish(DETECTOR, "--dry-run --license agpl-3.0").failed(2, &["under MIT OR Apache-2.0"]);
    place.run(&format!("convert {DETECTOR} m.safetensors --quiet")).succeeded();
    let mut bare = read(&place.path("m.safetensors")).unwrap();
    bare.metadata.licence = None;
    bare.metadata.train_args = Some(json!({"data": "/home/me/cells/data.yaml", "epochs": 3}));
    ghostzoo_weights::write(&place.path("bare.safetensors"), &bare).unwrap();
    publish("bare.safetensors", "--dry-run").failed(2, &["licence of the weights", "--license"]);
    publish("bare.safetensors", "--dry-run --license mine").failed(2, &["mine", "--license-file"]);
    publish("bare.safetensors", "--dry-run --license mit --name a/b/c").failed(2, &["`a/b/c`", "--name"]);
    place.write("val.json", "{}");
    publish("bare.safetensors", "--dry-run --license mit --metrics val.json").failed(2, &["--dataset"]);
    publish("bare.safetensors", "--dry-run --license mit --metrics val.json --dataset d").failed(2, &["`val --json`"]);
    assert!(!place.path("out").exists());
    place.write("L", "Do what is right.");
    publish("bare.safetensors", "--dry-run --license mine-1.0 --license-file L").succeeded();
    let (front, _) = card(&place, "out");
    assert_eq!((front["license"].as_str(), front["license_name"].as_str()), (Some("other"), Some("mine-1.0")));
    assert!(front["model-index"].is_badvalue());
    assert_eq!(place.read("out/LICENSE"), "Do what is right.\n");
    let written = read(&place.path("out/model.safetensors")).unwrap();
    assert_eq!(written.metadata.train_args.unwrap()["data"], "data.yaml", "nothing tells its maker's folders");
    assert_eq!(place.files("").iter().filter(|name| name.contains(".tmp")).count(), 0);
}

#[test]
fn a_folder_of_the_release_says_how_good_its_weights_are_and_under_which_licence() {
    let release = Path::new(env!("CARGO_MANIFEST_DIR")).join("../weights/release");
    let found = std::fs::read_dir(&release).unwrap().map(|entry| entry.unwrap().path());
    let folders: Vec<_> = found.filter(|path| path.is_dir()).collect();
    assert!(!folders.is_empty());
    for folder in folders {
        let shown = folder.display();
        let text = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
        let (front, body) = card_of(&text("README.md"));
        let config: Value = serde_json::from_str(&text("config.json")).unwrap();
        let metadata = read(&folder.join("model.safetensors")).unwrap().metadata;
        let licence = front["license"].as_str().unwrap();
        assert_eq!(
            (metadata.licence.as_deref(), config["license"].as_str()),
            (Some(licence), Some(licence)),
            "{shown}"
        );
        let attribution = text("LICENSE").lines().next().unwrap().to_owned();
        assert!(body.contains(&attribution) && text("LICENSE").contains(licence), "{shown}: {attribution}");
        assert_eq!(config["architecture"].as_str(), metadata.arch.as_deref(), "{shown}");
        assert_eq!(config["label_names"], json!(metadata.names.unwrap()), "{shown}");
        let metrics = front["model-index"][0]["results"][0]["metrics"].as_vec().unwrap();
        assert!(metrics.iter().all(|metric| metric["value"].as_f64().is_some_and(|value| value > 0.)), "{shown}");
        let arguments = metadata.train_args.unwrap();
        let is_path = |value: &Value| value.as_str().is_some_and(|text| Path::new(text).is_absolute());
        assert!(!arguments.as_object().unwrap().values().any(is_path), "{shown}: {arguments}");
    }
}
