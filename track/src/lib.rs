#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod assignment;
mod boxes;
mod byte_track;
mod config;
mod count;
mod detection;
mod error;
mod kalman;
mod mot;
pub mod motion;
mod observation;
mod oc_sort;
mod pools;
mod track_track;
mod tracker;
mod tracklet;

pub use config::{GmcMethod, TrackerConfig, TrackerType};
pub use count::{Crossing, Crossings, IdentityCounter, LineCounter, Presence, Trails, Zone, ZoneChange};
pub use detection::{Detection, Track};
pub use error::TrackError;
pub use mot::mot_lines;
pub use tracker::Tracker;
