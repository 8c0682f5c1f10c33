//! `ghostzoo train classify` from folders of images to a checkpoint: files, resume, teacher, deploy form, bad data.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::TestDir;
use image::{Rgb, RgbImage};

/// A run of few and small steps.
const SMALL: &str = "train classify --data set --model ghostnet_050 --imgsz 32 --batch 8 --epochs 2 --lr 0.05 \
                     --warmup-epochs 1 --device cpu --threads 2";

/// Images of three colours with some noise: eight a class to train with, three to validate with.
fn place() -> TestDir {
    let place = TestDir::new();
    for (class, color) in [("blue", [30, 40, 220]), ("green", [40, 200, 50]), ("red", [210, 30, 40])] {
        for i in 0..11_u32 {
            let split = if i < 8 { "train" } else { "val" };
            let level = |x: u32, y: u32, c: usize| (color[c] + (x * 7 + y * 13 + i * 29) % 35) as u8;
            let image = RgbImage::from_fn(40, 36, |x, y| Rgb([0, 1, 2].map(|c| level(x, y, c))));
            let path = place.write(&format!("set/{split}/{class}/{i}.png"), "");
            image.save(path).unwrap();
        }
    }
    place
}

/// The tensors of a checkpoint by name, byte for byte.
fn weights(place: &TestDir, run: &str, name: &str) -> BTreeMap<String, Vec<u8>> {
    place.tensors(&format!("runs/classify/{run}/weights/{name}.safetensors"))
}

#[test]
fn a_run_leaves_the_files_that_its_users_know_and_learns() {
    let place = place();
    let ran = place.run(&format!("{SMALL} --epochs 6")).succeeded();
    assert!(ran.stderr.contains("24 images of 3 classes to train with, 9 to validate with"), "{}", ran.stderr);
    let expected = [
        "args.yaml",
        "confusion_matrix.png",
        "confusion_matrix_normalized.png",
        "results.csv",
        "results.png",
        "train_batch0.jpg",
        "train_batch1.jpg",
        "train_batch2.jpg",
        "val_batch0_labels.jpg",
        "val_batch0_pred.jpg",
        "val_batch1_labels.jpg",
        "val_batch1_pred.jpg",
        "weights/.lock",
        "weights/best.safetensors",
        "weights/last.safetensors",
        "weights/resume.safetensors",
    ];
    assert_eq!(place.files("runs/classify/train"), expected);
    let results = place.read("runs/classify/train/results.csv");
    let rows: Vec<&str> = results.lines().collect();
    // Ultralytics' header of a classifier, with two groups of parameters instead of three.
    let header = "epoch,time,train/loss,metrics/accuracy_top1,metrics/accuracy_top5,val/loss,lr/pg0,lr/pg1";
    assert_eq!((rows[0], rows.len()), (header, 7));
    let best = "--model runs/classify/train/weights/best.safetensors";
    let found = place.run(&format!("classify set/val/*/*.png {best} --json")).succeeded().json();
    assert_eq!(found.len(), 9);
    let right = found.iter().filter(|found| {
        let class = found["top"][0]["class"].as_str().unwrap();
        found["path"].as_str().unwrap().contains(&format!("/{class}/"))
    });
    assert!(right.count() >= 6, "three colours can be told apart: {found:?}");
    // What a kill took of the last files is made again.
    std::fs::remove_file(place.path("runs/classify/train/results.png")).unwrap();
    std::fs::remove_file(place.path("runs/classify/train/confusion_matrix.png")).unwrap();
    let before = weights(&place, "train", "last");
    place.run("train classify --resume").succeeded();
    assert_eq!(place.files("runs/classify/train"), expected);
    assert!(weights(&place, "train", "last") == before);
    place.run("train classify --resume").failed(1, &["is finished"]);
    // `eval` measures what the last line of the training said.
    let evaluated = place.run(&format!("eval --data set {best} --json")).succeeded().json();
    let said: f64 =
        ran.lines().iter().find_map(|line| line.strip_prefix("all ")?.split_whitespace().nth(1)?.parse().ok()).unwrap();
    assert!((evaluated[0]["top1"].as_f64().unwrap() - 100. * said).abs() < 0.01, "{evaluated:?} {}", ran.stdout);
}

#[test]
fn a_run_that_is_killed_ends_in_the_same_weights() {
    let place = place();
    let line = format!(
        "{SMALL} --plots false --model-ema --model-ema-decay 0.9 --mixup 0.2 --cutmix 1 --aa rand-m9-mstd0.5-inc1 \
         --reprob 0.3 --drop 0.2 --clip-grad 5 --opt rmsproptf --lr 0.001"
    );
    let start = Instant::now();
    place.run(&format!("{line} --name whole")).succeeded();
    let whole = start.elapsed();
    let state = place.path("runs/classify/cut/weights/resume.safetensors");
    let mut moment = 3;
    for _ in 0..5 {
        let words = match state.exists() {
            true => "train classify --resume runs/classify/cut".to_owned(),
            false => format!("{line} --name cut --exist-ok"),
        };
        let mut child = place.command(&words);
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let share = (candle_vision::seeded::splitmix(&mut moment) + 1.) / 2.;
        std::thread::sleep(whole.mul_f64(0.7 * share));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    if !state.exists() {
        place.run(&format!("{line} --name cut --exist-ok")).succeeded();
    }
    let last = place.run("train classify --resume runs/classify/cut");
    if last.code != 0 {
        last.failed(1, &["is finished"]);
    }
    for name in ["last", "best"] {
        assert!(weights(&place, "cut", name) == weights(&place, "whole", name), "{name}");
    }
    let longer = place.run("train classify --resume runs/classify/cut --epochs 3 --data set").succeeded();
    assert!(longer.stderr.contains("3 epochs instead of 2"), "{}", longer.stderr);
    place.run("train classify --resume runs/classify/cut --smoothing 0").failed(2, &["--smoothing is 0.1 in this run"]);
    let rows =
        place.run("train classify --resume runs/classify/cut/weights/last.safetensors --epochs 4 --json").succeeded();
    assert_eq!((rows.json()[0]["epoch"].as_u64(), rows.json().len()), (Some(4), 2), "an epoch and the end: {rows:?}");
    std::fs::remove_file(place.path("set/val/red/8.png")).unwrap();
    let other = "--quiet train classify --resume runs/classify/cut --epochs 5";
    place.run(other).failed(2, &["the data are not those that the run began with"]);
    place.run("train detect --resume runs/classify/cut").failed(1, &["is a run of the task `classify`"]);
}

#[test]
fn one_folder_is_one_process_s() {
    let place = place();
    let mut child = place.command(&format!("{SMALL} --epochs 1000 --plots false --name run"));
    let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let state = place.path("runs/classify/run/weights/resume.safetensors");
    let start = Instant::now();
    let results = place.path("runs/classify/run/results.csv");
    let epochs = || std::fs::read_to_string(&results).map_or(0, |text| text.lines().count().saturating_sub(1));
    while !(state.exists() && epochs() > 1) && start.elapsed() < Duration::from_secs(300) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let resumed = place.run("train classify --resume runs/classify/run");
    let anew = place.run(&format!("--quiet {SMALL} --name run --exist-ok"));
    child.kill().unwrap();
    child.wait().unwrap();
    for ran in [resumed, anew] {
        ran.failed(2, &["is in use by another process"]);
    }
    place.run("train classify --resume runs/classify/run --epochs 1").failed(2, &["already: leave --epochs out"]);
}

#[test]
fn a_start_from_weights_freezes_and_listens_as_it_is_told() {
    let place = place();
    place.run(&format!("{SMALL} --name first --plots false")).succeeded();
    let start = "--pretrained runs/classify/first/weights/last.safetensors --freeze 11 --epochs 1 --plots false";
    let ran = place.run(&format!("{SMALL} --name head {start}")).succeeded();
    assert!(ran.stderr.contains("tensors are taken from"), "{}", ran.stderr);
    let before = weights(&place, "first", "last");
    for (name, bytes) in weights(&place, "head", "last") {
        let is_head = name.starts_with("conv_head.") || name.starts_with("classifier.");
        assert_eq!(bytes != before[&name], is_head, "{name}");
    }
    place.run(&format!("--quiet {SMALL} {start} --model ghostnet_100")).failed(2, &["is a ghostnet_050"]);
    let teacher = "--teacher runs/classify/first/weights/last.safetensors --distill-alpha 0.9";
    place.run(&format!("{SMALL} --name taught {start} {teacher}")).succeeded();
    let (alone, taught) = (weights(&place, "head", "last"), weights(&place, "taught", "last"));
    let differing: Vec<&String> = alone.keys().filter(|name| alone[*name] != taught[*name]).collect();
    assert!(!differing.is_empty() && differing.iter().all(|name| !name.starts_with("blocks.")), "{differing:?}");
    // The run needs it to its end.
    let last = place.path("runs/classify/first/weights/last.safetensors");
    let aside = place.path("aside.safetensors");
    std::fs::rename(&last, &aside).unwrap();
    let resume = "--quiet train classify --resume runs/classify/taught --epochs 2";
    place.run(resume).failed(2, &["from its --teacher to the end", "last.safetensors"]);
    place.run(&format!("{resume} --arch ghostnet_050")).failed(2, &["--arch"]);
    std::fs::rename(&aside, &last).unwrap();
    let small = "--quiet train classify --data set --imgsz 32 --batch 8 --epochs 1 --plots false";
    let ran =
        place.run(&format!("--quiet {SMALL} --model ghostnetv2_100 --imgsz 64 --epochs 1 --plots false --name v2"));
    ran.succeeded();
    let large = "--teacher runs/classify/v2/weights/last.safetensors";
    place.run(&format!("{small} --model ghostnet_050 {large}")).failed(2, &["--teacher", "at least 33 pixels"]);
    // Its classes are the data's, by name.
    std::fs::rename(place.path("set/train/red"), place.path("set/train/rose")).unwrap();
    std::fs::rename(place.path("set/val/red"), place.path("set/val/rose")).unwrap();
    place.run(&format!("--quiet {SMALL} {teacher}")).failed(2, &["--teacher", "not the 3 of the data"]);
}

#[test]
fn branches_that_were_trained_become_a_deploy_form_with_the_same_answers() {
    let place = place();
    let small = SMALL.replace("ghostnet_050", "ghostnetv3_050").replace("--imgsz 32", "--imgsz 64");
    place.run(&format!("{small} --epochs 1 --plots false --name v3")).succeeded();
    let trained = "runs/classify/v3/weights/last.safetensors";
    place.run(&format!("convert {trained} deploy.safetensors --fuse --dtype f32")).succeeded();
    let answers =
        |model: &str| place.run(&format!("classify set/val/*/*.png --model {model} --json")).succeeded().json();
    let (trained, deployed) = (answers(trained), answers("deploy.safetensors"));
    assert_eq!(trained.len(), 9);
    for (a, b) in trained.iter().zip(&deployed) {
        let (a, b) = (&a["top"][0], &b["top"][0]);
        assert_eq!(a["class"], b["class"]);
        assert!((a["probability"].as_f64().unwrap() - b["probability"].as_f64().unwrap()).abs() < 1e-4, "{a} {b}");
    }
    place.run(&format!("--quiet {small} --pretrained deploy.safetensors")).failed(2, &["cannot be trained on"]);
}

#[test]
fn bad_data_is_named_and_the_run_goes_on_or_ends() {
    let place = place();
    place.write("set/train/red/0.png", "no image");
    place.write("set/val/red/8.png", "no image");
    let ran = place.run(&format!("{SMALL} --epochs 1 --plots false")).succeeded();
    for part in ["red/0.png", "takes its place", "red/8.png", "does not count in validation"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    place.run("--quiet train classify --data nowhere").failed(1, &["nowhere"]);
    std::fs::create_dir_all(place.path("set/train/violet")).unwrap();
    std::fs::create_dir_all(place.path("set/val/violet")).unwrap();
    place.run(&format!("--quiet {SMALL}")).failed(1, &["no image: `violet`"]);
    ["train", "val"].iter().for_each(|split| std::fs::remove_dir(place.path(&format!("set/{split}/violet"))).unwrap());
    place.write("other/train/red/0.png", "");
    place.run("--quiet train classify --data other").failed(1, &["train"]);
    std::fs::rename(place.path("set/val/red"), place.path("set/val/rose")).unwrap();
    place.run(&format!("--quiet {SMALL}")).failed(1, &["red", "rose"]);
    std::fs::rename(place.path("set/val/rose"), place.path("set/val/red")).unwrap();
    for class in ["blue", "green", "red"] {
        (8..11).for_each(|i| drop(place.write(&format!("set/val/{class}/{i}.png"), "no image")));
    }
    let ran = place.run(&format!("--quiet {SMALL} --plots false"));
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("none of the 9 validation images can be read"), "{}", ran.stderr);
}

#[test]
fn arguments_that_cannot_be_are_refused_before_the_work() {
    let place = place();
    for (arguments, part) in [
        ("--lr nan", "at least 0"),
        ("--opt lion", "no optimizer here"),
        ("--sched poly", "no schedule here"),
        ("--scale 0.5", "two numbers"),
        ("--scale 0.5,2", "scale"),
        ("--aa auto", "auto"),
        ("--remode grey", "--remode"),
        ("--train-interpolation cubic", "--train-interpolation"),
        ("--lr -1", "--lr <RATE>"),
        ("--seed -1", "--seed <N>"),
        ("--arch ghostnet_100", "--arch"),
        ("--model ghostnetv3_050", "at least 33 pixels"),
        ("--interpolation cubic", "--interpolation"),
        ("--crop-pct 0", "above 0"),
        ("--smoothing 1", "smoothing"),
        ("--freeze 12", "give 0 to 11"),
        ("--batch 1", "a batch of one image"),
        ("--model-ema-decay 2", "from 0 to 1"),
        ("--scale x,1,1", "two numbers"),
        ("--data set/val/red/8.png", "is one file"),
        ("--model yolov8n", "is a detector"),
        ("--model nothing", "nothing"),
        ("--pretrained true", "has no published weights"),
        ("--dtype f16", "computes in f32"),
    ] {
        let ran = place.run(&format!("--quiet {SMALL} {arguments}"));
        assert_eq!(ran.code, 2, "{arguments}: {}", ran.stderr);
        assert!(ran.stderr.contains(part), "{arguments}: {}", ran.stderr);
        assert!(!place.path("runs").exists(), "{arguments}");
    }
    let ran = place.run(&format!("--quiet {SMALL} --epochs 1 --batch 24 --lr 1e30 --warmup-epochs 0 --plots false"));
    assert_eq!(ran.code, 1, "one step, and the network answers nothing: {}", ran.stderr);
    assert!(ran.stderr.contains("validation images are no numbers"), "{}", ran.stderr);
    let ran = place.run(&format!("--quiet {SMALL} --lr 1e30 --warmup-epochs 0 --plots false"));
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("the loss became") && ran.stderr.contains("a lower --lr or"), "{}", ran.stderr);
}

#[test]
fn one_folder_of_classes_gives_both_parts_and_a_run_of_it_goes_on_exactly() {
    let place = place();
    std::fs::remove_dir_all(place.path("set/val")).unwrap();
    place.run(&format!("--quiet {SMALL}")).failed(1, &["no folder for the split `val`", "--val-split 0.2"]);
    let line = format!("{SMALL} --plots false --val-split 0.25");
    place.run(&format!("{line} --name whole")).succeeded();
    let part = |run: &str, part: &str| -> Vec<String> {
        place.read(&format!("runs/classify/{run}/split_{part}.txt")).lines().map(str::to_owned).collect()
    };
    let val = part("whole", "val");
    for class in ["blue", "green", "red"] {
        assert_eq!(val.iter().filter(|name| name.starts_with(class)).count(), 2, "{val:?}");
    }
    let train = part("whole", "train");
    assert!(train.len() == 18 && train.iter().all(|name| !val.contains(name)), "{train:?}");
    assert!(place.read("runs/classify/whole/args.yaml").contains("\nval_split: 0.25\n"));
    // Without a folder `train`, with other threads, gone on with after an epoch.
    std::fs::rename(place.path("set/train"), place.path("classes")).unwrap();
    std::fs::remove_dir(place.path("set")).unwrap();
    std::fs::rename(place.path("classes"), place.path("set")).unwrap();
    place.run(&format!("{line} --name cut --threads 1 --workers 0")).succeeded();
    assert_eq!(part("cut", "val"), val);
    assert!(weights(&place, "cut", "last") == weights(&place, "whole", "last"));
    place.run("train classify --resume runs/classify/cut --epochs 3").succeeded();
    place.run("train classify --resume runs/classify/whole --epochs 3 --data set").succeeded();
    assert!(weights(&place, "cut", "last") == weights(&place, "whole", "last"));
    std::fs::copy(place.path("set/red/0.png"), place.path("set/red/9.png")).unwrap();
    let resume = "train classify --resume runs/classify/cut --epochs 4";
    place.run(&format!("--quiet {resume}")).failed(2, &["--accept-changed-data"]);
    let ran = place.run(&format!("{resume} --accept-changed-data")).succeeded();
    assert!(ran.stderr.contains("images (18 then, 19 now)"), "{}", ran.stderr);
    for class in ["blue", "green", "red"] {
        place.write(&format!("two/train/{class}/0.png"), std::fs::read(place.path("set/red/0.png")).unwrap());
        place.write(&format!("two/val/{class}/0.png"), std::fs::read(place.path("set/red/0.png")).unwrap());
    }
    let both = line.replace("--data set", "--data two");
    place.run(&format!("--quiet {both}")).failed(1, &["has images to validate with already"]);
}
