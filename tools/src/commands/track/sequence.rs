//! What is kept of one sequence of images from each to the next.

use candle_vision::image::{RgbImage, class_color, draw_path, line_width};
use candle_yolov8::Detection;
use ghostzoo::track::{self, IdentityCounter, LineCounter, Track, Tracker, Trails, Zone, ZoneChange, mot_lines};

use super::summary::Summary;
use crate::output::{JsonCrossing, JsonZone, Tracked};

/// Colours of lines and zones.
const LINE: [u8; 3] = [255, 255, 255];
const ZONE: [u8; 3] = [255, 235, 59];

/// The tracker of a video, or of all images of a run, and what is counted of it.
pub(crate) struct Sequence {
    tracker: Tracker,
    trails: Trails,
    lines: Vec<LineCounter>,
    zones: Vec<Zone>,
    identities: IdentityCounter,
    frames: u64,
    /// Those of the last image.
    tracks: Vec<Track>,
}

impl Sequence {
    pub(super) fn new(tracker: Tracker, trails: usize, lines: Vec<LineCounter>, zones: Vec<Zone>) -> Self {
        let (identities, trails) = (IdentityCounter::new(), Trails::new(trails));
        Self { tracker, trails, lines, zones, identities, frames: 0, tracks: Vec::new() }
    }

    /// Takes what was found in the next image, of `size` [width, height], and what a looser suppression would have kept; gives the
    /// tracked objects in place of the detections, their boxes within the image.
    pub(super) fn update(
        &mut self,
        [found, suppressed]: [&[Detection]; 2],
        [width, height]: [u32; 2],
        image: Option<&RgbImage>,
    ) -> (Vec<Detection>, Tracked) {
        let mut tracks = track::update(&mut self.tracker, found, suppressed, image);
        let sides = [width, height, width, height].map(|side| side as f32);
        for track in &mut tracks {
            track.xyxy = std::array::from_fn(|at| track.xyxy[at].clamp(0., sides[at]));
        }
        self.frames += 1;
        self.trails.update(&tracks);
        self.identities.update(&tracks);
        let crossings = self.lines.iter_mut().enumerate().flat_map(|(line, counter)| {
            let crossed = counter.update(&tracks);
            crossed.into_iter().map(move |(track_id, crossing)| JsonCrossing::new(line + 1, track_id, crossing))
        });
        let crossings = crossings.collect();
        let zones = self.zones.iter_mut().enumerate().map(|(number, zone)| {
            let ZoneChange { present, entered, left } = zone.update(&tracks);
            JsonZone { zone: number + 1, track_ids: present, entered, left }
        });
        let zones = zones.collect();
        let detection =
            |track: &Track| Detection { class_id: track.class_id, confidence: track.confidence, xyxy: track.xyxy };
        self.tracks = tracks;
        let tracked = Tracked {
            track_ids: self.tracks.iter().map(|track| track.track_id).collect(),
            crossings: (!self.lines.is_empty()).then_some(crossings),
            zones: (!self.zones.is_empty()).then_some(zones),
        };
        (self.tracks.iter().map(detection).collect(), tracked)
    }

    /// Draws trails, lines and zones into the last image.
    pub(crate) fn draw(&self, image: &mut RgbImage, width: Option<u32>) {
        let width = width.unwrap_or_else(|| line_width([image.height(), image.width()]));
        for zone in &self.zones {
            let corners = zone.polygon();
            let around: Vec<[f64; 2]> = corners.iter().chain(corners.first()).copied().collect();
            draw_path(image, &around, width, ZONE);
        }
        for line in &self.lines {
            let [x1, y1, x2, y2] = line.line();
            draw_path(image, &[[x1, y1], [x2, y2]], width, LINE);
        }
        for track in &self.tracks {
            let trail: Vec<[f64; 2]> = self.trails.of(track.track_id).collect();
            draw_path(image, &trail, width, class_color(track.class_id));
        }
    }

    /// The last image's objects in MOTChallenge's format.
    pub(crate) fn mot(&self) -> String {
        mot_lines(self.frames, &self.tracks)
    }

    /// What there was in all images so far.
    pub(crate) fn summary<'a>(&'a self, label: &'a str, names: &'a [String]) -> Summary<'a> {
        Summary {
            label,
            frames: self.frames,
            names,
            identities: self.identities.counts(),
            lines: &self.lines,
            zones: &self.zones,
        }
    }
}
