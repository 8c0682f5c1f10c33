//! Trackers on input that no detector gives.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashSet;

use ghostzoo_track::motion::GrayFrame;
use ghostzoo_track::{Detection, Tracker, TrackerConfig};
use proptest::prelude::*;

const TRACKERS: [&str; 4] = ["bytetrack", "botsort", "ocsort", "tracktrack"];

fn number() -> impl Strategy<Value = f32> {
    prop_oneof![
        6 => 0.0_f32..100.0,
        1 => proptest::num::f32::ANY,
        1 => prop::sample::select(vec![0.0, -0.0, f32::MAX, f32::MIN, f32::MIN_POSITIVE, f32::INFINITY, f32::NAN, 1e-45, 1e19]),
    ]
}

fn detection() -> impl Strategy<Value = Detection> {
    let score = prop_oneof![6 => 0.0_f32..1.0, 1 => number()];
    (any::<u8>(), score, [number(), number(), number(), number()]).prop_map(|(class, confidence, xyxy)| Detection {
        class_id: class.into(),
        confidence,
        xyxy,
    })
}

proptest! {
    #[test]
    fn each_detection_is_at_most_one_track_and_each_track_is_a_detection_of_the_frame(
        frames in prop::collection::vec((prop::collection::vec(detection(), 0..12), any::<bool>()), 0..12),
        suppressed in prop::collection::vec(detection(), 0..4),
        name in prop::sample::select(TRACKERS.to_vec()),
    ) {
        // Besides the defaults: low scores count, objects are found again and given up soon.
        let mut config = TrackerConfig::named(name).unwrap();
        config.use_byte = suppressed.len() % 2 == 0;
        config.track_buffer = suppressed.len() as u32 + 1;
        config.lost_match_thr = suppressed.len() as f64 / 4.0;
        let mut tracker = Tracker::new(config).unwrap();
        let pixels: Vec<u8> = (0..64 * 48_u32).map(|at| ((at * at) >> 3) as u8).collect();
        for (detections, has_frame) in frames {
            let frame = has_frame.then(|| GrayFrame::new(64, 48, &pixels).unwrap());
            let tracks = tracker.update_with_suppressed(&detections, &suppressed, frame.as_ref());
            let ids: HashSet<u64> = tracks.iter().map(|track| track.track_id).collect();
            let places: HashSet<usize> = tracks.iter().map(|track| track.detection_index).collect();
            prop_assert_eq!((ids.len(), places.len()), (tracks.len(), tracks.len()));
            for track in &tracks {
                let detection = detections.iter().chain(&suppressed).nth(track.detection_index).unwrap();
                prop_assert_eq!((track.class_id, track.confidence), (detection.class_id, detection.confidence));
                prop_assert!(detection.xyxy.iter().all(|value| value.is_finite()));
                prop_assert!(track.track_id > 0 && track.xyxy.iter().all(|value| !value.is_nan()), "{:?}", track);
            }
        }
    }
}

#[test]
fn a_box_without_area_is_no_object() {
    let detection = |xyxy| Detection { class_id: 0, confidence: 0.9, xyxy };
    let detections = [
        detection([10.0, 10.0, 10.0, 20.0]),
        detection([20.0, 10.0, 10.0, 20.0]),
        detection([f32::NAN, 10.0, 10.0, 20.0]),
        detection([10.0, 10.0, 20.0, 20.0]),
    ];
    for name in TRACKERS {
        let mut tracker = Tracker::new(TrackerConfig::named(name).unwrap()).unwrap();
        let tracks = tracker.update(&detections, None);
        assert_eq!(tracks.iter().map(|track| track.detection_index).collect::<Vec<_>>(), [3], "{name}");
    }
}
