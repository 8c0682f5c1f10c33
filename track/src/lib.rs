#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod detection;

pub use detection::{Detection, Track};
