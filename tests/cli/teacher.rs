//! `ghostzoo train detect --teacher`: what is learnt from another detector, and which ones are refused.

use crate::support::{TINY_DETECTOR, TestDir};
use image::{Rgb, RgbImage};

/// A run of few and small steps.
const SMALL: &str = "train detect --data set/data.yaml --model half.yaml --imgsz 64 --batch 2 --epochs 2 --optimizer SGD \
                     --warmup-epochs 0 --nbs 2 --plots false --device cpu --threads 2";

/// Four images of a bright square each, of two classes; a network, and the same at half its width.
fn place() -> TestDir {
    let place = TestDir::new();
    for i in 0..4u32 {
        let mut image = RgbImage::from_pixel(64, 64, Rgb([90, 100, 110]));
        (0..400).for_each(|p| image.put_pixel(10 * i + p % 20, 20 + p / 20, Rgb([250, 120 * (i % 2) as u8, 30])));
        image.save(place.write(&format!("set/images/{i}.png"), "")).unwrap();
        let centre = f64::from(10 * i + 10) / 64.;
        place.write(&format!("set/labels/{i}.txt"), format!("{} {centre} 0.46875 0.3125 0.3125\n", i % 2));
    }
    place.write("set/data.yaml", "train: images\nval: images\nnames: [red, orange]\n");
    place.write("whole.yaml", TINY_DETECTOR);
    place.write("half.yaml", TINY_DETECTOR.replace("[16, 3, 2]", "[8, 3, 2]"));
    place.run(&format!("{SMALL} --model whole.yaml --seed 5 --name first")).succeeded();
    place
}

const TEACHER: &str = "--teacher runs/detect/first/weights/last.safetensors";

/// The values of a column of a run's results.
fn column(place: &TestDir, run: &str, name: &str) -> Option<Vec<f64>> {
    let results = place.read(&format!("runs/detect/{run}/results.csv"));
    let mut rows = results.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let at = rows.next().unwrap().iter().position(|found| *found == name)?;
    Some(rows.map(|row| row[at].parse().unwrap()).collect())
}

#[test]
fn a_narrower_detector_learns_from_its_teacher_to_the_end_of_the_run() {
    let place = place();
    place.run(&format!("{SMALL} --name alone")).succeeded();
    let ran = place.run(&format!("{SMALL} --name taught {TEACHER} --distill 20")).succeeded();
    assert!(ran.stdout.contains(" distill_loss "), "{}", ran.stdout);
    let header = place.read("runs/detect/taught/results.csv").lines().next().unwrap().to_owned();
    assert_eq!(
        header,
        "epoch,time,train/box_loss,train/cls_loss,train/dfl_loss,train/distill_loss,metrics/precision(B),metrics/recall(B),\
         metrics/mAP50(B),metrics/mAP50-95(B),val/box_loss,val/cls_loss,val/dfl_loss,lr/pg0,lr/pg1,lr/pg2"
    );
    let losses = column(&place, "taught", "train/distill_loss").unwrap();
    assert!(losses.len() == 2 && losses.iter().all(|loss| *loss > 0.), "{losses:?}");
    assert_eq!(column(&place, "alone", "train/distill_loss"), None);
    let weights = |run: &str| place.tensors(&format!("runs/detect/{run}/weights/last.safetensors"));
    let (alone, taught) = (weights("alone"), weights("taught"));
    assert!(alone.keys().eq(taught.keys()) && alone != taught);
    let args = ["alone", "taught"].map(|run| place.read(&format!("runs/detect/{run}/args.yaml")));
    assert!(!args[0].contains("teacher") && !args[0].contains("distill"), "{}", args[0]);
    assert!(args[1].contains("first/weights/last.safetensors") && args[1].contains("distill: 20"), "{}", args[1]);

    // The run that goes on finds its teacher by name, or says so.
    let longer = "train detect --resume runs/detect/taught --epochs 3";
    let (last, aside) = (place.path("runs/detect/first/weights/last.safetensors"), place.path("aside.safetensors"));
    std::fs::rename(&last, &aside).unwrap();
    place.run(&format!("--quiet {longer}")).failed(2, &["from its --teacher to the end", "last.safetensors"]);
    std::fs::rename(&aside, &last).unwrap();
    place.run(&format!("{longer} --distill 2")).failed(2, &["--distill is 20.0 in this run and cannot change"]);
    let rows = place.run(&format!("{longer} --json")).succeeded().json();
    assert!(rows[0]["train/distill_loss"].as_f64().unwrap() > 0., "{rows:?}");
    assert_eq!(column(&place, "taught", "train/distill_loss").unwrap().len(), 3);
}

#[test]
fn teachers_that_do_not_fit_are_refused_before_the_work() {
    let place = place();
    place.write("other.yaml", TINY_DETECTOR.replace("[[2, 3, 4]", "[[1, 3, 4]"));
    let refused = |words: &str, parts: &[&str]| {
        let ran = place.run(&format!("--quiet {SMALL} {words}"));
        assert_eq!(ran.stderr.lines().count(), 1, "{words}: {}", ran.stderr);
        ran.failed(2, parts);
        assert!(!place.path("runs/detect/train").exists(), "{words}");
    };
    refused("--teacher ghostnet_050-cifar10", &["--teacher ghostnet_050-cifar10 is a classifier"]);
    refused("--teacher yolov8n-ghostnet-bccd", &["knows 3 classes that are not the 2 of the data"]);
    refused(&format!("--model other.yaml {TEACHER}"), &["has strides of 8, 16, 32, and the model of 4, 16, 32"]);
    refused("--teacher nothing", &["from its --teacher to the end", "nothing"]);
    refused("--distill 1", &["--distill weighs what is learnt from a --teacher: name one"]);
    let ran = place.run(&format!("--quiet {SMALL} {TEACHER} --distill 0"));
    assert!(ran.code == 2 && ran.stderr.contains("give a number above 0"), "{}", ran.stderr);
    place.run(&format!("--quiet {SMALL} distill_model=best.pt")).failed(2, &["--teacher learns from the answers"]);
    place.write("set/data.yaml", "train: images\nval: images\nnames: [orange, red]\n");
    refused(TEACHER, &["knows 2 classes that are not the 2 of the data, in name and order"]);
}
