//! `ghostzoo val` from labelled pictures to average precision.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use candle_vision::layers::Norm;
use candle_yolov8::{architecture, spec};
use ghostzoo_weights::{Checkpoint, Metadata, write};
use serde_json::{Value, json};
use support::{Place, seeded_tensors};

/// [width, height] of the pictures.
const SIZES: [[u32; 2]; 4] = [[400, 260], [260, 400], [320, 320], [200, 240]];

/// The first boxes of a line of `detect --json` that lie inside their picture, as rows of a label file.
fn labels(found: &Value, [width, height]: [f64; 2]) -> String {
    let side = |object: &Value, name: &str| object["box"][name].as_f64().unwrap();
    let row = |object: &Value| {
        let [x1, y1, x2, y2] = ["x1", "y1", "x2", "y2"].map(|name| side(object, name));
        let inside = x1 > 0. && y1 > 0. && x2 < width && y2 < height;
        let [cx, cy, w, h] = [(x1 + x2) / 2. / width, (y1 + y2) / 2. / height, (x2 - x1) / width, (y2 - y1) / height];
        inside.then(|| format!("{} {cx} {cy} {w} {h}\n", object["class_id"]))
    };
    found["detections"].as_array().unwrap().iter().filter_map(row).take(10).collect()
}

/// A seeded detector of three named classes, and pictures labelled by what it finds in them.
fn place() -> Place {
    let place = Place::new();
    let def = architecture("yolov8n-ghostnet", Some(3)).unwrap();
    let names = ["cat", "dog", "elk"].map(str::to_owned).to_vec();
    let metadata = Metadata { nc: Some(3), names: Some(names), imgsz: Some(320), ..Default::default() };
    let tensors = seeded_tensors(&spec(&def, Norm::Separate).unwrap());
    write(&place.path("m.safetensors"), &Checkpoint { tensors, metadata }).unwrap();
    for (i, size) in SIZES.into_iter().enumerate() {
        place.picture(&format!("set/images/val/{i}.png"), size, i as u32);
    }
    let found =
        place.run("detect set/images/val --conf 0.3 --max-det 200 --no-save --json -m m.safetensors").succeeded();
    for (i, (found, size)) in found.json().iter().zip(SIZES).enumerate() {
        place.write(&format!("set/labels/val/{i}.txt"), labels(found, size.map(f64::from)));
    }
    place.write("set/data.yaml", "train: images/val\nval: images/val\nnames: [cat, dog, elk]\n");
    place
}

/// The boxes of the label files as COCO's instances, the classes numbered 10, 20 and 30.
fn instances(place: &Place) -> Value {
    let (mut images, mut annotations) = (Vec::new(), Vec::new());
    for (i, [width, height]) in SIZES.map(|size| size.map(f64::from)).into_iter().enumerate() {
        images.push(json!({"id": i, "file_name": format!("{i}.png"), "width": width as u32, "height": height as u32}));
        for line in place.read(&format!("set/labels/val/{i}.txt")).lines() {
            let row: Vec<f64> = line.split(' ').map(|cell| cell.parse().unwrap()).collect();
            let &[class, cx, cy, w, h] = row.as_slice() else { panic!("{line}") };
            let bbox = [(cx - w / 2.) * width, (cy - h / 2.) * height, w * width, h * height];
            let category = 10 * (class as i64 + 1);
            annotations.push(json!({"id": annotations.len(), "image_id": i, "category_id": category, "bbox": bbox}));
        }
    }
    let categories = [(30, "elk"), (10, "cat"), (20, "dog")].map(|(id, name)| json!({"id": id, "name": name}));
    json!({"images": images, "annotations": annotations, "categories": categories})
}

#[test]
fn both_forms_of_labels_give_the_same_numbers_and_all_files_are_there() {
    let place = place();
    let yaml = place.run("val --data set/data.yaml -m m.safetensors --json --save-json --batch 3").succeeded().json();
    assert_eq!(yaml.len(), 1);
    let yaml = &yaml[0];
    assert_eq!((&yaml["images"], &yaml["imgsz"], &yaml["conf"]), (&json!(4), &json!(320), &json!(0.001)));
    let [recall, ap50] = [&yaml["ultralytics"]["recall"], &yaml["coco"]["AP50"]].map(|value| value.as_f64().unwrap());
    assert!(recall > 0.9 && ap50 > 0.05, "what was labelled is found again: {yaml}");
    let expected = [
        "BoxF1_curve.png",
        "BoxPR_curve.png",
        "BoxP_curve.png",
        "BoxR_curve.png",
        "confusion_matrix.png",
        "confusion_matrix_normalized.png",
        "predictions.json",
    ];
    assert_eq!(place.files("runs/detect/val"), expected);
    place.write("set/instances_val.json", instances(&place).to_string());
    let run = "val --data set/instances_val.json -m m.safetensors --json --save-json --batch 3 --plots false";
    let coco = place.run(run).succeeded().json();
    let close = |a: &Value, b: &Value, key: &str| {
        let (a, b) = (a.as_f64().unwrap_or(-1.), b.as_f64().unwrap_or(-1.));
        assert!((a - b).abs() < 1e-3, "{key}: {a} {b}");
    };
    for group in ["ultralytics", "coco"] {
        for (key, value) in yaml[group].as_object().unwrap() {
            close(value, &coco[0][group][key], key);
        }
    }
    let results: Value = serde_json::from_str(&place.read("runs/detect/val-2/predictions.json")).unwrap();
    let by_yaml: Value = serde_json::from_str(&place.read("runs/detect/val/predictions.json")).unwrap();
    let (results, by_yaml) = (results.as_array().unwrap(), by_yaml.as_array().unwrap());
    assert_eq!(results.len(), by_yaml.len());
    for (result, by_yaml) in results.iter().zip(by_yaml) {
        assert_eq!(result["bbox"], by_yaml["bbox"]);
        assert_eq!(result["category_id"].as_i64(), by_yaml["category_id"].as_i64().map(|id| 10 * id));
        assert_eq!(result["image_id"], by_yaml["image_id"]);
    }
}

#[test]
fn people_read_both_definitions_and_which_is_which() {
    let place = place();
    let text = place.run("val --data set/data.yaml -m m.safetensors --plots false").succeeded().stdout;
    for part in ["Ultralytics' definition", "COCO's definition, as pycocotools", "mAP50-95", "AR100", "dog", "images/s"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let one = place.run("val --data set/data.yaml -m m.safetensors --plots false --metric coco").succeeded().stdout;
    assert!(!one.contains("mAP50-95") && one.contains("AP75"), "{one}");
    assert!(place.files("runs").is_empty(), "nothing was asked for");
}

#[test]
fn labels_follow_the_models_order_of_the_same_names() {
    let place = place();
    let plain = place.run("val --data set/data.yaml -m m.safetensors --json --plots false").succeeded().json();
    // The same objects, the classes numbered otherwise.
    for i in 0..4 {
        let turn = |line: &str| {
            let (class, rest) = line.split_once(' ').unwrap();
            format!("{} {rest}\n", (class.parse::<usize>().unwrap() + 1) % 3)
        };
        let text: String = place.read(&format!("set/labels/val/{i}.txt")).lines().map(turn).collect();
        place.write(&format!("set/labels/val/{i}.txt"), text);
    }
    place.write("set/data.yaml", "train: images/val\nval: images/val\nnames: [Elk, cat, dog]\n");
    let ran = place.run("val --data set/data.yaml -m m.safetensors --json --plots false").succeeded();
    assert_eq!(ran.json()[0]["ultralytics"], plain[0]["ultralytics"]);
    assert!(ran.stderr.contains("labels follow the model"), "{}", ran.stderr);
}

#[test]
fn what_does_not_go_together_is_one_line() {
    let place = place();
    place.write("two.yaml", "path: set\ntrain: images/val\nval: images/val\nnames: [a, b]\n");
    place.run("val --data two.yaml -m m.safetensors --quiet").failed(2, &["3 classes and the data 2 (a, b)"]);
    place.run("val --data none.yaml -m m.safetensors").failed(1, &["none.yaml"]);
    place
        .run("val --data set/data.yaml --images set -m m.safetensors")
        .failed(2, &["--images goes with an instances file"]);
    place.run("val --data set/data.yaml --split nope -m m.safetensors").failed(1, &["nope"]);
    place.run("val --data set/data.yaml").failed(2, &["--model"]);
    let mut strange = instances(&place);
    strange["annotations"].as_array_mut().unwrap().iter_mut().for_each(|row| row["category_id"] = json!(99));
    place.write("set/instances_val.json", strange.to_string());
    let run = "val --data set/instances_val.json -m m.safetensors";
    place.run(run).failed(1, &["annotations can be used", "category with the id 99"]);
    place.write("set/labels/val/3.txt", "7 0.5 0.5 0.1 0.1\n");
    let left = place.run("val --data set/data.yaml -m m.safetensors --json --plots false --quiet").succeeded().json();
    assert_eq!((&left[0]["images"], &left[0]["left_out_images"]), (&json!(3), &json!(1)));
    place.write("set/labels/val/3.txt", "");
    place.write("set/images/val/2.png", b"no picture");
    let ran = place.run("val --data set/data.yaml -m m.safetensors --json --plots false --quiet");
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("2.png") && ran.stderr.contains("it does not count"), "{}", ran.stderr);
    let row = &ran.json()[0];
    assert_eq!((&row["images"], &row["unreadable_images"]), (&json!(3), &json!(1)));
}
