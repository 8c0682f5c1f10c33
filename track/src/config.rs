//! Settings of a tracker: the keys and defaults of Ultralytics' files `bytetrack.yaml`, `botsort.yaml`, `ocsort.yaml` and
//! `tracktrack.yaml`.

mod field;
mod parse;
mod setters;

use crate::error::{TrackError, quoted};
use field::Field;

/// Which tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrackerType {
    /// ByteTrack (Zhang et al., ECCV 2022, arXiv 2110.06864).
    ByteTrack,
    /// BoT-SORT without appearance (Aharon et al., arXiv 2206.14651).
    BotSort,
    /// OC-SORT (Cao et al., CVPR 2023, arXiv 2203.14360).
    OcSort,
    /// TrackTrack without appearance (Shim et al., CVPR 2025).
    TrackTrack,
}

impl TrackerType {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::ByteTrack, Self::BotSort, Self::OcSort, Self::TrackTrack];

    /// The name that `tracker_type` has in a file: `bytetrack`, `botsort`, `ocsort` or `tracktrack`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ByteTrack => "bytetrack",
            Self::BotSort => "botsort",
            Self::OcSort => "ocsort",
            Self::TrackTrack => "tracktrack",
        }
    }

    /// The tracker of a name.
    ///
    /// # Errors
    /// [`TrackError::UnknownTracker`].
    pub fn from_name(name: &str) -> Result<Self, TrackError> {
        let found = Self::ALL.into_iter().find(|tracker| tracker.name() == name);
        found.ok_or_else(|| TrackError::UnknownTracker { name: quoted(name) })
    }
}

/// How the motion of the camera is estimated (`gmc_method`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GmcMethod {
    /// Not at all.
    None,
    /// From the optical flow of corners (`sparseOptFlow`).
    SparseOptFlow,
}

/// Settings of one tracker. A field that its type has no key for has no effect.
///
/// Thresholds of scores are compared in `f32`, the type of a score.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TrackerConfig {
    /// Which tracker (`tracker_type`).
    pub tracker_type: TrackerType,
    /// Detections of at least this score take part in the first association.
    pub track_high_thresh: f64,
    /// Detections of more than this score take part in the second one.
    pub track_low_thresh: f64,
    /// An unmatched detection of at least this score begins a track (TrackTrack: of more than this score).
    pub new_track_thresh: f64,
    /// For how many frames a lost track can be found again.
    pub track_buffer: u32,
    /// Highest cost of a match in the first association; a pair without overlap costs 1.
    pub match_thresh: f64,
    /// Whether the cost of a match is one less the product of overlap and score, instead of overlap alone. Not TrackTrack.
    pub fuse_score: bool,
    /// How the motion of the camera is estimated. BoT-SORT and TrackTrack.
    pub gmc_method: GmcMethod,
    /// Over how many frames a direction is measured. OC-SORT.
    pub delta_t: u32,
    /// Weight of the cost of a change of direction. OC-SORT.
    pub inertia: f64,
    /// Whether detections of low score take part. OC-SORT.
    pub use_byte: bool,
    /// Highest cost at which a lost track is found in a second pass; 0 for no such pass. TrackTrack.
    pub lost_match_thr: f64,
    /// Weight of the difference of scores. TrackTrack.
    pub conf_weight: f64,
    /// Weight of the change of direction of the corners. TrackTrack.
    pub angle_weight: f64,
    /// What a detection of low score costs more. TrackTrack.
    pub penalty_p: f64,
    /// What a detection that non-maximum suppression had removed costs more. TrackTrack.
    pub penalty_q: f64,
    /// By how much the highest cost of a match sinks with each iteration. TrackTrack.
    pub reduce_step: f64,
    /// A detection that overlaps a track or a better detection by more than this begins no track. TrackTrack.
    pub tai_thr: f64,
    /// How many frames confirm a track. TrackTrack.
    pub min_track_len: u32,
}

impl TrackerConfig {
    /// The defaults of a tracker.
    pub fn new(tracker_type: TrackerType) -> Self {
        let track_track = tracker_type == TrackerType::TrackTrack;
        let by_type = |usual, of_track_track| if track_track { of_track_track } else { usual };
        Self {
            tracker_type,
            track_high_thresh: by_type(0.25, 0.6),
            track_low_thresh: by_type(0.1, 0.25),
            new_track_thresh: by_type(0.25, 0.7),
            track_buffer: 30,
            match_thresh: by_type(0.8, 0.7),
            fuse_score: true,
            gmc_method: GmcMethod::SparseOptFlow,
            delta_t: 3,
            inertia: 0.2,
            use_byte: false,
            lost_match_thr: 0.0,
            conf_weight: 0.1,
            angle_weight: 0.05,
            penalty_p: 0.2,
            penalty_q: 0.4,
            reduce_step: 0.05,
            tai_thr: 0.55,
            min_track_len: 3,
        }
    }

    /// The defaults of the tracker of a name; `bytetrack.yaml` is `bytetrack`.
    ///
    /// # Errors
    /// [`TrackError::UnknownTracker`].
    pub fn named(name: &str) -> Result<Self, TrackError> {
        TrackerType::from_name(name.strip_suffix(".yaml").unwrap_or(name)).map(Self::new)
    }

    /// Reads the text of a file of Ultralytics' form. `tracker_type` must be there; other keys that are missing have the
    /// defaults of that tracker.
    ///
    /// # Errors
    /// A text that is no map of scalars, an unknown tracker or key, a value that the key does not take.
    pub fn from_yaml(text: &str) -> Result<Self, TrackError> {
        let entries = parse::entries(text)?;
        let tracker = entries.iter().find(|(key, _)| key == "tracker_type");
        let (_, name) =
            tracker.ok_or_else(|| TrackError::Malformed { problem: "there is no `tracker_type`".to_owned() })?;
        let mut config = Self::new(TrackerType::from_name(name)?);
        for (key, value) in entries.iter().filter(|(key, _)| key != "tracker_type") {
            config.set(key, value)?;
        }
        Ok(config)
    }

    /// Sets one of the tracker's keys from the text of a value.
    ///
    /// # Errors
    /// [`TrackError::UnknownKey`], or [`TrackError::BadValue`], which leaves the setting as it was.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), TrackError> {
        match self.fields().into_iter().find(|(known, _)| *known == key) {
            Some((key, field)) => field.set(key, value),
            None => Err(TrackError::UnknownKey {
                tracker: self.tracker_type.name(),
                key: quoted(key),
                known: self.fields().into_iter().map(|(known, _)| known).collect(),
            }),
        }
    }

    /// Whether the tracker estimates the motion of the camera, where it is given frames.
    pub fn compensates_motion(&self) -> bool {
        let has_key = matches!(self.tracker_type, TrackerType::BotSort | TrackerType::TrackTrack);
        has_key && self.gmc_method != GmcMethod::None
    }

    /// Refuses fields out of range.
    pub(crate) fn check(&self) -> Result<(), TrackError> {
        self.clone().fields().into_iter().try_for_each(|(key, field)| field.check(key))
    }

    /// The keys that the file of this tracker has, with what they set.
    fn fields(&mut self) -> Vec<(&'static str, Field<'_>)> {
        let mut fields = vec![
            ("track_high_thresh", Field::Ratio(&mut self.track_high_thresh)),
            ("track_low_thresh", Field::Ratio(&mut self.track_low_thresh)),
            ("new_track_thresh", Field::Ratio(&mut self.new_track_thresh)),
            ("track_buffer", Field::Count(&mut self.track_buffer)),
            ("match_thresh", Field::Ratio(&mut self.match_thresh)),
        ];
        if self.tracker_type != TrackerType::TrackTrack {
            fields.push(("fuse_score", Field::Flag(&mut self.fuse_score)));
        }
        if matches!(self.tracker_type, TrackerType::BotSort | TrackerType::TrackTrack) {
            fields.extend([
                ("gmc_method", Field::Gmc(&mut self.gmc_method)),
                ("with_reid", Field::Never),
                ("model", Field::AnyText),
            ]);
        }
        match self.tracker_type {
            TrackerType::ByteTrack => {}
            TrackerType::BotSort => {
                fields.extend([("proximity_thresh", Field::UnusedRatio), ("appearance_thresh", Field::UnusedRatio)]);
            }
            TrackerType::OcSort => fields.extend([
                ("delta_t", Field::Positive(&mut self.delta_t)),
                ("inertia", Field::Weight(&mut self.inertia)),
                ("use_byte", Field::Flag(&mut self.use_byte)),
            ]),
            TrackerType::TrackTrack => fields.extend([
                ("lost_match_thr", Field::Ratio(&mut self.lost_match_thr)),
                ("iou_weight", Field::UnusedRatio),
                ("reid_weight", Field::UnusedRatio),
                ("conf_weight", Field::Weight(&mut self.conf_weight)),
                ("angle_weight", Field::Weight(&mut self.angle_weight)),
                ("penalty_p", Field::Weight(&mut self.penalty_p)),
                ("penalty_q", Field::Weight(&mut self.penalty_q)),
                ("reduce_step", Field::Weight(&mut self.reduce_step)),
                ("tai_thr", Field::Ratio(&mut self.tai_thr)),
                ("min_track_len", Field::Count(&mut self.min_track_len)),
            ]),
        }
        fields
    }
}
