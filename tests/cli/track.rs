//! `ghostzoo track` on images that slide by, and on what was detected before.

use std::collections::BTreeMap;

use crate::support::TestDir;
use serde_json::Value;

const CELLS: &[u8] = include_bytes!("../../ghostzoo/assets/BloodImage_00062.jpg");
/// Frames, and pixels that the picture moves to the left from each to the next.
const FRAMES: usize = 6;
const STEP: u32 = 6;
const MODEL: &str = "yolov8n-ghostnet-bccd";

/// Six images of a picture that slides to the left.
fn place() -> TestDir {
    let place = TestDir::new();
    let cells = image::load_from_memory(CELLS).unwrap().to_rgb8();
    std::fs::create_dir_all(place.path("film")).unwrap();
    for number in 0..FRAMES {
        let left = STEP * number as u32;
        let part = image::imageops::crop_imm(&cells, left, 0, 480, 400).to_image();
        part.save(place.path(&format!("film/{number}.png"))).unwrap();
    }
    place
}

/// The lines of images, and that of the sequence.
fn lines(rows: Vec<Value>) -> (Vec<Value>, Value) {
    let (mut images, sums): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.get("detections").is_some());
    assert_eq!(sums.len(), 1, "{sums:?}");
    images.iter_mut().for_each(|image| {
        image.as_object_mut().unwrap().remove("speed_ms");
    });
    (images, sums.into_iter().next().unwrap())
}

/// The centre of each identity in an image.
fn centres(image: &Value) -> BTreeMap<u64, [f64; 2]> {
    let of = |found: &Value| {
        let [x1, y1, x2, y2] = ["x1", "y1", "x2", "y2"].map(|side| found["box"][side].as_f64().unwrap());
        (found["track_id"].as_u64().unwrap(), [(x1 + x2) / 2., (y1 + y2) / 2.])
    };
    image["detections"].as_array().unwrap().iter().map(of).collect()
}

#[test]
fn objects_keep_their_identities_are_counted_and_cross_lines() {
    let place = place();
    for tracker in ["tracktrack", "bytetrack", "botsort.yaml", "ocsort"] {
        // Lines downwards: what slides to the left comes from their left side, as who looks down them sees it, and goes to their right.
        let line = format!(
            "track film -m {MODEL} --json --no-save --tracker {tracker} --line 150,0,150,400 --line 200,0,200,400 --zone 0,0,480,0,480,400,0,400"
        );
        let (images, sum) = lines(place.run(&line).succeeded().json());
        assert_eq!((images.len(), &sum["frames"], &sum["path"]), (FRAMES, &6.into(), &"images".into()));
        let (before, after) = (centres(&images[2]), centres(&images[FRAMES - 1]));
        // Those at the edges are cut.
        let whole = before.iter().filter(|(_, [x, _])| (90. ..400.).contains(x));
        let kept = whole.filter_map(|(id, [x, _])| Some(x - after.get(id)?[0])).collect::<Vec<_>>();
        assert!(kept.len() >= 2 && kept.iter().all(|moved| (moved - 18.).abs() < 9.), "{tracker}: {kept:?}");
        let crossed: Vec<&Value> = images.iter().flat_map(|image| image["crossings"].as_array().unwrap()).collect();
        assert!(!crossed.is_empty() && crossed.iter().all(|one| one["direction"] == "in"), "{tracker}: {crossed:?}");
        let counted: u64 = sum["lines"].as_array().unwrap().iter().map(|line| line["in"].as_u64().unwrap()).sum();
        assert_eq!(counted, crossed.len() as u64, "{tracker}");
        let seen: std::collections::BTreeSet<u64> =
            images.iter().flat_map(|image| centres(image).into_keys()).collect();
        let counted: u64 = sum["identities"].as_array().unwrap().iter().map(|row| row["count"].as_u64().unwrap()).sum();
        assert_eq!(counted, seen.len() as u64, "{tracker}");
        let entered = images.iter().flat_map(|image| image["zones"][0]["entered"].as_array().unwrap()).count();
        assert_eq!(entered, seen.len(), "{tracker}: all are within the frame");
    }
}

#[test]
fn files_hold_identities_and_pictures_trails() {
    let place = place();
    let run = |more: &str| {
        place.run(&format!("track film -m {MODEL} --tracker bytetrack --save-mot --save-txt --exist-ok {more}"))
    };
    let text = run("").succeeded().stdout;
    assert!(text.contains("image 6/6 film/5.png: ") && text.contains("in 6 frames"), "{text}");
    let files = place.files("runs/detect/track");
    for name in ["0.png", "5.png", "labels/5.txt", "mot/images.txt"] {
        assert!(files.contains(&name.to_owned()), "{name} in {files:?}");
    }
    let labels = place.read("runs/detect/track/labels/5.txt");
    let ids: Vec<u64> = labels.lines().map(|line| line.split(' ').nth(5).unwrap().parse().unwrap()).collect();
    let mot = place.read("runs/detect/track/mot/images.txt");
    let last: Vec<u64> = mot
        .lines()
        .map(|line| line.split(',').collect::<Vec<_>>())
        .filter(|row| row[0] == "6" && row.len() == 10)
        .map(|row| row[1].parse().unwrap())
        .collect();
    assert!(!ids.is_empty() && ids == last, "{ids:?} {last:?}");
    let picture = || image::open(place.path("runs/detect/track/5.png")).unwrap().to_rgb8();
    let without = picture();
    run("--trails 6 --line 10,10,10,390 --quiet").succeeded();
    let with = picture();
    assert_eq!(with.get_pixel(10, 200).0, [255; 3], "the line");
    let changed = without.pixels().zip(with.pixels()).filter(|(a, b)| a != b).count();
    assert!(changed > 380 * 2 + 100, "{changed}: trails too");
}

#[test]
fn recorded_detections_have_the_same_identities() {
    let place = place();
    let recorded = place.run(&format!("detect film -m {MODEL} --json --no-save --conf 0.1 --quiet")).succeeded().stdout;
    place.write("found.jsonl", &recorded);
    let (live, sum) =
        lines(place.run(&format!("track film -m {MODEL} --json --no-save --tracker bytetrack")).succeeded().json());
    let again = place.run("track --detections found.jsonl --json --tracker bytetrack --save-mot").succeeded();
    let (again, same_sum) = lines(again.json());
    assert_eq!((live, sum), (again, same_sum));
    assert!(place.read("runs/detect/track/mot/images.txt").starts_with("1,1,"));
    let rows =
        place.run_with_stdin("track --detections - --csv --tracker ocsort", recorded.as_bytes()).succeeded().stdout;
    assert!(rows.lines().next().unwrap().ends_with(",y2,track_id") && rows.lines().count() > 10, "{rows}");
}

#[test]
fn settings_come_from_files_and_wrong_ones_are_refused_in_a_line() {
    let place = place();
    place.write("strict.yaml", "tracker_type: bytetrack\ntrack_high_thresh: 0.999\nnew_track_thresh: 0.999\n");
    let (images, _) =
        lines(place.run(&format!("track film -m {MODEL} --json --no-save --tracker strict.yaml")).succeeded().json());
    assert!(images.iter().all(|image| image["detections"] == Value::Array(Vec::new())), "no box is that sure");
    place.write("odd.yaml", "tracker_type: bytetrack\ntrack_hihg_thresh: 0.5\n");
    place.write("reid.yaml", "tracker_type: botsort\nwith_reid: true\n");
    place.write("bad.jsonl", "{\"path\": \"a\"}\n");
    place.write("worse.jsonl", "no json\n");
    place.write("none.txt", "\n");
    place.write("bytes.yaml", b"tracker_type: \xff\xfe\x00");
    for (words, parts) in [
        ("film --tracker deepsort", &["no tracker is called `deepsort`"][..]),
        ("film --tracker none.yaml", &["none.yaml", "no such file"]),
        ("film --tracker odd.yaml", &["odd.yaml", "track_hihg_thresh"]),
        ("film --tracker reid.yaml", &["reid.yaml", "with_reid"]),
        ("film --line 1,2,1,2", &["--line", "two points"]),
        ("film --line 1,2,3,4,5,6", &["--line takes two points"]),
        ("film --zone 1,2,3,4", &["--zone", "three corners"]),
        ("film --format mjpeg", &["--format", "stdin"]),
        ("--detections none.jsonl", &["none.jsonl"]),
        ("--detections bad.jsonl", &["bad.jsonl: line 1", "no `detections`"]),
        ("--detections worse.jsonl", &["worse.jsonl: line 1", "not a line of `detect --json`"]),
        ("--detections none.txt", &["none.txt is empty"]),
        ("--detections bad.jsonl --vid-stride 2", &["needs the images"]),
        ("film --start 2 --end 1", &["--end 1", "--start 2"]),
        ("film --tracker bytes.yaml", &["bytes.yaml"]),
        ("--detections bad.jsonl --trails 3", &["--trails needs the images"]),
    ] {
        let code = if words.contains("none.jsonl") { 1 } else { 2 };
        place.run(&format!("track {words} --no-save")).failed(code, parts);
    }
}

#[cfg(unix)]
#[test]
fn a_video_that_is_given_twice_is_tracked_twice() {
    use crate::video::{ffmpeg, has_ffmpeg};
    if !has_ffmpeg() {
        return;
    }
    let place = place();
    ffmpeg(&place, "-framerate 10 -i film/%d.png -pix_fmt yuv420p film.mp4");
    place.write("both.streams", "film.mp4\nfilm.mp4\n");
    let words = format!("-m {MODEL} --json --tracker bytetrack --line 150,0,150,400 --save-mot --no-save");
    let (alone, sum) = lines(place.run(&format!("track film.mp4 {words} --save-dir one")).succeeded().json());
    let rows = place.run(&format!("track both.streams {words} --save-dir two")).succeeded().json();
    let (both, sums): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.get("detections").is_some());
    assert_eq!((both.len(), &sums), (2 * FRAMES, &vec![sum.clone(), sum]));
    for image in &alone {
        let same = both.iter().filter(|other| other["frame"] == image["frame"]);
        assert!(same.clone().count() == 2 && same.into_iter().all(|other| centres(other) == centres(image)));
    }
    let mot = place.read("one/mot/film.txt");
    assert!(!mot.is_empty() && mot == place.read("two/mot/film.txt") && mot == place.read("two/mot/film-2.txt"));
}
