#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod augment;
#[cfg_attr(
    not(all(feature = "csv", feature = "parquet", feature = "tar")),
    allow(dead_code, unused_imports, reason = "what their readers need")
)]
pub mod data;
pub mod guard;
pub mod image;
pub mod layers;
pub mod metrics;
pub mod nms;
pub mod prune;
pub mod regular;
pub mod seeded;
pub mod spec;
pub mod sysinfo;
pub mod tiles;
pub mod train;
