//! Each example, run. Their `main` functions print what is checked here.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

#[allow(dead_code, reason = "the test runs what `main` prints")]
#[path = "../examples/classify.rs"]
mod classify;
#[allow(dead_code, reason = "the test runs what `main` prints")]
#[path = "../examples/custom_dataset.rs"]
mod custom_dataset;
#[allow(dead_code, reason = "the test runs what `main` prints")]
#[path = "../examples/detect.rs"]
mod detect;
#[allow(dead_code, reason = "the test runs what `main` prints")]
#[path = "../examples/evaluate.rs"]
mod evaluate;
#[allow(dead_code, reason = "the test runs what `main` prints")]
#[path = "../examples/features.rs"]
mod features;
#[allow(dead_code, reason = "the test runs what `main` prints")]
#[path = "../examples/finetune_classifier.rs"]
mod finetune_classifier;
#[allow(dead_code, reason = "the test runs what `main` prints")]
#[path = "../examples/finetune_detector.rs"]
mod finetune_detector;
#[allow(dead_code, reason = "the test runs what `main` prints")]
#[path = "../examples/own_yaml.rs"]
mod own_yaml;
#[allow(dead_code, reason = "the test runs what `main` prints")]
#[path = "../examples/resume.rs"]
mod resume;

fn asset(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets").join(name)
}

#[test]
fn detect_finds_the_cells() {
    let lines = detect::run(&asset("BloodImage_00062.jpg"), Path::new("yolov8n-ghostnet-bccd")).unwrap();
    let count = |class: &str| lines.lines().filter(|line| line.starts_with(class)).count();
    assert_eq!(count("WBC"), 1, "{lines}");
    assert!(count("RBC") > 5 && count("Platelets") == 1, "{lines}");
    let error = detect::run(&asset("BloodImage_00062.jpg"), Path::new("ghostnet_050-cifar10")).unwrap_err();
    assert!(error.is_request() && error.to_string().contains("is a classifier"), "{error}");
}

#[test]
fn classify_knows_the_ship() {
    let lines = classify::run(Path::new("ghostnet_050-cifar10"), &[asset("freighter.jpg")]).unwrap();
    assert!(lines.contains("freighter.jpg: ship 0.9"), "{lines}");
}

#[test]
fn features_have_five_scales_and_like_images_are_alike() {
    let lines = features::run().unwrap();
    assert_eq!(lines.lines().filter(|line| line.starts_with("map ")).count(), 5, "{lines}");
    let likeness: Vec<f32> =
        lines.lines().last().unwrap().split(' ').skip(1).map(|word| word.parse().unwrap()).collect();
    assert!(likeness[0] > 0.99 && likeness[1] > likeness[2], "{lines}");
}

#[test]
fn a_yaml_of_ones_own_is_a_network() {
    let lines = own_yaml::run().unwrap();
    assert!(lines.contains("strides [8.0, 16.0]"), "{lines}");
    assert!(lines.contains("level [1, 66, 20, 20]\nlevel [1, 66, 10, 10]"), "{lines}");
}

#[test]
fn evaluate_measures_the_cells() {
    let lines = evaluate::run(&asset("cells.yaml"), Path::new("yolov8n-ghostnet-bccd")).unwrap();
    let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
    let all = lines.lines().next().map(value).unwrap();
    assert!(all > 0.5 && lines.lines().count() == 4 && lines.contains("Platelets: mAP50-95"), "{lines}");
    let error = evaluate::run(&asset("cells.yaml"), Path::new("ghostnet_050-cifar10")).unwrap_err();
    assert!(error.to_string().contains("is a classifier"), "{error}");
}

#[test]
fn a_detector_is_fine_tuned() {
    let folder = tempfile::tempdir().unwrap();
    let lines = finetune_detector::run(folder.path(), 2).unwrap();
    assert!(lines.contains("of 2 is the best"), "{lines}");
    for name in ["results.csv", "weights/best.safetensors", "weights/resume.safetensors"] {
        assert!(folder.path().join(name).is_file(), "{name}");
    }
}

#[test]
fn a_classifier_is_fine_tuned() {
    let folder = tempfile::tempdir().unwrap();
    let lines = finetune_classifier::run(folder.path(), 3).unwrap();
    assert_eq!(lines.lines().count(), 5, "{lines}");
    assert!(lines.lines().last().unwrap().starts_with("dark "), "{lines}");
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let lines = resume::run(folder.path(), 2).unwrap();
    assert_eq!(lines, "stopped within epoch 2, went on to 2: same weights true\n");
}

#[test]
fn a_dataset_of_ones_own_is_learnt() {
    let folder = tempfile::tempdir().unwrap();
    let lines = custom_dataset::run(folder.path(), 4).unwrap();
    assert!(lines.ends_with(" of 8 images\n") && !lines.starts_with("top-1 0.00"), "{lines}");
}
