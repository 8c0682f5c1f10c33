//! ByteTrack (Zhang et al., ECCV 2022, arXiv 2110.06864), and BoT-SORT (Aharon et al., arXiv 2206.14651), which differs by the
//! form of its filter and by the motion of the camera.

use crate::assignment::{Assignment, Pair, assign};
use crate::boxes::overlaps;
use crate::config::{GmcMethod, TrackerConfig, TrackerType};
use crate::detection::{Detection, Track};
use crate::kalman::BoxForm;
use crate::motion::{Compensation, GrayFrame};
use crate::observation::{Observation, split};
use crate::pools::{Changes, Pools};
use crate::tracklet::{Status, Tracklet};

/// Highest cost of a match with a detection of low score, and of one that confirms an object.
const LOW_SCORE_LIMIT: f64 = 0.5;
const CONFIRM_LIMIT: f64 = 0.7;

/// The two trackers.
#[derive(Debug, Clone)]
pub(crate) struct ByteTrack {
    config: TrackerConfig,
    form: BoxForm,
    /// BoT-SORT's, unless its settings want none.
    camera: Option<Compensation>,
    pools: Pools<()>,
    /// Number of the last frame, from 1.
    frame: u64,
}

impl ByteTrack {
    pub(crate) fn new(config: &TrackerConfig) -> Self {
        let is_bot_sort = config.tracker_type == TrackerType::BotSort;
        let follows_camera = is_bot_sort && config.gmc_method == GmcMethod::SparseOptFlow;
        Self {
            config: config.clone(),
            form: if is_bot_sort { BoxForm::Xywh } else { BoxForm::Xyah },
            camera: follows_camera.then(Compensation::new),
            pools: Pools::new(),
            frame: 0,
        }
    }

    pub(crate) fn reset(&mut self) {
        *self = Self::new(&self.config);
    }

    pub(crate) fn update(&mut self, detections: &[Detection], frame: Option<&GrayFrame>) -> Vec<Track> {
        self.frame += 1;
        let (high, low) = split(detections, self.config.track_low_thresh, self.config.track_high_thresh);
        let (known, unconfirmed) = self.pools.split();
        known.iter().for_each(|place| self.pools.get_mut(*place).predict());
        if let (Some(camera), Some(frame)) = (&mut self.camera, frame) {
            self.pools.warp(&camera.apply(frame, detections));
        }

        let changes = &mut Changes::default();
        let limit = self.config.match_thresh;
        let first = self.associate(&known, &high, self.config.fuse_score, limit, changes);

        let is_tracked = |place: &usize| self.pools.get(*place).status == Status::Tracked;
        let not_found: Vec<usize> = first.rows.iter().map(|row| known[*row]).filter(is_tracked).collect();
        let second = self.associate(&not_found, &low, false, LOW_SCORE_LIMIT, changes);
        second.rows.iter().for_each(|row| self.pools.lose(not_found[*row], changes));

        let left: Vec<Observation> = first.columns.iter().map(|column| high[*column]).collect();
        let third = self.associate(&unconfirmed, &left, self.config.fuse_score, CONFIRM_LIMIT, changes);
        third.rows.iter().for_each(|row| self.pools.remove(unconfirmed[*row], changes));

        for seen in third.columns.iter().map(|column| &left[*column]) {
            if seen.score >= self.config.new_track_thresh as f32 {
                let (form, frame) = (self.form, self.frame);
                self.pools.start(|id| Tracklet::new(id, form, seen, frame, ()), changes);
            }
        }
        self.pools.remove_stale(self.frame, self.config.track_buffer, changes);
        self.pools.finish(std::mem::take(changes));
        self.pools.shown()
    }

    /// Matches objects with detections, and takes each match in. Rows are places in `places`, columns in `seen`.
    fn associate(
        &mut self,
        places: &[usize],
        seen: &[Observation],
        fuse_score: bool,
        limit: f64,
        changes: &mut Changes,
    ) -> Assignment {
        let pairs = costs(&self.pools.boxes(places), seen, fuse_score);
        let assignment = assign(places.len(), seen.len(), &pairs, limit);
        for &(row, column) in &assignment.matches {
            self.pools.update(places[row], &seen[column], self.frame, None, changes);
        }
        assignment
    }
}

/// Costs of the pairs that overlap: one less the overlap, or one less its product with the score.
pub(crate) fn costs(boxes: &[[f32; 4]], seen: &[Observation], fuse_score: bool) -> Vec<Pair> {
    let seen_boxes: Vec<[f32; 4]> = seen.iter().map(Observation::xyxy).collect();
    let pairs = overlaps(boxes, &seen_boxes).into_iter().map(|pair| {
        let distance = 1.0 - pair.iou;
        let cost = if fuse_score { 1.0 - (1.0 - distance) * seen[pair.column].score } else { distance };
        Pair { row: pair.row, column: pair.column, cost: f64::from(cost) }
    });
    pairs.collect()
}
