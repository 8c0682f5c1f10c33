use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where frames come from.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum VideoInput {
    /// A file.
    File(PathBuf),
    /// An address: `rtsp://`, `rtmp://`, `http://`, `https://`, `udp://`, `tcp://`, `rtp://`, `srt://`.
    Url(String),
    /// A camera of this machine, from 0.
    Camera(u32),
    /// The program's stdin.
    Stdin(StdinFormat),
}

/// What is on stdin.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum StdinFormat {
    /// JPEGs one after another, at 25 frames per second.
    Mjpeg,
    /// 8-bit RGB, row by row, without anything between.
    Raw {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
        /// Frames per second.
        frame_rate: f64,
    },
}

/// What ffmpeg takes for the rate of a stream that has none.
const RATE: f64 = 25.;

/// Endings of files of videos.
pub const ENDINGS: [&str; 11] = ["asf", "avi", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "ts", "webm", "wmv"];

/// The protocols that are read. Of the others that ffmpeg has, some read files or run filters.
const SCHEMES: [&str; 11] = ["rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "udp", "tcp", "rtp", "srt", "mmsh"];

impl VideoInput {
    /// A number is a camera unless it is a file; what begins like an address is one; the rest is a file.
    pub fn parse(text: impl AsRef<OsStr>) -> Self {
        let text = text.as_ref();
        match text.to_str() {
            Some(address) if is_address(address) => Self::Url(address.to_owned()),
            Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) && !Path::new(text).exists() => {
                number.parse().map_or_else(|_| Self::File(text.into()), Self::Camera)
            }
            _ => Self::File(text.into()),
        }
    }

    /// What to call it in output; of an address without name and password.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Url(address) => mask(address, address),
            Self::Camera(number) => number.to_string(),
            Self::Stdin(_) => "-".to_owned(),
        }
    }

    /// Whether its frames come as they happen. An address of the web may be either, which its ending tells, or only its answer.
    pub fn is_live(&self) -> Option<bool> {
        match self {
            Self::File(_) | Self::Stdin(_) => Some(false),
            Self::Camera(_) => Some(true),
            Self::Url(address) if scheme(address).is_some_and(|scheme| scheme.starts_with("http")) => {
                has_ending(address, &ENDINGS).then_some(false)
            }
            Self::Url(_) => Some(true),
        }
    }

    /// `text` without the name and the password of the address.
    pub(super) fn masked(&self, text: &str) -> String {
        match self {
            Self::Url(address) => mask(address, text),
            _ => text.to_owned(),
        }
    }
}

impl FromStr for StdinFormat {
    type Err = String;

    /// `mjpeg`, `rawvideo:WIDTHxHEIGHT`, or `rawvideo:WIDTHxHEIGHT@RATE`.
    fn from_str(text: &str) -> Result<Self, String> {
        let raw = || {
            let (size, rate) = match text.strip_prefix("rawvideo:")?.split_once('@') {
                Some((size, rate)) => (size, rate.parse().ok().filter(|rate| (0.001..=1000.).contains(rate))?),
                None => (text.strip_prefix("rawvideo:")?, RATE),
            };
            let (width, height) = size.split_once('x')?;
            let side = |text: &str| text.parse::<u32>().ok().filter(|side| (1..=1 << 16).contains(side));
            Some(Self::Raw { width: side(width)?, height: side(height)?, frame_rate: rate })
        };
        match text {
            "mjpeg" => Ok(Self::Mjpeg),
            _ => raw().ok_or_else(|| {
                "give mjpeg, or rawvideo:WIDTHxHEIGHT of 8-bit RGB, with @RATE where it is not 25".to_owned()
            }),
        }
    }
}

/// Whether a text begins like an address that frames are read from.
pub(super) fn is_address(text: &str) -> bool {
    scheme(text).is_some_and(|scheme| SCHEMES.contains(&scheme.as_str()))
}

/// Whether the path of an address has one of some endings.
fn has_ending(address: &str, endings: &[&str]) -> bool {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    name.rsplit_once('.').is_some_and(|(_, ending)| endings.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

fn scheme(address: &str) -> Option<String> {
    address.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase())
}

/// `text` with the name and the password of `address` as stars.
fn mask(address: &str, text: &str) -> String {
    let rest = address.split_once("://").map_or("", |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // A password with such a character in it, which no port has, is one all the same.
    let is_port = |(_, port): (&str, &str)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let is_odd = host.split_once(':').is_some_and(|parts| !is_port(parts));
    let Some((user, _)) = host.rsplit_once('@').or_else(|| rest.rsplit_once('@').filter(|_| is_odd)) else {
        return text.to_owned();
    };
    let text = text.replace(&format!("{user}@"), "***@");
    match user.split_once(':') {
        Some((_, password)) if password.len() > 3 => text.replace(password, "***"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_apart_by_their_looks() {
        assert_eq!(VideoInput::parse("0"), VideoInput::Camera(0));
        assert_eq!(VideoInput::parse("99999999999"), VideoInput::File("99999999999".into()));
        assert_eq!(VideoInput::parse("RTSP://a/b"), VideoInput::Url("RTSP://a/b".into()));
        assert_eq!(VideoInput::parse("concat://a|b"), VideoInput::File("concat://a|b".into()));
        assert_eq!(VideoInput::parse("a.mp4"), VideoInput::File("a.mp4".into()));
        assert_eq!(VideoInput::parse("rtsp://a").is_live(), Some(true));
        assert_eq!(VideoInput::parse("https://a").is_live(), None);
        assert_eq!(VideoInput::parse("https://a/b.MP4?x=1").is_live(), Some(false));
    }

    #[test]
    fn passwords_are_not_shown() {
        for odd in ["s3cret/", "#s3cret", "s3?cret"] {
            let shown = VideoInput::parse(format!("rtsp://admin:{odd}@10.0.0.1:554/a")).name();
            assert_eq!(shown, "rtsp://***@10.0.0.1:554/a");
        }
        assert_eq!(VideoInput::parse("http://host:80/a@b").name(), "http://host:80/a@b");
        let input = VideoInput::parse("rtsp://admin:s3cret@10.0.0.1:554/a@b?x=1");
        assert_eq!(input.name(), "rtsp://***@10.0.0.1:554/a@b?x=1");
        assert_eq!(input.masked("tcp://admin:s3cret@10.0.0.1: s3cret refused"), "tcp://***@10.0.0.1: *** refused");
        assert_eq!(VideoInput::parse("http://host/user:a@b").name(), "http://host/user:a@b");
    }

    #[test]
    fn formats_of_stdin_have_a_size() {
        assert_eq!("mjpeg".parse(), Ok(StdinFormat::Mjpeg));
        let raw = |frame_rate| Ok(StdinFormat::Raw { width: 64, height: 48, frame_rate });
        assert_eq!("rawvideo:64x48".parse(), raw(25.));
        assert_eq!("rawvideo:64x48@29.97".parse(), raw(29.97));
        for text in ["", "rawvideo", "rawvideo:64", "rawvideo:0x4", "rawvideo:64x48@0", "h264"] {
            assert!(text.parse::<StdinFormat>().is_err(), "{text}");
        }
    }
}
