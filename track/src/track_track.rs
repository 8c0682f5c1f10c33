//! TrackTrack: each object picks its detection, and objects keep others from beginning over them.
//!
//! Source: Shim, Ko, Lee and Kim, "Focusing on Tracks for Online Multi-Object Tracking", CVPR 2025, without appearance, in the
//! form that Ultralytics has:
//!
//! - One association takes detections of high and of low score and those that non-maximum suppression had removed; the last
//!   two cost a penalty more.
//! - The motion of the corners is the mean of their directions over one, two and three frames, each divided by its number of
//!   frames. A frame that did not show the object adds nothing.
//! - An object that is found again keeps the motion that it had, and does not keep others from beginning in that frame.
//!
//! Unlike there, a box without an area is no detection, as in the other trackers.

mod association;
mod corner;
mod cost;
mod memory;

use crate::assignment::Assignment;
use crate::config::{GmcMethod, TrackerConfig};
use crate::detection::{Detection, Track};
use crate::kalman::{BoxForm, BoxState};
use crate::motion::{Compensation, GrayFrame};
use crate::observation::{Observation, split};
use crate::pools::{Changes, Pools};
use crate::tracklet::{Status, Tracklet};
use association::{associate, track_aware_nms};
use cost::{DetectionCue, ObjectCue, Weights, candidates};
use memory::Memory;

/// The tracker.
#[derive(Debug, Clone)]
pub(crate) struct TrackTrack {
    config: TrackerConfig,
    /// Unless the settings want none.
    camera: Option<Compensation>,
    pools: Pools<Memory>,
    /// Number of the last frame, from 1.
    frame: u64,
}

/// A detection with what it costs more than others.
type Penalized = (Observation, f32);

impl TrackTrack {
    pub(crate) fn new(config: &TrackerConfig) -> Self {
        let camera = (config.gmc_method == GmcMethod::SparseOptFlow).then(Compensation::new);
        Self { config: config.clone(), camera, pools: Pools::new(), frame: 0 }
    }

    pub(crate) fn reset(&mut self) {
        *self = Self::new(&self.config);
    }

    /// `suppressed` are those that non-maximum suppression removed; they count on from `detections`.
    pub(crate) fn update(
        &mut self,
        detections: &[Detection],
        suppressed: &[Detection],
        frame: Option<&GrayFrame>,
    ) -> Vec<Track> {
        self.frame += 1;
        if let (Some(camera), Some(frame)) = (&mut self.camera, frame) {
            self.pools.warp(&camera.apply(frame, detections));
        }
        let (known, new) = self.pools.split_by(|object| object.status != Status::New);
        for &place in known.iter().chain(&new) {
            self.pools.get_mut(place).predict();
        }

        let changes = &mut Changes::default();
        let (high, others) = self.split(detections, suppressed);
        let high_count = high.len();
        let all: Vec<Penalized> = high.into_iter().chain(others).collect();
        let first = self.associate(&known, &all, self.config.match_thresh, changes);
        for place in first.rows.iter().map(|row| known[*row]) {
            if self.pools.get(place).status != Status::Lost {
                self.pools.lose(place, changes);
            }
        }

        let left = first.columns.iter().filter(|column| **column < high_count).map(|column| all[*column]).collect();
        let left = self.confirm(&new, left, changes);
        let left = self.find_lost(&known, left, changes);
        self.start(&left, changes);
        self.pools.remove_stale(self.frame, self.config.track_buffer, changes);
        self.pools.finish(std::mem::take(changes));
        self.pools.shown()
    }

    /// The detections of high score, and those that cost a penalty.
    fn split(&self, detections: &[Detection], suppressed: &[Detection]) -> (Vec<Penalized>, Vec<Penalized>) {
        let config = &self.config;
        let (high, low) = split(detections, config.track_low_thresh, config.track_high_thresh);
        let recovered = suppressed.iter().enumerate().filter_map(|(i, s)| Observation::new(detections.len() + i, s));
        let recovered = recovered.filter(|seen| seen.score > config.track_high_thresh as f32);
        let penalized = |penalty: f64| move |seen| (seen, penalty as f32);
        let others = low.into_iter().map(penalized(config.penalty_p));
        let others = others.chain(recovered.map(penalized(config.penalty_q))).collect();
        (high.into_iter().map(penalized(0.0)).collect(), others)
    }

    /// Matches objects with detections and takes each match in.
    fn associate(&mut self, places: &[usize], seen: &[Penalized], limit: f64, changes: &mut Changes) -> Assignment {
        let frame = self.frame;
        let objects = places.iter().map(|place| {
            let object = self.pools.get(*place);
            ObjectCue {
                xyxy: object.xyxy(),
                earlier: object.memory.earlier_box(frame),
                motion: object.memory.motion,
                expected_score: object.memory.expected_score(object.score),
            }
        });
        let objects: Vec<ObjectCue> = objects.collect();
        let detections =
            seen.iter().map(|(seen, penalty)| DetectionCue { xyxy: seen.xyxy(), score: seen.score, penalty: *penalty });
        let detections: Vec<DetectionCue> = detections.collect();
        let weights = Weights { score: self.config.conf_weight as f32, angle: self.config.angle_weight };
        let candidates = candidates(&objects, &detections, weights);
        let found = associate(places.len(), seen.len(), candidates, limit, self.config.reduce_step);
        for &(row, column) in &found.matches {
            self.take(places[row], &seen[column].0, changes);
        }
        found
    }

    /// Takes a detection in as the object at `place`.
    fn take(&mut self, place: usize, seen: &Observation, changes: &mut Changes) {
        let object = self.pools.get_mut(place);
        let (status, confirmed, score) = (object.status, object.confirmed, object.score);
        object.update(seen, self.frame, Some(seen.score.into()));
        if status == Status::Tracked || status == Status::New {
            object.memory.found(seen, self.frame, score);
            if status == Status::New && !object.memory.was_found_for(self.config.min_track_len) {
                (object.status, object.confirmed) = (status, confirmed);
            }
            changes.activated.push(place);
        } else {
            object.memory.found_again(object.state.xyxy(), self.frame, score);
            changes.refound.push(place);
        }
    }

    /// Matches new objects with what the known ones left, and gives up those without a match. Returns what is left.
    fn confirm(&mut self, new: &[usize], left: Vec<Penalized>, changes: &mut Changes) -> Vec<Penalized> {
        let found = self.associate(new, &left, self.config.match_thresh, changes);
        found.rows.iter().for_each(|row| self.pools.remove(new[*row], changes));
        found.columns.iter().map(|column| left[*column]).collect()
    }

    /// Matches objects that are lost for longer with what is left, where the settings want that. Returns what is left then.
    fn find_lost(&mut self, known: &[usize], left: Vec<Penalized>, changes: &mut Changes) -> Vec<Penalized> {
        if self.config.lost_match_thr == 0.0 {
            return left;
        }
        let is_lost = |place: &usize| self.pools.get(*place).status == Status::Lost && !changes.lost.contains(place);
        let lost: Vec<usize> = known.iter().copied().filter(is_lost).collect();
        let found = self.associate(&lost, &left, self.config.lost_match_thr, changes);
        found.columns.iter().map(|column| left[*column]).collect()
    }

    /// Begins objects with what is left, but not over those that this frame showed.
    fn start(&mut self, left: &[Penalized], changes: &mut Changes) {
        let active = self.pools.boxes(&changes.activated);
        let boxes: Vec<([f32; 4], f32)> = left.iter().map(|(seen, _)| (seen.xyxy(), seen.score)).collect();
        let begins = track_aware_nms(&active, &boxes, self.config.tai_thr, self.config.new_track_thresh);
        for (seen, _) in left.iter().zip(begins).filter(|(_, begins)| *begins).map(|(left, _)| left) {
            let state = BoxState::new(BoxForm::Xywh, seen.measurement(BoxForm::Xywh));
            let memory = Memory::new(seen.score, self.frame, state.xyxy());
            let (frame, is_sure) = (self.frame, self.config.min_track_len <= 1);
            let make = |id| {
                let mut object = Tracklet::new(id, BoxForm::Xywh, seen, frame, memory);
                object.status = if is_sure { Status::Tracked } else { Status::New };
                object.confirmed |= is_sure;
                object
            };
            self.pools.start(make, changes);
        }
    }
}
