//! `prune` through the binary, and what other commands make of its file.

use crate::support::TestDir;
use candle_core::{DType, Tensor};
use ghostzoo_weights::{read, write};

const DETECTOR: &str = "yolov8n-ghostnet-bccd";
const CLASSIFIER: &str = "ghostnet_050-cifar10";

/// Four labelled images.
fn place() -> TestDir {
    let place = TestDir::new();
    for i in 0..4 {
        place.image(&format!("set/images/{i}.png"), [96, 80], i);
        place.write(&format!("set/labels/{i}.txt"), "1 0.5 0.5 0.4 0.4\n");
        for (class, seed) in [("ship", i), ("cat", i + 9)] {
            place.image(&format!("cls/train/{class}/{i}.png"), [40, 40], seed);
            place.image(&format!("cls/val/{class}/{i}.png"), [40, 40], seed + 4);
        }
    }
    place.write("set/data.yaml", "train: images\nval: images\nnames: [WBC, RBC, Platelets]\n");
    place
}

#[test]
fn a_pruned_detector_is_read_trained_and_written_by_all_commands() {
    let place = place();
    let text = place.run(&format!("prune --model {DETECTOR} --ratio 0.4")).succeeded().stdout;
    let file = format!("{DETECTOR}-pruned.safetensors");
    assert!(text.contains(&file) && text.contains("parameters") && text.contains("model.8.cv1.conv"), "{text}");
    let found = read(&place.path(&file)).unwrap();
    assert!(found.metadata.pruned);
    // But for the bins of the DFL, a constant that not every checkpoint has.
    let elements = |name: &str| -> usize {
        let tensors = read(&place.path(name)).unwrap().tensors;
        let own = tensors.iter().filter(|(name, _)| !name.ends_with("dfl.conv.weight"));
        own.map(|(_, tensor)| tensor.elem_count()).sum()
    };
    place.run(&format!("convert {DETECTOR} whole.safetensors")).succeeded();
    assert!(elements(&file) < elements("whole.safetensors") * 4 / 5);
    place.run(&format!("prune --model {DETECTOR} --ratio 0.4")).failed(2, &["exists", "--force"]);
    place.run(&format!("prune --model {file} --ratio 0.2 -o twice.safetensors --quiet")).succeeded();
    assert!(elements("twice.safetensors") < elements(&file));
    for command in [
        format!("detect set/images/0.png --no-save -m {file} --imgsz 64"),
        format!("val --data set/data.yaml -m {file} --imgsz 64"),
        format!("summary {file}"),
        format!("bench --model {file} --imgsz 64 --runs 2"),
        format!("convert {file} folded.safetensors --fuse"),
        "detect set/images/0.png --no-save -m folded.safetensors --imgsz 64".to_owned(),
        "prune --model folded.safetensors --ratio 0.2 -o again.safetensors".to_owned(),
        "detect set/images/0.png --no-save -m again.safetensors --imgsz 64".to_owned(),
        format!("quantize --model {file} --data set/data.yaml --imgsz 64 -o int8.safetensors"),
        "detect set/images/0.png --no-save -m int8.safetensors --imgsz 64".to_owned(),
    ] {
        place.run(&command).succeeded();
    }
    place.run("prune --model int8.safetensors --ratio 0.2").failed(2, &["quantized to 8 bits already", "made from"]);
    let train =
        "train detect --data set/data.yaml --imgsz 64 --batch 2 --plots false --name run --exist-ok --workers 1";
    place.run(&format!("{train} --model {file} --epochs 2 --save-period 1")).succeeded();
    let best = "runs/detect/run/weights/last.safetensors";
    assert!(read(&place.path(best)).unwrap().metadata.pruned);
    assert_eq!(elements(best), elements(&file));
    place.run(&format!("detect set/images/0.png --no-save -m {best} --imgsz 64")).succeeded();
}

#[test]
fn a_training_of_a_pruned_network_goes_on_where_it_was_stopped() {
    let place = place();
    place.run(&format!("prune --model {DETECTOR} --ratio 0.4 -o d.safetensors --quiet")).succeeded();
    place.run(&format!("prune --model {CLASSIFIER} --ratio 0.4 -o c.safetensors --quiet")).succeeded();
    for (task, data, model) in [("detect", "set/data.yaml", "d"), ("classify", "cls", "c")] {
        let line = format!(
            "train {task} --data {data} --model {model}.safetensors --imgsz 64 --batch 2 --plots false --name run --quiet"
        );
        place.run(&format!("{line} --epochs 1")).succeeded();
        place.run(&format!("train {task} --resume runs/{task}/run --epochs 2 --quiet")).succeeded();
        let last = read(&place.path(&format!("runs/{task}/run/weights/last.safetensors"))).unwrap();
        let pruned = read(&place.path(&format!("{model}.safetensors"))).unwrap();
        assert!(last.metadata.pruned);
        let first = |checkpoint: &ghostzoo_weights::Checkpoint| checkpoint.shapes().into_iter().next();
        assert_eq!(first(&last), first(&pruned));
    }
}

#[test]
fn a_classifier_is_pruned_to_gflops_and_json_is_printed() {
    let place = place();
    let whole = place.run(&format!("summary {CLASSIFIER} --json")).succeeded().json().remove(0);
    let row = place
        .run(&format!(
            "prune --model {CLASSIFIER} --target-gflops 0.06 --imgsz 224 --scope uniform --round-to 1 --criterion bn --json -o \
             c.safetensors"
        ))
        .succeeded()
        .json()
        .remove(0);
    let [before, after] = [0, 1].map(|index| row["gflops"][index].as_f64().unwrap());
    assert!((before - whole["gflops"].as_f64().unwrap()).abs() < 1e-3 && after <= 0.06 && after > 0.059, "{row}");
    let found = place.run("summary c.safetensors --json").succeeded().json().remove(0);
    assert_eq!(found["parameters"], row["parameters"][1]);
    place.run("classify cls/train/ship/0.png -m c.safetensors").succeeded();
    place.run("eval --data cls -m c.safetensors --img-size 32").succeeded();
}

#[test]
fn labelled_images_say_what_the_loss_depends_on() {
    let place = place();
    for (model, data) in [(DETECTOR, "set/data.yaml"), (CLASSIFIER, "cls")] {
        let line = format!("prune --model {model} --ratio 0.3 --criterion taylor");
        place.run(&line).failed(2, &["--criterion taylor", "--data"]);
        place.run(&format!("prune --model {model} --ratio 0.3 --criterion l2 --data {data}")).failed(2, &["leave one"]);
        let row = place.run(&format!("{line} --data {data} --imgsz 64 --json")).succeeded().json().remove(0);
        assert!(row["parameters"][0].as_u64() > row["parameters"][1].as_u64(), "{row}");
        let by_data =
            format!("prune --model {model} --ratio 0.3 --data {data} --imgsz 64 -o by-data.safetensors --force");
        place.run(&by_data).succeeded();
        let file = |name: &str| std::fs::read(place.path(name)).unwrap();
        assert_eq!(file("by-data.safetensors"), file(&format!("{model}-pruned.safetensors")), "data means taylor");
    }
    place.run(&format!("detect set/images/0.png --no-save -m {DETECTOR}-pruned.safetensors --imgsz 64")).succeeded();
    place.run(&format!("classify cls/val/cat/0.png -m {CLASSIFIER}-pruned.safetensors")).succeeded();
}

#[test]
fn what_is_measured_on_labels_says_how_much_goes() {
    let place = place();
    for (model, data, name) in [(DETECTOR, "set/data.yaml", "mAP50-95"), (CLASSIFIER, "cls", "top-1")] {
        let line = format!("prune --model {model} --data {data} --imgsz 64 --images 2 --force");
        let ran = place.run(&format!("{line} --max-drop 1")).succeeded();
        assert!(ran.stdout.lines().any(|row| row.trim_start().starts_with(name)), "{}", ran.stdout);
        assert!(ran.stderr.contains("GFLOPs: 0.") && ran.stderr.contains("of the whole network 0."), "{}", ran.stderr);
        let row =
            place.run(&format!("{line} --max-drop 1 --ratio 0.3 --criterion l2 --json")).succeeded().json().remove(0);
        let [before, after] = [0, 1].map(|index| row["channels"][index].as_f64().unwrap());
        assert!(after / before > 0.6 && row["metric"]["max_drop"] == 1.0, "{row}");
        place.run(&format!("prune --model {model} --max-drop 0.1")).failed(2, &["--data"]);
        place.run(&format!("{line} --max-drop 0.1 --val-split none")).failed(1, &["none"]);
    }
    // A folder with one data.yaml, as elsewhere.
    let line = format!("prune --model {DETECTOR} --data set --imgsz 64 --images 2 --max-drop 1 --force");
    place.run(&line).succeeded();
    // Images that are left out are told, of the one split that is both learnt from and measured on, once.
    place.write("set/labels/3.txt", "7 0.5 0.5 0.4 0.4\n");
    for line in [line.clone(), format!("{line} --ratio 0.3 --criterion l2")] {
        let told = place.run(&line).succeeded().stderr;
        assert_eq!(told.lines().filter(|row| row.contains("3.txt") && row.contains("left out")).count(), 1, "{told}");
    }
    let told = place.run(&format!("{line} --quiet")).succeeded().stderr;
    assert!(!told.contains("3.txt"), "{told}");
}

#[test]
fn a_time_is_held_or_told_to_be_out_of_reach() {
    let place = place();
    let run = |rest: &str| place.run(&format!("prune --model {CLASSIFIER} --imgsz 32 {rest}"));
    run("--target-ms 100000").failed(2, &["--target-ms is 100000", "nothing is to be removed"]);
    run("--target-ms 0.000001").failed(2, &["--target-ms is 0.000001", "--min-channels"]);
}

#[test]
fn an_architecture_that_was_said_is_kept() {
    let place = place();
    place.run(&format!("convert {DETECTOR} m.safetensors --quiet")).succeeded();
    let path = place.path("m.safetensors");
    let mut checkpoint = read(&path).unwrap();
    checkpoint.metadata = Default::default();
    write(&path, &checkpoint).unwrap();
    place.run("prune --model m.safetensors --ratio 0.3 -o a.safetensors").succeeded();
    place.run("detect set/images/0.png --no-save -m a.safetensors --imgsz 64").succeeded();
    assert_eq!(read(&place.path("a.safetensors")).unwrap().metadata.arch.as_deref(), Some("yolov8n-ghostnet"));
}

#[test]
fn shapes_that_do_not_agree_are_told_in_a_line() {
    let place = place();
    place.run(&format!("prune --model {DETECTOR} --ratio 0.4 -o d.safetensors --quiet")).succeeded();
    let mut checkpoint = read(&place.path("d.safetensors")).unwrap();
    let name = "model.0.cv1.conv.weight";
    let tensor = checkpoint.tensors[name].clone();
    let count = tensor.dim(0).unwrap();
    checkpoint.tensors.insert(name.to_owned(), tensor.narrow(0, 0, count - 1).unwrap().contiguous().unwrap());
    write(&place.path("d.safetensors"), &checkpoint).unwrap();
    for command in ["detect set/images/0.png --no-save", "prune --ratio 0.1"] {
        place.run(&format!("{command} -m d.safetensors")).failed(1, &["d.safetensors", "channels"]);
    }
}

#[test]
fn what_cannot_be_pruned_is_refused_in_a_line() {
    let place = place();
    let run = |rest: &str| place.run(&format!("prune --model {DETECTOR} {rest}"));
    run("").failed(2, &["--ratio", "--target-gflops", "--target-ms"]);
    run("--ratio 0.3 -o o.pt").failed(2, &["o.pt must end in .safetensors"]);
    run("--ratio 0.3 --device cuda").failed(2, &["on the CPU", "--device cpu"]);
    run("--ratio 0.3 --dtype f16").failed(2, &["--dtype"]);
    run("--target-gflops 1000").failed(2, &["--target-gflops is 1000", "already"]);
    run("--target-gflops 0.001").failed(2, &["--target-gflops is 0.001", "--min-channels"]);
    for ratio in ["0", "1", "-1", "nan", "half"] {
        let ran = run(&format!("--ratio={ratio}"));
        assert!(ran.code == 2 && ran.stderr.contains("give a number above 0 and below 1"), "{ratio}: {}", ran.stderr);
    }
    place.run(&format!("convert {CLASSIFIER} folded.safetensors --fuse")).succeeded();
    place
        .run("prune --model folded.safetensors --ratio 0.3 --criterion bn")
        .failed(2, &["--criterion", "batch norms folded", "as it was trained"]);
    place.run("prune --model folded.safetensors --ratio 0.3 -o p.safetensors").succeeded();
    place.run("classify cls/train/ship/0.png -m p.safetensors").succeeded();
}

#[test]
fn a_training_that_slims_leaves_less_of_batch_norms() {
    let place = place();
    let detect = format!(
        "train detect --data set/data.yaml --model {DETECTOR} --imgsz 64 --batch 2 --nbs 2 --optimizer SGD --warmup-epochs 0"
    );
    let classify = format!("train classify --data cls --model {CLASSIFIER} --batch 4 --lr 0.01 --warmup-epochs 0");
    for (task, train, norm) in [("detect", detect, ".bn.weight"), ("classify", classify, "bn1.weight")] {
        let train = format!("{train} --epochs 1 --plots false --workers 1 --quiet");
        let left = |name: &str| -> f64 {
            let tensors = read(&place.path(&format!("runs/{task}/{name}/weights/last.safetensors"))).unwrap().tensors;
            let norms = tensors.iter().filter(|(name, _)| name.ends_with(norm));
            let sum = |tensor: &Tensor| tensor.to_dtype(DType::F32)?.abs()?.sum_all()?.to_scalar::<f32>();
            norms.map(|(_, tensor)| f64::from(sum(tensor).unwrap())).sum()
        };
        let args = |name: &str| place.read(&format!("runs/{task}/{name}/args.yaml"));
        place.run(&format!("{train} --name whole")).succeeded();
        place.run(&format!("{train} --name slim --slim 20")).succeeded();
        assert!(left("slim") < 0.95 * left("whole"), "{task}: {} of {}", left("slim"), left("whole"));
        assert!(args("slim").contains("slim: 20.0") && !args("whole").contains("slim"), "{}", args("slim"));
        let resumed = format!("train {task} --resume runs/{task}/slim --epochs 2 --quiet");
        place.run(&format!("{resumed} --slim 3")).failed(2, &["--slim is 20.0 in this run and cannot change"]);
        let ran = place.run(&format!("{train} --name none --slim 0"));
        assert!(ran.code == 2 && ran.stderr.contains("give a number above 0"), "{}", ran.stderr);
    }
    let pruned = "prune --model runs/detect/slim/weights/last.safetensors --criterion bn --ratio 0.3 --quiet";
    place.run(pruned).succeeded();
}
