//! The run of `ghostzoo train detect`: its folder and files, `args.yaml` in and out, its end, and how it goes on.

use std::collections::BTreeMap;

use crate::support::{TINY_DETECTOR, TestDir};
use image::{Rgb, RgbImage};

/// A run of few and small steps, as `yolo` is called.
const SMALL: &str = "train detect data=set/data.yaml model=tiny.yaml imgsz=32 batch=3 epochs=2 optimizer=SGD device=cpu plots=False \
                     --threads 2";

/// Images of a square each: six to train with, two to validate with.
fn place() -> TestDir {
    let place = TestDir::new();
    for i in 0..8u32 {
        let split = if i < 6 { "train" } else { "val" };
        let mut image = RgbImage::from_pixel(48, 32, Rgb([90 + i as u8, 110, 100]));
        (0..256).for_each(|p| image.put_pixel(4 * i + p % 16, i + p / 16, Rgb([250, 250, 40])));
        let path = place.write(&format!("set/images/{split}/{i}.png"), "");
        image.save(path).unwrap();
        let [x, y] = [f64::from(4 * i + 8) / 48., f64::from(i + 8) / 32.];
        place.write(&format!("set/labels/{split}/{i}.txt"), format!("0 {x} {y} {} 0.5\n", 16. / 48.));
    }
    place.write("tiny.yaml", TINY_DETECTOR);
    place.write("set/data.yaml", "train: images/train\nval: images/val\nnames: [square]\n");
    place
}

/// The tensors of a checkpoint, byte for byte.
fn weights(place: &TestDir, run: &str) -> BTreeMap<String, Vec<u8>> {
    place.tensors(&format!("runs/detect/{run}/weights/last.safetensors"))
}

#[test]
fn runs_and_their_folders_are_named_as_ultralytics_names_them() {
    let place = place();
    let small = format!("{SMALL} epochs=1");
    for (words, folder) in [
        ("", "runs/detect/train"),
        ("", "runs/detect/train-2"),
        ("project=foo", "runs/detect/foo/train"),
        ("project=foo/ name=a/b", "runs/detect/foo/a/b"),
        ("project=foo name=a/b", "runs/detect/foo/a/b-2"),
    ] {
        place.run(&format!("{small} {words}")).succeeded();
        assert!(place.path(folder).join("weights/last.safetensors").is_file(), "{words}: {folder}");
    }
    let whole = place.path("elsewhere");
    place.run(&format!("{small} project={}", whole.display())).succeeded();
    assert!(whole.join("train/weights/last.safetensors").is_file());
    // The latest below runs/detect, however deep, and of the older numbering too.
    std::fs::rename(place.path("runs/detect/foo/a/b-2"), place.path("runs/detect/foo/train2")).unwrap();
    let again = place.run("train detect resume epochs=2").succeeded();
    assert!(again.stderr.contains("going on with runs/detect/foo/train2 at epoch 2"), "{}", again.stderr);
    let again = place.run(&format!("train detect --resume --project {} --epochs 2", whole.display())).succeeded();
    assert!(again.stderr.contains("elsewhere/train at epoch 2"), "{}", again.stderr);
}

#[test]
fn the_arguments_of_ultralytics_begin_a_run_here_and_those_of_the_command_line_win() {
    let place = place();
    // As its own run wrote them: `tests/oracle/train_run.py`. The model is named there; data and sizes are the same.
    place.write("args.yaml", include_str!("../golden/train/ultralytics_args.yaml"));
    let words = "train detect cfg=args.yaml model=tiny.yaml epochs=1 plots=False --threads 2";
    let ran = place.run(words).succeeded();
    assert!(ran.stderr.contains("6 images with 6 objects of 1 classes to train with"), "{}", ran.stderr);
    let written = place.read("runs/detect/files/args.yaml");
    for line in [
        "epochs: 1",
        "batch: 2",
        "imgsz: 32",
        "nbs: 2",
        "save_period: 2",
        "close_mosaic: 2",
        "pretrained: true",
        "iou: 0.7",
    ] {
        assert!(written.lines().any(|written| written == line), "{line}: {written}");
    }
    assert!(place.path("runs/detect/files/weights/epoch0.safetensors").is_file());
    // What it wrote begins the same run again.
    place.run("train detect --cfg runs/detect/files/args.yaml --name again --device cpu --threads 2").succeeded();
    assert!(weights(&place, "again") == weights(&place, "files"));
    place.run("--quiet train detect data=set/data.yaml amp=bf16").failed(2, &["amp=bf16 is not done here"]);
    place.run("--quiet train detect data=set/data.yaml device=0,1").failed(2, &["one device"]);
}

/// Lets a run believe that its first epoch was a good one.
fn praise_the_first_epoch(place: &TestDir, run: &str) {
    let path = place.path(&format!("runs/detect/{run}/weights/resume.safetensors"));
    let bytes = std::fs::read(&path).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let mut metadata = header.metadata().clone().unwrap();
    let mut progress: serde_json::Value = serde_json::from_str(&metadata["ghostzoo_run"]).unwrap();
    progress["stopping"] = serde_json::json!({"best": 0.9, "epoch": 1});
    metadata.insert("ghostzoo_run".to_owned(), progress.to_string());
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    std::fs::write(&path, safetensors::serialize(tensors.iter(), Some(metadata)).unwrap()).unwrap();
}

#[test]
fn a_run_that_ended_early_goes_on_exactly_with_more_patience() {
    let place = place();
    let long = format!("{SMALL} epochs=4 close_mosaic=0 lrf=1 warmup_epochs=0");
    place.run(&format!("{long} patience=0 name=whole epochs=2")).succeeded();
    place.run("train detect --resume runs/detect/whole --epochs 4").succeeded();
    place.run(&format!("{long} patience=2 name=early epochs=2")).succeeded();
    praise_the_first_epoch(&place, "early");
    let rows = || place.read("runs/detect/early/results.csv").lines().count() - 1;
    let ran = place.run("train detect --resume runs/detect/early --epochs 4").succeeded();
    assert!(rows() == 3 && ran.stderr.contains("--patience 0 goes on to the last"), "{}", ran.stderr);
    for more in ["", "--epochs 5", "--patience 1"] {
        let ran = place.run(&format!("train detect --resume runs/detect/early {more}"));
        ran.failed(1, &["is finished, after 3 epochs", "a larger --patience than"]);
    }
    place.run("train detect --resume runs/detect/early --patience 0").succeeded();
    assert_eq!(rows(), 4);
    assert!(weights(&place, "early") == weights(&place, "whole"));
}

#[test]
fn a_run_goes_on_with_data_that_moved_and_as_yolo_is_called() {
    let place = place();
    place.run(&format!("{SMALL} epochs=3 name=whole")).succeeded();
    for (name, words) in [
        ("a", "train detect --resume runs/detect/a --epochs 3 data=moved/data.yaml"),
        ("b", "train detect resume model=runs/detect/b/weights/last.safetensors epochs=3 data=moved/data.yaml"),
        ("c", "train detect resume=True model=runs/detect/c epochs=3 data=moved/data.yaml"),
        ("d", "train detect resume=runs/detect/d/weights/last.safetensors epochs=3 data=moved/data.yaml"),
    ] {
        place.run(&format!("{SMALL} name={name}")).succeeded();
        std::fs::rename(place.path("set"), place.path("moved")).unwrap();
        let left = words.replace(" data=moved/data.yaml", "");
        place.run(&format!("--quiet {left}")).failed(1, &["set/data.yaml"]);
        place.run(words).succeeded();
        std::fs::rename(place.path("moved"), place.path("set")).unwrap();
        assert_eq!(place.read(&format!("runs/detect/{name}/results.csv")).lines().count(), 4);
        assert!(place.read(&format!("runs/detect/{name}/args.yaml")).contains("moved/data.yaml"));
    }
    let other = "--quiet train detect resume=True model=set/images/val/6.png";
    place.run(other).failed(2, &["there is no run"]);
    place
        .run("--quiet train detect --resume runs/detect/a --model runs/detect/b/weights/last.safetensors --epochs 4")
        .failed(2, &["--model"]);
}

#[test]
fn other_images_than_a_run_began_with_are_named() {
    let place = place();
    place.run(&format!("{SMALL} epochs=1")).succeeded();
    let resume = "--quiet train detect --resume --epochs 2";
    let before = std::fs::read(place.path("set/images/train/3.png")).unwrap();
    place.image("set/images/train/3.png", [48, 32], 7);
    place.run(resume).failed(2, &["other training images (new or changed: 3.png)"]);
    place.write("set/images/train/3.png", before);
    place.image("set/images/val/8.png", [48, 32], 7);
    place.run(resume).failed(2, &["other validation images (2 then, 3 now; new or changed: 8.png)"]);
    std::fs::remove_file(place.path("set/images/val/8.png")).unwrap();
    place.write("set/labels/val/7.txt", "");
    place.run(resume).failed(2, &["other validation images (new or changed: 7.png)"]);
    place.write("set/labels/val/7.txt", "0 0.5 0.5 0.5 0.5\n");
    std::fs::remove_file(place.path("set/images/val/7.png")).unwrap();
    place.run(resume).failed(2, &["other validation images (2 then, 1 now; some are gone)"]);
}

#[test]
fn time_must_be_above_zero() {
    let ran = place().run(&format!("--quiet {SMALL} time=0"));
    assert!(ran.code == 2 && ran.stderr.contains("--time <HOURS>': give a number above 0"), "{}", ran.stderr);
}

#[test]
fn a_batch_that_the_memory_decides_is_told() {
    let place = place();
    for share in ["-1", "0.5"] {
        let ran = place.run(&format!("{SMALL} batch={share} epochs=1 nbs=3 name=auto --exist-ok")).succeeded();
        assert!(ran.stderr.contains("note: --batch 16"), "{}", ran.stderr);
        assert!(ran.stderr.contains("1 steps an epoch"), "{}", ran.stderr);
    }
    assert!(place.read("runs/detect/auto/args.yaml").contains("batch: 0.5\n"));
    place.run("train detect resume=runs/detect/auto epochs=2").succeeded();
}

#[test]
fn one_split_gives_both_parts_and_a_run_of_it_goes_on_exactly() {
    let place = place();
    for i in 0..2 {
        let number = 6 + i;
        for (kind, ending) in [("images", "png"), ("labels", "txt")] {
            let name = |split: &str| place.path(&format!("set/{kind}/{split}/{number}.{ending}"));
            std::fs::rename(name("val"), name("train")).unwrap();
        }
    }
    place.write("set/data.yaml", "train: images/train\nnames: [square]\n");
    let error = place.run(&format!("--quiet {SMALL}"));
    error.failed(2, &["has no split `val`, only train", "--val-split 0.2"]);
    let all = place.run(&format!("--quiet {SMALL} --val-split 1"));
    assert!(all.code == 2 && all.stderr.contains("give a share between 0 and 1, such as 0.2"), "{}", all.stderr);
    let line = format!("{SMALL} epochs=3 --val-split 0.25");
    let ran = place.run(&format!("{line} name=whole")).succeeded();
    assert!(ran.stderr.contains("2 of 8 images are held back to validate with"), "{}", ran.stderr);
    assert!(place.read("runs/detect/whole/args.yaml").contains("\nval_split: 0.25\n"));
    let part = |run: &str, part: &str| -> Vec<String> {
        let lines = place.read(&format!("runs/detect/{run}/split_{part}.txt"));
        lines.lines().map(|line| line.rsplit('/').next().unwrap().to_owned()).collect()
    };
    let (train, val) = (part("whole", "train"), part("whole", "val"));
    let mut all = [train, val.clone()].concat();
    all.sort();
    assert_eq!(all, (0..8).map(|i| format!("{i}.png")).collect::<Vec<_>>());
    assert_eq!(val.len(), 2);
    // Stopped after two epochs, its data moved, with other threads.
    place.run(&format!("{line} name=cut epochs=2 lrf=0.01")).succeeded();
    std::fs::rename(place.path("set"), place.path("moved")).unwrap();
    place
        .run("--threads 1 train detect --resume runs/detect/cut --epochs 3 data=moved/data.yaml --workers 0")
        .succeeded();
    assert_eq!(part("cut", "val"), val);
    std::fs::rename(place.path("moved"), place.path("set")).unwrap();
    place.run(&format!("{line} name=other seed=5")).succeeded();
    assert_ne!(part("other", "val"), val, "another seed holds back others");
    place
        .run("--quiet train detect --resume runs/detect/cut --val-split 0.5")
        .failed(2, &["--val-split is 0.25 in this run"]);
    // The validation of the same images gives the run's numbers.
    let model = "runs/detect/whole/weights/best.safetensors";
    let again =
        place.run(&format!("val --data runs/detect/whole/split.yaml --model {model} --json --device cpu")).succeeded();
    assert_eq!(again.json()[0]["images"], 2);
    place.write("set/data.yaml", "train: images/train\nval: images/train\nnames: [square]\n");
    place.run(&format!("--quiet {line}")).failed(2, &["--val-split:", "has images to validate with already"]);
    // A run without it in the same folder leaves nothing of it.
    place.run(&format!("{SMALL} epochs=1 name=whole exist_ok=True")).succeeded();
    assert!(
        !place.path("runs/detect/whole/split.yaml").exists() && !place.path("runs/detect/whole/split_val.txt").exists()
    );
}

#[test]
fn a_run_goes_on_with_changed_data_where_that_is_accepted() {
    let place = place();
    place.run(&format!("{SMALL} epochs=1 name=a")).succeeded();
    for number in [8, 9] {
        place.image(&format!("set/images/train/{number}.png"), [48, 32], number);
        place.write(&format!("set/labels/train/{number}.txt"), "0 0.5 0.5 0.5 0.5\n");
    }
    place.write("set/labels/val/7.txt", "");
    let resume = "train detect --resume runs/detect/a --epochs 2";
    place.run(&format!("--quiet {resume}")).failed(2, &["go on with them by --accept-changed-data"]);
    let ran = place.run(&format!("{resume} --accept-changed-data")).succeeded();
    for part in [
        "images (6 then, 8 now)",
        "training images (6 then, 8 now; new or changed: 8.png, 9.png)",
        "validation images (new or changed: 7.png); the run goes on with them",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    assert_eq!(place.read("runs/detect/a/results.csv").lines().count(), 3);
    let ran = place.run("train detect --resume runs/detect/a --epochs 3").succeeded();
    assert!(!ran.stderr.contains("the data are not those"), "they are the run's own by then: {}", ran.stderr);
    place.write("set/data.yaml", "train: images/train\nval: images/val\nnames: [circle]\n");
    let other = "--quiet train detect --resume runs/detect/a --epochs 4 --accept-changed-data";
    place.run(other).failed(2, &["other classes", "with other classes no run goes on"]);
    let new = place.run(&format!("--quiet {SMALL} --accept-changed-data"));
    assert!(new.code == 2 && new.stderr.contains("--resume"), "{}", new.stderr);
}
