//! `ghostzoo val` from labelled images to average precision.

use crate::support::{TestDir, seeded_tensors};
use candle_yolov8::{model_config, spec};
use ghostzoo_weights::{Checkpoint, Metadata, write};
use serde_json::{Value, json};

/// [width, height] of the images.
const SIZES: [[u32; 2]; 4] = [[400, 260], [260, 400], [320, 320], [200, 240]];

/// The first boxes of a line of `detect --json` that lie inside their image, as rows of a label file.
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

/// A seeded detector of three named classes, and images labelled by what it finds in them.
fn place() -> TestDir {
    let place = TestDir::new();
    let def = model_config("yolov8n-ghostnet", Some(3)).unwrap();
    let names = ["cat", "dog", "elk"].map(str::to_owned).to_vec();
    let metadata = Metadata { nc: Some(3), names: Some(names), imgsz: Some(320), ..Default::default() };
    let tensors = seeded_tensors(&spec(&def).unwrap());
    write(&place.path("m.safetensors"), &Checkpoint { tensors, metadata, ..Default::default() }).unwrap();
    for (i, size) in SIZES.into_iter().enumerate() {
        place.image(&format!("set/images/val/{i}.png"), size, i as u32);
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
fn instances(place: &TestDir) -> Value {
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

/// The numbers of a validation, and what was said.
fn measured(place: &TestDir, more: &str) -> (Value, String) {
    let ran = place.run(&format!("val -m m.safetensors --json --plots false {more}")).succeeded();
    (ran.json()[0].clone(), ran.stderr)
}

/// Changes each row of the label files, given its class and the rest; `None` removes it.
fn relabel(place: &TestDir, change: impl Fn(usize, &str) -> Option<String>) {
    for i in 0..4 {
        let file = format!("set/labels/val/{i}.txt");
        let row = |line: &str| {
            let (class, rest) = line.split_once(' ').unwrap();
            change(class.parse().unwrap(), rest)
        };
        let text: String = place.read(&file).lines().filter_map(row).map(|row| format!("{row}\n")).collect();
        place.write(&file, text);
    }
}

/// Number of the label files' rows.
fn objects(place: &TestDir) -> usize {
    (0..4).map(|i| place.read(&format!("set/labels/val/{i}.txt")).lines().count()).sum()
}

fn named(place: &TestDir, names: &str) {
    place.write("set/data.yaml", format!("train: images/val\nval: images/val\nnames: [{names}]\n"));
}

#[test]
fn a_size_that_is_no_multiple_of_32_is_rounded_up_and_said() {
    let place = place();
    let (exact, said) = measured(&place, "--data set/data.yaml --imgsz 320");
    assert!(!said.contains("rounded"), "{said}");
    let (rounded, said) = measured(&place, "--data set/data.yaml --imgsz 300");
    assert!(said.contains("--imgsz 300 is rounded up to 320, a multiple of 32"), "{said}");
    assert_eq!(
        (&rounded["imgsz"], &rounded["ultralytics"], &rounded["coco"]),
        (&json!(320), &exact["ultralytics"], &exact["coco"])
    );
}

#[test]
fn three_hundred_boxes_are_raised_to_the_most_objects_and_another_number_is_kept() {
    let place = place();
    let rows: String = (0..302).map(|i| format!("0 {} {} 0.02 0.02\n", 0.02 + 0.003 * f64::from(i), 0.5)).collect();
    place.write("set/labels/val/0.txt", rows);
    let (row, said) = measured(&place, "--data set/data.yaml");
    assert_eq!(row["max_det"], 302, "{said}");
    assert!(said.contains("an image has 302 objects: 302 boxes are kept of each"), "{said}");
    let (row, said) = measured(&place, "--data set/data.yaml --max-det 301");
    assert_eq!(row["max_det"], 301, "{said}");
    assert!(said.contains("an image has 302 objects, and --max-det keeps 301: recall is capped"), "{said}");
}

#[test]
fn a_model_of_one_class_is_measured_on_all_where_it_was_trained_so_or_is_told() {
    let place = place();
    let def = model_config("yolov8n-ghostnet", Some(1)).unwrap();
    let tensors = seeded_tensors(&spec(&def).unwrap());
    let model = |name: &str, train_args: Option<Value>| {
        let metadata = Metadata { nc: Some(1), imgsz: Some(320), train_args, ..Default::default() };
        write(&place.path(name), &Checkpoint { tensors: tensors.clone(), metadata, ..Default::default() }).unwrap();
    };
    model("one.safetensors", Some(json!({"single_cls": true})));
    model("plain.safetensors", Some(json!({"single_cls": false})));
    relabel(&place, |class, rest| Some(format!("{} {rest}", if class == 2 { 7 } else { class })));
    let run = |model: &str| {
        let ran = place.run(&format!("val --data set/data.yaml -m {model} --json --plots false")).succeeded();
        (ran.json()[0].clone(), ran.stderr)
    };
    let (trained, said) = run("one.safetensors");
    assert!(said.contains("trained with single_cls"), "{said}");
    let (told, said) = run("plain.safetensors --single-cls");
    assert!(!said.contains("trained with single_cls"), "{said}");
    place.write("set/data.yaml", "train: images/val\nval: images/val\nnames: [item]\n");
    relabel(&place, |_, rest| Some(format!("0 {rest}")));
    let (by_hand, _) = run("plain.safetensors");
    for row in [&trained, &told] {
        assert_eq!((&row["ultralytics"], &row["coco"]), (&by_hand["ultralytics"], &by_hand["coco"]));
        assert_eq!(row["classes"][0]["instances"], objects(&place), "class 7 is one of them");
    }
    named(&place, "cat, dog, elk");
    let (united, _) = measured(&place, "--data set/data.yaml --single-cls");
    let classes = united["classes"].as_array().unwrap();
    assert_eq!(
        (classes.len(), &classes[0]["class"], &classes[0]["instances"]),
        (1, &json!("item"), &json!(objects(&place)))
    );
}

#[test]
fn a_model_of_more_or_fewer_classes_is_measured_by_name_or_number() {
    let place = place();
    let (plain, _) = measured(&place, "--data set/data.yaml");
    // A class above the others, as Roboflow writes it: names tell which is which.
    named(&place, "animal, cat, dog, elk");
    relabel(&place, |class, rest| Some(format!("{} {rest}", class + 1)));
    let (more, said) = measured(&place, "--data set/data.yaml --save-json");
    assert_eq!((&more["ultralytics"], &more["coco"]), (&plain["ultralytics"], &plain["coco"]));
    assert!(
        said.contains("m.safetensors has the data's classes among others; labels follow the model, by name"),
        "{said}"
    );
    let results: Value = serde_json::from_str(&place.read("runs/detect/val/predictions.json")).unwrap();
    let ids: std::collections::BTreeSet<i64> =
        results.as_array().unwrap().iter().map(|row| row["category_id"].as_i64().unwrap()).collect();
    assert!(ids.iter().all(|id| (2..=4).contains(id)), "categories are the data's: {ids:?}");
    // Other names: by number, and what the model does not know is left out, as Ultralytics does.
    named(&place, "a, b, c, d");
    relabel(&place, |class, rest| Some(format!("{} {rest}\n3 {rest}", class - 1)));
    let unknown = objects(&place) / 2;
    let (by_number, said) = measured(&place, "--data set/data.yaml");
    assert_eq!((&by_number["ultralytics"], &by_number["coco"]), (&plain["ultralytics"], &plain["coco"]));
    assert!(said.contains("they are taken by number"), "{said}");
    assert!(said.contains(&format!("{unknown} objects of classes that it does not know (d) are left out")), "{said}");
    assert_eq!(by_number["left_out_instances"], unknown);
    // Fewer classes in the data than in the model.
    relabel(&place, |class, rest| (class < 2).then(|| format!("{class} {rest}")));
    named(&place, "cat, dog, elk");
    let (all, _) = measured(&place, "--data set/data.yaml");
    for names in ["cat, dog", "x, y"] {
        named(&place, names);
        let (fewer, _) = measured(&place, "--data set/data.yaml");
        assert_eq!((&fewer["ultralytics"], &fewer["coco"]), (&all["ultralytics"], &all["coco"]), "{names}");
    }
}

#[test]
fn poses_and_old_line_ends_are_the_same_boxes() {
    let place = place();
    let (plain, _) = measured(&place, "--data set/data.yaml");
    relabel(&place, |class, rest| Some(format!("{class} {rest} 0.1 0.2 2 0.3 0.4 1")));
    place.write("set/data.yaml", "train: images/val\rval: images/val\rnames: [cat, dog, elk]\rkpt_shape: [2, 3]\r");
    for i in 0..4 {
        let text = place.read(&format!("set/labels/val/{i}.txt")).replace('\n', "\r");
        place.write(&format!("set/labels/val/{i}.txt"), text);
    }
    let (poses, said) = measured(&place, "--data set/data.yaml");
    assert_eq!((&poses["ultralytics"], &poses["coco"]), (&plain["ultralytics"], &plain["coco"]), "{said}");
}

#[test]
fn an_instances_file_may_be_a_split_and_lack_images() {
    let place = place();
    let mut truth = instances(&place);
    place.write("set/images/val/instances_val.json", truth.to_string());
    let (plain, _) = measured(&place, "--data set/images/val/instances_val.json");
    place.write("coco.yaml", "train: set/images/val/instances_val.json\nval: set/images/val/instances_val.json\n");
    let (split, _) = measured(&place, "--data coco.yaml --save-json");
    assert_eq!((&split["ultralytics"], &split["coco"]), (&plain["ultralytics"], &plain["coco"]));
    let results: Value = serde_json::from_str(&place.read("runs/detect/val/predictions.json")).unwrap();
    assert!(results.as_array().unwrap().iter().all(|row| [10, 20, 30].contains(&row["category_id"].as_i64().unwrap())));
    // An image that is not there, listed first; a category without objects; numbers with a decimal point.
    truth["images"].as_array_mut().unwrap().insert(0, json!({"id": 77.0, "file_name": "gone.png", "width": 10.0}));
    truth["categories"].as_array_mut().unwrap().push(json!({"id": 5, "name": "animal", "supercategory": "none"}));
    place.write("set/images/val/instances_val.json", truth.to_string());
    let (some, said) = measured(&place, "--data set/images/val/instances_val.json");
    assert_eq!((&some["ultralytics"], &some["coco"]), (&plain["ultralytics"], &plain["coco"]));
    assert!(said.contains("image 77 is not there: ") && said.contains("gone.png; it is left out"), "{said}");
    assert_eq!((&some["images"], &some["left_out_images"]), (&json!(4), &json!(1)));
}

#[test]
fn cocos_own_list_gives_cocos_ids_of_categories() {
    let place = TestDir::new();
    let def = model_config("yolov8n-ghostnet", Some(80)).unwrap();
    let tensors = seeded_tensors(&spec(&def).unwrap());
    let metadata = Metadata { nc: Some(80), imgsz: Some(64), ..Default::default() };
    write(&place.path("m.safetensors"), &Checkpoint { tensors, metadata, ..Default::default() }).unwrap();
    place.image("coco/images/val2017/000000000139.png", [64, 64], 1);
    place.write("coco/labels/val2017/000000000139.txt", "79 0.5 0.5 0.5 0.5\n");
    let run = |list: &str, out: &str| {
        place.write(list, "./images/val2017/000000000139.png\n");
        let names: String = (0..80).map(|class| format!("  {class}: c{class}\n")).collect();
        place.write("coco.yaml", format!("train: {list}\nval: {list}\nnames:\n{names}"));
        place
            .run(&format!("val --data coco.yaml -m m.safetensors --conf 0 --max-det 3000 --save-json --plots false --save-dir {out} --quiet"))
            .succeeded();
        let results: Value = serde_json::from_str(&place.read(&format!("{out}/predictions.json"))).unwrap();
        let id = |row: &Value| row["category_id"].as_i64().unwrap();
        results.as_array().unwrap().iter().map(id).collect::<Vec<_>>()
    };
    let (own, other) = (run("coco/val2017.txt", "a"), run("coco/some.txt", "b"));
    assert!(other.iter().any(|id| *id > 11), "classes whose ids differ: {other:?}");
    // Ultralytics 8.4.190's coco80_to_coco91_class leaves these out.
    let unused = [12, 26, 29, 30, 45, 66, 68, 69, 71, 83];
    let ids: Vec<i64> = (1..=90).filter(|id| !unused.contains(id)).collect();
    assert_eq!(own, other.iter().map(|number| ids[*number as usize - 1]).collect::<Vec<_>>());
}

#[test]
fn what_does_not_go_together_is_one_line() {
    let place = place();
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
    place.write("results.json", r#"[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]"#);
    place.run("val --data results.json -m m.safetensors").failed(1, &["results.json: a list, as results are"]);
    place.write("set/labels/val/3.txt", "7 0.5 0.5 0.1 0.1\n");
    let left = place.run("val --data set/data.yaml -m m.safetensors --json --plots false --quiet").succeeded().json();
    assert_eq!((&left[0]["images"], &left[0]["left_out_images"]), (&json!(3), &json!(1)));
    place.write("set/labels/val/3.txt", "");
    place.write("set/images/val/2.png", b"no image");
    let ran = place.run("val --data set/data.yaml -m m.safetensors --json --plots false --quiet");
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("2.png") && ran.stderr.contains("it does not count"), "{}", ran.stderr);
    let row = &ran.json()[0];
    assert_eq!((&row["images"], &row["unreadable_images"]), (&json!(3), &json!(1)));
}
