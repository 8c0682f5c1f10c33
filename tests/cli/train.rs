//! `ghostzoo train detect` from labelled images to a checkpoint: files, resume, kills, bad data.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::TestDir;
use image::{Rgb, RgbImage};

/// A run of few and small steps.
const SMALL: &str =
    "train detect --data set/data.yaml --imgsz 64 --batch 4 --epochs 3 --optimizer SGD --device cpu --threads 2";

/// Images of bright and dark squares on grey, of two classes: ten to train with, four to validate with.
fn place() -> TestDir {
    let place = TestDir::new();
    for i in 0..14u32 {
        let split = if i < 10 { "train" } else { "val" };
        let [width, height] = [[96, 64], [64, 96], [80, 80]][i as usize % 3];
        let mut image = RgbImage::from_pixel(width, height, Rgb([120, 110, 100]));
        let mut rows = String::new();
        for class in 0..2u32 {
            let side = 14 + 3 * (i % 4) + 4 * class;
            let [x, y] = [(7 * i + 29 * class) % (width - side), (11 * i + 17 * class) % (height - side)];
            let level = if class == 0 { 250 } else { 10 };
            (0..side * side).for_each(|p| image.put_pixel(x + p % side, y + p / side, Rgb([level, level, 40])));
            let share = |start: u32, whole: u32| (f64::from(start) + f64::from(side) / 2.) / f64::from(whole);
            let [cx, cy] = [share(x, width), share(y, height)];
            rows += &format!(
                "{class} {cx} {cy} {} {}\n",
                f64::from(side) / f64::from(width),
                f64::from(side) / f64::from(height)
            );
        }
        let path = place.write(&format!("set/images/{split}/{i}.png"), "");
        image.save(path).unwrap();
        place.write(&format!("set/labels/{split}/{i}.txt"), rows);
    }
    place.write("set/data.yaml", "train: images/train\nval: images/val\nnames: [light, dark]\n");
    place
}

#[test]
fn a_run_leaves_the_files_that_its_users_know() {
    let place = place();
    let ran = place.run(SMALL).succeeded();
    assert!(ran.stdout.contains("mAP50-95"), "{}", ran.stdout);
    let expected = [
        "BoxF1_curve.png",
        "BoxPR_curve.png",
        "BoxP_curve.png",
        "BoxR_curve.png",
        "args.yaml",
        "confusion_matrix.png",
        "confusion_matrix_normalized.png",
        "labels.jpg",
        "results.csv",
        "results.png",
        "train_batch0.jpg",
        "train_batch1.jpg",
        "train_batch2.jpg",
        "val_batch0_labels.jpg",
        "val_batch0_pred.jpg",
        "weights/.lock",
        "weights/best.safetensors",
        "weights/last.safetensors",
        "weights/resume.safetensors",
    ];
    assert_eq!(place.files("runs/detect/train"), expected);
    let results = place.read("runs/detect/train/results.csv");
    let rows: Vec<&str> = results.lines().collect();
    // Ultralytics 8.4.190's header, to the byte.
    assert_eq!(
        rows[0],
        "epoch,time,train/box_loss,train/cls_loss,train/dfl_loss,metrics/precision(B),metrics/recall(B),\
         metrics/mAP50(B),metrics/mAP50-95(B),val/box_loss,val/cls_loss,val/dfl_loss,lr/pg0,lr/pg1,lr/pg2"
    );
    assert_eq!(rows.len(), 4);
    assert!(place.read("runs/detect/train/args.yaml").contains("imgsz: 64"));
    // The checkpoint says what it is.
    let found = place
        .run("detect set/images/val --model runs/detect/train/weights/best.safetensors --no-save --json --conf 0.0001")
        .succeeded();
    assert_eq!(found.json().len(), 4);
    let again = place.run(SMALL).succeeded();
    assert!(again.stderr.contains("train-2"), "the next run has a folder of its own: {}", again.stderr);
    assert!(weights(&place, "train", "last") == weights(&place, "train-2", "last"), "equal runs give equal weights");
}

/// The tensors of a checkpoint, byte for byte; its header holds the run's name.
fn weights(place: &TestDir, run: &str, name: &str) -> BTreeMap<String, Vec<u8>> {
    place.tensors(&format!("runs/detect/{run}/weights/{name}.safetensors"))
}

/// Every checkpoint of a run that is there can be read, whatever happened to the run.
fn all_readable(place: &TestDir, run: &str) {
    for name in ["best", "last", "resume"] {
        let path = place.path(&format!("runs/detect/{run}/weights/{name}.safetensors"));
        if path.exists() {
            let bytes = std::fs::read(&path).unwrap();
            assert!(safetensors::SafeTensors::deserialize(&bytes).is_ok(), "{} is cut", path.display());
        }
    }
}

#[test]
fn a_run_that_is_killed_ten_times_ends_in_the_same_weights() {
    let place = place();
    let start = Instant::now();
    place.run(&format!("{SMALL} --name whole --plots false")).succeeded();
    let whole = start.elapsed();
    let state = place.path("runs/detect/cut/weights/resume.safetensors");
    // Before there is a state, a run begins anew.
    let line = |is_there: bool| match is_there {
        true => "train detect --resume runs/detect/cut".to_owned(),
        false => format!("{SMALL} --name cut --exist-ok true --plots false"),
    };
    let mut moment = 1;
    for _ in 0..10 {
        let mut child = place.command(&line(state.exists()));
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let share = (candle_vision::seeded::splitmix(&mut moment) + 1.) / 2.;
        std::thread::sleep(whole.mul_f64(0.6 * share));
        child.kill().unwrap();
        child.wait().unwrap();
        all_readable(&place, "cut");
    }
    let last = place.run(&line(state.exists()));
    if last.code != 0 {
        last.failed(1, &["is finished"]);
    }
    for name in ["last", "best"] {
        assert!(weights(&place, "cut", name) == weights(&place, "whole", name), "{name}");
    }
    place.run("train detect --resume runs/detect/cut").failed(1, &["is finished", "a larger --epochs"]);
    let longer = place.run("train detect --resume runs/detect/cut --epochs 4").succeeded();
    assert!(longer.stderr.contains("4 epochs instead of 3"), "{}", longer.stderr);
    assert_eq!(place.read("runs/detect/cut/results.csv").lines().count(), 5);
    place.run("train detect --resume runs/detect/cut --lr0 0.5").failed(2, &["--lr0 is 0.01 in this run"]);
}

#[cfg(unix)]
#[test]
fn a_signal_saves_and_leaves_and_nothing_is_lost() {
    let place = place();
    place.run(&format!("{SMALL} --name whole --plots false")).succeeded();
    let mut child = place.command(&format!("{SMALL} --name cut(2) --plots false"));
    let child = child.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let state = place.path("runs/detect/cut(2)/weights/resume.safetensors");
    let start = Instant::now();
    while !state.exists() && start.elapsed() < Duration::from_secs(300) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let id = child.id().to_string();
    // As Ctrl-C, but a program that a script starts in the background ignores that.
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--resume 'runs/detect/cut(2)'` goes on"));
    place.run("train detect resume=runs/detect/cut(2)").succeeded();
    assert!(weights(&place, "cut(2)", "last") == weights(&place, "whole", "last"));
}

/// Waits until a run has saved its state once, then sends it a signal.
#[cfg(target_os = "linux")]
fn signal_when_saved(place: &TestDir, name: &str, child: &std::process::Child, signal: &str) {
    let state = place.path(&format!("runs/detect/{name}/weights/resume.safetensors"));
    let start = Instant::now();
    while !state.exists() && start.elapsed() < Duration::from_secs(300) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

#[cfg(target_os = "linux")]
#[test]
fn a_run_under_nohup_outlives_its_terminal() {
    let place = place();
    for (name, signal, code) in [("kept", "-HUP", 0), ("asked", "-TERM", 130)] {
        let program = place.command(&format!("{SMALL} --name {name} --plots false"));
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).arg(program.get_program()).args(program.get_args());
        shell.current_dir(place.path(""));
        for (variable, value) in program.get_envs() {
            match value {
                Some(value) => shell.env(variable, value),
                None => shell.env_remove(variable),
            };
        }
        let child = shell.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        signal_when_saved(&place, name, &child, signal);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(place.read("runs/detect/kept/results.csv").lines().count(), 4);
}

#[test]
fn a_run_goes_on_when_nobody_reads_its_output_any_more() {
    let place = place();
    let mut child = place.command(&format!("{SMALL} --name alone --plots false"));
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(said.matches("the work goes on without").count(), 1, "{said}");
    assert_eq!(place.read("runs/detect/alone/results.csv").lines().count(), 4);
}

#[test]
fn bad_data_is_named_and_the_run_goes_on_or_ends() {
    let place = place();
    place.run("train detect --data nowhere.yaml").failed(1, &["nowhere.yaml"]);
    place.run("train detect --data set/data.yaml --model nothing").failed(2, &["nothing"]);
    place.run("--quiet train detect --data set/data.yaml --freeze 99,").failed(1, &["model.99"]);
    place.run("train detect --data set/data.yaml --resume nowhere").failed(2, &["there is no run"]);
    place.write("set/labels/train/0.txt", "7 0.5 0.5 0.2 0.2\n");
    place.write("set/labels/train/1.txt", "0 nan 0.5 0.2 0.2\n");
    place.write("set/labels/train/2.txt", "0 0.5 0.5 -0.2 0.2\n");
    place.write("set/images/train/3.png", "no image");
    std::fs::remove_file(place.path("set/labels/train/4.txt")).unwrap();
    let ran = place.run(&format!("{SMALL} --epochs 1 --plots false")).succeeded();
    for file in ["train/0.txt", "train/1.txt", "train/2.txt", "train/3.png"] {
        assert!(ran.stderr.contains(file), "{file} is not named: {}", ran.stderr);
    }
    place.write("set/empty/x.txt", "");
    place.write("set/none.yaml", "train: empty\nval: images/val\nnames: [light, dark]\n");
    place.run("train detect --data set/none.yaml --imgsz 64").failed(1, &["empty"]);
}

#[test]
fn a_run_goes_on_only_with_what_it_began_with() {
    let place = place();
    place.run(&format!("{SMALL} --epochs 1 --name run --plots false resume=False")).succeeded();
    let again = format!("{SMALL} --epochs 1 --name run --exist-ok --plots false --seed 7");
    place.run(&again).succeeded();
    assert!(place.read("runs/detect/run/args.yaml").contains("seed: 7"), "the older run in the folder is gone");
    assert_eq!(place.read("runs/detect/run/results.csv").lines().count(), 2);
    // From another folder, with other threads, and without the half-written file of a kill.
    place.write("runs/detect/run/weights/.tmpAbCdEf", "half");
    std::fs::create_dir(place.path("elsewhere")).unwrap();
    let mut command = place.command("--threads 1 train detect --resume ../runs/detect/run --epochs 2 --workers 0");
    let output = command.current_dir(place.path("elsewhere")).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.contains("2 epochs instead of 1"), "{stderr}");
    assert!(!place.path("runs/detect/run/weights/.tmpAbCdEf").exists());
    let resume = "--quiet train detect --resume runs/detect/run --epochs 3";
    place.write("set/data.yaml", "train: images/train\nval: images/val\nnames: [dark, light]\n");
    place.run(resume).failed(2, &["the data are not those that the run began with: other classes;"]);
    place.write("set/data.yaml", "train: images/train\nval: images/val\nnames: [light, dark]\n");
    place.write("set/labels/val/10.txt", "0 0.5 0.5 0.2 0.2\n");
    std::fs::copy(place.path("set/images/train/0.png"), place.path("set/images/val/11.png")).unwrap();
    place.run(resume).failed(2, &["began with: other validation images (new or changed: 10.png, 11.png); put"]);
    place.write("set/labels/train/0.txt", "0 0.5 0.5 0.2 0.2\n");
    place.run(resume).failed(
        2,
        &["the data are not those that the run began with: other labels, training images (new or changed: 0.png)"],
    );
}

#[test]
fn arguments_that_cannot_be_are_refused_before_the_work() {
    let place = place();
    for (arguments, part) in [
        ("--lr0 nan", "at least 0"),
        ("--momentum=-1", "at least 0"),
        ("--lr0 -1", "--lr0 <RATE>"),
        ("--arch yolov8n", "--arch"),
        ("--mosaic 2", "from 0 to 1"),
        ("--dtype f16", "computes in f32"),
        ("--optimizer lion", "no optimizer here"),
        ("--degrees 400", "degrees"),
        ("--cache tape", "--cache tape"),
        ("--freeze head", "no layer"),
        ("--model ghostnet_100", "classifier"),
        ("--imgsz 32 --batch 9", "--batch"),
    ] {
        let ran = place.run(&format!("--quiet {SMALL} {arguments}"));
        assert_eq!(ran.code, 2, "{arguments}: {}", ran.stderr);
        assert!(ran.stderr.contains(part), "{arguments}: {}", ran.stderr);
        assert!(!place.path("runs").exists(), "{arguments}");
    }
}

#[test]
fn no_validation_image_that_can_be_read_ends_the_run() {
    let place = place();
    for i in 10..14 {
        place.write(&format!("set/images/val/{i}.png"), "no image");
    }
    let ran = place.run(&format!("{SMALL} --plots false"));
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("none of the 4 validation images can be read"), "{}", ran.stderr);
}

#[test]
fn weights_to_start_from_are_told_and_their_absence_too() {
    let place = place();
    place.run(&format!("{SMALL} --epochs 1 --name first --plots false --single-cls")).succeeded();
    let start = "--model runs/detect/first/weights/last.safetensors --epochs 1 --plots false";
    let ran = place.run(&format!("{SMALL} --name second {start}")).succeeded();
    let anew = ran.stderr.lines().filter(|line| line.contains("starts anew")).collect::<Vec<_>>();
    assert_eq!(anew.len(), 6, "the class outputs of three levels, weight and bias: {anew:?}");
    assert!(anew.iter().all(|line| line.contains("model.22.cv3.")), "{anew:?}");
    let ran = place.run(&format!("--quiet {SMALL} --model yolov8n"));
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("offline") && ran.stderr.contains("--pretrained false trains"), "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
}

#[test]
fn a_loss_that_is_no_number_ends_the_run_and_says_where() {
    let place = place();
    let ran = place.run(&format!("--quiet {SMALL} --plots false --lr0 1e30 --warmup-epochs 0 --nbs 4"));
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("the loss became") && ran.stderr.contains("in epoch 1, step"), "{}", ran.stderr);
    assert!(place.path("runs/detect/train/weights/resume.safetensors").exists());
    assert!(!place.path("runs/detect/train/weights/best.safetensors").exists());
}
