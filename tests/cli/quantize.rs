//! `quantize` through the binary, and what other commands make of its file.

use crate::support::TestDir;
use ghostzoo_weights::read;
use serde_json::Value;

const DETECTOR: &str = "yolov8n-ghostnet-bccd";

/// Four images without objects.
fn place() -> TestDir {
    let place = TestDir::new();
    for i in 0..4 {
        place.image(&format!("set/images/{i}.png"), [96, 80], i);
        place.image(&format!("cls/train/ship/{i}.png"), [40, 40], i);
    }
    place.write("set/data.yaml", "train: images\nval: images\nnames: [WBC, RBC, Platelets]\n");
    place
}

#[test]
fn a_detector_in_8_bits_is_written_and_read_by_all_commands() {
    let place = place();
    let text = place
        .run(&format!("quantize --model {DETECTOR} --data set/data.yaml --imgsz 64 --report r.json"))
        .succeeded()
        .stdout;
    let file = format!("{DETECTOR}-int8.safetensors");
    assert!(text.contains(&file) && text.contains("convolutions in 8 bits") && text.lines().count() == 5, "{text}");
    let report: Value = serde_json::from_str(&place.read("r.json")).unwrap();
    assert!(report["layers"].as_array().unwrap().len() > 20 && report["images"] == 4);
    let found = read(&place.path(&file)).unwrap();
    assert_eq!(found.quantized.len(), report["layers"].as_array().unwrap().len());
    place.run(&format!("quantize --model {DETECTOR} --data set/data.yaml")).failed(2, &["exists", "--force"]);
    place.run(&format!("quantize --model {file} --data set/data.yaml")).failed(2, &["quantized to 8 bits already"]);
    place.run(&format!("detect set/images/0.png --no-save -m {file} --imgsz 64")).succeeded();
    place.run(&format!("summary {file}")).succeeded();
    let ran = place.run(&format!("detect set/images/0.png --no-save -m {file} --imgsz 64 --dtype bf16")).succeeded();
    assert!(ran.stderr.contains("computes in floats here"), "{}", ran.stderr);
    place.run(&format!("convert {file} same.safetensors")).succeeded();
    assert_eq!(read(&place.path("same.safetensors")).unwrap().quantized, found.quantized);
    place.run(&format!("convert {file} wide.safetensors --dtype f32")).succeeded();
    let wide = read(&place.path("wide.safetensors")).unwrap();
    assert!(wide.quantized.is_empty() && wide.metadata.quantization.is_none());
    place
        .run(&format!("train detect --data set/data.yaml --model {file} --epochs 1 --imgsz 64"))
        .failed(2, &["quantized to 8 bits, and cannot be trained on"]);
}

#[test]
fn a_classifier_and_a_folder_of_images_are_taken_and_json_is_printed() {
    let place = place();
    let line =
        "quantize --model ghostnet_050-cifar10 --data cls --json -o c.safetensors --method percentile --images 2";
    let row = place.run(line).succeeded().json().remove(0);
    assert_eq!((&row["images"], &row["method"]), (&2.into(), &"percentile".into()));
    place.run("classify cls/train/ship/0.png -m c.safetensors").succeeded();
    place
        .run(&format!("quantize --model {DETECTOR} --data set/images --imgsz 64 -o d.safetensors --quiet"))
        .succeeded();
}

#[test]
fn layers_are_left_in_floats_by_what_is_measured_on_labels() {
    let place = place();
    place
        .run(&format!("quantize --model {DETECTOR} --data set/data.yaml --imgsz 64 --max-drop 1"))
        .failed(2, &["measured on labels", "`val`", "data.yaml"]);
    place.write("set/labels/0.txt", "1 0.5 0.5 0.4 0.4\n");
    let line = format!("quantize --model {DETECTOR} --data set/data.yaml --imgsz 64 --max-drop 1");
    let ran = place.run(&line).succeeded();
    assert!(ran.stdout.contains("mAP50-95: 0.") && ran.stdout.contains(" in floats, 0."), "{}", ran.stdout);
    assert!(ran.stderr.contains("convolutions in 8 bits: 0."), "{}", ran.stderr);
    // Images that are left out are told, of the one split that is both observed and measured on, once.
    place.write("set/labels/3.txt", "7 0.5 0.5 0.4 0.4\n");
    let line = format!("quantize --model {DETECTOR} --data set/data.yaml --imgsz 64 --force");
    for line in [line.clone(), format!("{line} --max-drop 1")] {
        let told = place.run(&line).succeeded().stderr;
        assert_eq!(told.lines().filter(|row| row.contains("3.txt") && row.contains("left out")).count(), 1, "{told}");
    }
    place.image("cls/val/ship/9.png", [40, 40], 9);
    let line = "quantize --model ghostnet_050-cifar10 --data cls --json -o c.safetensors --max-drop 1";
    let row = place.run(line).succeeded().json().remove(0);
    assert_eq!(row["metric"]["max_drop"], 1.0);
    place
        .run(&format!("quantize --model {DETECTOR} --data set/images --imgsz 64 --max-drop 0.1 --force"))
        .failed(2, &["--max-drop measures on labels", "data.yaml"]);
}

#[test]
fn what_cannot_be_quantized_is_refused_in_a_line() {
    let place = place();
    std::fs::create_dir_all(place.path("none")).unwrap();
    let run = |rest: &str| place.run(&format!("quantize --model {DETECTOR} {rest}"));
    run("--data none").failed(2, &["none holds no images"]);
    run("--data set/data.yaml -o o.pt").failed(2, &["o.pt must end in .safetensors"]);
    run("--data set/data.yaml --device cuda").failed(2, &["on the CPU", "--device cpu"]);
    run("--data set/data.yaml --imgsz 64 --skip no.such").failed(2, &["--skip: no.such is no dense convolution"]);
    assert!(place.files(".").iter().all(|name| !name.ends_with(".safetensors")));
}
