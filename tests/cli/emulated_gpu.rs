//! The program that is built for CUDA, on a driver that is emulated (`kernels/src/gpu/emulate/driver.cpp`): all
//! that the host does for a GPU runs, with work that waits as long as it may.
//!
//! Ignored by default, because the program needs a toolkit to be linked: `make cuda-emulate` sets `GHOSTZOO_GPU_PROGRAM` and
//! `GHOSTZOO_DRIVER`.

use std::path::{Path, PathBuf};
use std::process::Command;

use image::RgbImage;
use serde_json::Value;

use crate::support::CommandOutput;

/// `ghostzoo` with some arguments, and variables for the driver; what it left, and what the driver counted.
fn run(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> (CommandOutput, Value) {
    let path = |name| std::env::var(name).unwrap_or_else(|_| panic!("`make cuda-emulate` sets {name}"));
    let log = folder.join("counts.json");
    let mut command = Command::new(path("GHOSTZOO_GPU_PROGRAM"));
    command.args(arguments).current_dir(folder).envs(variables.iter().copied());
    command.env("LD_PRELOAD", path("GHOSTZOO_DRIVER")).env("EMULATED_DRIVER_LOG", &log).env("RUST_BACKTRACE", "0");
    let output = command.output().expect("a program that runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let code = output.status.code().expect("an exit code");
    let counts = std::fs::read_to_string(log).map(|text| serde_json::from_str(&text).expect("JSON"));
    (CommandOutput { code, stdout: text(output.stdout), stderr: text(output.stderr) }, counts.unwrap_or_default())
}

/// The objects of each image.
fn objects(ran: CommandOutput) -> Vec<Vec<Value>> {
    let of = |image: Value| image["detections"].as_array().expect("objects").clone();
    ran.succeeded().json().into_iter().map(of).collect()
}

/// Six images of two shapes: parts of the one that is built in.
fn images(folder: &Path) -> Vec<String> {
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ghostzoo/assets/BloodImage_00062.jpg");
    let whole = image::open(&whole).expect("the built-in image").to_rgb8();
    let part = |index: u32| {
        let (width, height) = if index % 3 == 2 { (300, 400) } else { (400, 300) };
        let image = RgbImage::from_fn(width, height, |x, y| *whole.get_pixel(x + index * 7, y + index * 3));
        let name = format!("{index}.png");
        image.save(folder.join(&name)).expect("an image");
        name
    };
    (0..6).map(part).collect()
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_owned();
    (folder, path)
}

const DETECT: [&str; 8] = ["detect", "--model", "yolov8n-ghostnet-bccd", "--imgsz", "320", "--no-save", "--batch", "2"];

#[test]
#[ignore = "needs the program that is built for CUDA: make cuda-emulate"]
fn a_gpu_finds_what_the_cpu_finds() {
    let (_kept, folder) = folder();
    let images = images(&folder);
    let look = |device: &[&str], variables: &[(&str, &str)]| {
        let images = images.iter().map(String::as_str);
        let arguments = DETECT.into_iter().chain(["--json"]).chain(device.iter().copied()).chain(images);
        let (ran, counts) = run(&folder, &arguments.collect::<Vec<_>>(), variables);
        (objects(ran), counts)
    };
    let (expected, _) = look(&["--device", "cpu"], &[]);
    assert!(expected.iter().all(|objects| objects.len() > 2), "the test has something to compare");
    for (device, order) in [("cuda:0", "0"), ("cuda:0", "1"), ("cuda:1", "0")] {
        let (found, counts) = look(&["--device", device], &[("EMULATED_DRIVER_EAGER", order)]);
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                assert_eq!(found["class_id"], expected["class_id"]);
                for corner in ["x1", "y1", "x2", "y2"] {
                    let of = |object: &Value| object["box"][corner].as_f64().expect("a coordinate");
                    assert!((of(found) - of(expected)).abs() < 5e-3, "{found} {expected} on {device}");
                }
            }
        }
        assert_eq!(counts["pinned_copies"], 6, "each image goes up once, from pinned memory");
        assert!(counts["graphs"].as_u64() > Some(0), "a shape that came before is replayed");
    }
    for dtype in ["f16", "bf16"] {
        let (found, _) = look(&["--device", "cuda:0", "--dtype", dtype], &[]);
        assert!(found.iter().all(|objects| objects.len() > 2), "{dtype}");
    }
}

#[test]
#[ignore = "needs the program that is built for CUDA: make cuda-emulate"]
fn what_does_not_go_is_one_line() {
    let (_kept, folder) = folder();
    let images = images(&folder);
    let fails = |more: &[&str], variables: &[(&str, &str)], code: i32, parts: &[&str]| {
        let images = images.iter().map(String::as_str);
        let arguments = DETECT.into_iter().chain(more.iter().copied()).chain(images);
        run(&folder, &arguments.collect::<Vec<_>>(), variables).0.failed(code, parts);
    };
    let memory = "error: the GPU's memory does not suffice for --batch 2: try --batch 1";
    fails(&["--device", "cuda:0"], &[("EMULATED_DRIVER_MEMORY", "30")], 1, &[memory]);
    let old = [("EMULATED_DRIVER_CAPABILITY", "75")];
    fails(
        &["--device", "cuda:0", "--dtype", "bf16"],
        &old,
        2,
        &["--dtype: this GPU has compute capability 7.5", "use f16 or f32"],
    );
    fails(&["--device", "cuda:2"], &[], 1, &["cannot open --device cuda:2"]);
}

/// The rows of `results.csv` without the time.
fn results(folder: &Path) -> Vec<Vec<f64>> {
    let text = std::fs::read_to_string(folder.join("results.csv")).expect("results");
    let row = |line: &str| {
        let numbers = line.split(',').enumerate().filter(|(column, _)| *column != 1);
        numbers.map(|(_, number)| number.trim().parse().expect("a number")).collect()
    };
    text.lines().skip(1).map(row).collect()
}

#[test]
#[ignore = "needs the program that is built for CUDA: make cuda-emulate"]
fn a_gpu_learns_what_the_cpu_learns() {
    /// Of a loss of `f32` after two steps, which is written with six digits.
    const TOLERANCE: f64 = 1e-4;
    let (_kept, folder) = folder();
    for (index, name) in images(&folder).iter().enumerate().take(4) {
        let part = if index < 2 { "train" } else { "val" };
        let (images, labels) = (folder.join("images").join(part), folder.join("labels").join(part));
        std::fs::create_dir_all(&images).expect("a folder");
        std::fs::create_dir_all(&labels).expect("a folder");
        std::fs::copy(folder.join(name), images.join(name)).expect("an image");
        let label = format!("{} 0.4 0.{index}5 0.3 0.2\n1 0.7 0.6 0.4 0.5\n", index % 3);
        std::fs::write(labels.join(name).with_extension("txt"), label).expect("labels");
    }
    let data = "path: .\ntrain: images/train\nval: images/val\nnames: [WBC, RBC, Platelets]\n";
    std::fs::write(folder.join("data.yaml"), data).expect("a data set");
    let runs = folder.join("runs");
    let train = |device: &str| {
        let (name, project) = (device.replace(':', ""), runs.to_str().expect("a path of text"));
        let of_model = ["train", "detect", "--data", "data.yaml", "--model", "yolov8n-ghostnet-bccd"];
        let how =
            ["--imgsz", "64", "--batch", "2", "--epochs", "2", "--seed", "0", "--project", project, "--name", &name];
        let arguments: Vec<&str> = of_model.into_iter().chain(how).chain(["--device", device]).collect();
        run(&folder, &arguments, &[]).0.succeeded();
        results(&runs.join(name))
    };
    let (expected, found) = (train("cpu"), train("cuda:0"));
    assert_eq!((expected.len(), found.len()), (2, 2));
    assert!(expected[1][1] < expected[0][1] && expected[0][1] > 0.1, "the box loss falls: {expected:?}");
    for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
        assert!((found - expected).abs() <= TOLERANCE * expected.abs().max(1.), "{found} is not {expected}");
    }
}
