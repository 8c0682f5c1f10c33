//! `ghostzoo detect` from checkpoint and images to boxes, files and exit codes.

use crate::support::{TestDir, seeded_tensors};
use candle_yolov8::{model_config, spec};
use ghostzoo_weights::{Checkpoint, Metadata, write};
use serde_json::{Value, json};

/// A seeded yolov8n-ghostnet of three named classes, in a file of our own.
pub(crate) fn checkpoint(place: &TestDir, name: &str) {
    named_checkpoint(place, name, &["cat", "dog", "traffic light"]);
}

fn named_checkpoint(place: &TestDir, name: &str, names: &[&str]) {
    let def = model_config("yolov8n-ghostnet", Some(3)).unwrap();
    let tensors = seeded_tensors(&spec(&def).unwrap());
    let metadata = Metadata {
        arch: Some("yolov8n-ghostnet".to_owned()),
        nc: Some(3),
        names: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        imgsz: Some(96),
        ..Default::default()
    };
    write(&place.path(name), &Checkpoint { tensors, metadata, ..Default::default() }).unwrap();
}

/// A folder with a checkpoint and images of several shapes.
fn place() -> TestDir {
    let place = TestDir::new();
    checkpoint(&place, "m.safetensors");
    for (name, size) in
        [("in/a.png", [120, 80]), ("in/b.jpg", [80, 120]), ("in/c.bmp", [64, 64]), ("in/d.webp", [120, 80])]
    {
        place.image(name, size, name.len() as u32 + size[0]);
    }
    place
}

fn detections(line: &Value) -> &Vec<Value> {
    line["detections"].as_array().expect("detections")
}

#[test]
fn json_has_one_object_per_image_in_the_order_of_the_sources() {
    let place = place();
    let run = place.run("detect in/c.bmp in/a.png in --json --no-save --conf 0.3 -m m.safetensors").succeeded();
    let lines = run.json();
    let paths: Vec<&str> = lines.iter().map(|line| line["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["in/c.bmp", "in/a.png", "in/a.png", "in/b.jpg", "in/c.bmp", "in/d.webp"]);
    assert_eq!((&lines[1]["width"], &lines[1]["height"]), (&json!(120), &json!(80)));
    let mut count = 0;
    for line in &lines {
        let keys: Vec<&String> = line.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["path", "width", "height", "detections", "speed_ms"]);
        let speed: Vec<&String> = line["speed_ms"].as_object().unwrap().keys().collect();
        assert_eq!(speed, ["preprocess", "inference", "postprocess"]);
        for found in detections(line) {
            let class_id = found["class_id"].as_u64().unwrap() as usize;
            assert_eq!(found["class"], ["cat", "dog", "traffic light"][class_id]);
            let side = |key: &str| found["box"][key].as_f64().unwrap();
            assert!(found["confidence"].as_f64().unwrap() > 0.3, "{found}");
            assert!(0. <= side("x1") && side("x1") <= side("x2") && side("x2") <= line["width"].as_f64().unwrap());
            assert!(0. <= side("y1") && side("y1") <= side("y2") && side("y2") <= line["height"].as_f64().unwrap());
            count += 1;
        }
    }
    assert!(count > 10, "the test has something to look at: {count}");
    assert_eq!(place.files("runs"), [""; 0], "nothing was saved");
}

#[test]
fn neither_batch_nor_source_kind_changes_a_result() {
    let place = place();
    place.write("list.txt", "in/a.png\nin/b.jpg\n\nin/c.bmp\nin/d.webp\n");
    let strip = |lines: Vec<Value>| -> Vec<Value> { lines.into_iter().map(|l| l["detections"].clone()).collect() };
    let run = |sources: &str, more: &str| {
        strip(
            place
                .run(&format!("detect {sources} --json --no-save --conf 0.3 -m m.safetensors {more}"))
                .succeeded()
                .json(),
        )
    };
    let expected = run("in", "");
    assert_eq!(expected.len(), 4);
    assert_eq!(run("in", "--batch 4"), expected);
    assert_eq!(run("in", "--batch 3 --threads 1"), expected);
    assert_eq!(run("list.txt", ""), expected);
    assert_eq!(run("in/*", ""), expected);
    let bytes = std::fs::read(place.path("in/b.jpg")).unwrap();
    let piped = place.run_with_stdin("detect - --json --no-save --conf 0.3 -m m.safetensors", &bytes).succeeded();
    assert_eq!(strip(piped.json()), expected[1..2]);
    let stream = [bytes.as_slice(), &std::fs::read(place.path("in/a.png")).unwrap(), &bytes, b"no image"].concat();
    let piped = place.run_with_stdin("detect - --json --quiet --conf 0.3 --save-dir o -m m.safetensors", &stream);
    let piped = piped.failed(1, &["error: stdin-4: the last 8 bytes on stdin, after image 3, are no image"]).json();
    let paths: Vec<&str> = piped.iter().map(|line| line["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["-", "stdin-2", "stdin-3", "stdin-4"]);
    assert_eq!(strip(piped)[..3], [&expected[1], &expected[0], &expected[1]].map(Value::clone));
    assert_eq!(place.files("o"), ["stdin-2.jpg", "stdin-3.jpg", "stdin.jpg"]);
    assert_ne!(run("in", "--rect false"), expected, "square letterboxes are another input");
}

#[test]
fn thresholds_classes_and_agnostic_suppression_are_obeyed() {
    let place = place();
    let run = |more: &str| {
        let run = place.run(&format!("detect in/a.png --json --no-save --conf 0.3 -m m.safetensors {more}"));
        detections(&run.succeeded().json()[0]).clone()
    };
    let all = run("");
    assert!(all.len() > 3, "{all:?}");
    assert_eq!(run("--max-det 2"), all[..2]);
    let of = |class: usize| -> Vec<Value> { all.iter().filter(|d| d["class_id"] == class).cloned().collect() };
    let wanted = all[0]["class_id"].as_u64().unwrap() as usize;
    assert_eq!(run(&format!("--classes {wanted}")), of(wanted));
    assert_eq!(run(&format!("--classes {}", ["cat", "dog", "traffic"][wanted].replace("traffic", "2"))), of(wanted));
    assert!(run("--agnostic-nms --iou 0.1").len() <= run("--iou 0.1").len());
    assert!(run("--iou 0.1").len() < run("--iou 0.9").len());
    place.run("detect in -m m.safetensors --classes bird").failed(2, &["bird", "cat"]);
}

#[test]
fn no_crop_takes_the_place_of_another() {
    let place = place();
    for (i, name) in ["cell", "cell2", "cell12", "cell-2"].into_iter().enumerate() {
        place.image(&format!("cells/{name}.png"), [120, 80], i as u32);
    }
    let run =
        "detect cells --conf 0.3 -m m.safetensors --save-crop --no-save --max-det 13 --save-dir o --exist-ok --json";
    let boxes: usize = place.run(run).succeeded().json().iter().map(|row| detections(row).len()).sum();
    let files = place.files("o/crops");
    assert_eq!((files.len(), boxes > 20), (boxes, true), "{files:?}");
    assert!(files.iter().any(|file| file.ends_with("/cell12-2.jpg")), "{files:?}");
    place.run(run).succeeded();
    assert_eq!(place.files("o/crops").len(), 2 * boxes, "nor that of a run before");
}

#[test]
fn each_image_has_one_id_in_coco_results() {
    let place = place();
    for (i, name) in
        ["001.png", "1.png", "+1.png", "2.jpg", "2.png", "3.png", "sub/3.png", "004.png"].into_iter().enumerate()
    {
        place.image(&format!("ids/{name}"), [120, 80], i as u32);
    }
    let run = "detect ids ids/sub --conf 0.3 -m m.safetensors --coco-json --max-det 2 --save-dir o";
    place.run(run).succeeded();
    let results: Value = serde_json::from_str(&place.read("o/predictions.json")).unwrap();
    let mut ids = std::collections::BTreeMap::new();
    for row in results.as_array().unwrap() {
        let id = ids.entry(row["file_name"].as_str().unwrap().to_owned()).or_insert(row["image_id"].clone());
        assert_eq!(*id, row["image_id"], "one image, one id");
    }
    let expected = [
        ("ids/+1.png", json!("+1")),
        ("ids/001.png", json!("001")),
        ("ids/004.png", json!(4)),
        ("ids/1.png", json!("1")),
        ("ids/2.jpg", json!("2")),
        ("ids/2.png", json!("2-2")),
        ("ids/3.png", json!("3")),
        ("ids/sub/3.png", json!("3-2")),
    ];
    assert_eq!(ids, expected.map(|(file, id)| (file.to_owned(), id)).into());
    for saved in ["001.png", "1.png", "2-2.png", "3-2.png"] {
        assert!(place.files("o").contains(&saved.to_owned()), "the saved image is called as the id: {saved}");
    }
}

#[test]
fn images_labels_crops_and_coco_results_are_written() {
    let place = place();
    let options = "--conf 0.3 -m m.safetensors --save-txt --save-conf --save-crop --coco-json --max-det 3";
    let run = place.run(&format!("detect in {options}")).succeeded();
    let lines = run.lines();
    assert!(lines[0].starts_with("image 1/4 in/a.png: 64x96 "), "{}", lines[0]);
    assert!(lines[4].starts_with("Speed: ") && lines[4].contains("per image at shape (1, 3, "), "{}", lines[4]);
    assert_eq!(lines[5], "Results saved to runs/detect/predict");
    let files = place.files("runs/detect/predict");
    for file in ["a.png", "b.jpg", "d.webp", "labels/a.txt", "labels/b.txt", "predictions.json"] {
        assert!(files.contains(&file.to_owned()), "{file} in {files:?}");
    }
    assert!(files.iter().any(|file| file.starts_with("crops/")), "{files:?}");
    let json = place.run("detect in --json --no-save --conf 0.3 -m m.safetensors --max-det 3").succeeded().json();
    let labels = place.read("runs/detect/predict/labels/a.txt");
    for (label, found) in labels.lines().zip(detections(&json[0])) {
        let numbers: Vec<f64> = label.split(' ').map(|n| n.parse().unwrap()).collect();
        let side = |key: &str| found["box"][key].as_f64().unwrap();
        let expected = [
            found["class_id"].as_f64().unwrap(),
            (side("x1") + side("x2")) / 2. / 120.,
            (side("y1") + side("y2")) / 2. / 80.,
            (side("x2") - side("x1")) / 120.,
            (side("y2") - side("y1")) / 80.,
            found["confidence"].as_f64().unwrap(),
        ];
        for (number, expected) in numbers.iter().zip(expected) {
            assert!((number - expected).abs() < 1e-4, "{label} against {found}");
        }
        assert_eq!(numbers.len(), 6, "{label}");
    }
    let coco: Value = serde_json::from_str(&place.read("runs/detect/predict/predictions.json")).unwrap();
    let total: usize = json.iter().map(|line| detections(line).len()).sum();
    assert_eq!(coco.as_array().unwrap().len(), total);
    assert_eq!(coco[0]["image_id"], "a");
    let (b, side) = (&coco[0]["bbox"], |key: &str| json[0]["detections"][0]["box"][key].as_f64().unwrap());
    assert!(
        (b[0].as_f64().unwrap() - side("x1")).abs() < 0.01
            && (b[2].as_f64().unwrap() - side("x2") + side("x1")).abs() < 0.01
    );
    let again = place.run(&format!("detect in/a.png {options}")).succeeded();
    assert_eq!(again.lines()[2], "Results saved to runs/detect/predict-2", "a run never writes into another's folder");
}

#[test]
fn csv_has_a_header_and_a_row_per_box() {
    let place = place();
    let csv = place.run("detect in --csv --no-save --conf 0.3 -m m.safetensors").succeeded();
    let json = place.run("detect in --json --no-save --conf 0.3 -m m.safetensors").succeeded().json();
    let total: usize = json.iter().map(|line| detections(line).len()).sum();
    assert_eq!(csv.lines().len(), 1 + total);
    assert!(csv.lines()[0].starts_with("path,"), "{}", csv.lines()[0]);
}

#[test]
fn an_image_that_fails_is_one_line_and_the_others_are_done() {
    let place = place();
    place.write("bad/empty.jpg", b"");
    place.write("bad/text.png", b"this is no image");
    let whole = std::fs::read(place.path("in/a.png")).unwrap();
    place.write("bad/cut.png", &whole[..whole.len() / 2]);
    let sources = "in/a.png bad/none.jpg bad/empty.jpg bad/text.png bad/cut.png in/b.jpg";
    let run = place.run(&format!("detect {sources} --json --no-save --conf 0.3 -m m.safetensors"));
    assert_eq!(run.code, 1, "{}", run.stderr);
    let lines = run.json();
    assert_eq!(lines.len(), 6);
    for (index, line) in lines.iter().enumerate() {
        assert_eq!(line.get("error").is_some(), (1..5).contains(&index), "{line}");
    }
    let errors: Vec<&str> = run.stderr.lines().collect();
    assert_eq!(errors.len(), 4, "{errors:?}");
    for (error, path) in errors.iter().zip(["bad/none.jpg", "bad/empty.jpg", "bad/text.png", "bad/cut.png"]) {
        assert!(error.starts_with("error: ") && error.contains(path), "{error}");
    }
}

#[test]
fn an_image_beyond_the_limit_says_which_option_moves_it() {
    let place = place();
    let look = |more: &str| place.run(&format!("detect in/a.png --json --no-save -m m.safetensors {more}"));
    let advice = "120x80 pixels exceeds the limit of 9599 pixels; scale it down first, or raise --max-pixels";
    look("--max-pixels 9599").failed(1, &["in/a.png", advice]);
    look("--max-pixels 9600").succeeded();
    assert_eq!(look("--max-pixels 0").code, 2);
}

#[test]
fn a_damaged_jpeg_is_read_with_a_note_and_a_cut_one_is_not() {
    let place = place();
    let whole = std::fs::read(place.path("in/b.jpg")).unwrap();
    let mut damaged = whole.clone();
    // A restart marker where none belongs.
    let at = whole.len() - 200;
    damaged.splice(at..at, [0xFF, 0xD3]);
    place.write("damaged.jpg", damaged);
    place.write("cut.jpg", &whole[..whole.len() - 2]);
    let ran = place.run("detect damaged.jpg --json --no-save -m m.safetensors");
    assert!(ran.stderr.contains("note: damaged.jpg: the JPEG data are damaged"), "{}", ran.stderr);
    ran.succeeded();
    place.run("detect cut.jpg --json --no-save -m m.safetensors").failed(1, &["cut.jpg", "truncated"]);
}

#[test]
fn a_reader_that_goes_away_ends_detect_as_it_ends_other_programs() {
    let place = place();
    let mut command = place.command("detect in --json --no-save -m m.safetensors");
    let mut child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(141));
}

#[test]
fn the_smallest_and_the_thinnest_images_are_images() {
    let place = place();
    place.image("thin/one.png", [1, 1], 1);
    place.image("thin/wide.png", [20_000, 10], 2);
    let lines = place.run("detect thin --json --no-save -m m.safetensors").succeeded().json();
    assert_eq!((&lines[0]["width"], &lines[1]["width"]), (&json!(1), &json!(20_000)));
}

#[test]
fn what_cannot_be_done_is_one_line_and_an_exit_code() {
    let place = place();
    std::fs::create_dir(place.path("nothing")).unwrap();
    place.write("nothing/readme.md", b"no images here");
    place.run("detect nothing -m m.safetensors --no-save").failed(1, &["nothing"]);
    place.run("detect in -m yolo8n --no-save").failed(2, &["yolo8n", "yolov8n"]);
    place.run("detect in -m yolov8n-ghostnet --no-save").failed(2, &["yolov8n-ghostnet", "give --model a checkpoint"]);
    place.run("detect in -m none.pt --no-save").failed(2, &["none.pt"]);
    place.run("detect in -m m.safetensors --device cuda").failed(2, &["--features cuda"]);
    place.run("detect in -m yolov8n --no-save").failed(1, &["HF_HUB_OFFLINE", "yolov8n.pt", "Ultralytics/YOLOv8"]);
    place.write("junk.pt", b"not a checkpoint at all");
    place.run("detect in -m junk.pt --no-save").failed(1, &["junk.pt", "neither safetensors nor"]);
    let hostile =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/weights/hostile/reduce_system.pt");
    place.write("evil.pt", std::fs::read(hostile).unwrap());
    place.run("detect in -m evil.pt --no-save").failed(1, &["evil.pt", "posix.system", "refused"]);
    named_checkpoint(&place, "two.safetensors", &["cat", "dog"]);
    place.run("detect in -m two.safetensors --no-save").failed(1, &["two.safetensors names 2 classes", "have 3"]);
    let whole = std::fs::read(place.path("m.safetensors")).unwrap();
    place.write("cut.safetensors", &whole[..whole.len() / 2]);
    place.run("detect in -m cut.safetensors --no-save").failed(1, &["cut.safetensors", "incomplete"]);
    place.write("file", b"in the way");
    place.run("detect in -m m.safetensors --save-dir file/run").failed(1, &["folder file"]);
}

#[test]
fn a_checkpoint_that_does_not_fit_is_refused_with_a_short_list() {
    let place = place();
    let run = place.run("detect in -m m.safetensors --arch yolov8s --no-save");
    assert_eq!(run.code, 1);
    let first = run.stderr.lines().next().unwrap();
    assert!(first.contains("m.safetensors does not fit") && first.contains("misshaped"), "{first}");
    assert!(run.stderr.contains("misshaped  model.12.cv1.bn.bias: the model has"), "{}", run.stderr);
    assert!(run.stderr.lines().count() == 20 && run.stderr.trim_end().ends_with("more"), "{}", run.stderr);
    assert!(!run.stderr.contains("  0: "), "no stack trace: {}", run.stderr);
}

#[test]
fn a_converted_and_a_fused_checkpoint_find_the_same() {
    let place = place();
    place.run("convert m.safetensors half.safetensors --dtype f16").succeeded();
    place.run("convert m.safetensors fused.safetensors --fuse").succeeded();
    let run = |model: &str| {
        place.run(&format!("detect in/a.png --json --no-save --conf 0.3 -m {model}")).succeeded().json().remove(0)
    };
    let expected = run("m.safetensors");
    assert_eq!(run("fused.safetensors")["detections"], expected["detections"], "folded once, in the same way");
    let half = run("half.safetensors");
    assert_eq!(detections(&half)[0]["class"], detections(&expected)[0]["class"], "names survive");
    let confidence = |line: &Value| detections(line)[0]["confidence"].as_f64().unwrap();
    assert!((confidence(&half) - confidence(&expected)).abs() < 0.01);
    for dtype in ["f16", "bf16"] {
        let narrow = run(&format!("m.safetensors --dtype {dtype}"));
        assert!((confidence(&narrow) - confidence(&expected)).abs() < 0.03, "{dtype}: {narrow}");
    }
    let size = |name: &str| std::fs::metadata(place.path(name)).unwrap().len();
    assert!(size("half.safetensors") < size("m.safetensors") * 6 / 10);
    place.run("convert m.safetensors m.safetensors").failed(2, &["same file"]);
    place.write("kept.safetensors", b"mine");
    place.run("convert m.safetensors kept.safetensors").failed(2, &["kept.safetensors exists", "--force"]);
    assert_eq!(std::fs::read(place.path("kept.safetensors")).unwrap(), b"mine");
    place.run("convert m.safetensors kept.safetensors --force").succeeded();
    place.run("convert m.safetensors m.pt").failed(2, &[".safetensors"]);
}
