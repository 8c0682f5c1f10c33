//! The command, end to end through its binary: no network, no Python.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../weights/tests/support/mod.rs"]
mod hub;
mod support;

mod bench;
mod checkpoints;
mod command_line;
mod detect;
mod emulated_gpu;
mod eval;
mod fine_tune;
mod prune;
mod publish;
mod quantize;
mod real_checkpoint;
mod scale;
mod shards;
mod shipped;
mod soak;
mod teacher;
mod tiles;
mod track;
mod train;
mod train_classify;
mod train_options;
mod train_run;
mod val;
mod video;
mod video_sources;
mod zoo;
