//! The commands that write files, on inputs that take a moment.

use candle_ghostnet::{Config, GhostNet, Variant};
use candle_vision::spec::ParamSpec;
use ghostzoo_weights::{Checkpoint, Metadata, write};
use image::{Rgb, RgbImage};

use crate::attack::Stage;
use crate::support::{TestDir, seeded_tensors};

/// A command to strike at.
pub(crate) struct Command {
    pub(crate) name: &'static str,
    /// Whether a plain `cargo test` leaves it out.
    pub(crate) is_slow: bool,
    pub(crate) inputs: fn(&TestDir),
    /// What runs undisturbed before.
    pub(crate) before: &'static [&'static str],
    /// A name and a time: `line` was killed when it renamed the file to this name so often, and who goes on is struck.
    pub(crate) cut: Option<(&'static str, usize)>,
    pub(crate) line: &'static str,
    /// What a user of `line` calls after a kill or an error.
    pub(crate) again: fn(&Stage, &str) -> String,
    /// The folder of the outcome. Called again, a command may number it.
    pub(crate) folder: &'static str,
}

macro_rules! train {
    ($rest:literal) => {
        concat!(
            "train detect --data set/data.yaml --model tiny.yaml --imgsz 32 --batch 2 --optimizer SGD --device cpu --threads 1 \
             --quiet --name run --exist-ok --save-period 1 ",
            $rest
        )
    };
}
macro_rules! train_classify {
    ($rest:literal) => {
        concat!(
            "train classify --data cls --model ghostnet_050 --imgsz 32 --batch 4 --epochs 2 --lr 0.05 --warmup-epochs 1 \
             --device cpu --threads 1 --quiet --name run --exist-ok ",
            $rest
        )
    };
}
macro_rules! detect_part {
    ($rest:literal) => {
        concat!(
            "detect set/images/train --imgsz 64 --conf 0.001 --max-det 4 --no-save --quiet --threads 1 -m yolov8n-ghostnet-bccd ",
            $rest
        )
    };
}
macro_rules! val_part {
    ($rest:literal) => {
        concat!(
            "val --data set/data.yaml -m runs/detect/run/weights/last.safetensors --imgsz 32 --batch 1 --plots false --quiet \
             --threads 1 ",
            $rest
        )
    };
}
macro_rules! eval {
    ($rest:literal) => {
        concat!("eval --data cls -m c.safetensors --img-size 32 --batch 2 --threads 1 --quiet ", $rest)
    };
}

const TRAIN: Command = Command {
    name: "train",
    is_slow: false,
    inputs: detection,
    before: &[],
    cut: None,
    line: train!("--epochs 2 --plots false"),
    again: |stage, line| go_on(stage, "detect", line),
    folder: "runs/detect/run",
};

const CLASSIFY: Command = Command {
    name: "train-classify",
    inputs: classifier,
    line: train_classify!("--plots false"),
    again: |stage, line| go_on(stage, "classify", line),
    folder: "runs/classify/run",
    ..TRAIN
};

const DETECT: Command = Command {
    name: "detect",
    line: "detect set/images/val --imgsz 64 --conf 0.001 --max-det 4 --save-txt --save-crop --coco-json --quiet --threads 1 \
           -m yolov8n-ghostnet-bccd",
    again: |_, line| line.to_owned(),
    folder: "runs/detect/predict",
    ..TRAIN
};

const TRACK: Command = Command {
    name: "track",
    is_slow: true,
    line: "track set/images/val --imgsz 64 --conf 0.001 --max-det 4 --save-txt --save-mot --quiet --threads 1 --tracker bytetrack \
           -m yolov8n-ghostnet-bccd",
    folder: "runs/detect/track",
    ..DETECT
};

const VAL: Command = Command {
    name: "val",
    before: &[train!("--epochs 1 --plots false")],
    line: "val --data set/data.yaml -m runs/detect/run/weights/last.safetensors --imgsz 32 --save-json --plots false --save-dir \
           out --exist-ok --quiet --threads 1",
    again: |_, line| line.to_owned(),
    folder: "out",
    ..TRAIN
};

const DETECT_PART: Command = Command {
    name: "detect-part",
    inputs: |place| {
        detection(place);
        place.write("out/notes.txt", "of somebody else\n");
    },
    line: detect_part!("--part out/p.jsonl --parquet out/p.parquet"),
    again: |stage, line| if_there(stage, "out/p.jsonl", line, "--resume"),
    folder: "out",
    ..TRAIN
};

const EVAL: Command = Command {
    name: "eval",
    inputs: classifier,
    line: eval!("--results-file out/r.csv --confusion out/c.csv --logits out/l.npy"),
    again: |_, line| line.to_owned(),
    folder: "out",
    ..TRAIN
};

const CONVERT: Command = Command {
    name: "convert",
    inputs: classifier,
    line: "convert c.safetensors out/f.safetensors --arch ghostnet_050 --fuse --quiet --threads 1",
    again: |stage, line| if_there(stage, "out/f.safetensors", line, "--force"),
    folder: "out",
    ..TRAIN
};

pub(crate) const COMMANDS: &[Command] = &[
    TRAIN,
    Command { name: "resume", cut: Some(("last.safetensors", 1)), ..TRAIN },
    Command { name: "train-over-another", before: &[train!("--epochs 1 --plots false --seed 7")], ..TRAIN },
    Command { name: "train-cache-disk", line: train!("--epochs 2 --plots false --cache disk"), ..TRAIN },
    Command { name: "train-plots", is_slow: true, line: train!("--epochs 2"), ..TRAIN },
    CLASSIFY,
    Command { name: "resume-classify", is_slow: true, cut: Some(("last.safetensors", 1)), ..CLASSIFY },
    Command { name: "train-classify-plots", is_slow: true, line: train_classify!(""), ..CLASSIFY },
    DETECT,
    TRACK,
    VAL,
    Command {
        name: "val-plots",
        is_slow: true,
        line: "val --data set/data.yaml -m runs/detect/run/weights/last.safetensors --imgsz 32 --save-json --quiet --threads 1",
        folder: "runs/detect/val",
        ..VAL
    },
    DETECT_PART,
    Command { name: "detect-part-goes-on", is_slow: true, cut: Some(("p.parquet", 1)), ..DETECT_PART },
    Command {
        name: "detect-parquet",
        is_slow: true,
        line: detect_part!("--parquet out/p.parquet"),
        again: |_, line| line.to_owned(),
        ..DETECT_PART
    },
    Command {
        name: "merge-detect",
        before: &[detect_part!("--part out/p0.jsonl --shard 0/2"), detect_part!("--part out/p1.jsonl --shard 1/2")],
        line: "merge out/p0.jsonl out/p1.jsonl --parquet out/m.parquet --quiet",
        again: |_, line| line.to_owned(),
        ..DETECT_PART
    },
    Command {
        name: "val-part",
        before: &[train!("--epochs 1 --plots false")],
        line: val_part!("--part out/v.jsonl"),
        again: |stage, line| if_there(stage, "out/v.jsonl", line, "--resume"),
        ..DETECT_PART
    },
    Command {
        name: "merge-val",
        is_slow: true,
        before: &[
            train!("--epochs 1 --plots false"),
            val_part!("--part out/v0.jsonl --shard 0/2"),
            val_part!("--part out/v1.jsonl --shard 1/2"),
        ],
        line: "merge out/v0.jsonl out/v1.jsonl --save-json --plots --save-dir out --exist-ok --quiet",
        again: |_, line| line.to_owned(),
        ..DETECT_PART
    },
    EVAL,
    Command {
        name: "eval-part",
        line: eval!("--part out/p.json --results-file out/r.json"),
        again: |stage, line| if_there(stage, "out/p.json", line, "--resume"),
        ..EVAL
    },
    Command {
        name: "merge",
        before: &[eval!("--part out/p0.json --shard 0/2"), eval!("--part out/p1.json --shard 1/2")],
        line: "merge out/p0.json out/p1.json --results-file out/r.json --confusion out/c.csv --quiet",
        ..EVAL
    },
    CONVERT,
    Command {
        name: "prune",
        line: "prune -m c.safetensors --ratio 0.4 -o out/p.safetensors --quiet --threads 1",
        again: |stage, line| if_there(stage, "out/p.safetensors", line, "--force"),
        ..CONVERT
    },
    Command {
        name: "quantize",
        line: "quantize --data cls -m c.safetensors -o out/q.safetensors --report out/q.json --images 4 --imgsz 32 --quiet --threads 1",
        again: |stage, line| if_there(stage, "out/q.safetensors", line, "--force"),
        ..CONVERT
    },
    Command {
        name: "publish",
        line: "publish --model c.safetensors --dry-run -o out/card --license mit --quiet",
        // A folder that is there is whole.
        again: |stage, line| match stage.place.path("out/card").exists() {
            true => "models --quiet".to_owned(),
            false => line.to_owned(),
        },
        ..CONVERT
    },
    Command {
        name: "pull",
        inputs: classifier,
        line: "pull hf://me/ghost/c.safetensors --quiet",
        again: |_, line| line.to_owned(),
        folder: "hf",
        ..TRAIN
    },
    Command {
        name: "pull-force",
        inputs: classifier,
        before: &["pull hf://me/ghost/c.safetensors --quiet"],
        line: "pull hf://me/ghost/c.safetensors --force --quiet",
        again: |_, line| line.to_owned(),
        folder: "hf",
        ..TRAIN
    },
];

/// The line, with an option where a file is there.
fn if_there(stage: &Stage, file: &str, line: &str, option: &str) -> String {
    if stage.place.path(file).exists() { format!("{line} {option}") } else { line.to_owned() }
}

/// Goes on with the run where it has a state of its own; else it begins anew.
fn go_on(stage: &Stage, task: &str, line: &str) -> String {
    let state = format!("runs/{task}/run/weights/resume.safetensors");
    let found = std::fs::read(stage.place.path(&state)).ok();
    let is_another = stage.kept(&state).is_some_and(|kept| Some(kept) == found.as_ref()) && !stage.is_cut;
    match found.is_some() && !is_another {
        true => format!("train {task} --resume runs/{task}/run --threads 1 --quiet"),
        false => line.to_owned(),
    }
}

/// Four labelled images to train with and two to validate with, and a network of three layers and a head.
fn detection(place: &TestDir) {
    for i in 0..6_u32 {
        let split = if i < 4 { "train" } else { "val" };
        let mut image = RgbImage::from_pixel(64, 48, Rgb([120, 110, 100]));
        for p in 0..400 {
            image.put_pixel(5 + 3 * i + p % 20, 4 + 2 * i + p / 20, Rgb([250, 250, 40]));
        }
        image.save(place.write(&format!("set/images/{split}/{i}.png"), "")).unwrap();
        let [cx, cy] = [f64::from(15 + 3 * i) / 64., f64::from(14 + 2 * i) / 48.];
        place.write(
            &format!("set/labels/{split}/{i}.txt"),
            format!("{} {cx} {cy} {} {}\n", i % 2, 20. / 64., 20. / 48.),
        );
    }
    place.write("set/data.yaml", "train: images/train\nval: images/val\nnames: [light, dark]\n");
    let layers = "backbone: [[-1, 1, Conv, [8, 3, 2]], [-1, 1, GhostConv, [16, 3, 2]], [-1, 1, C2f, [16, True]]]";
    place.write("tiny.yaml", format!("nc: 2\nscales: {{n: [1, 1, 64]}}\n{layers}\nhead: [[[2], 1, Detect, [nc]]]\n"));
}

/// Images of two colours, a seeded classifier of two classes, and a folder for results.
pub(crate) fn classifier(place: &TestDir) {
    for (class, color) in [("a", [200, 40, 30]), ("b", [30, 40, 200])] {
        for i in 0..6_u8 {
            let split = if i < 4 { "train" } else { "val" };
            let image = RgbImage::from_pixel(40, 36, Rgb([color[0], color[1] + 9 * i, color[2]]));
            image.save(place.write(&format!("cls/{split}/{class}/{i}.png"), "")).unwrap();
        }
    }
    let config = Config::new(Variant::from_name("ghostnet_050").unwrap()).num_classes(2);
    let (_, spec) = ParamSpec::of(|vb| GhostNet::new(&config, vb)).unwrap();
    let metadata = Metadata { arch: Some("ghostnet_050".to_owned()), ..Default::default() };
    write(&place.path("c.safetensors"), &Checkpoint { tensors: seeded_tensors(&spec), metadata, ..Default::default() })
        .unwrap();
    place.write("out/notes.txt", "of somebody else\n");
}
