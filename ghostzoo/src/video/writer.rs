use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use candle_vision::image::RgbImage;
use ghostzoo_files::Pending;

use super::bell::{Bell, lock};
use super::error::VideoError;
use super::program::{self, Process};

/// Images that wait to be encoded.
const WAITING: usize = 4;
/// How long the encoder may take no image, and how long to finish.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How long who waits sleeps before it looks at the clock.
const NAP: Duration = Duration::from_millis(50);
/// The rate of a video whose source says none, as Ultralytics 8.4.190 has it.
const RATE: f64 = 30.;

/// A video of images of one size: H.264 with 4:2:0 chroma in an MP4, or MPEG-4 where this ffmpeg has no encoder for it.
///
/// Images are encoded on a thread of their own, of which few wait. The file has its name once [`VideoWriter::finish`] has
/// returned; before, it is one of another name beside it, which goes if the writer is dropped. H.264 has even sides: an odd one
/// gets a black pixel.
#[derive(Debug)]
pub struct VideoWriter {
    path: PathBuf,
    pending: Option<Pending>,
    size: (u32, u32),
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    bell: Bell,
}

#[derive(Debug, Default)]
struct State {
    images: VecDeque<RgbImage>,
    /// Whether no image follows.
    is_last: bool,
    /// Images that the encoder took.
    written: u64,
    process: Option<Process>,
    end: Option<Result<(), VideoError>>,
}

impl VideoWriter {
    /// Begins a video of `size`, width and height, at `path`, whose name should end in `.mp4`. `frame_rate` is in images per
    /// second; 30 where there is none.
    ///
    /// # Errors
    /// Where there is no ffmpeg, or the folder cannot be written.
    pub fn create(path: &Path, size: (u32, u32), frame_rate: Option<f64>) -> Result<Self, VideoError> {
        let write = |reason: String| VideoError::Write { path: path.display().to_string(), reason };
        let encoder = program::encoder()?;
        let pending = Pending::create(path).map_err(|error| write(error.to_string()))?;
        let target = pending.for_program().map_err(|error| write(error.to_string()))?;
        let arguments = arguments(target, size, frame_rate.filter(|rate| *rate > 0.).unwrap_or(RATE).max(1.), encoder);
        let mut process =
            Process::start(program::ffmpeg(), &arguments, [Stdio::piped(), Stdio::null(), Stdio::piped()])?;
        let (stdin, stderr) = (process.0.stdin.take(), process.0.stderr.take());
        let (Some(stdin), Some(stderr)) = (stdin, stderr) else { return Err(write("ffmpeg has no pipes".to_owned())) };
        let shared: Arc<Shared> = Arc::default();
        lock(&shared.state).process = Some(process);
        let (feed, shown) = (shared.clone(), path.display().to_string());
        program::spawn("video-writer", move || run(&feed, stdin, stderr, shown))?;
        Ok(Self { path: path.to_path_buf(), pending: Some(pending), size, shared })
    }

    /// Hands an image over, and waits where several are waiting already.
    ///
    /// # Errors
    /// Where the image has another size, or the encoder ended or takes nothing for a minute.
    pub fn write(&mut self, image: RgbImage) -> Result<(), VideoError> {
        let (width, height) = image.dimensions();
        if (width, height) != self.size {
            let expected = format!("{}x{}", self.size.0, self.size.1);
            return Err(VideoError::OtherSize { width, height, expected });
        }
        self.wait(|state| state.images.len() < WAITING)?;
        lock(&self.shared.state).images.push_back(image);
        self.shared.bell.ring();
        Ok(())
    }

    /// Waits for the encoder to end, and gives the file its name.
    ///
    /// # Errors
    /// Where the encoder failed, a disk is full, or a folder has that name.
    pub fn finish(mut self) -> Result<(), VideoError> {
        lock(&self.shared.state).is_last = true;
        self.shared.bell.ring();
        self.wait(|state| state.end.is_some())?;
        let Some(pending) = self.pending.take() else { return Ok(()) };
        pending.finish().map_err(|error| self.failure(error.to_string()))
    }

    /// Waits until `holds`, an error of the encoder, or too long.
    fn wait(&self, holds: impl Fn(&State) -> bool) -> Result<(), VideoError> {
        let (mut progress, mut before) = (Instant::now(), None);
        loop {
            let seen = self.shared.bell.count();
            let mut state = lock(&self.shared.state);
            if let Some(Err(error)) = &state.end {
                return Err(error.clone());
            }
            if holds(&state) {
                return Ok(());
            }
            if before != Some(state.written) {
                (progress, before) = (Instant::now(), Some(state.written));
            }
            if progress.elapsed() > TIMEOUT {
                state.process = None;
                let error = self.failure(format!("ffmpeg takes nothing for {} s", TIMEOUT.as_secs()));
                state.end = Some(Err(error.clone()));
                return Err(error);
            }
            drop(state);
            self.shared.bell.wait(seen, NAP);
        }
    }

    fn failure(&self, reason: String) -> VideoError {
        VideoError::Write { path: self.path.display().to_string(), reason }
    }
}

impl Drop for VideoWriter {
    fn drop(&mut self) {
        let process = {
            let mut state = lock(&self.shared.state);
            state.is_last = true;
            state.images.clear();
            state.process.take()
        };
        drop(process);
        self.shared.bell.ring();
    }
}

/// The encoder's arguments: images from its stdin, the file at `target`.
fn arguments(target: &Path, (width, height): (u32, u32), frame_rate: f64, encoder: &str) -> Vec<OsString> {
    let (size, rate) = (format!("{width}x{height}"), frame_rate.to_string());
    let mut all: Vec<OsString> =
        ["-hide_banner", "-nostats", "-loglevel", "error", "-y", "-f", "rawvideo"].map(OsString::from).to_vec();
    all.extend(
        ["-pixel_format", "rgb24", "-video_size", &size, "-framerate", &rate, "-i", "pipe:0"].map(OsString::from),
    );
    all.extend(["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p", "-c:v", encoder].map(OsString::from));
    if encoder == "libx264" {
        all.extend(["-preset", "veryfast", "-crf", "23"].map(OsString::from));
    } else {
        // A tenth of a bit per pixel, where the encoder would take the same for every size.
        let bits = (f64::from(width) * f64::from(height) * frame_rate / 10.).clamp(1e5, 5e7);
        all.extend(["-b:v".into(), format!("{bits:.0}").into()]);
    }
    // The matrix that RGB was made to YUV by: players would guess by the size.
    all.extend(["-colorspace", "smpte170m", "-color_range", "tv", "-f", "mp4"].map(OsString::from));
    let mut file = OsString::from("file:");
    file.push(target);
    all.push(file);
    all
}

/// Feeds the encoder, on a thread of its own.
fn run(shared: &Shared, mut stdin: ChildStdin, mut stderr: impl Read + Send + 'static, path: String) {
    let (sender, said) = std::sync::mpsc::channel();
    let listen = move || {
        let mut text = Vec::new();
        // What there is of a text that breaks off is all there is to read.
        let _ = (&mut stderr).take(1 << 16).read_to_end(&mut text);
        let _ = sender.send(String::from_utf8_lossy(&text).into_owned());
        // More is not kept, and does not hold the encoder up.
        let _ = std::io::copy(&mut stderr, &mut std::io::sink());
    };
    let listened = program::spawn("video-writer-log", listen);
    let fed = feed(shared, &mut stdin);
    drop(stdin);
    let process = lock(&shared.state).process.take();
    let status = process.and_then(|mut process| process.wait(TIMEOUT));
    let text = said.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
    let mut state = lock(&shared.state);
    let end = match status {
        _ if listened.is_err() => Err("there is no thread for its messages".to_owned()),
        Some(status) if status.success() && fed => Ok(()),
        Some(status) if status.code().is_none() => Err(format!("ffmpeg was killed after {} images", state.written)),
        Some(_) => Err(reason(&text)),
        None => Err("ffmpeg did not end".to_owned()),
    };
    state.end.get_or_insert(end.map_err(|reason| VideoError::Write { path, reason }));
    state.images.clear();
    drop(state);
    shared.bell.ring();
}

/// The last thing that ffmpeg said.
fn reason(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    // The message itself behind the name of the part that it is from, and not the lines that follow from it.
    let mut told = lines.filter(|line| !line.starts_with("Conversion failed") && !line.starts_with("Error "));
    let line = told.next_back().unwrap_or("ffmpeg gave no reason");
    let line = if line.starts_with('[') { line.split_once("] ").map_or(line, |(_, rest)| rest) } else { line };
    // The half-written file's name says nothing to anybody.
    line.rsplit_once(".tmp: ").map_or(line, |(_, rest)| rest).chars().take(300).collect()
}

/// Writes images until the last; whether all were taken.
fn feed(shared: &Shared, stdin: &mut ChildStdin) -> bool {
    loop {
        let seen = shared.bell.count();
        let (image, is_last) = {
            let mut state = lock(&shared.state);
            (state.images.pop_front(), state.is_last)
        };
        let Some(image) = image else {
            if is_last {
                return true;
            }
            shared.bell.wait(seen, Duration::from_secs(1));
            continue;
        };
        if stdin.write_all(image.as_raw()).is_err() {
            return false;
        }
        lock(&shared.state).written += 1;
        shared.bell.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_what_was_said_last() {
        let text =
            "[libx264 @ 0x1] height not divisible by 2\nError initializing output stream 0:0\nConversion failed!\n";
        assert_eq!(reason(text), "height not divisible by 2");
        assert_eq!(reason("file:/a/.b.mp4.AbC123.tmp: No space left on device\n"), "No space left on device");
        assert_eq!(reason(""), "ffmpeg gave no reason");
    }
}
