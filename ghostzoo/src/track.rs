//! Objects that keep their identity from image to image.
//!
//! ```no_run
//! use ghostzoo::Detector;
//! use ghostzoo::track::{LineCounter, Tracker, TrackerConfig};
//! use ghostzoo::video::{FrameSource, VideoInput, VideoOptions};
//!
//! let detector = Detector::load("yolov8n")?.conf(0.1);
//! let mut tracker = Tracker::new(TrackerConfig::named("bytetrack")?)?;
//! let mut door = LineCounter::new([100., 400., 500., 400.])?;
//! for frame in FrameSource::open(&VideoInput::parse("street.mp4"), &VideoOptions::new())? {
//!     let tracks = detector.track(&frame?.image, &mut tracker)?;
//!     for (track_id, crossing) in door.update(&tracks) {
//!         println!("{track_id} crosses: {crossing:?}");
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use candle_vision::image::RgbImage;
use candle_yolov8::NmsOptions;
pub use ghostzoo_track::*;

use crate::detector::Detector;
use crate::error::Result;
use motion::GrayImage;

/// Overlap up to which TrackTrack is given what suppression removed: Ultralytics' value.
const LOOSE_IOU: f32 = 0.95;

impl Detector {
    /// The objects of the next image of a sequence, which `tracker` has followed so far. Give the detector a low
    /// [`conf`](Detector::conf), such as Ultralytics' 0.1: what is below the tracker's own thresholds helps to follow objects that are
    /// hard to see.
    ///
    /// # Errors
    /// As [`Detector::predict`].
    pub fn track(&self, image: &RgbImage, tracker: &mut Tracker) -> Result<Vec<Track>> {
        let options = self.predict_options();
        let options = options.clone().nms(nms_options(tracker.config(), options.nms.clone()));
        let found = self.inner().predict(std::slice::from_ref(image), &options)?.pop();
        Ok(found.map(|found| update(tracker, &found.detections, &found.suppressed, Some(image))).unwrap_or_default())
    }
}

/// What a detector's suppression must give to a tracker of these settings.
#[must_use]
pub fn nms_options(config: &TrackerConfig, options: NmsOptions) -> NmsOptions {
    options.loose_iou((config.tracker_type == TrackerType::TrackTrack).then_some(LOOSE_IOU))
}

/// Takes what was found in the next image, and what a looser suppression would have kept. Without the image the camera is taken to
/// stand still.
pub fn update(
    tracker: &mut Tracker,
    detections: &[crate::Detection],
    suppressed: &[crate::Detection],
    image: Option<&RgbImage>,
) -> Vec<Track> {
    let [detections, suppressed] = [detections, suppressed].map(|found| {
        let of =
            |one: &crate::Detection| Detection { class_id: one.class_id, confidence: one.confidence, xyxy: one.xyxy };
        found.iter().map(of).collect::<Vec<_>>()
    });
    let gray = image
        .filter(|_| tracker.config().compensates_motion())
        .and_then(|image| GrayImage::from_rgb(image.width() as usize, image.height() as usize, image.as_raw()).ok());
    tracker.update_with_suppressed(&detections, &suppressed, gray.as_ref().map(GrayImage::frame).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_vision::image::open;

    /// A picture that slides to the left.
    fn frame(shift: u32) -> RgbImage {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/BloodImage_00062.jpg");
        let image = open(&path).expect("the sample");
        RgbImage::from_fn(480, 400, |x, y| *image.get_pixel(x + shift, y))
    }

    #[cfg(feature = "bundled")]
    #[test]
    fn objects_of_a_sliding_picture_keep_their_identities() {
        let detector = Detector::load("yolov8n-ghostnet-bccd").expect("shipped").conf(0.1);
        for name in ["bytetrack", "botsort", "ocsort", "tracktrack"] {
            let mut tracker = Tracker::new(TrackerConfig::named(name).expect("a tracker")).expect("a tracker");
            let frames: Vec<Vec<Track>> =
                (0..6).map(|at| detector.track(&frame(6 * at), &mut tracker).expect("tracks")).collect();
            // Those at the edges are cut.
            let is_whole = |track: &&Track| (90. ..400.).contains(&track.centre()[0]);
            let third: Vec<&Track> = frames[2].iter().filter(is_whole).collect();
            let last = &frames[5];
            assert!(third.len() >= 2, "{name}: {}", third.len());
            let mut kept = 0;
            for track in &third {
                let Some(later) = last.iter().find(|later| later.track_id == track.track_id) else { continue };
                let moved = track.centre()[0] - later.centre()[0];
                assert!((moved - 18.).abs() < 9., "{name}: {track:?} {later:?}");
                kept += 1;
            }
            assert!(10 * kept >= 8 * third.len(), "{name}: {kept} of {}", third.len());
        }
    }
}
