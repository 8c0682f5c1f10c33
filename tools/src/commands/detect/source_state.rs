use std::ffi::{OsStr, OsString};

use anyhow::{Result, bail};
use candle_vision::image::{self as images, RgbImage};
use ghostzoo::video::{VideoError, VideoWriter};

use crate::files;
use crate::output::file_name;
use crate::reader::VideoFrame;
use crate::run_dir::RunDir;

/// What a run keeps of one video from frame to frame.
pub(super) struct SourceState {
    /// Its place among the sources, from 1.
    pub(super) number: usize,
    /// What to call it in output.
    pub(super) label: String,
    /// The name, without ending, of what is saved of it.
    stem: OsString,
    video: Video,
    /// Images of the written video.
    written: u64,
    /// The time of its first frame.
    start_s: f64,
}

/// The video that is written of a source.
enum Video {
    None,
    Open(VideoWriter),
    /// It was said why.
    Failed,
}

/// Most images that one frame of a live source stands for in the written video: what is still for longer is cut.
const MOST_REPEATS: u64 = 250;

impl SourceState {
    pub(super) fn new(number: usize, label: String, stem: OsString) -> Self {
        Self { number, label, stem, video: Video::None, written: 0, start_s: 0. }
    }

    /// The name, without ending, of what is saved of it.
    pub(super) fn stem(&self) -> &OsStr {
        &self.stem
    }

    /// The name of what is saved of one frame, as Ultralytics 8.4.190 has it: `NAME_FRAME`.
    pub(super) fn frame_stem(&self, frame: VideoFrame) -> OsString {
        file_name(&self.stem, &format!("_{}", frame.number))
    }

    /// Adds an image to the video in `folder`, which begins with the first. A live source's frames stand as long as they did, those
    /// that were skipped between them included. After an error nothing is written.
    pub(super) fn write(&mut self, folder: &RunDir, image: RgbImage, frame: VideoFrame) -> Result<(), VideoError> {
        let done = self.try_write(folder, image, frame);
        if done.is_err() {
            self.video = Video::Failed;
        }
        done
    }

    fn try_write(&mut self, folder: &RunDir, image: RgbImage, frame: VideoFrame) -> Result<(), VideoError> {
        if matches!(self.video, Video::None) {
            let path = folder.path().join(file_name(&self.stem, ".mp4"));
            if let Some(reason) = folder.refusal(&path) {
                return Err(VideoError::Write { path: path.display().to_string(), reason: reason.to_owned() });
            }
            self.video = Video::Open(VideoWriter::create(&path, image.dimensions(), frame.rate)?);
            self.start_s = frame.time_s;
        }
        let Video::Open(video) = &mut self.video else { return Ok(()) };
        let due = match (frame.is_live, frame.rate) {
            (true, Some(rate)) => ((frame.time_s - self.start_s) * rate).round().max(0.) as u64 + 1,
            _ => self.written + 1,
        };
        let repeats = due.saturating_sub(self.written).clamp(1, MOST_REPEATS);
        for _ in 1..repeats {
            video.write(image.clone())?;
        }
        video.write(image)?;
        self.written = due.max(self.written + 1);
        Ok(())
    }

    /// Writes one frame as an image into a folder of the video's own.
    pub(super) fn save_frame(&self, folder: &RunDir, image: &RgbImage, stem: &OsStr) -> Result<()> {
        let frames = folder.path().join(file_name(&self.stem, "_frames"));
        files::make_folder(&frames)?;
        let path = frames.join(file_name(stem, ".jpg"));
        if let Some(reason) = folder.refusal(&path) {
            bail!("cannot write the image {}: {reason}", path.display());
        }
        Ok(images::save(image, &path)?)
    }

    /// Gives the video its name, after the last frame.
    pub(super) fn finish(self) -> Result<(), VideoError> {
        match self.video {
            Video::Open(video) => video.finish(),
            _ => Ok(()),
        }
    }
}
