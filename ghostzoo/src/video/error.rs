use std::io;

/// Why frames could not be read or written. Messages do not name the source, of which there is one in every call, nor a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VideoError {
    /// A program of ffmpeg's is not there.
    #[error(
        "videos are read and written by {program}, which was not found: {}; GHOSTZOO_FFMPEG names one elsewhere",
        install()
    )]
    NoProgram {
        /// Its name, or what a variable of the environment names.
        program: String,
    },
    /// A program of ffmpeg's could not be started.
    #[error("cannot start {program}: {reason}")]
    Start {
        /// Its name.
        program: String,
        /// The system's answer.
        reason: String,
    },
    /// There is no such file.
    #[error("there is no such file")]
    NoFile,
    /// A folder, a pipe or a device.
    #[error("no file that videos are read from, but a folder, a pipe or a device; a pipe is read as stdin")]
    NotAFile,
    /// There is no such camera.
    #[error("there is no camera {number}: {found}")]
    NoCamera {
        /// What was asked for.
        number: u32,
        /// Those that there are.
        found: String,
    },
    /// The bytes are no video.
    #[error("not a video that ffmpeg reads ({reason})")]
    NotAVideo {
        /// What ffmpeg said.
        reason: String,
    },
    /// A file of sound.
    #[error("there is sound, but no video in it")]
    AudioOnly,
    /// A video without a frame.
    #[error("the video has no frame{}", within(*is_part))]
    NoFrames {
        /// Whether only a part of it was asked for.
        is_part: bool,
    },
    /// A frame is larger than allowed.
    #[error("frames of {width}x{height} pixels exceed the limit of {limit} pixels")]
    TooLarge {
        /// Pixels across.
        width: u64,
        /// Pixels down.
        height: u64,
        /// Most pixels.
        limit: u64,
    },
    /// The file ends before the video does.
    #[error("the file is truncated: {frames} frames could be read ({reason})")]
    Truncated {
        /// Frames that were given.
        frames: u64,
        /// What ffmpeg said.
        reason: String,
    },
    /// Nothing answers at the address, or it refuses.
    #[error("cannot be reached: {reason}")]
    Unreachable {
        /// What ffmpeg said.
        reason: String,
    },
    /// A stream that broke off and did not come back.
    #[error("the stream broke off after {frames} frames and did not come back in {tries} tries: {reason}")]
    Lost {
        /// Frames that it had, those skipped included.
        frames: u64,
        /// How often it was tried again.
        tries: u32,
        /// What the last try ended with.
        reason: String,
    },
    /// Nothing came for too long.
    #[error("stalled: nothing came for {seconds} s after {frames} frames")]
    Stalled {
        /// The time-out.
        seconds: u64,
        /// Frames that it had, those skipped included.
        frames: u64,
    },
    /// ffmpeg was ended by somebody else.
    #[error("ffmpeg was killed after {frames} frames")]
    Killed {
        /// Frames that it had read or written.
        frames: u64,
    },
    /// ffmpeg gave up.
    #[error("ffmpeg failed after {frames} frames: {reason}")]
    Failed {
        /// Frames that it had read or written.
        frames: u64,
        /// What it said.
        reason: String,
    },
    /// What came from ffmpeg is not what was asked for.
    #[error("what came from ffmpeg cannot be read: {reason}")]
    Pipe {
        /// What is wrong with it.
        reason: String,
    },
    /// An image of another size than the video's.
    #[error("an image of {width}x{height} pixels, where the video has {expected}")]
    OtherSize {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
        /// The video's.
        expected: String,
    },
    /// The video cannot be written.
    #[error("cannot write the video {path}: {reason}")]
    Write {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
}

impl VideoError {
    /// What a program that does not start means.
    pub(super) fn start(program: &str, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::NoProgram { program: program.to_owned() },
            _ => Self::Start { program: program.to_owned(), reason: error.to_string() },
        }
    }
}

fn within(is_part: bool) -> &'static str {
    if is_part { " in the part that was asked for" } else { "" }
}

/// How to get ffmpeg.
fn install() -> &'static str {
    match std::env::consts::OS {
        "macos" => "`brew install ffmpeg`",
        "windows" => "`winget install ffmpeg`",
        "freebsd" => "`pkg install ffmpeg`",
        _ => "`apt install ffmpeg`, or `dnf install ffmpeg`",
    }
}
