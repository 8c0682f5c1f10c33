//! `--shard`, `--part`, `--resume` and `merge`: parts are the whole, to the byte.

use std::path::Path;

use crate::support::{CommandOutput, TestDir};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use serde_json::{Value, json};

const MODEL: &str = "-m yolov8n-ghostnet-bccd --imgsz 160 --conf 0.05 --max-det 20 --no-save";

/// Blood cells in several sizes, images that show nothing, and one that is none.
fn images(place: &TestDir) {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ghostzoo/assets");
    let cells = image::open(assets.join("BloodImage_00062.jpg")).unwrap();
    for i in 0..4_u32 {
        let part = cells.crop_imm(40 * i, 30 * i, 320, 240 + 20 * i);
        let path = place.path(&format!("in/cells{i}.png"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        part.save(path).unwrap();
    }
    image::RgbImage::new(64, 48).save(place.path("in/black.png")).unwrap();
    image::RgbImage::from_pixel(48, 64, image::Rgb([255; 3])).save(place.path("in/white.png")).unwrap();
    place.write("in/broken.png", b"no image");
}

/// A part of the images, of which one is broken.
fn part(place: &TestDir, [index, count]: [usize; 2], more: &str) -> String {
    let path = format!("{index}of{count}.jsonl");
    let ran = place.run(&format!("detect in {MODEL} --shard {index}/{count} --part {path} --quiet {more}"));
    assert!(ran.code == 0 || (ran.code == 1 && ran.stderr.contains("error: in")), "{}", ran.stderr);
    path
}

fn bytes(place: &TestDir, name: &str) -> Vec<u8> {
    std::fs::read(place.path(name)).unwrap()
}

/// A run whose one failure is the broken image.
#[track_caller]
fn but_for_one(ran: CommandOutput) -> CommandOutput {
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    ran
}

#[test]
fn parts_of_detect_are_the_whole_to_the_byte() {
    let place = TestDir::new();
    images(&place);
    let whole = but_for_one(place.run(&format!("detect in {MODEL} --json --parquet whole.parquet --quiet")));
    let mut lines = whole.json();
    lines.iter_mut().for_each(|line| drop(line.as_object_mut().unwrap().remove("speed_ms")));
    assert_eq!(lines.len(), 7);
    let boxes = |line: &Value| line["detections"].as_array().map(Vec::len);
    assert!(lines.iter().any(|line| boxes(line) == Some(0)) && lines.iter().any(|line| line["error"].is_string()));
    assert!(lines.iter().filter(|line| boxes(line) > Some(0)).count() >= 4, "{lines:?}");
    for (count, more) in [(1, ""), (2, "--batch 3 --parquet part.parquet"), (7, ""), (9, "")] {
        let mut parts: Vec<String> = (0..count).map(|index| part(&place, [index, count], more)).collect();
        parts.reverse();
        let merged = but_for_one(place.run(&format!("merge {} --json --parquet merged.parquet", parts.join(" "))));
        assert_eq!(merged.json(), lines, "{count} parts");
        assert!(bytes(&place, "merged.parquet") == bytes(&place, "whole.parquet"), "{count} parts");
    }
    assert!(place.path("part.parquet").exists() && !place.path("runs").exists());
    let said = but_for_one(place.run("merge 1of2.jsonl 0of2.jsonl")).stdout;
    assert!(said.starts_with("7 images and frames, ") && said.ends_with(" boxes, 1 failed\n"), "{said}");
}

#[test]
fn a_part_that_was_cut_goes_on_to_the_same_bytes() {
    let place = TestDir::new();
    images(&place);
    let path = part(&place, [0, 1], "--parquet whole.parquet");
    let whole = bytes(&place, &path);
    let ends: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] == b'\n').map(|at| at + 1).collect();
    assert_eq!(ends.len(), 8, "a header and seven images");
    for length in [ends[0], ends[2], ends[2] + 17, ends[6] - 1, whole.len()] {
        std::fs::write(place.path(&path), &whole[..length]).unwrap();
        let _ = std::fs::remove_file(place.path("again.parquet"));
        let ran =
            place.run(&format!("detect in {MODEL} --part {path} --resume --batch 2 --json --parquet again.parquet"));
        let left = 7 - (ends.iter().filter(|end| **end <= length).count() - 1);
        assert_eq!((ran.code, ran.json().len()), (1, left), "what was done is not done again: {}", ran.stderr);
        assert!(bytes(&place, &path) == whole, "cut at {length}");
        assert!(bytes(&place, "again.parquet") == bytes(&place, "whole.parquet"), "cut at {length}");
    }
    place.run(&format!("detect in {MODEL} --part {path}")).failed(2, &["0of1.jsonl exists; --resume goes on with it"]);
    let other = |options: &str, parts: &[&str]| {
        let ran = place.run(&format!("detect in {MODEL} --part {path} --resume --quiet {options}"));
        ran.failed(2, &[&["is not the one that wrote 0of1.jsonl"], parts].concat());
    };
    other("--iou 0.5", &["they have other options: iou is 0.5 and 0.7"]);
    let other = place.run(&format!("detect in {MODEL} --part {path} --resume --quiet --shard 0/2"));
    other.failed(2, &["0of1.jsonl holds 0 to 7 of 7, and this --shard 0 to 3"]);
}

#[test]
fn parts_of_detect_that_are_no_whole_are_refused() {
    let place = TestDir::new();
    images(&place);
    let [a, b] = [0, 1].map(|index| part(&place, [index, 2], ""));
    let third = part(&place, [2, 3], "");
    place.run(&format!("merge {a}")).failed(1, &["the part with items 3 to 7 of 7 is missing"]);
    place.run(&format!("merge {a} {b} {b}")).failed(2, &["1of2.jsonl holds items that another part holds too"]);
    place.run(&format!("merge {a} {third}")).failed(1, &["the part with items 3 to 4 of 7 is missing"]);
    place.write("cut.jsonl", &bytes(&place, &b)[..bytes(&place, &b).len() - 9]);
    place
        .run(&format!("merge {a} cut.jsonl --json"))
        .failed(1, &["cut.jsonl has 1 of its 4 items still to do", "--resume"]);
    let other = |name: &str, options: &str| {
        let ran = place.run(&format!("detect {options} --no-save --shard 1/2 --part {name} --quiet"));
        assert!(ran.code < 2, "{}", ran.stderr);
    };
    other("conf.jsonl", "in -m yolov8n-ghostnet-bccd --imgsz 160 --conf 0.06 --max-det 20");
    place
        .run(&format!("merge {a} conf.jsonl"))
        .failed(2, &["conf.jsonl are no parts of one run", "conf is 0.05 and 0.06"]);
    std::fs::rename(place.path("in/white.png"), place.path("in/pale.png")).unwrap();
    other("data.jsonl", &MODEL.replace("--no-save", "in"));
    place.run(&format!("merge {a} data.jsonl")).failed(2, &["they are of other images or labels"]);
    place.run("convert yolov8n-ghostnet-bccd other.safetensors --quiet").succeeded();
    std::fs::rename(place.path("in/pale.png"), place.path("in/white.png")).unwrap();
    other("model.jsonl", "in -m other.safetensors --imgsz 160 --conf 0.05 --max-det 20");
    place.run(&format!("merge {a} model.jsonl")).failed(2, &["have other weights"]);
    place.run(&format!("merge {a} {b} --plots")).failed(2, &["--plots is for parts of `val`", "one of `detect`"]);
    place.write("no.jsonl", "{}\n");
    place.run("merge no.jsonl").failed(1, &["no.jsonl is no part"]);
    place.run(&format!("merge {a} no.jsonl")).failed(1, &["no.jsonl is no part"]);
    for (options, expected) in [
        ("--part p.jsonl", "--no-save"),
        ("--no-save --shard 0/2", "--part"),
        ("--no-save --part p.jsonl --save-txt", "--save-txt"),
        ("--no-save --part no/p.jsonl", "cannot write no/p.jsonl"),
        ("--no-save --parquet no/p.parquet", "cannot write no/p.parquet"),
        ("--no-save --shard 2/2 --part p.jsonl", "such as 0/4"),
    ] {
        let ran = place.run(&format!("detect in -m yolov8n-ghostnet-bccd {options}"));
        assert!(ran.code > 0 && ran.stderr.contains(expected), "{options}: {}", ran.stderr);
    }
    place
        .run("detect - -m yolov8n-ghostnet-bccd --no-save --part p.jsonl")
        .failed(2, &["--part: - is not there a second"]);
}

#[test]
fn a_job_array_says_which_part_it_is_and_only_where_it_is_asked() {
    let place = TestDir::new();
    images(&place);
    let run = |options: &str, set: &[(&str, &str)]| {
        let mut command = place.command(&format!("detect in {MODEL} {options}"));
        command.envs(set.iter().copied());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let index = [("JOB_COMPLETION_INDEX", "1")];
    let (code, stderr) = run("--shard auto/2 --part p.jsonl", &index);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("note: --shard auto is 1/2, by JOB_COMPLETION_INDEX=1"), "{stderr}");
    part(&place, [1, 2], "");
    assert!(bytes(&place, "p.jsonl") == bytes(&place, "1of2.jsonl"));
    let (code, stderr) = run("--shard auto --part q.jsonl", &index);
    assert!(code == Some(2) && stderr.contains("--shard auto/N"), "{stderr}");
    run("--part whole.jsonl", &index);
    assert!(place.read("whole.jsonl").lines().count() == 8, "nothing is divided unasked");
    let slurm = [("SLURM_ARRAY_TASK_ID", "0"), ("SLURM_ARRAY_TASK_COUNT", "2"), ("SLURM_ARRAY_TASK_MAX", "1")];
    let (_, stderr) = run("--shard auto --part s.jsonl", &slurm);
    assert!(stderr.contains("0/2, by SLURM_ARRAY_TASK_ID=0 and SLURM_ARRAY_TASK_COUNT=2"), "{stderr}");
    but_for_one(place.run("merge p.jsonl s.jsonl --quiet"));
}

/// The numbers of `val` without what took time.
fn numbers(output: CommandOutput) -> Value {
    let mut numbers = output.json().remove(0);
    numbers.as_object_mut().unwrap().remove("milliseconds");
    numbers
}

/// The images with labels: what the detector finds at half the confidence, and the broken one.
fn labelled(place: &TestDir) {
    images(place);
    let found = place.run(&format!("detect in {MODEL} --save-txt --save-dir found --quiet"));
    but_for_one(found);
    for name in place.files("found/labels") {
        let text = place.read(&format!("found/labels/{name}"));
        // Every third box is labelled as another class, so that not all is right.
        let row = |(number, row): (usize, &str)| match number % 3 {
            2 => format!("0 {}\n", row.split_once(' ').unwrap().1),
            _ => format!("{row}\n"),
        };
        place.write(&format!("set/labels/{name}"), text.lines().enumerate().map(row).collect::<String>());
    }
    for name in place.files("in") {
        place.write(&format!("set/images/{name}"), bytes(place, &format!("in/{name}")));
    }
    place.write("set/data.yaml", "train: images\nval: images\nnames: [WBC, RBC, Platelets]\n");
}

const VAL: &str = "val --data set/data.yaml -m yolov8n-ghostnet-bccd --imgsz 160 --batch 2 --json --quiet";

#[test]
fn parts_of_val_are_the_whole_to_the_last_digit() {
    let place = TestDir::new();
    labelled(&place);
    for rect in ["true", "false"] {
        let val = format!("{VAL} --rect {rect}");
        let expected = but_for_one(place.run(&format!("{val} --save-json --save-dir whole --exist-ok")));
        let expected = numbers(expected);
        assert_eq!((&expected["images"], &expected["unreadable_images"]), (&json!(6), &json!(1)));
        let ap = expected["coco"]["AP"].as_f64().unwrap();
        assert!(ap > 0.1 && ap < 0.99, "{expected}");
        for count in [1, 2, 7] {
            let name = |index: usize| format!("{index}of{count}{rect}.jsonl");
            for index in 0..count {
                let ran = place.run(&format!("{val} --plots false --shard {index}/{count} --part {}", name(index)));
                assert!(ran.code == 0 || (ran.code == 1 && ran.stderr.contains("broken.png")), "{}", ran.stderr);
            }
            let parts: Vec<String> = (0..count).rev().map(name).collect();
            let merge = "--json --save-json --plots --save-dir merged --exist-ok --quiet";
            let merged = numbers(but_for_one(place.run(&format!("merge {} {merge}", parts.join(" ")))));
            assert_eq!(merged, expected, "{count} parts");
            for file in ["predictions.json", "confusion_matrix.png", "BoxPR_curve.png"] {
                let [whole, merged] = ["whole", "merged"].map(|folder| bytes(&place, &format!("{folder}/{file}")));
                assert!(whole == merged, "{count} parts: {file}");
            }
        }
    }
    let people = but_for_one(place.run("merge 0of2true.jsonl 1of2true.jsonl --metric coco"));
    assert!(people.stdout.contains("AP75") && !people.stdout.contains("Speed"), "{}", people.stdout);
    assert!(people.stderr.contains("broken.png"), "{}", people.stderr);
}

#[test]
fn a_part_of_val_goes_on_and_is_refused_where_it_does_not_fit() {
    let place = TestDir::new();
    labelled(&place);
    let val = |more: &str| place.run(&format!("{VAL} --plots false {more}"));
    let expected = numbers(but_for_one(val("")));
    but_for_one(val("--part p.jsonl"));
    let whole = bytes(&place, "p.jsonl");
    let ends: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] == b'\n').map(|at| at + 1).collect();
    assert_eq!(ends.len(), 5, "a header, three batches, and what is in none");
    for length in [ends[0], ends[1] + 30, ends[3], whole.len()] {
        std::fs::write(place.path("p.jsonl"), &whole[..length]).unwrap();
        assert_eq!(numbers(but_for_one(val("--part p.jsonl --resume"))), expected, "cut at {length}");
        assert!(bytes(&place, "p.jsonl") == whole, "cut at {length}");
    }
    val("--part p.jsonl").failed(2, &["p.jsonl exists; --resume goes on with it"]);
    val("--part p.jsonl --resume --iou 0.5").failed(2, &["is not the one that wrote p.jsonl", "iou is 0.5 and 0.7"]);
    for index in 0..2 {
        val(&format!("--shard {index}/2 --part {index}.jsonl"));
    }
    place.run("merge 1.jsonl").failed(1, &["the part with items 0 to 2 of 4 is missing"]);
    place.run("merge 0.jsonl 1.jsonl 0.jsonl").failed(2, &["0.jsonl holds items that another part holds too"]);
    let other = VAL.replace("--batch 2", "--batch 3");
    place.run(&format!("{other} --plots false --shard 1/2 --part batch.jsonl"));
    place.run("merge 0.jsonl batch.jsonl").failed(2, &["no parts of one run"]);
    let row = place.read("set/labels/cells0.txt");
    place.write("set/labels/cells0.txt", row.replacen("0.", "0.1", 1));
    val("--shard 1/2 --part labels.jsonl");
    place.run("merge 0.jsonl labels.jsonl").failed(2, &["they are of other images or labels"]);
    place.run("merge 0.jsonl 1.jsonl --parquet x.parquet").failed(2, &["--parquet is for parts of `detect`"]);
    let refused = val("--shard 0/2 --part x.jsonl --save-json");
    assert!(refused.code == 2 && refused.stderr.contains("cannot be used with '--save-json'"), "{}", refused.stderr);
}

/// The values of an optional column of whole numbers.
fn column(place: &TestDir, name: &str, column: usize) -> Vec<Option<i64>> {
    let reader = SerializedFileReader::new(std::fs::File::open(place.path(name)).unwrap()).unwrap();
    reader.get_row_iter(None).unwrap().map(|row| row.unwrap().get_long(column).ok()).collect()
}

#[test]
fn tracked_objects_have_their_identities_in_the_table() {
    let place = TestDir::new();
    images(&place);
    for name in ["a.png", "b.png", "c.png"] {
        place.write(&format!("sequence/{name}"), bytes(&place, "in/cells3.png"));
    }
    let track = format!("track sequence {MODEL} --tracker bytetrack --parquet t.parquet --json --quiet");
    let lines = place.run(&track).succeeded().json();
    let of_line = |line: &Value| -> Vec<Option<i64>> {
        let found = line["detections"].as_array().unwrap();
        match found.is_empty() {
            true => vec![None],
            false => found.iter().map(|object| object["track_id"].as_i64()).collect(),
        }
    };
    // What is left at the end tells how often each class was seen.
    let expected: Vec<_> = lines.iter().filter(|line| line["detections"].is_array()).flat_map(of_line).collect();
    assert!(expected.iter().flatten().count() > 3, "{lines:?}");
    assert_eq!(column(&place, "t.parquet", 12), expected);
    place.run("track --detections x.jsonl --parquet t.parquet").failed(2, &["--parquet"]);
    let refused = place.run("track in --no-save --part p.jsonl");
    assert!(refused.code == 2 && refused.stderr.contains("--part"), "{}", refused.stderr);
}

#[cfg(unix)]
#[test]
fn a_video_in_a_part_is_whole_or_done_again() {
    use crate::video::{ffmpeg, has_ffmpeg};
    let place = TestDir::new();
    images(&place);
    if !has_ffmpeg() {
        return;
    }
    ffmpeg(&place, "-f lavfi -i testsrc2=s=96x64:r=10:d=0.6 -pix_fmt yuv420p in/a.mp4");
    ffmpeg(&place, "-f lavfi -i testsrc2=s=64x96:r=10:d=0.4 -pix_fmt yuv420p in/b.mp4");
    let path = part(&place, [0, 1], "--parquet whole.parquet");
    let whole = place.read(&path);
    let frames = whole.lines().filter(|line| line.contains("\"frame\":")).count();
    assert_eq!((frames, whole.lines().count()), (10, 1 + 7 + 10 + 2));
    let lengths: Vec<usize> = whole.lines().map(|line| line.len() + 1).collect();
    for lines in [9, 12, 14, 15, 17, 19] {
        std::fs::write(place.path(&path), &whole[..lengths[..lines].iter().sum()]).unwrap();
        but_for_one(
            place.run(&format!("detect in {MODEL} --part {path} --resume --batch 4 --parquet again.parquet --quiet")),
        );
        assert_eq!(place.read(&path), whole, "after {lines} lines");
        assert!(bytes(&place, "again.parquet") == bytes(&place, "whole.parquet"));
    }
    let parts: Vec<String> = (0..3).map(|index| part(&place, [index, 3], "--batch 3")).collect();
    but_for_one(place.run(&format!("merge {} --parquet merged.parquet --quiet", parts.join(" "))));
    assert!(bytes(&place, "merged.parquet") == bytes(&place, "whole.parquet"));
}
