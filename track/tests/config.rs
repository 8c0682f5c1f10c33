//! Settings by name, from text and key by key.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use ghostzoo_track::{GmcMethod, TrackError, Tracker, TrackerConfig, TrackerType};
use serde_json::{Map, Value};

/// The settings of each of Ultralytics' files: `tests/oracle/track_parts.py` wrote them.
fn files() -> Vec<Map<String, Value>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/track/defaults.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// As such a file writes it.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        other => other.to_string(),
    }
}

fn yaml(settings: &Map<String, Value>) -> String {
    settings.iter().map(|(key, value)| format!("{key}: {} # why\n", text(value))).collect()
}

#[test]
fn the_defaults_are_those_of_ultralytics_files() {
    assert_eq!(files().len(), TrackerType::ALL.len());
    for (settings, tracker) in files().iter().zip(TrackerType::ALL) {
        let config = TrackerConfig::new(tracker);
        assert_eq!(settings["tracker_type"], tracker.name());
        assert_eq!(TrackerConfig::from_yaml(&yaml(settings)).unwrap(), config);
        for name in [tracker.name().to_owned(), format!("{}.yaml", tracker.name())] {
            assert_eq!(TrackerConfig::named(&name).unwrap(), config);
        }
        // Each key is read: another value is another setting, where the setting has an effect.
        let unused = ["model", "with_reid", "proximity_thresh", "appearance_thresh", "iou_weight", "reid_weight"];
        for (key, value) in settings.iter().filter(|(key, _)| *key != "tracker_type") {
            let other = match value {
                Value::Bool(flag) => text(&Value::Bool(*flag == unused.contains(&key.as_str()))),
                Value::String(_) => "none".to_owned(),
                Value::Number(number) if number.is_u64() => "7".to_owned(),
                _ => "0.375".to_owned(),
            };
            let mut changed = config.clone();
            let result = changed.set(key, if key == "with_reid" { "False" } else { &other });
            assert_eq!(result, Ok(()), "{key}");
            assert_eq!(changed != config, !unused.contains(&key.as_str()), "{key}: {other}");
        }
    }
}

#[test]
fn what_no_tracker_takes_is_refused_in_one_line_that_names_it() {
    let long = "a: ".repeat(100_000);
    let nested = "{a: ".repeat(100_000);
    let settings = |rest: &str| format!("tracker_type: botsort\n{rest}");
    for (text, named) in [
        ("", "empty"),
        ("# nothing", "empty"),
        ("- a", "line 1"),
        ("track_buffer: 3", "tracker_type"),
        ("tracker_type: sort", "`sort`"),
        ("tracker_type: deepocsort", "bytetrack, botsort, ocsort or tracktrack"),
        ("tracker_type: bytetrack\ntracker_type: botsort", "twice"),
        (&settings("with_reid: True"), "with_reid: True"),
        (&settings("gmc_method: orb"), "sparseOptFlow or none"),
        (&settings("track_bufer: 3"), "`track_bufer`"),
        (&settings("delta_t: 3"), "botsort has no setting `delta_t`"),
        (&settings("track_buffer: -1"), "a whole number of at least 0"),
        (&settings("track_buffer: 1.5"), "a whole number"),
        (&settings("match_thresh: 1.01"), "a number from 0 to 1"),
        (&settings("match_thresh: .nan"), "a number from 0 to 1"),
        (&settings("match_thresh: NaN"), "a number from 0 to 1"),
        (&settings("match_thresh: high"), "match_thresh: high"),
        (&settings("match_thresh:"), "match_thresh"),
        (&settings("match_thresh: [0.5]"), "line 2"),
        (&settings("match_thresh: {a: 1}"), "line 2"),
        (&settings("fuse_score: 1"), "True or False"),
        (&settings("fuse_score: [True"), "line"),
        (&settings("fuse_score: \"two\\nlines\""), "`fuse_score: two\\nlines`"),
        (&settings("\"two\\nlines\": 1"), "`two\\nlines`"),
        (&settings(&format!("{}: 1", "x".repeat(900))), "xxx…`"),
        (&settings("\n---\na: b"), "line"),
        (&long, "line"),
        (&nested, "line"),
    ] {
        let error = TrackerConfig::from_yaml(text).unwrap_err().to_string();
        assert!(error.contains(named) && !error.contains('\n') && error.len() < 600, "{text:.60}: {error}");
    }
}

#[test]
fn a_value_that_is_refused_leaves_the_setting() {
    let mut config = TrackerConfig::new(TrackerType::TrackTrack);
    assert!(matches!(config.set("tai_thr", "2"), Err(TrackError::BadValue { key: "tai_thr", .. })));
    assert!(matches!(config.set("fuse_score", "True"), Err(TrackError::UnknownKey { tracker: "tracktrack", .. })));
    assert_eq!(config, TrackerConfig::new(TrackerType::TrackTrack));
    config.set("gmc_method", "none").unwrap();
    assert_eq!(config.gmc_method, GmcMethod::None);
}

#[test]
fn a_field_out_of_range_makes_no_tracker() {
    let mut config = TrackerConfig::new(TrackerType::ByteTrack);
    config.track_high_thresh = f64::NAN;
    let error = Tracker::new(config).unwrap_err();
    assert_eq!(error.to_string(), "`track_high_thresh: NaN` is no setting of a tracker: give a number from 0 to 1");
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "(tracker_type: botsort\n)?([-?:,{}\\[\\]&*!|>'\"%@# \n\ta0]|---|\\.\\.\\.|&a |\\*a |track_buffer){0,40}") {
        let _ = TrackerConfig::from_yaml(&text);
    }
}
