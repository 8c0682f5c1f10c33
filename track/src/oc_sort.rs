//! OC-SORT: a filter that is corrected by what was observed.
//!
//! Source: Cao, Pang, Weng, Khirodkar and Kitani, "Observation-Centric SORT", CVPR 2023, arXiv 2203.14360, in the form that
//! Ultralytics has: to the steps of ByteTrack and its filter, which estimates centre, aspect ratio and height where the
//! paper's estimates centre, area and aspect ratio, it adds
//!
//! - momentum: a match costs the more, the wider the angle between the track's motion and the way to the detection;
//! - recovery: what the first association leaves is matched by the boxes last observed, the tracked ones before the lost;
//! - re-update: a lost track that recovery finds takes its filter along a straight line from its last box to the new one.
//!   A lost track that the first association finds does not, though the paper would have it so too.
//!
//! As there, an object whose last box begins left of the image has no momentum, and its predicted box stands for the last one
//! in recovery. Detectors that clip their boxes give none such.

mod observed;
mod re_update;

use crate::assignment::{Pair, assign};
use crate::boxes::overlaps;
use crate::config::TrackerConfig;
use crate::detection::{Detection, Track};
use crate::kalman::{BoxForm, BoxState};
use crate::observation::{Observation, split};
use crate::pools::{Changes, Pools};
use crate::tracklet::{Status, Tracklet};
use observed::ObservedBoxes;
use re_update::re_update;

/// Highest cost of a match with a detection of low score, and of one that confirms an object.
const LOW_SCORE_LIMIT: f64 = 0.5;
const CONFIRM_LIMIT: f64 = 0.7;

/// What an object remembers.
#[derive(Debug, Clone)]
struct Memory {
    boxes: ObservedBoxes,
    /// The filter as the last observation left it.
    state: BoxState,
}

/// By what boxes and costs objects and detections are matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cue {
    /// Predicted boxes and the direction of motion.
    Motion,
    /// The boxes last observed.
    LastBox,
    /// Predicted boxes, without scores.
    LowScore,
}

/// The tracker.
#[derive(Debug, Clone)]
pub(crate) struct OcSort {
    config: TrackerConfig,
    pools: Pools<Memory>,
    /// Number of the last frame, from 1.
    frame: u64,
}

impl OcSort {
    pub(crate) fn new(config: &TrackerConfig) -> Self {
        Self { config: config.clone(), pools: Pools::new(), frame: 0 }
    }

    pub(crate) fn reset(&mut self) {
        *self = Self::new(&self.config);
    }

    pub(crate) fn update(&mut self, detections: &[Detection]) -> Vec<Track> {
        self.frame += 1;
        let (mut high, mut low) = split(detections, self.config.track_low_thresh, self.config.track_high_thresh);
        let (mut known, mut unconfirmed) = self.pools.split();
        known.iter().for_each(|place| self.pools.get_mut(*place).predict());

        let changes = &mut Changes::default();
        let limit = self.config.match_thresh;
        self.associate(&mut known, &mut high, Cue::Motion, limit, changes);

        let (mut tracked, mut lost): (Vec<usize>, Vec<usize>) =
            known.iter().partition(|place| self.pools.get(**place).status == Status::Tracked);
        self.associate(&mut tracked, &mut high, Cue::LastBox, limit, changes);
        self.associate(&mut lost, &mut high, Cue::LastBox, limit, changes);

        if self.config.use_byte {
            self.associate(&mut tracked, &mut low, Cue::LowScore, LOW_SCORE_LIMIT, changes);
        }
        tracked.iter().for_each(|place| self.pools.lose(*place, changes));

        self.associate(&mut unconfirmed, &mut high, Cue::Motion, CONFIRM_LIMIT, changes);
        unconfirmed.iter().for_each(|place| self.pools.remove(*place, changes));

        high.retain(|seen| seen.score >= self.config.new_track_thresh as f32);
        high.iter().for_each(|seen| self.start(seen, changes));
        self.pools.remove_stale(self.frame, self.config.track_buffer, changes);
        self.pools.finish(std::mem::take(changes));
        self.pools.shown()
    }

    /// Matches objects with detections, takes each match in, and leaves what was not matched.
    fn associate(
        &mut self,
        places: &mut Vec<usize>,
        seen: &mut Vec<Observation>,
        cue: Cue,
        limit: f64,
        changes: &mut Changes,
    ) {
        let assignment = assign(places.len(), seen.len(), &self.costs(places, seen, cue), limit);
        for &(row, column) in &assignment.matches {
            self.take(places[row], &seen[column], cue, changes);
        }
        *places = assignment.rows.iter().map(|row| places[*row]).collect();
        *seen = assignment.columns.iter().map(|column| seen[*column]).collect();
    }

    /// Costs of the pairs that overlap. Those that do not cost 1 or more, above any limit.
    fn costs(&self, places: &[usize], seen: &[Observation], cue: Cue) -> Vec<Pair> {
        let boxes = match cue {
            Cue::LastBox => places.iter().map(|place| self.last_box(*place)).collect(),
            Cue::Motion | Cue::LowScore => self.pools.boxes(places),
        };
        let seen_boxes: Vec<[f32; 4]> = seen.iter().map(Observation::xyxy).collect();
        let fuse_score = self.config.fuse_score && cue != Cue::LowScore;
        let pairs = overlaps(&boxes, &seen_boxes).into_iter().map(|pair| {
            let distance = 1.0 - pair.iou;
            let mut cost = if fuse_score { 1.0 - (1.0 - distance) * seen[pair.column].score } else { distance };
            if cue == Cue::Motion {
                let observed = &self.pools.get(places[pair.row]).memory.boxes;
                cost += self.config.inertia as f32 * observed.angle_to(&seen_boxes[pair.column]);
            }
            Pair { row: pair.row, column: pair.column, cost: f64::from(cost) }
        });
        pairs.collect()
    }

    /// The box by which recovery looks for the object at `place`.
    fn last_box(&self, place: usize) -> [f32; 4] {
        let object = self.pools.get(place);
        let boxes = &object.memory.boxes;
        if boxes.is_in_image() { boxes.last().1 } else { object.xyxy() }
    }

    /// Takes a detection in as the object at `place`.
    fn take(&mut self, place: usize, seen: &Observation, cue: Cue, changes: &mut Changes) {
        let tracklet = self.pools.get_mut(place);
        if cue == Cue::LastBox && tracklet.status != Status::Tracked {
            tracklet.state = tracklet.memory.state.clone();
            re_update(&mut tracklet.state, tracklet.memory.boxes.last(), self.frame, seen.xyxy());
        }
        self.pools.update(place, seen, self.frame, None, changes);
        let tracklet = self.pools.get_mut(place);
        tracklet.memory.boxes.push(self.frame, seen.xyxy());
        tracklet.memory.state = tracklet.state.clone();
    }

    /// A detection that is an object more.
    fn start(&mut self, seen: &Observation, changes: &mut Changes) {
        let (frame, delta_t) = (self.frame, self.config.delta_t);
        let state = BoxState::new(BoxForm::Xyah, seen.measurement(BoxForm::Xyah));
        let first = state.xyxy().map(|value| value as f32);
        let memory = Memory { boxes: ObservedBoxes::new(delta_t, frame, first), state };
        self.pools.start(|id| Tracklet::new(id, BoxForm::Xyah, seen, frame, memory), changes);
    }
}
