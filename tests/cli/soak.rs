//! Long work: resident memory and open descriptors are flat from its second quarter on.
//!
//! `GHOSTZOO_SOAK` is over how many images; `make soak` takes 5,000, and trains for 400 epochs.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use image::{Rgb, RgbImage};

use crate::support::TestDir;

/// Images in a plain `cargo test`.
const IMAGES: usize = 240;
/// What memory may grow by: the allocator's arenas settle late.
const SPARE_BYTES: u64 = 12 << 20;
/// What may be open at one time and not at another: images that are read ahead.
const SPARE_DESCRIPTORS: usize = 4;

fn images() -> usize {
    std::env::var("GHOSTZOO_SOAK").map_or(IMAGES, |value| value.parse().expect("GHOSTZOO_SOAK is a count"))
}

/// A process at one time.
struct Sample {
    resident_bytes: u64,
    descriptors: usize,
}

/// `None` once the process has ended.
fn sample(process: u32) -> Option<Sample> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = resident.trim().strip_suffix(" kB")?.parse().ok()?;
    let descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).ok()?.count();
    Some(Sample { resident_bytes: kib << 10, descriptors })
}

fn samples(child: &mut Child) -> Vec<Sample> {
    let mut samples = Vec::new();
    while child.try_wait().unwrap().is_none() {
        samples.extend(sample(child.id()));
        thread::sleep(Duration::from_millis(5));
    }
    samples
}

#[track_caller]
fn stays_flat(place: &TestDir, arguments: &str) {
    let mut command = place.command(arguments);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let stderr = child.stderr.take().unwrap();
    let said = thread::spawn(move || std::io::read_to_string(stderr).unwrap());
    let samples = samples(&mut child);
    assert!(child.wait().unwrap().success(), "{arguments}: {}", said.join().unwrap());

    let count = samples.len();
    assert!(count >= 20, "{arguments}: {count} samples are too few");
    let [second, last] = [&samples[count / 4..count / 2], &samples[count * 3 / 4..]];
    let memory = |part: &[Sample]| part.iter().map(|sample| sample.resident_bytes).max().unwrap();
    let descriptors = |part: &[Sample]| part.iter().map(|sample| sample.descriptors).max().unwrap();
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let name: Vec<_> = arguments.split_whitespace().take(2).collect();
    println!(
        "{:16} {count} samples; second quarter {:.1} MB, {} descriptors; last {:.1} MB, {}",
        name.join(" "),
        mib(memory(second)),
        descriptors(second),
        mib(memory(last)),
        descriptors(last),
    );
    assert!(memory(last) <= memory(second) + SPARE_BYTES, "{arguments}: memory grows");
    assert!(descriptors(last) <= descriptors(second) + SPARE_DESCRIPTORS, "{arguments}: files stay open");
}

#[test]
fn memory_and_descriptors_of_images_are_flat() {
    let place = TestDir::new();
    for seed in 0..20 {
        place.image(&format!("seeds/{seed}.jpg"), [160, 120], seed);
    }
    for i in 0..images() {
        for folder in ["all".to_owned(), format!("classes/{:02}", i % 10)] {
            let path = place.write(&format!("{folder}/{i}.jpg"), "");
            std::fs::copy(place.path(&format!("seeds/{}.jpg", i % 20)), path).unwrap();
        }
    }
    stays_flat(
        &place,
        "detect all --model yolov8n-ghostnet-bccd --imgsz 160 --conf 0.01 --save-txt --save-crop --threads 2",
    );
    stays_flat(&place, "classify all --model ghostnet_050-cifar10 --threads 2");
    stays_flat(&place, "eval --data classes --model ghostnet_050-cifar10 --threads 2");
}

#[test]
fn memory_and_descriptors_of_a_training_are_flat() {
    let place = TestDir::new();
    for i in 0..8u32 {
        let mut image = RgbImage::from_pixel(48, 32, Rgb([90 + i as u8, 110, 100]));
        (0..256).for_each(|p| image.put_pixel(4 * i + p % 16, i + p / 16, Rgb([250, 250, 40])));
        let path = place.write(&format!("set/images/{i}.png"), "");
        image.save(path).unwrap();
        place.write(&format!("set/labels/{i}.txt"), "0 0.5 0.5 0.3 0.5\n");
    }
    place.write("tiny.yaml", crate::support::TINY_DETECTOR);
    place.write("set/data.yaml", "train: images\nval: images\nnames: [square]\n");
    // The heap settles within some fifteen epochs of this network: the second quarter begins after them.
    let epochs = (images() * 400 / 5000).max(64);
    stays_flat(
        &place,
        &format!(
            "train detect data=set/data.yaml model=tiny.yaml imgsz=32 batch=4 epochs={epochs} device=cpu plots=False --threads 2"
        ),
    );
}
