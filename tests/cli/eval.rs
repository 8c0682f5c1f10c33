//! `ghostzoo eval` and `ghostzoo merge` from labelled images to accuracy.

use crate::hub;
use crate::support::{TestDir, seeded_tensors};
use candle_ghostnet::{Config, GhostNet, Variant};
use candle_vision::spec::ParamSpec;
use ghostzoo_weights::{Checkpoint, Metadata, write};
use serde_json::{Value, json};

/// A seeded network in timm's names.
fn network(place: &TestDir, name: &str, variant: &str, classes: usize) {
    let config = Config::new(Variant::from_name(variant).unwrap()).num_classes(classes);
    let (_, spec) = ParamSpec::of(|vb| GhostNet::new(&config, vb)).unwrap();
    let metadata = Metadata { arch: Some(variant.to_owned()), ..Default::default() };
    write(&place.path(name), &Checkpoint { tensors: seeded_tensors(&spec), metadata, ..Default::default() }).unwrap();
}

/// The options that all runs here share; numbers that hold no 0 must be said to count from it.
const SMALL: &str = "--data in --labels labels.csv --label-order index --img-size 64";

/// Writes `labels.csv` with a label per image.
fn write_labels(place: &TestDir, labels: impl Iterator<Item = usize>) {
    let rows: String = labels.enumerate().map(|(i, label)| format!("p{i:02}.png,{label}\n")).collect();
    place.write("labels.csv", format!("filename,label\n{rows}"));
}

/// Makes images and gives the class that the model sees in each, by the logits that `eval` writes.
fn predicted(place: &TestDir, model: &str, images: u32) -> Vec<usize> {
    (0..images).for_each(|i| drop(place.image(&format!("in/p{i:02}.png"), [70 + i, 64], i)));
    write_labels(place, std::iter::repeat_n(0, images as usize));
    place.run(&format!("eval {SMALL} -m {model} --logits first.npy")).succeeded();
    let logits = candle_core::Tensor::read_npy(place.path("first.npy")).unwrap();
    let classes = logits.argmax(1).unwrap().to_vec1::<u32>().unwrap();
    classes.into_iter().map(|class| class as usize).collect()
}

/// Ten images, and a list that calls six of them what the model does and the others one class more.
fn labelled(place: &TestDir, model: &str, classes: usize) {
    let found = predicted(place, model, 10);
    write_labels(place, found.iter().enumerate().map(|(i, class)| if i < 6 { *class } else { (class + 1) % classes }));
}

#[test]
fn accuracy_is_the_share_that_classify_says_too() {
    let place = TestDir::new();
    network(&place, "a.safetensors", "ghostnet_050", 7);
    network(&place, "b.safetensors", "ghostnetv2_100", 7);
    labelled(&place, "a.safetensors", 7);
    let one = place.run(&format!("eval {SMALL} -m a.safetensors --json")).succeeded().json();
    assert_eq!((&one[0]["top1"], &one[0]["top1_err"], &one[0]["pictures"]), (&json!(60.), &json!(40.), &json!(10)));
    let both =
        format!("eval {SMALL} -m a.safetensors b.safetensors --json --results-file r.csv --confusion c.csv --batch 3");
    let both = place.run(&both).succeeded().json();
    let a = both.iter().find(|row| row["model"] == "a.safetensors").unwrap();
    for key in ["top1", "top5", "loss", "calibration_error", "predicted_classes"] {
        assert_eq!(a[key], one[0][key], "{key} does not depend on the batch or on other models");
    }
    let table = place.read("r.csv");
    let mut lines = table.lines();
    let header = "model,top1,top1_err,top5,top5_err,param_count,img_size,crop_pct,interpolation";
    assert_eq!(lines.next(), Some(header));
    assert!(
        lines.any(|line| line.starts_with("a.safetensors,60.0,40.0,") && line.ends_with(",64,0.875,bicubic")),
        "{table}"
    );
    let images: u64 = place
        .read("c.csv")
        .lines()
        .filter(|line| line.starts_with("a.safetensors"))
        .map(|line| line.rsplit(',').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(images, 10);
    let ran = place.run(&format!("eval {SMALL} -m a.safetensors --results-file r.xml"));
    assert!(ran.code == 2 && ran.stderr.contains(".csv or .json"), "{}", ran.stderr);
}

#[test]
fn shards_add_up_exactly_and_a_run_goes_on_where_it_ended() {
    let place = TestDir::new();
    network(&place, "a.safetensors", "ghostnet_050", 7);
    labelled(&place, "a.safetensors", 7);
    let numbers =
        |rows: Vec<Value>| ["top1", "top5", "loss", "calibration_error", "pictures"].map(|key| rows[0][key].clone());
    let whole = numbers(place.run(&format!("eval {SMALL} -m a.safetensors --json")).succeeded().json());
    for i in 0..3 {
        place.run(&format!("eval {SMALL} -m a.safetensors --shard {i}/3 --part p{i}.json --batch 2")).succeeded();
    }
    let merged = place.run("merge p1.json p0.json p2.json --json").succeeded().json();
    assert_eq!(numbers(merged), whole);
    place.run("merge p0.json p2.json").failed(1, &["images 3 to 6 of 10 is missing"]);
    place.run("merge p0.json p0.json").failed(2, &["holds images that another part holds too"]);
    // A run that ended after three images: the first shard's counts, with all ten to do.
    let mut part: Value = serde_json::from_str(&place.read("p0.json")).unwrap();
    part["end"] = json!(10);
    place.write("cut.json", part.to_string());
    place.run("merge cut.json").failed(1, &["cut.json has 7 of its images still to do", "--resume"]);
    place.run(&format!("eval {SMALL} -m a.safetensors --part cut.json")).failed(2, &["cut.json exists", "--resume"]);
    let resume = format!("eval {SMALL} -m a.safetensors --part cut.json --resume --json");
    assert_eq!(numbers(place.run(&resume).succeeded().json()), whole);
    let other = format!("eval {SMALL} -m a.safetensors --part cut.json --resume --crop-pct 0.9");
    place.run(&other).failed(2, &["is not the one that wrote cut.json", "--crop-pct"]);
    let limited = place.run(&format!("eval {SMALL} -m a.safetensors --limit 4 --json")).succeeded().json();
    assert_eq!(limited[0]["pictures"], json!(4));
}

#[test]
fn what_cannot_be_read_is_counted_and_never_silently_left_out() {
    let place = TestDir::new();
    network(&place, "a.safetensors", "ghostnet_050", 7);
    labelled(&place, "a.safetensors", 7);
    place.write("in/p03.png", b"no image");
    let ran = place.run(&format!("eval {SMALL} -m a.safetensors --json --logits l.npy"));
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("error: p03.png: ") && ran.stderr.contains("1 images could not be read"),
        "{}",
        ran.stderr
    );
    let row = &ran.json()[0];
    assert_eq!((&row["pictures"], &row["unreadable"], &row["top1"]), (&json!(9), &json!(1), &json!(55.5556)));
    let logits = candle_core::Tensor::read_npy(place.path("l.npy")).unwrap().to_vec2::<f32>().unwrap();
    let unread: Vec<bool> = logits.iter().map(|row| row[0].is_nan()).collect();
    assert_eq!(unread.iter().position(|nan| *nan), Some(3));
    assert_eq!(unread.iter().filter(|nan| **nan).count(), 1);
    let none = "eval --data in --img-size 64 -m a.safetensors";
    place.run(none).failed(1, &["no class folders", "labels file"]);
    place.run(&format!("eval {SMALL}")).failed(2, &["--model"]);
    for option in ["--results-file no/r.csv", "--confusion no/c.csv", "--part no/p.json", "--logits no/l.npy"] {
        let path = option.split(' ').nth(1).unwrap();
        let early = place.run(&format!("eval {SMALL} -m none.safetensors {option}"));
        early.failed(1, &[&format!("cannot write {path}")]);
    }
    place.run(&format!("eval {SMALL} -m a.safetensors --valid-labels none.txt")).failed(1, &["none.txt"]);
}

#[test]
fn accuracy_near_chance_says_what_it_may_come_from() {
    let place = TestDir::new();
    network(&place, "a.safetensors", "ghostnet_050", 7);
    let found = predicted(&place, "a.safetensors", 60);
    assert!(found.iter().filter(|class| **class > 0).count() > 40, "most have a class below: {found:?}");
    write_labels(&place, found.iter().map(|class| (class + 6) % 7));
    let ran = place.run(&format!("eval {SMALL} -m a.safetensors")).succeeded();
    for part in ["top-1 0.00 % is near the 14.29 % of guessing", "of the predictions are one above", "--label-order"] {
        assert!(ran.stderr.contains(part), "{part:?}: {}", ran.stderr);
    }
}

#[test]
fn a_name_on_the_hub_becomes_an_accuracy_with_its_own_preprocessing() {
    let place = TestDir::new();
    network(&place, "m.safetensors", "ghostnet_100", 1000);
    for (wnid, seed) in [("n01440764", 1), ("n01443537", 2), ("n15075141", 3)] {
        place.image(&format!("set/val/{wnid}/x.JPEG"), [120, 90], seed);
    }
    let weights = std::fs::read(place.path("m.safetensors")).unwrap();
    // As on the Hub, but for the crop and the filter: these must come from here, not from the registry.
    let config = json!({
        "architecture": "ghostnet_100", "num_classes": 1000, "num_features": 1280,
        "pretrained_cfg": {"tag": "in1k", "custom_load": false, "input_size": [3, 96, 96], "fixed_input_size": false,
            "interpolation": "bilinear", "crop_pct": 0.9, "crop_mode": "center", "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225], "num_classes": 1000, "pool_size": [7, 7], "first_conv": "conv_stem",
            "classifier": "classifier"}
    })
    .to_string();
    let server = hub::Server::start(move |_, request| match request.path.as_str() {
        "/timm/ghostnet_100.in1k/resolve/main/model.safetensors" => hub::hub_file(request, &weights, "weights"),
        "/timm/ghostnet_100.in1k/resolve/c0ffee/config.json" => hub::hub_file(request, config.as_bytes(), "config"),
        _ => hub::Answer::new(404),
    });
    let mut command = place.command("eval --data set -m ghostnet_100 --json");
    let output = command.env("HF_ENDPOINT", &server.address).env("HF_HUB_OFFLINE", "0").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let row: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&row["img_size"], &row["crop_pct"], &row["interpolation"]),
        (&json!(96), &json!(0.9), &json!("bilinear"))
    );
    assert_eq!((&row["pictures"], &row["param_count"]), (&json!(3), &json!(5.18)));
    assert!(row["class_order"].as_str().unwrap().contains("WordNet"), "{row}");
    assert!(stderr.contains("3 of 1000 classes have images"), "{stderr}");
    let local = "eval --data set -m m.safetensors --img-size 96 --crop-pct 0.9 --interpolation bilinear --json";
    let local = place.run(local).succeeded().json();
    assert_eq!((&local[0]["loss"], &local[0]["top5"]), (&row["loss"], &row["top5"]), "the same as from the file");
    let other = place.run("eval --data set -m m.safetensors --img-size 96 --json").succeeded().json();
    assert_ne!(other[0]["loss"], row["loss"], "the crop and the filter count");
}

#[test]
fn an_error_on_the_way_ends_the_run_and_a_closed_stdout_loses_no_file() {
    let place = TestDir::new();
    network(&place, "a.safetensors", "ghostnet_050", 7);
    network(&place, "v2.safetensors", "ghostnetv2_100", 7);
    labelled(&place, "a.safetensors", 7);
    let small =
        "eval --data in --labels labels.csv --label-order index --img-size 32 --batch 1 --quiet -m v2.safetensors";
    place.run(small).failed(1, &["images of at least 33 x 33"]);
    let mut command = place.command(&format!("eval {SMALL} -m a.safetensors --results-file r.csv --confusion c.csv"));
    let mut child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().unwrap().code(), Some(141), "as a program that SIGPIPE ends");
    assert!(place.read("r.csv").contains("a.safetensors,60.0") && place.read("c.csv").contains("a.safetensors"));
    let twice = format!("eval {SMALL} -m a.safetensors --results-file x.csv --confusion x.csv");
    place.run(&twice).failed(2, &["x.csv is named for two outputs"]);
    place
        .run(&format!("eval {SMALL} -m a.safetensors v2.safetensors --logits x.npy --part p.json --quiet"))
        .failed(2, &["one model"]);
    assert!(!place.path("p.json").exists(), "a refused run leaves no part");
}

#[test]
fn few_classes_are_not_taken_for_guessing() {
    let place = TestDir::new();
    network(&place, "two.safetensors", "ghostnet_050", 2);
    let found = predicted(&place, "two.safetensors", 60);
    write_labels(&place, found.into_iter());
    let ran = place.run(&format!("eval {SMALL} -m two.safetensors")).succeeded();
    assert!(ran.stdout.contains("100.000") && !ran.stderr.contains("guessing"), "{}{}", ran.stdout, ran.stderr);
}
