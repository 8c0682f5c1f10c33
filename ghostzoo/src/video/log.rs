//! What ffmpeg says on stderr, with `-loglevel level+info`: of what it reads, and why it failed.

use std::collections::VecDeque;

use super::error::VideoError;
use super::input::VideoInput;

/// Errors that are kept.
const KEPT: usize = 16;
/// Most bytes of one.
const LONGEST: usize = 300;

/// What was said so far.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// The input's format; several names of one, by commas.
    pub(super) format: Option<String>,
    /// Its length in seconds.
    pub(super) duration: Option<f64>,
    /// Its frames per second.
    pub(super) frame_rate: Option<f64>,
    has_audio: bool,
    has_video: bool,
    /// Whether all of the input is described.
    pub(super) is_described: bool,
    /// The last errors, each without what ffmpeg puts before it.
    errors: VecDeque<String>,
    /// That the file ends too early, where it was said.
    truncated: Option<String>,
    /// Where a connection broke off before the end of what it carries.
    broken: Option<Broken>,
    /// Whether an option is unknown to this ffmpeg.
    pub(super) is_old: bool,
    /// Whether somebody asked it to end.
    pub(super) is_killed: bool,
}

/// A connection that broke off.
#[derive(Debug)]
struct Broken {
    /// What was said of it.
    text: String,
    /// Bytes of the whole file.
    size: u64,
    /// Whether another connection goes on from there, of which nothing bad was said yet.
    goes_on: bool,
}

/// What is said of a file whose end is missing.
const TRUNCATED: [&str; 5] =
    ["partial file", "File ended prematurely", "Truncating", "moov atom not found", "Invalid buffer size, packet size"];

/// What ffmpeg takes for the size of what is sent without one: it calls every end of that premature.
const NO_SIZE: u64 = u64::MAX;

impl Log {
    /// Takes one line.
    pub(super) fn line(&mut self, line: &str) {
        let (level, text) = split(line);
        if text.contains("Unrecognized option 'fps_mode'") {
            self.is_old = true;
        }
        self.is_killed |= text.contains("received signal");
        // Matroska says no more where a connection ends within it; what is sent as it is made has no duration.
        let is_cut = text == "Read error" && self.duration.is_some();
        if is_cut || TRUNCATED.iter().any(|known| text.contains(known)) {
            self.truncated.get_or_insert_with(|| shortened(text));
        }
        self.connection(text);
        if matches!(level, "error" | "fatal" | "panic") {
            if self.errors.len() == KEPT {
                self.errors.pop_front();
            }
            self.errors.push_back(shortened(text));
        }
        if !self.is_described {
            self.describe(text);
        }
    }

    /// Takes what is said of a connection: `Stream ends prematurely at 30000, should be 87114`, and that another goes on.
    fn connection(&mut self, text: &str) {
        let ends = text.strip_prefix("Stream ends prematurely at ").and_then(|rest| {
            let (at, size) = rest.split_once(", should be ")?;
            Some((at.parse::<u64>().ok()?, size.trim().parse::<u64>().ok()?))
        });
        match (ends, &mut self.broken) {
            (Some((at, NO_SIZE)), Some(broken)) => broken.goes_on = at >= broken.size,
            (Some((_, NO_SIZE)), None) => {}
            (Some((_, size)), broken) => *broken = Some(Broken { text: shortened(text), size, goes_on: false }),
            (None, Some(broken)) if text.starts_with("Will reconnect at ") => broken.goes_on = true,
            (None, Some(broken)) if text.starts_with("Failed to reconnect at ") => broken.goes_on = false,
            (None, _) => {}
        }
    }

    fn describe(&mut self, text: &str) {
        if text.starts_with("Stream mapping:") || text.starts_with("Output #0") {
            self.is_described = true;
        } else if let Some(input) = text.strip_prefix("Input #0, ") {
            self.format = input.split_once(", from").map(|(format, _)| format.to_owned());
        } else if let Some(rest) = text.strip_prefix("Duration: ") {
            self.duration = clock(rest.split(',').next().unwrap_or_default());
        } else if text.starts_with("Stream #") {
            self.has_audio |= text.contains(": Audio:");
            if text.contains(": Video:") && !text.contains("(attached pic)") && !self.has_video {
                self.has_video = true;
                let rate = |unit: &str| {
                    let part = text.split(", ").find_map(|part| part.strip_suffix(unit))?;
                    // `90k tbr` is no rate of frames.
                    part.trim().parse::<f64>().ok().filter(|rate| *rate > 0. && *rate < 1000.)
                };
                self.frame_rate = rate(" fps").or_else(|| rate(" tbr"));
            }
        }
    }

    /// Whether the input is one image, which ffmpeg reads as a video of one frame.
    pub(super) fn is_image(&self) -> bool {
        self.format.as_deref().is_some_and(|format| format.ends_with("_pipe") || format == "image2")
    }

    /// That the file ends too early, as it was said.
    pub(super) fn truncated(&self) -> Option<&str> {
        let broken = self.broken.as_ref().filter(|broken| !broken.goes_on);
        broken.map(|broken| broken.text.as_str()).or(self.truncated.as_deref())
    }

    /// Whether the other end says that there is nothing (any more) at this address.
    pub(super) fn is_gone(&self) -> bool {
        let gone = ["404", "410"].map(|code| [format!("returned {code}"), format!("failed: {code}")]);
        self.errors.iter().any(|error| gone.iter().flatten().any(|known| error.contains(known.as_str())))
    }

    /// The reason of a failure in ffmpeg's words.
    pub(super) fn reason(&self, input: &VideoInput) -> String {
        let last = self.errors.iter().rev().find(|text| !is_consequence(text)).or(self.errors.back());
        let Some(last) = last else { return "it gave no reason".to_owned() };
        // The name of the source is said by others.
        let (own, quoted) = (input.name(), format!("file:{}: ", input.name()));
        let text = input.masked(last).replace(&quoted, "").replace(&format!("{own}: "), "");
        text.trim_end_matches('.').to_owned()
    }

    /// Why no frame came of an input.
    pub(super) fn failure(&self, input: &VideoInput, is_part: bool) -> VideoError {
        let reason = self.reason(input);
        let says = |known: &str| self.errors.iter().any(|error| error.contains(known));
        if self.format.is_some() && self.has_audio && !self.has_video {
            return VideoError::AudioOnly;
        }
        if says("matches no streams") || says("does not contain any stream") {
            return VideoError::NotAVideo { reason: "there is no stream of frames in it".to_owned() };
        }
        match input {
            VideoInput::Url(_) if self.format.is_none() => VideoError::Unreachable { reason },
            _ if self.errors.is_empty() && self.format.is_some() => VideoError::NoFrames { is_part },
            _ if self.format.is_none() => VideoError::NotAVideo { reason },
            _ => VideoError::Failed { frames: 0, reason },
        }
    }
}

/// Whether a message only says that something before it failed.
fn is_consequence(text: &str) -> bool {
    text.starts_with("Error opening input")
        || text.starts_with("Conversion failed")
        || text.ends_with("Input/output error")
}

/// The level and the text of a line such as `[h264 @ 0x55] [error] missing picture`.
fn split(line: &str) -> (&str, &str) {
    let mut rest = line.trim();
    let mut level = "";
    for _ in 0..2 {
        let Some((inner, after)) = rest.strip_prefix('[').and_then(|inner| inner.split_once(']')) else { break };
        let is_level = matches!(inner, "info" | "warning" | "error" | "fatal" | "panic" | "verbose" | "debug");
        if !is_level && !inner.contains(" @ ") {
            break;
        }
        rest = after.trim_start();
        if is_level {
            level = inner;
            break;
        }
    }
    (level, rest)
}

fn shortened(text: &str) -> String {
    let end = (0..=LONGEST.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or(0)].to_owned()
}

/// Seconds of `HH:MM:SS.ss`.
fn clock(text: &str) -> Option<f64> {
    let parts: Vec<f64> = text.trim().split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    match parts[..] {
        [hours, minutes, seconds] => Some(hours * 3600. + minutes * 60. + seconds),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &str) -> Log {
        let mut log = Log::default();
        lines.lines().for_each(|line| log.line(line));
        log
    }

    #[test]
    fn an_input_is_read_from_its_description() {
        let log = log("[info] Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'Duration: 1.mp4':\n\
             [info]   Duration: 00:01:02.50, start: 0.000000, bitrate: 95 kb/s\n\
             [info]   Stream #0:0(und): Audio: aac (LC), 44100 Hz, mono, fltp, 69 kb/s\n\
             [info]   Stream #0:1[0x1](und): Video: h264 (High), yuv420p, 64x48 [SAR 1:1], 12 kb/s, 29.97 fps, 30k tbr\n\
             [info] Stream mapping:\n[info]   Duration: 00:00:01.00");
        assert_eq!((log.duration, log.frame_rate, log.is_described), (Some(62.5), Some(29.97), true));
        assert_eq!(log.format.as_deref(), Some("mov,mp4,m4a,3gp,3g2,mj2"));
        assert!(log.has_audio && log.has_video && !log.is_image());
    }

    #[test]
    fn a_failure_is_called_what_it_is() {
        let (file, url) = (VideoInput::parse("a.mp4"), VideoInput::parse("http://me:secret@h/x"));
        let cases = [
            (
                &file,
                "[mov @ 0x1] [error] moov atom not found\n[error] file:a.mp4: Invalid data found",
                "not a video that ffmpeg reads (Invalid data found)",
            ),
            (
                &file,
                "[info] Input #0, mov, from 'a':\n[info] Stream #0:0: Audio: aac\n[fatal] Stream map '0:V:0' matches no streams.",
                "there is sound, but no video in it",
            ),
            (
                &file,
                "[info] Input #0, mov, from 'a':\n[info] Stream #0:0: Video: h264, 25 fps",
                "the video has no frame",
            ),
            (
                &url,
                "[tcp @ 0x1] [error] Connection to tcp://me:secret@h:80 failed: Connection refused\n[error] http://me:secret@h/x: Input/output error",
                "cannot be reached: Connection to tcp://***@h:80 failed: Connection refused",
            ),
        ];
        for (input, lines, expected) in cases {
            assert_eq!(log(lines).failure(input, false).to_string(), expected);
        }
        assert!(log("[error] http://h/x: Server returned 404 Not Found").is_gone());
        assert!(log("[mov @ 0x1] [error] stream 0, offset 0x163b: partial file").truncated().is_some());
        assert!(log("[fatal] Unrecognized option 'fps_mode'.").is_old);
    }

    #[test]
    fn a_connection_that_breaks_off_is_a_missing_end_only_where_none_goes_on() {
        let ends =
            |at: u64, size: u64| format!("[http @ 0x1] [error] Stream ends prematurely at {at}, should be {size}\n");
        let again = "[http @ 0x1] [warning] Will reconnect at 300 in 0 second(s), error=Input/output error.\n";
        let failed = "[http @ 0x1] [error] Failed to reconnect at 300.\n";
        let (broken, end, unknown) = (ends(300, 900), ends(900, NO_SIZE), ends(300, NO_SIZE));
        for whole in [
            format!("{broken}{again}"),
            format!("{broken}{again}{}{again}", ends(600, 900)),
            format!("{broken}{again}{end}"),
            end.clone(),
            "[matroska,webm @ 0x1] [error] Read error".to_owned(),
        ] {
            assert_eq!(log(&whole).truncated(), None, "{whole}");
        }
        for cut in [
            broken.clone(),
            format!("{broken}{again}{unknown}"),
            format!("{broken}{again}{unknown}{again}{unknown}"),
            format!("{broken}{again}{failed}"),
        ] {
            assert_eq!(log(&cut).truncated(), Some("Stream ends prematurely at 300, should be 900"), "{cut}");
        }
        let cut = format!("[info]   Duration: 00:00:05.00, start\n{unknown}[matroska,webm @ 0x1] [error] Read error");
        assert_eq!(log(&cut).truncated(), Some("Read error"));
    }
}
