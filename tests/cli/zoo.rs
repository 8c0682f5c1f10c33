//! `summary`, `models`, `classify` and the Hub through the binary.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::hub;
use crate::support::{TestDir, seeded_tensors};
use candle_ghostnet::{Config, GhostNet, Variant};
use candle_vision::spec::ParamSpec;
use ghostzoo_weights::{Checkpoint, write};
use serde_json::{Value, json};

#[test]
fn the_seeds_table_is_what_summary_prints() {
    let run = TestDir::new().run("summary yolov8n yolov8n-ghostnet").succeeded();
    let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(cells(run.lines()[1]), ["yolov8n", "129", "225", "3,157,200", "3,157,184", "8.9", "640x640"]);
    let ours =
        ["yolov8n-ghostnet", "187", "323", "2,502,908", "2,502,892", "7.1", "640x640", "−20.72", "%", "−20.22", "%"];
    assert_eq!(cells(run.lines()[2]), ours);
}

#[test]
fn a_yaml_and_a_class_count_of_ones_own_are_summed_up() {
    let place = TestDir::new();
    let yaml = "
nc: 4
scales: {n: [0.33, 0.25, 1024]}
backbone: [[-1, 1, Conv, [64, 3, 2]], [-1, 1, GhostConv, [128, 3, 2]], [-1, 3, C3Ghost, [128, True]]]
head: [[[2], 1, Detect, [nc]]]
";
    place.write("mine.yaml", yaml);
    let rows = place.run("summary mine.yaml ghostnetv3_100 repghostnet_100 --json").succeeded().json();
    // Counted by Ultralytics 8.4.190 and timm 1.0.31.
    let counts = |row: usize| ["layers", "modules", "parameters"].map(|key| rows[row][key].as_u64().expect("a count"));
    assert_eq!(counts(0), [36, 65, 84_304]);
    assert_eq!(counts(1), [1632, 2269, 8_129_028]);
    assert_eq!((&rows[2]["model"], &rows[2]["parameters"]), (&json!("ghostnetv3_100 (deploy)"), &json!(6_147_588)));
    assert_eq!(counts(3), [337, 540, 4_073_604]);
    assert_eq!((&rows[4]["model"], &rows[4]["parameters"]), (&json!("repghostnet_100 (deploy)"), &json!(4_058_772)));
    let more = place.run("summary mine.yaml --nc 20 --json").succeeded().json();
    assert!(more[0]["parameters"].as_u64() > rows[0]["parameters"].as_u64());
    place.run("summary yolov9").failed(2, &["`yolov9` is of YOLOv9", "what is read are YOLOv8"]);
    place.run("summary yolov8q").failed(2, &["yolov8q", "did you mean"]);
    place.write("wrong.yaml", "nc: 1\nbackbone: [[-1, 1, Nope, [1]]]\nhead: []");
    place.run("summary wrong.yaml").failed(1, &["wrong.yaml", "layer 0 (Nope)"]);
}

#[test]
fn a_program_gets_gflops_that_are_not_rounded() {
    let place = TestDir::new();
    let gflops = |size: usize| {
        let rows = place.run(&format!("summary yolov8n yolov8n-ghostnet --imgsz {size} --json")).succeeded().json();
        [&rows[0], &rows[1]].map(|row| row["gflops"].as_f64().expect("a number"))
    };
    let (small, large) = (gflops(320), gflops(640));
    for (small, large) in small.into_iter().zip(large) {
        // All of these networks' layers have four times the places.
        assert!((4. * small / large - 1.).abs() < 1e-9, "{small}, {large}");
    }
}

#[test]
fn models_lists_every_name_with_its_licence() {
    let place = TestDir::new();
    let text = place.run("models").succeeded().stdout;
    for part in
        ["ghostnet_100.in1k", "Apache-2.0", "yolov8n-lmz", "AGPL-3.0", "timm/ghostnetv3_100.in1k", "yolov8x-ghost-p6"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let rows = place.run("models --json").succeeded().json();
    assert_eq!(rows.iter().filter(|row| row["source"] == "hub").count(), 23);
    assert!(rows.iter().all(|row| row["weights"] == false || row["licence"].is_string()));
}

/// A seeded ghostnet_050 in timm's names.
fn ghostnet(place: &TestDir, name: &str, classes: usize) {
    let config = Config::new(Variant::from_name("ghostnet_050").unwrap()).num_classes(classes);
    let (_, spec) = ParamSpec::of(|vb| GhostNet::new(&config, vb)).unwrap();
    let checkpoint = Checkpoint { tensors: seeded_tensors(&spec), ..Default::default() };
    write(&place.path(name), &checkpoint).unwrap();
}

#[test]
fn every_classifier_command_leaves_images_as_they_are_stored() {
    let place = TestDir::new();
    ghostnet(&place, "m.safetensors", 2);
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/image");
    for (class, file) in [("a", "orientation-1.jpg"), ("b", "orientation-6.jpg")] {
        place.write(&format!("d/{class}/{file}"), std::fs::read(golden.join(file)).unwrap());
    }
    let lines = place.run("classify d/a d/b --json --topk 2 -m m.safetensors --arch ghostnet_050").succeeded().json();
    assert_eq!(lines[0]["top"], lines[1]["top"], "timm does not turn an image by its EXIF orientation");
    place.run("eval --data d -m m.safetensors --arch ghostnet_050 --logits out.npy").succeeded();
    let logits = std::fs::read(place.path("out.npy")).unwrap();
    let rows = &logits[logits.len() - 16..];
    assert_eq!(rows[..8], rows[8..]);
    let sizes = place.run("detect d/a d/b --json --no-save -m yolov8n-ghostnet-bccd").succeeded().json();
    assert_eq!(
        (&sizes[0]["width"], &sizes[0]["height"]),
        (&sizes[1]["height"], &sizes[1]["width"]),
        "detectors turn it"
    );
}

#[test]
fn classify_names_imagenets_classes_and_gives_the_likeliest_first() {
    let place = TestDir::new();
    ghostnet(&place, "m.safetensors", 1000);
    place.image("a.png", [300, 200], 3);
    place.image("b.png", [200, 300], 4);
    let lines = place.run("classify a.png b.png --json --topk 3 -m m.safetensors").succeeded().json();
    for line in &lines {
        let top = line["top"].as_array().unwrap();
        assert_eq!(top.len(), 3);
        let probability = |i: usize| top[i]["probability"].as_f64().unwrap();
        assert!(probability(0) >= probability(1) && probability(1) >= probability(2) && probability(0) <= 1.);
        assert!(top[0]["class"].as_str().unwrap().parse::<usize>().is_err(), "a name: {}", top[0]);
    }
    assert_ne!(lines[0]["top"], lines[1]["top"]);
    let batch = place.run("classify a.png b.png --json --topk 3 --batch 2 -m m.safetensors").succeeded().json();
    assert_eq!(batch, lines);
    place.run("convert m.safetensors f.safetensors --fuse").succeeded();
    let fused = place.run("classify a.png b.png --json --topk 3 -m f.safetensors").succeeded().json();
    let ids = |lines: &[Value]| lines.iter().map(|l| l["top"][0]["class_id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&fused), ids(&lines));
    place.run("detect a.png -m m.safetensors --no-save").failed(2, &["classifier", "ghostzoo classify"]);
    ghostnet(&place, "seven.safetensors", 7);
    let seven = place.run("classify a.png --json -m seven.safetensors").succeeded().json();
    assert!(
        seven[0]["top"][0]["class"].as_str().unwrap().parse::<usize>().is_ok_and(|id| id < 7),
        "numbers stand for names"
    );
}

#[test]
fn a_named_model_is_downloaded_once_with_its_preprocessing() {
    let place = TestDir::new();
    ghostnet(&place, "m.safetensors", 5);
    place.image("a.png", [300, 200], 3);
    let weights = std::fs::read(place.path("m.safetensors")).unwrap();
    let config = json!({
        "architecture": "ghostnet_050", "num_classes": 5, "label_names": ["ant", "bee", "cow", "doe", "elk"],
        "pretrained_cfg": {"input_size": [3, 96, 96], "interpolation": "bilinear", "crop_pct": 0.9,
            "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "license": "mit"}
    })
    .to_string();
    let server = hub::Server::start(move |_, request| match request.path.as_str() {
        "/me/ghost/resolve/main/m.safetensors" => hub::hub_file(request, &weights, "weights"),
        "/me/ghost/resolve/c0ffee/config.json" => hub::hub_file(request, config.as_bytes(), "config"),
        _ => hub::Answer::new(404),
    });
    let run = |offline: &str, model: &str| {
        let mut command = place.command(&format!("classify a.png --json --topk 2 -m {model}"));
        command.env("HF_ENDPOINT", &server.address).env("HF_HUB_OFFLINE", offline);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let model = "hf://me/ghost/m.safetensors";
    let (code, first, stderr) = run("0", model);
    assert_eq!(code, Some(0), "{stderr}");
    let first: Value = serde_json::from_str(&first).unwrap();
    let class = first["top"][0]["class"].as_str().unwrap();
    assert!(["ant", "bee", "cow", "doe", "elk"].contains(&class), "names of config.json: {class}");
    assert_eq!(server.requests().len(), 2);
    for offline in ["0", "1"] {
        let (code, again, stderr) = run(offline, model);
        assert_eq!(code, Some(0), "{stderr}");
        assert_eq!(serde_json::from_str::<Value>(&again).unwrap(), first);
    }
    assert_eq!(server.requests().len(), 2, "later runs ask nobody");
    // The preprocessing of config.json is used: without it another input size and crop give another answer.
    let local = place.run("classify a.png --json --topk 2 -m m.safetensors").succeeded().json();
    assert_ne!(local[0]["top"][0]["probability"], first["top"][0]["probability"]);
    let (code, _, stderr) = run("0", "hf://me/ghost/none.safetensors");
    assert_eq!((code, stderr.lines().count()), (Some(1), 1), "{stderr}");
    assert!(stderr.contains("404") && stderr.contains("none.safetensors"), "{stderr}");
}

#[test]
fn a_damaged_file_in_the_cache_is_named_and_pulled_again() {
    let place = TestDir::new();
    ghostnet(&place, "m.safetensors", 5);
    place.image("a.png", [300, 200], 3);
    let weights = std::fs::read(place.path("m.safetensors")).unwrap();
    let page = "<!DOCTYPE html><html>Sign in</html>";
    let logged_in = Arc::new(AtomicBool::new(false));
    let is_logged_in = logged_in.clone();
    let server = hub::Server::start(move |_, request| match request.path.as_str() {
        "/me/ghost/resolve/main/m.safetensors" if is_logged_in.load(Ordering::Relaxed) => {
            hub::hub_file(request, &weights, "weights")
        }
        path if path.ends_with("/config.json") => hub::Answer::new(404),
        _ => hub::Answer::new(200).body(page.as_bytes()),
    });
    let model = "hf://me/ghost/m.safetensors";
    let run = |arguments: &str| {
        let mut command = place.command(arguments);
        command.env("HF_ENDPOINT", &server.address).env("HF_HUB_OFFLINE", "0");
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, _, stderr) = run(&format!("pull {model}"));
    assert_eq!((code, stderr.lines().count()), (Some(1), 1), "{stderr}");
    assert!(stderr.contains("sent a web page") && stderr.contains("/me/ghost/resolve/main/m.safetensors"), "{stderr}");
    assert_eq!(place.files("hf"), [""; 0], "nothing is kept");

    // As an earlier version left it.
    let snapshot = "hf/hub/models--me--ghost/snapshots/c0ffee/m.safetensors";
    place.write(snapshot, page);
    place.write("hf/hub/models--me--ghost/refs/main", "c0ffee");
    let (code, _, stderr) = run(&format!("classify a.png --arch ghostnet_050 -m {model}"));
    assert_eq!((code, stderr.lines().count()), (Some(1), 1), "{stderr}");
    for part in [snapshot, "a web page", "`ghostzoo pull --force` downloads hf://me/ghost/m.safetensors anew"] {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
    let (code, _, stderr) = run(&format!("pull {model} --force"));
    assert_eq!(code, Some(1), "{stderr}");
    assert_eq!(place.read(snapshot), page, "what was there stays");
    logged_in.store(true, Ordering::Relaxed);
    let (code, stdout, stderr) = run(&format!("pull {model} --force"));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.trim_end().ends_with(snapshot), "{stdout}");
    let (code, _, stderr) = run(&format!("classify a.png --arch ghostnet_050 -m {model}"));
    assert_eq!(code, Some(0), "{stderr}");
}
