use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::bell::{Bell, lock};
use super::error::VideoError;
use super::frame::{Frame, VideoInfo};
use super::program::Process;

/// What the thread and who takes its frames share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) bell: Arc<Bell>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) frames: VecDeque<Frame>,
    pub(super) info: Option<VideoInfo>,
    /// Set when nothing follows.
    pub(super) end: Option<Result<(), VideoError>>,
    /// What happened that is no error.
    pub(super) notes: Vec<String>,
    /// Frames that were never given.
    pub(super) skipped: u64,
    /// Frames that came.
    pub(super) came: u64,
    /// When something came last, or nothing could since frames waited.
    pub(super) progress: Instant,
    /// Whether nothing came for too long.
    pub(super) stalled: bool,
    /// Whether nobody wants more.
    pub(super) stopped: bool,
    pub(super) process: Option<Process>,
}

impl Shared {
    pub(super) fn new(bell: Arc<Bell>) -> Self {
        let state = State {
            frames: VecDeque::new(),
            info: None,
            end: None,
            notes: Vec::new(),
            skipped: 0,
            came: 0,
            progress: Instant::now(),
            stalled: false,
            stopped: false,
            process: None,
        };
        Self { state: Mutex::new(state), bell }
    }

    pub(super) fn is_stopped(&self) -> bool {
        lock(&self.state).stopped
    }
}
