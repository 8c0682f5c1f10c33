//! `ghostzoo train detect` from a checkpoint of other classes: what is taken, kept, and known again afterwards.

use std::collections::BTreeMap;

use crate::support::TestDir;
use image::{Rgb, RgbImage};

/// Leaves the weights where they start.
const AT_REST: &str =
    "--imgsz 64 --batch 2 --epochs 1 --optimizer SGD --lr0 0 --warmup-bias-lr 0 --plots false --device cpu --threads 2";

/// Two images of a bright square, labelled with the classes 0 and 1 of each `names`.
fn place(names: &[(&str, &[String])]) -> TestDir {
    let place = TestDir::new();
    for i in 0..2u32 {
        let mut image = RgbImage::from_pixel(96, 80, Rgb([90, 100, 110]));
        (0..400).for_each(|p| image.put_pixel(20 + p % 20, 30 + p / 20, Rgb([250, 240, 30])));
        let path = place.write(&format!("set/images/{i}.png"), "");
        image.save(path).unwrap();
        place.write(&format!("set/labels/{i}.txt"), format!("{i} 0.3125 0.5 0.208 0.25\n"));
    }
    for (file, names) in names {
        place.write(&format!("set/{file}"), format!("train: images\nval: images\nnames: [{}]\n", names.join(", ")));
    }
    place
}

fn class_biases(place: &TestDir, run: &str) -> Vec<f32> {
    let checkpoint =
        ghostzoo_weights::read(&place.path(&format!("runs/detect/{run}/weights/last.safetensors"))).unwrap();
    let bias = &checkpoint.tensors["model.22.cv3.1.2.bias"];
    bias.to_dtype(candle_core::DType::F32).unwrap().to_vec1().unwrap()
}

/// Ultralytics 8.4.190 keeps the class branches of the checkpoint, 80 channels wide here, and takes rows by name.
#[test]
fn other_classes_keep_the_class_branches_and_take_their_rows_by_name() {
    let many: Vec<String> = (0..80).map(|i| format!("thing{i}")).collect();
    let few = ["new".to_owned(), "THING7".to_owned(), "thing3".to_owned()];
    let numbers = ["0", "1", "2"].map(str::to_owned);
    let place = place(&[("many.yaml", &many), ("few.yaml", &few), ("numbers.yaml", &numbers)]);
    // Biases that differ by class, from steps that differ by class.
    let learn = "--imgsz 64 --batch 2 --epochs 2 --optimizer SGD --lr0 0.01 --plots false --device cpu --threads 2";
    place.run(&format!("train detect --data set/many.yaml --model yolov8n-ghost {learn} --name many")).succeeded();
    let source = "--model runs/detect/many/weights/last.safetensors";

    let ran = place.run(&format!("train detect --data set/few.yaml {source} {AT_REST} --name few")).succeeded();
    let all = "2 of 3 classes start from the checkpoint's row of the same name";
    assert!(ran.stderr.contains(all), "{}", ran.stderr);
    let counts = |text: &str| -> Vec<usize> {
        let line = text.lines().find(|line| line.contains("tensors are taken from")).unwrap();
        line.split(' ').filter_map(|word| word.parse().ok()).collect()
    };
    let [taken, whole] = counts(&ran.stderr)[..] else { panic!("{}", ran.stderr) };
    assert_eq!(taken, whole, "{}", ran.stderr);
    let (many, few) = (class_biases(&place, "many"), class_biases(&place, "few"));
    let rows: BTreeMap<usize, usize> = [(1, 7), (2, 3)].into();
    for (class, row) in rows {
        assert!((few[class] - many[row]).abs() < 2e-3, "class {class}: {} for {}", few[class], many[row]);
    }

    let ran = place.run(&format!("train detect --data set/numbers.yaml {source} {AT_REST} --name numbers")).succeeded();
    let [taken, whole] = counts(&ran.stderr)[..] else { panic!("{}", ran.stderr) };
    assert_eq!(taken, whole - 6, "the last layers of three levels start anew: {}", ran.stderr);
    let off = format!("train detect --data set/few.yaml {source} {AT_REST} --cls-remap false --name off");
    let ran = place.run(&off).succeeded();
    assert_eq!(counts(&ran.stderr), [taken, whole]);
}

#[test]
fn a_network_with_wide_class_branches_is_known_again_by_every_command() {
    let many: Vec<String> = (0..80).map(|i| format!("thing{i}")).collect();
    let few = ["a".to_owned(), "b".to_owned()];
    let place = place(&[("many.yaml", &many), ("few.yaml", &few)]);
    place.run(&format!("train detect --data set/many.yaml --model yolov8n-ghost {AT_REST} --name many")).succeeded();
    let from = "--model yolov8n-ghost --pretrained runs/detect/many/weights/last.safetensors";
    place.run(&format!("train detect --data set/few.yaml {from} {AT_REST} --name few")).succeeded();
    let model = "runs/detect/few/weights/best.safetensors";
    let json = place.run(&format!("summary yolov8n-ghost {model} --json")).succeeded().stdout;
    let parameters: Vec<u64> = json
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["parameters"].as_u64().unwrap())
        .collect();
    // Ultralytics 8.4.190 counts 1,846,605 for three classes, of which each has 3 levels of 80 weights and a bias.
    assert_eq!(parameters[1], 1_846_605 - 3 * 81);
    place.run(&format!("detect set/images --model {model} --no-save")).succeeded();
    place.run(&format!("val --data set/few.yaml --model {model} --plots false")).succeeded();
    place.run(&format!("convert {model} folded.safetensors --fuse")).succeeded();
    place.run("detect set/images --model folded.safetensors --no-save").succeeded();
    place.run("train detect --resume runs/detect/few --epochs 2").succeeded();
    let again = format!("train detect --data set/few.yaml --model {model} {AT_REST} --name again");
    let ran = place.run(&again).succeeded();
    assert!(!ran.stderr.contains("starts anew"), "{}", ran.stderr);
}
