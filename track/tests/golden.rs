//! The trackers beside Ultralytics', on the same detections: `tests/oracle/track.py` wrote both.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use ghostzoo_track::motion::GrayFrame;
use ghostzoo_track::{Detection, Track, Tracker, TrackerConfig};
use serde_json::Value;

/// Largest difference of a coordinate, in pixels: both filter in f64 and round to f32, and the file to 1/1000.
const BOX_TOLERANCE: f32 = 2e-3;

fn golden(name: &str) -> Vec<Value> {
    let path = format!("{}/../tests/golden/track/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

/// A detection as the files write it: in whole parts of pixels and of scores.
fn detections(rows: &Value) -> Vec<Detection> {
    let detection = |row: &Value| {
        let numbers: [i16; 6] = serde_json::from_value(row.clone()).unwrap();
        let [x1, y1, x2, y2, score, class] = numbers;
        Detection {
            class_id: class as usize,
            confidence: f32::from(score) / 256.0,
            xyxy: [x1, y1, x2, y2].map(|value| f32::from(value) / 16.0),
        }
    };
    array(rows).iter().map(detection).collect()
}

/// The detections of each frame of a sequence.
fn frames(sequence: &str) -> Vec<Vec<Detection>> {
    let sequences = golden("sequences");
    let found = sequences.iter().find(|one| one["name"] == sequence).unwrap();
    array(&found["frames"]).iter().map(detections).collect()
}

fn follow(tracker: &mut Tracker, frames: &[Vec<Detection>]) -> Vec<Vec<Track>> {
    frames.iter().map(|detections| tracker.update(detections, None)).collect()
}

fn config(name: &str, settings: &Value) -> TrackerConfig {
    let mut config = TrackerConfig::named(name).unwrap();
    for (key, value) in settings.as_object().unwrap() {
        config.set(key, value.as_str().unwrap()).unwrap();
    }
    config
}

fn agrees_with_ultralytics(name: &str) {
    let runs = golden(name);
    assert!(runs.len() >= 6);
    for run in &runs {
        let frames = frames(run["sequence"].as_str().unwrap());
        let mut tracker = Tracker::new(config(name, &run["settings"])).unwrap();
        let ours = follow(&mut tracker, &frames);
        let theirs = array(&run["tracks"]);
        assert_eq!(ours.len(), theirs.len());
        for (frame, (tracks, expected)) in ours.iter().zip(theirs).enumerate() {
            let place = || format!("{name} {} of {}, frame {frame}", run["settings"], run["sequence"]);
            let pairs: Vec<u64> =
                tracks.iter().flat_map(|track| [track.track_id, track.detection_index as u64]).collect();
            let expected: Vec<u64> = serde_json::from_value(expected.clone()).unwrap();
            assert_eq!(pairs, expected, "identity and detection of each track; {}", place());
            for track in tracks {
                let detection = &frames[frame][track.detection_index];
                assert_eq!(
                    (track.class_id, track.confidence),
                    (detection.class_id, detection.confidence),
                    "{}",
                    place()
                );
            }
        }
        // The boxes are kept of some frames, at even distances.
        let boxes = array(&run["boxes"]);
        let every = frames.len() / boxes.len();
        for (sample, expected) in boxes.iter().enumerate() {
            let expected: Vec<[f32; 4]> = serde_json::from_value(expected.clone()).unwrap();
            let tracks = &ours[every * sample];
            assert_eq!(tracks.len(), expected.len());
            for (track, expected) in tracks.iter().zip(&expected) {
                let worst = track.xyxy.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(worst <= BOX_TOLERANCE, "{name}, frame {}: {track:?}, {expected:?}", every * sample);
            }
        }
    }
}

#[test]
fn byte_track_gives_the_identities_and_boxes_of_ultralytics() {
    agrees_with_ultralytics("bytetrack");
}

#[test]
fn bot_sort_gives_the_identities_and_boxes_of_ultralytics() {
    agrees_with_ultralytics("botsort");
}

/// The pixels of a frame: a window at `offset` of a world of squares, as `track.py` paints it.
fn pixels(offset: [i64; 2]) -> Vec<u8> {
    let level = |x: i64, y: i64| {
        let (column, row) = (x / 7, y / 7);
        (((column * 7919 + row * 104_729) * (column + 3 * row + 17)) >> 5) % 256
    };
    let rows = offset[1]..offset[1] + 240;
    rows.flat_map(|y| (offset[0]..offset[0] + 320).map(move |x| level(x, y) as u8)).collect()
}

fn agrees_with_ultralytics_about_a_moving_camera(name: &str) {
    let runs = golden("camera");
    let run = runs.iter().find(|run| run["name"] == name).unwrap();
    let config = TrackerConfig::named(name).unwrap();
    let (mut tracker, mut still) = (Tracker::new(config.clone()).unwrap(), Tracker::new(config).unwrap());
    let (mut worst, mut most, mut most_still) = (0.0_f32, 0, 0);
    for (number, frame) in array(&run["frames"]).iter().enumerate() {
        let pixels = pixels(serde_json::from_value(frame["offset"].clone()).unwrap());
        let seen = detections(&frame["detections"]);
        let tracks = tracker.update(&seen, Some(&GrayFrame::new(320, 240, &pixels).unwrap()));
        let pairs: Vec<u64> = tracks.iter().flat_map(|track| [track.track_id, track.detection_index as u64]).collect();
        let expected: Vec<u64> = serde_json::from_value(run["tracks"][number].clone()).unwrap();
        assert_eq!(pairs, expected, "{name}, frame {number}");
        let boxes: Vec<[f32; 4]> = serde_json::from_value(run["boxes"][number].clone()).unwrap();
        for (track, expected) in tracks.iter().zip(&boxes) {
            worst = track.xyxy.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(worst, f32::max);
        }
        let last = |tracks: &[Track]| tracks.iter().map(|track| track.track_id).max().unwrap_or(0);
        most = most.max(last(&tracks));
        most_still = most_still.max(last(&still.update(&seen, None)));
    }
    assert!(worst <= BOX_TOLERANCE, "{worst} pixels");
    assert!(most < most_still, "without frames the jumps of the camera would not be known: {most}, {most_still}");
}

#[test]
fn bot_sort_follows_a_moving_camera_as_ultralytics_does() {
    agrees_with_ultralytics_about_a_moving_camera("botsort");
}

#[test]
fn track_track_follows_a_moving_camera_as_ultralytics_does() {
    agrees_with_ultralytics_about_a_moving_camera("tracktrack");
}

#[test]
fn oc_sort_gives_the_identities_and_boxes_of_ultralytics() {
    agrees_with_ultralytics("ocsort");
}

#[test]
fn track_track_gives_the_identities_and_boxes_of_ultralytics() {
    agrees_with_ultralytics("tracktrack");
}

#[test]
fn track_track_takes_what_was_suppressed_as_ultralytics_does() {
    let mut taken = 0;
    for run in &golden("tracktrack_suppressed") {
        let frames = frames(run["sequence"].as_str().unwrap());
        let mut tracker = Tracker::new(config("tracktrack", &run["settings"])).unwrap();
        let (lists, expected) = (array(&run["suppressed"]), array(&run["tracks"]));
        assert_eq!((lists.len(), expected.len()), (frames.len(), frames.len()));
        for (frame, detections) in frames.iter().enumerate() {
            let [removed, suppressed]: [Vec<usize>; 2] = serde_json::from_value(lists[frame].clone()).unwrap();
            let kept: Vec<usize> = (0..detections.len()).filter(|place| !removed.contains(place)).collect();
            let rows = |places: &[usize]| places.iter().map(|place| detections[*place]).collect::<Vec<_>>();
            let tracks = tracker.update_with_suppressed(&rows(&kept), &rows(&suppressed), None);
            let mut pairs = Vec::new();
            for track in &tracks {
                let extra = track.detection_index.checked_sub(kept.len());
                let detection =
                    &detections[extra.map_or_else(|| kept[track.detection_index], |extra| suppressed[extra])];
                assert_eq!((track.class_id, track.confidence), (detection.class_id, detection.confidence));
                // Ultralytics has no place for one that was suppressed.
                pairs.extend([track.track_id as i64, extra.map_or(track.detection_index as i64, |_| -1)]);
                taken += usize::from(extra.is_some());
            }
            let expected: Vec<i64> = serde_json::from_value(expected[frame].clone()).unwrap();
            assert_eq!(pairs, expected, "{} of {}, frame {frame}", run["settings"], run["sequence"]);
        }
    }
    assert!(taken > 10, "{taken} taken");
}

#[test]
fn a_tracker_that_was_reset_gives_what_a_new_one_gives() {
    let frames = frames("crossings");
    for name in ["bytetrack", "ocsort", "tracktrack"] {
        let mut tracker = Tracker::new(TrackerConfig::named(name).unwrap()).unwrap();
        let first = follow(&mut tracker, &frames);
        tracker.reset();
        assert_eq!(follow(&mut tracker, &frames), first, "{name}");
    }
}
