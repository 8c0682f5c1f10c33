#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod assignment;
mod boxes;
mod byte_track;
mod config;
mod detection;
mod error;
mod kalman;
pub mod motion;
mod observation;
mod oc_sort;
mod pools;
mod track_track;
mod tracker;
mod tracklet;

pub use config::{GmcMethod, TrackerConfig, TrackerType};
pub use detection::{Detection, Track};
pub use error::TrackError;
pub use tracker::Tracker;
