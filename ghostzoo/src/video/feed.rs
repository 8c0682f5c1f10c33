//! The thread that runs ffmpeg for a source, and again where a live one breaks off.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use candle_vision::image::RgbImage;

use super::arguments::{Attempt, of_run};
use super::bell::lock;
use super::error::VideoError;
use super::frame::{Frame, VideoInfo};
use super::input::{StdinFormat, VideoInput};
use super::log::Log;
use super::nut::NutReader;
use super::options::VideoOptions;
use super::probe::{Probe, probe};
use super::program::{self, Process};
use super::state::Shared;

/// Frames of a file that wait to be taken.
const WAITING: usize = 2;
/// Frames of a live source that wait where they are kept, as Ultralytics 8.4.190 has it.
const BUFFERED: usize = 30;
/// How long ffmpeg may take to end, or to say something, behind its last frame.
const AT_END: Duration = Duration::from_secs(3);
/// The longest time between tries.
const MAX_DELAY: Duration = Duration::from_secs(10);
/// How long a thread sleeps at most before it looks whether it is to end.
const NAP: Duration = Duration::from_millis(100);

/// A source being read.
pub(super) struct Feed {
    pub(super) input: VideoInput,
    pub(super) options: VideoOptions,
    pub(super) shared: Arc<Shared>,
    pub(super) opened: Instant,
}

/// How a run of ffmpeg ended.
enum Ended {
    /// Without a fault that anybody told of.
    Whole,
    /// Where its reader wanted it to.
    Enough,
    /// The other end says that nothing is there.
    Gone,
    Error(VideoError),
}

impl Feed {
    /// Reads the source to its end, and tells how it ended.
    pub(super) fn run(self) {
        let end = self.all();
        let mut state = lock(&self.shared.state);
        state.process = None;
        state.end.get_or_insert(end);
        drop(state);
        self.shared.bell.ring();
    }

    fn all(&self) -> Result<(), VideoError> {
        let probed = match &self.input {
            VideoInput::File(_) => probe(&self.input)?,
            _ => Probe::default(),
        };
        // Frames of a live source that nobody took do not count.
        let most = self.options.max_frames.filter(|_| self.input.is_live() == Some(false));
        let mut attempt = Attempt { frames: most, ..Attempt::default() };
        let (mut tries, mut delay) = (0, self.options.reconnect_delay);
        loop {
            let before = lock(&self.shared.state).came;
            let ended = self.attempt(&mut attempt, &probed).unwrap_or_else(Ended::Error);
            let (came, info) = {
                let state = lock(&self.shared.state);
                (state.came, state.info.clone())
            };
            if came > before {
                (tries, delay) = (0, self.options.reconnect_delay);
            }
            let is_enough = most.is_some_and(|most| came >= most);
            let is_live = info.as_ref().is_some_and(|info| info.is_live);
            if self.shared.is_stopped() || is_enough {
                return Ok(());
            }
            if !is_live || came == 0 || self.options.reconnects == 0 {
                return match ended {
                    Ended::Error(error) => Err(error),
                    _ => Ok(()),
                };
            }
            let reason = match ended {
                Ended::Gone => {
                    self.note("the stream is over: the other end says that it is gone".to_owned());
                    return Ok(());
                }
                Ended::Enough => return Ok(()),
                Ended::Whole => "it was closed".to_owned(),
                Ended::Error(error) => error.to_string(),
            };
            if tries == self.options.reconnects {
                return Err(VideoError::Lost { frames: came, tries, reason });
            }
            tries += 1;
            self.note(format!(
                "the stream broke off after {came} frames ({reason}); try {tries} in {:.1} s",
                delay.as_secs_f64()
            ));
            self.sleep(delay);
            delay = (2 * delay).min(MAX_DELAY);
            attempt.size = info.map(|info| [info.width, info.height]);
        }
    }

    fn note(&self, text: String) {
        lock(&self.shared.state).notes.push(text);
        self.shared.bell.ring();
    }

    fn sleep(&self, time: Duration) {
        let start = Instant::now();
        while start.elapsed() < time && !self.shared.is_stopped() {
            let seen = self.shared.bell.count();
            self.shared.bell.wait(seen, NAP.min(time));
            // What is waited for is known.
            lock(&self.shared.state).progress = Instant::now();
        }
    }

    /// One run of ffmpeg, or two where the first does not know an option.
    fn attempt(&self, attempt: &mut Attempt, probed: &Probe) -> Result<Ended, VideoError> {
        let (ended, is_old) = self.read(attempt, probed)?;
        if !is_old || attempt.is_old {
            return Ok(ended);
        }
        attempt.is_old = true;
        Ok(self.read(attempt, probed)?.0)
    }

    fn read(&self, attempt: &Attempt, probed: &Probe) -> Result<(Ended, bool), VideoError> {
        let arguments = of_run(&self.input, &self.options, attempt)?;
        let stdin = if matches!(self.input, VideoInput::Stdin(_)) { Stdio::inherit() } else { Stdio::null() };
        let mut process = Process::start(program::ffmpeg(), &arguments, [stdin, Stdio::piped(), Stdio::piped()])?;
        let (stdout, stderr) = (process.0.stdout.take(), process.0.stderr.take());
        let (Some(stdout), Some(stderr)) = (stdout, stderr) else {
            return Err(VideoError::Pipe { reason: "it has no pipes".to_owned() });
        };
        {
            let mut state = lock(&self.shared.state);
            if state.stopped {
                return Ok((Ended::Whole, false));
            }
            (state.process, state.progress, state.stalled) = (Some(process), Instant::now(), false);
        }
        let log = Arc::new(Mutex::new(Log::default()));
        let said = listen(stderr, log.clone())?;
        let watched = Watched { from: stdout, shared: &self.shared };
        let before = lock(&self.shared.state).came;
        let read = self.frames(BufReader::with_capacity(1 << 16, watched), &log, probed);
        let (status, stalled) = self.reap();
        let _ = said.recv_timeout(AT_END);
        let log = lock(&log);
        let came = lock(&self.shared.state).came;
        if log.is_old {
            return Ok((Ended::Whole, true));
        }
        let ended = match read {
            Ok(true) => Ended::Enough,
            read => self.ended(read.map(drop), status, stalled, &log, came, before),
        };
        let none = matches!(ended, Ended::Whole) && came == before;
        let ended = if none { Ended::Error(log.failure(&self.input, self.options.is_part())) } else { ended };
        Ok((ended, false))
    }

    /// Takes the process from the state, where it may have been killed, and waits for its end.
    fn reap(&self) -> (Option<ExitStatus>, bool) {
        let mut state = lock(&self.shared.state);
        let (process, stalled) = (state.process.take(), state.stalled);
        drop(state);
        (process.and_then(|mut process| process.wait(AT_END)), stalled)
    }

    fn ended(
        &self,
        read: Result<(), VideoError>,
        status: Option<ExitStatus>,
        stalled: bool,
        log: &Log,
        came: u64,
        before: u64,
    ) -> Ended {
        let is_broken = read.is_err();
        let is_live = lock(&self.shared.state).info.as_ref().is_some_and(|info| info.is_live);
        if stalled {
            return Ended::Error(self.options.stalled(&self.input, came));
        }
        if log.is_gone() && came > 0 {
            return Ended::Gone;
        }
        // A limit is no fault of the stream.
        if let Err(error @ VideoError::TooLarge { .. }) = read {
            return Ended::Error(error);
        }
        let frames = came;
        match status {
            Some(status) if status.code().is_none() || log.is_killed => Ended::Error(VideoError::Killed { frames }),
            Some(status) if !status.success() && came == before => {
                Ended::Error(log.failure(&self.input, self.options.is_part()))
            }
            _ if came > before && !is_live && log.truncated().is_some() => {
                Ended::Error(VideoError::Truncated { frames, reason: log.truncated().unwrap_or_default().to_owned() })
            }
            Some(status) if !status.success() => {
                Ended::Error(VideoError::Failed { frames, reason: log.reason(&self.input) })
            }
            _ if is_broken => read.map_or_else(Ended::Error, |()| Ended::Whole),
            _ => Ended::Whole,
        }
    }

    /// Hands frames over until there are no more; whether that is where the options end, or nobody wants more.
    fn frames(&self, stream: impl Read, log: &Mutex<Log>, probed: &Probe) -> Result<bool, VideoError> {
        let Some(mut nut) = NutReader::open(stream).map_err(pipe)? else { return Ok(false) };
        let [width, height] = nut.size;
        let limit = self.options.max_pixels;
        if width.checked_mul(height).is_none_or(|pixels| pixels > limit || pixels == 0) {
            return Err(VideoError::TooLarge { width, height, limit });
        }
        let size = [width as u32, height as u32];
        let info = self.info(size, log, probed);
        // Times of a later try go on from the source's opening.
        let offset = match lock(&self.shared.state).came {
            0 => self.options.start.unwrap_or(0.).max(0.),
            _ => self.opened.elapsed().as_secs_f64(),
        };
        // What is sent as images alone has no times but those of its coming.
        let is_untimed =
            info.is_live && lock(log).format.as_deref().is_some_and(|format| matches!(format, "mjpeg" | "mpjpeg"));
        loop {
            let mut pixels = vec![0; width as usize * height as usize * 3];
            let Some(time) = nut.frame(&mut pixels).map_err(pipe)? else { return Ok(false) };
            let image = RgbImage::from_raw(size[0], size[1], pixels);
            let image = image.ok_or_else(|| VideoError::Pipe { reason: "a frame of another size".to_owned() })?;
            let time_s = if is_untimed { self.opened.elapsed().as_secs_f64() } else { offset + time };
            // A time is exact to a microsecond.
            let is_behind = self.options.end.is_some_and(|end| time_s > end - 1e-6);
            if is_behind || !self.give(image, time_s, info.is_live) {
                return Ok(true);
            }
        }
    }

    /// Hands one frame over, in the place of one that nobody took, or when there is room. `false` where nobody wants it.
    fn give(&self, image: RgbImage, time_s: f64, is_live: bool) -> bool {
        let is_newest = is_live && !self.options.stream_buffer;
        let most = if is_live { BUFFERED } else { WAITING };
        loop {
            let seen = self.shared.bell.count();
            let mut state = lock(&self.shared.state);
            if state.stopped {
                return false;
            }
            state.progress = Instant::now();
            if is_newest && state.frames.pop_front().is_some() {
                state.skipped += 1;
            }
            if is_newest || state.frames.len() < most {
                state.came += 1;
                // It is counted when it is taken.
                state.frames.push_back(Frame { image, index: 0, time_s });
                drop(state);
                self.shared.bell.ring();
                return true;
            }
            drop(state);
            self.shared.bell.wait(seen, NAP);
        }
    }

    /// What the source is, when its first header is here.
    fn info(&self, [width, height]: [u32; 2], log: &Mutex<Log>, probed: &Probe) -> VideoInfo {
        if let Some(info) = lock(&self.shared.state).info.clone() {
            return info;
        }
        // The description was written before the header, and may be read after it.
        let start = Instant::now();
        while !lock(log).is_described && start.elapsed() < AT_END {
            std::thread::sleep(Duration::from_millis(1));
        }
        let log = lock(log);
        let options = &self.options;
        let rate = match &self.input {
            VideoInput::Stdin(StdinFormat::Raw { frame_rate, .. }) => Some(*frame_rate),
            _ => probed.frame_rate.or(log.frame_rate),
        };
        let is_live = self.input.is_live().unwrap_or(log.duration.is_none() && !log.is_image());
        let of_time = |seconds: f64| rate.map(|rate| (seconds * rate).round() as u64);
        let is_part = options.start.is_some() || options.end.is_some();
        let duration = probed.duration.or(log.duration);
        let whole = if is_part {
            let end = options.end.unwrap_or(f64::INFINITY).min(duration.unwrap_or(f64::INFINITY));
            Some(end - options.start.unwrap_or(0.))
                .filter(|length| length.is_finite())
                .and_then(|length| of_time(length.max(0.)))
        } else {
            probed.frames.or_else(|| duration.and_then(of_time))
        };
        let strided = whole.map(|frames| frames / u64::from(options.vid_stride));
        let frames = match (strided, options.max_frames) {
            (Some(frames), Some(most)) => Some(frames.min(most)),
            (frames, _) => frames,
        };
        let info = VideoInfo {
            width,
            height,
            frame_rate: rate.map(|rate| rate / f64::from(options.vid_stride)),
            frames: frames.filter(|frames| *frames > 0 && !is_live),
            is_live,
        };
        lock(&self.shared.state).info = Some(info.clone());
        self.shared.bell.ring();
        info
    }
}

/// Takes what ffmpeg says, line by line, on a thread of its own; the receiver tells when it has said all.
fn listen(stderr: impl Read + Send + 'static, log: Arc<Mutex<Log>>) -> Result<Receiver<()>, VideoError> {
    let (sender, said) = channel();
    let run = move || {
        let mut lines = BufReader::new(stderr);
        let mut line = Vec::new();
        loop {
            line.clear();
            // A line without end does not take all memory.
            match (&mut lines).take(1 << 16).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => break,
                Ok(_) => lock(&log).line(&String::from_utf8_lossy(&line)),
            }
        }
        let _ = sender.send(());
    };
    program::spawn("ffmpeg-log", run)?;
    Ok(said)
}

fn pipe(error: io::Error) -> VideoError {
    VideoError::Pipe { reason: error.to_string() }
}

/// Tells whenever bytes come.
struct Watched<'a, R> {
    from: R,
    shared: &'a Shared,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(into)?;
        lock(&self.shared.state).progress = Instant::now();
        Ok(count)
    }
}
