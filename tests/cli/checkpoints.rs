//! Checkpoints that are refused, by what is said of them; and names of tensors that PyTorch's strict loading asks for.

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::{TestDir, seeded_tensors};
use candle_core::{DType, Device, Tensor};
use candle_ghostnet::{Config, GhostNet, Variant};
use candle_vision::layers::BatchNormMode;
use candle_vision::spec::ParamSpec;
use candle_yolov8::{model_config, spec};
use ghostzoo_weights::{Checkpoint, KeyLayout, Metadata, read, write};
use serde_json::{Value, json};

const MODEL: &str = "yolov8n-ghostnet";

/// A seeded detector of three classes.
fn detector(norm: BatchNormMode) -> Checkpoint {
    let tensors = seeded_tensors(&spec(&model_config(MODEL, Some(3)).unwrap().with_norm(norm)).unwrap());
    let metadata = Metadata {
        arch: Some(MODEL.to_owned()),
        layout: KeyLayout::Ultralytics,
        imgsz: Some(64),
        ..Default::default()
    };
    Checkpoint { tensors, metadata, ..Default::default() }
}

fn classifier(name: &str) -> ParamSpec {
    let config = Config::new(Variant::from_name(name).unwrap()).num_classes(3);
    ParamSpec::of(|vb| GhostNet::new(&config, vb)).unwrap().1
}

/// `tests/oracle/strict_load.py` writes the golden file, and loads what `train` and `convert` write.
#[test]
fn names_and_shapes_are_those_that_ultralytics_and_timm_load_strictly() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/strict_load.json");
    let golden: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(golden["classes"], 3);
    let models = golden["models"].as_object().unwrap();
    assert_eq!(models.len(), 11);
    for (name, golden) in models {
        let spec = match model_config(name, Some(3)) {
            Some(def) => spec(&def).unwrap(),
            None => classifier(name),
        };
        let mut lines: BTreeMap<String, String> = BTreeMap::new();
        for (tensor, shape) in &spec.shapes {
            let parts: Vec<&str> = tensor.splitn(3, '.').collect();
            let is_numbered = parts[1].bytes().all(|byte| byte.is_ascii_digit());
            let block = if is_numbered { format!("{}.{}", parts[0], parts[1]) } else { parts[0].to_owned() };
            *lines.entry(block).or_default() += &format!("{tensor} {:?}\n", shape.dims());
        }
        let blocks: BTreeMap<_, _> = lines
            .iter()
            .map(|(block, text)| (block.clone(), format!("{:08x}", crc32fast::hash(text.as_bytes()))))
            .collect();
        assert_eq!(json!({"tensors": spec.shapes.len(), "blocks": blocks}), *golden, "{name}");
    }
}

#[test]
fn a_converted_detector_has_the_bins_that_its_file_lacked() {
    let place = TestDir::new();
    let mut checkpoint = detector(BatchNormMode::Keep);
    let whole: Vec<String> = checkpoint.tensors.keys().cloned().collect();
    let bins = checkpoint.tensors.remove("model.22.dfl.conv.weight").expect("the head has bins");
    write(&place.path("m.safetensors"), &checkpoint).unwrap();
    place
        .run("convert m.safetensors out.safetensors --dtype auto")
        .failed(2, &["--dtype auto", "name a type to store"]);
    place.run("convert m.safetensors out.safetensors --dtype f16").succeeded();
    let converted = read(&place.path("out.safetensors")).unwrap();
    assert_eq!(converted.tensors.keys().cloned().collect::<Vec<_>>(), whole);
    let converted = converted.tensors["model.22.dfl.conv.weight"].to_dtype(DType::F32).unwrap();
    assert_eq!(converted.dims(), [1, 16, 1, 1]);
    let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(values(&converted), values(&bins));
}

#[test]
fn weights_that_are_no_numbers_are_refused_by_name() {
    let place = TestDir::new();
    place.image("a.png", [64, 64], 1);
    let mut checkpoint = detector(BatchNormMode::Keep);
    for name in ["model.22.cv2.0.2.bias", "model.1.cv1.bn.weight", "model.1.cv1.bn.bias", "model.1.cv1.bn.running_mean"]
    {
        let shape = checkpoint.tensors[name].shape().clone();
        let value = if name.ends_with("weight") { f32::INFINITY } else { f32::NAN };
        checkpoint.tensors.insert(name.to_owned(), Tensor::full(value, shape, &Device::Cpu).unwrap());
    }
    write(&place.path("m.safetensors"), &checkpoint).unwrap();
    let parts = ["NaN or infinity in 4 of its 383 tensors (model.1.cv1.bn.bias, ", "...", "diverged"];
    for command in ["detect a.png --no-save -m m.safetensors", "convert m.safetensors o.safetensors --fuse"] {
        place.run(command).failed(1, &parts);
    }
}

#[test]
fn models_for_other_tasks_and_of_other_families_are_told_from_yolov8_detectors() {
    let place = TestDir::new();
    place.image("a.png", [64, 64], 1);
    let said = |checkpoint: &Checkpoint, parts: &[&str]| {
        write(&place.path("m.safetensors"), checkpoint).unwrap();
        place.run("detect a.png --no-save -m m.safetensors").failed(1, parts);
    };
    for task in ["segment", "pose", "obb", "classify"] {
        let mut checkpoint = detector(BatchNormMode::Keep);
        checkpoint.metadata.task = Some(task.to_owned());
        said(&checkpoint, &["m.safetensors", &format!("task `{task}`"), "`detect`"]);
    }
    let tensor = |count: usize| Tensor::zeros(count, DType::F32, &Device::Cpu).unwrap();
    for (part, count, task) in
        [("proto.cv1.conv.weight", 4, "segment"), ("cv4.0.2.bias", 51, "pose"), ("cv4.0.2.bias", 1, "obb")]
    {
        let mut checkpoint = detector(BatchNormMode::Keep);
        checkpoint.metadata = Metadata { layout: KeyLayout::Ultralytics, ..Default::default() };
        checkpoint.tensors.insert(format!("model.22.{part}"), tensor(count));
        said(&checkpoint, &[&format!("task `{task}`")]);
    }
    for (file, module, family) in [
        ("yolo11n.yaml", "C3k2", "YOLO11"),
        ("yolo26n.yaml", "C3k2", "YOLO26"),
        ("yolov10n.yaml", "SCDown", "YOLOv10"),
        ("", "C3k2", "YOLO11 or YOLO26"),
        ("mine.yaml", "A2C2f", "YOLO12"),
    ] {
        let mut checkpoint = detector(BatchNormMode::Keep);
        let rows = json!([[-1, 1, "Conv", [64, 3, 2]], [-1, 2, module, [128, true]]]);
        checkpoint.metadata.yaml = Some(json!({"yaml_file": file, "nc": 3, "backbone": rows, "head": []}));
        said(&checkpoint, &[&format!("it is of {family} (layer 1 is {module})"), "YOLOv8"]);
    }
    let mut own = detector(BatchNormMode::Keep);
    let rows = json!([[-1, 1, "Conv", [64, 3, 2]], [-1, 2, "C3k2", [128, true]]]);
    own.metadata.yaml = Some(json!({"yaml_file": "yolov8-mine.yaml", "nc": 3, "backbone": rows, "head": []}));
    said(&own, &["layer 1 (C3k2): this module is not known"]);
    place.run("detect a.png -m yolo11n.pt").failed(2, &["`yolo11n.pt` is of YOLO11", "YOLOv8"]);
    place.run("detect a.png -m yolo26s").failed(2, &["YOLO26"]);
    place.run("summary yolov8n-seg").failed(2, &["task `segment`"]);
}

#[test]
fn folded_batch_norms_are_refused_as_pretrained_weights_too() {
    let place = TestDir::new();
    write(&place.path("folded.safetensors"), &detector(BatchNormMode::Fused)).unwrap();
    place.image("set/images/train/a.png", [64, 64], 1);
    place.write("set/labels/train/a.txt", "0 0.5 0.5 0.5 0.5\n");
    place.write("set/data.yaml", "train: images/train\nval: images/train\nnames: [a, b, c]\n");
    for arguments in
        [format!("--model {MODEL} --pretrained folded.safetensors"), "--model folded.safetensors".to_owned()]
    {
        let run = place.run(&format!("train detect --data set/data.yaml --epochs 1 --imgsz 64 {arguments}"));
        run.failed(2, &["folded.safetensors has its batch norms folded", "cannot be trained on"]);
    }
    assert!(place.files("runs").is_empty());
}
