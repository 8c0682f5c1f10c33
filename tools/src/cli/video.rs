use std::time::Duration;

use clap::Args;
use ghostzoo::train::StopFlag;
use ghostzoo::video::{StdinFormat, VideoOptions};

/// Options of what reads videos, cameras and streams.
#[derive(Debug, Args)]
pub(crate) struct VideoArgs {
    /// What is on stdin: mjpeg, or rawvideo:WIDTHxHEIGHT[@RATE] of 8-bit RGB [default: images one after another]
    #[arg(long, value_name = "mjpeg|rawvideo:WxH", help_heading = VIDEOS)]
    pub(crate) format: Option<StdinFormat>,
    /// Look at every Nth frame
    #[arg(long, default_value_t = 1, value_name = "N", help_heading = VIDEOS,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) vid_stride: u32,
    /// Look at no more than N frames of each video
    #[arg(long, value_name = "N", help_heading = VIDEOS, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_frames: Option<u64>,
    /// Begin so many seconds into each video
    #[arg(long, value_name = "SECONDS", help_heading = VIDEOS, value_parser = seconds)]
    pub(crate) start: Option<f64>,
    /// End so many seconds into each video
    #[arg(long, value_name = "SECONDS", help_heading = VIDEOS, value_parser = seconds)]
    pub(crate) end: Option<f64>,
    /// Look at all frames of cameras and streams, instead of the newest when there is time for it
    #[arg(long, help_heading = VIDEOS)]
    pub(crate) stream_buffer: bool,
    /// Time in which something must come from a camera, a stream or the web; a file has three times as long
    #[arg(long, default_value_t = 20., value_name = "SECONDS", help_heading = VIDEOS, value_parser = timeout)]
    pub(crate) timeout: f64,
    /// Tries to open a camera or a stream again that broke off, one after another; the time between them doubles from half a
    /// second up to ten
    #[arg(long, default_value_t = 5, value_name = "N", help_heading = VIDEOS)]
    pub(crate) reconnects: u32,
    /// Write each frame with its boxes to NAME_frames/NAME_N.jpg too
    #[arg(long, conflicts_with = "no_save", help_heading = VIDEOS)]
    pub(crate) save_frames: bool,
}

/// Where the help lists them.
const VIDEOS: &str = "Videos, cameras and streams";

impl VideoArgs {
    /// How frames are read.
    pub(crate) fn options(&self, stop: StopFlag) -> VideoOptions {
        let options = VideoOptions::new();
        let delay = options.reconnect_delay;
        options
            .vid_stride(self.vid_stride)
            .max_frames(self.max_frames)
            .start(self.start)
            .end(self.end)
            .stream_buffer(self.stream_buffer)
            .timeout(Duration::from_secs_f64(self.timeout))
            .reconnects(self.reconnects, delay)
            .stop(stop)
    }
}

/// Parses a time in seconds.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0. ..=1e9).contains(&seconds) => Ok(seconds),
        _ => Err("give a number of seconds, 0 or more".to_owned()),
    }
}

/// Parses a time to wait in seconds.
fn timeout(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=86_400.).contains(&seconds) => Ok(seconds),
        _ => Err("give a number of seconds from 0.1 to 86400".to_owned()),
    }
}
