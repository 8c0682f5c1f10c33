//! Options of `ghostzoo train detect` that choose data, sizes, losses and optimizers: what they do, and exact resume.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::support::TestDir;
use image::{Rgb, RgbImage};

const SMALL: &str =
    "train detect --data set/data.yaml --imgsz 64 --batch 4 --device cpu --threads 2 --plots false --warmup-epochs 1";

/// Bright and dark squares on grey, two bright ones to a dark one: ten images to train with, three to validate with.
fn place() -> TestDir {
    let place = TestDir::new();
    for i in 0..13u32 {
        let split = if i < 10 { "train" } else { "val" };
        let [width, height] = [[96, 48], [48, 96], [80, 80]][i as usize % 3];
        let mut image = RgbImage::from_pixel(width, height, Rgb([120, 110, 100]));
        let mut rows = String::new();
        for (class, [x, y]) in [(0, [2 + i, 4]), (0, [26, 20 + i]), (1, [4, 28])] {
            let level = if class == 0 { 250 } else { 10 };
            (0..16 * 16).for_each(|p| image.put_pixel(x + p % 16, y + p / 16, Rgb([level, level, 40])));
            let share = |start: u32, whole: u32| f64::from(start + 8) / f64::from(whole);
            let [w, h] = [width, height].map(|side| 16. / f64::from(side));
            rows += &format!("{class} {} {} {w} {h}\n", share(x, width), share(y, height));
        }
        let path = place.write(&format!("set/images/{split}/{i}.png"), "");
        image.save(path).unwrap();
        place.write(&format!("set/labels/{split}/{i}.txt"), rows);
    }
    place.write("set/data.yaml", "train: images/train\nval: images/val\nnames: [light, dark]\n");
    place
}

/// The tensors of the last checkpoint, byte for byte.
fn weights(place: &TestDir, run: &str) -> BTreeMap<String, Vec<u8>> {
    place.tensors(&format!("runs/detect/{run}/weights/last.safetensors"))
}

#[cfg(unix)]
#[test]
fn runs_with_every_option_go_on_exactly_after_a_kill_and_after_a_signal() {
    for options in [
        "--optimizer NAdam --lr0 0.001 --multi-scale 0.5 --cutmix 0.7 --cls-pw 0.5 --scale 0.6,1.4 --cache disk",
        "optimizer=rmsprop lr0=0.0001 rect=True multi_scale=0.5 fraction=7 classes=[0] single_cls=True",
    ] {
        let place = place();
        place.run(&format!("{SMALL} {options} --epochs 3 --name whole")).succeeded();
        let mut lines = vec![format!("{SMALL} {options} --epochs 3 --name cut --json")];
        lines.push("train detect --resume runs/detect/cut --json".to_owned());
        for (line, signal) in lines.iter().zip(["-KILL", "-TERM"]) {
            let mut child = place.command(line).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            // An epoch is over; the next one has begun.
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
            let id = child.id().to_string();
            assert!(std::process::Command::new("kill").args([signal, &id]).status().unwrap().success());
            child.wait().unwrap();
        }
        place.run("train detect --resume runs/detect/cut").succeeded();
        assert!(weights(&place, "cut") == weights(&place, "whole"), "{options}");
    }
}

#[test]
fn fractions_and_classes_choose_images_and_objects() {
    let place = place();
    let note = |options: &str, name: &str| {
        let ran = place.run(&format!("{SMALL} --epochs 1 --name {name} {options}")).succeeded();
        ran.stderr.lines().find(|line| line.contains(" to train with")).unwrap().to_owned()
    };
    for (options, expected) in [
        ("--fraction 6 --cls-pw 0.5", "6 images with 18 objects of 2 classes to train with, 3 to validate with"),
        ("fraction=[0.5,2]", "5 images with 15 objects of 2 classes to train with, 2 to validate with"),
        ("--classes 1", "10 images with 10 objects of 2 classes to train with, 3 to validate with"),
        ("classes=0 single_cls=True", "10 images with 20 objects of 1 classes to train with, 3 to validate with"),
    ] {
        let line = note(options, "run --exist-ok");
        assert!(line.contains(expected), "{options}: {line}");
    }
    let yaml = place.read("runs/detect/run/args.yaml");
    assert!(yaml.contains("classes:\n  - 0\n") && yaml.contains("fraction: 1.0\n"), "{yaml}");
    let refused = |options: &str, parts: &[&str]| {
        let ran = place.run(&format!("{SMALL} --epochs 1 {options}"));
        assert_eq!(ran.code, 2, "{options}: {}", ran.stderr);
        parts.iter().for_each(|part| assert!(ran.stderr.contains(part), "{options}: {part:?} in {}", ran.stderr));
    };
    refused("--classes 0,2", &["--classes 2", "are 0 to 1"]);
    refused("--classes dark", &["give the numbers of classes"]);
    for fraction in ["0", "2.0", "1.5", "0.5,0"] {
        refused(&format!("--fraction {fraction}"), &["--fraction", "give a share above 0 and up to 1, a count"]);
    }
    refused("--scale 2,1", &["`scale` is 2,1"]);
    refused("--multi-scale 1.5", &["give a number from 0 to 1"]);
    refused("--batch 3 --multi-scale 0.5", &["one image, of one cell at 32 pixels"]);
    refused("--optimizer lion", &["give SGD, MuSGD, AdamW, Adam, Adamax, NAdam, RAdam, RMSProp or auto"]);
}

#[test]
fn weights_of_classes_are_told_and_change_the_losses() {
    let place = place();
    let losses = |options: &str| -> Vec<f64> {
        let ran = place.run(&format!("{SMALL} --epochs 1 --seed 1 --json {options}")).succeeded();
        let row = &ran.json()[0];
        ["train/box_loss", "train/cls_loss", "val/cls_loss"].map(|name| row[name].as_f64().unwrap()).to_vec()
    };
    let (plain, weighted) = (losses(""), losses("--cls-pw 1"));
    assert!(plain[1] != weighted[1] && plain[2] != weighted[2], "{plain:?} {weighted:?}");
    // Twenty light squares and ten dark ones: 1/20 and 1/10 over their mean.
    let ran = place.run(&format!("{SMALL} --epochs 1 --cls-pw 1")).succeeded();
    assert!(ran.stderr.contains("classes are weighted by 0.667, 1.333"), "{}", ran.stderr);
}

#[test]
fn a_cache_on_disk_is_written_beside_the_images_and_changes_no_weight() {
    let place = place();
    let ran = place.run(&format!("{SMALL} --epochs 1 --cache disk --name disk")).succeeded();
    assert!(ran.stderr.contains("10 decoded in .npy files beside them"), "{}", ran.stderr);
    assert!(place.path("set/images/train/0.npy").exists() && !place.path("set/images/val/10.npy").exists());
    place.run(&format!("{SMALL} --epochs 1 --cache disk --name again")).succeeded();
    place.run(&format!("{SMALL} --epochs 1 --cache false --name decoded")).succeeded();
    let decoded = weights(&place, "decoded");
    assert!(weights(&place, "disk") == decoded && weights(&place, "again") == decoded);
}

#[test]
fn one_of_several_processes_is_refused_before_it_trains() {
    let place = place();
    for (name, value, is_refused) in
        [("WORLD_SIZE", "2", true), ("OMPI_COMM_WORLD_SIZE", "4", true), ("WORLD_SIZE", "1", false)]
    {
        let out = place.command(&format!("{SMALL} --epochs 1")).env(name, value).output().unwrap();
        let error = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(if is_refused { 2 } else { 0 }), "{error}");
        assert_eq!(
            is_refused,
            error.contains(&format!("{name}={value}: this command trains in one process")),
            "{error}"
        );
        assert_eq!(place.path("runs").exists(), !is_refused);
    }
}
