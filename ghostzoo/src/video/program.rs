use std::ffi::OsString;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::error::VideoError;

/// How long a program may take that only says what it knows.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program that decodes and encodes: its name, or what `GHOSTZOO_FFMPEG` says.
pub(super) fn ffmpeg() -> OsString {
    named("GHOSTZOO_FFMPEG", "ffmpeg")
}

/// The program that says what is in a file: its name, or what `GHOSTZOO_FFPROBE` says.
pub(super) fn ffprobe() -> OsString {
    named("GHOSTZOO_FFPROBE", "ffprobe")
}

/// What a variable of the environment names; an empty one names nothing.
fn named(variable: &str, usual: &str) -> OsString {
    std::env::var_os(variable).filter(|name| !name.is_empty()).unwrap_or_else(|| usual.into())
}

/// A running program. Dropped, it is killed and reaped.
#[derive(Debug)]
pub(super) struct Process(pub(super) Child);

impl Process {
    /// Starts a program with its stdin, stdout and stderr. It is in a group of its own, where that exists: Ctrl-C is for the
    /// caller, who ends it when it has given all.
    pub(super) fn start(program: OsString, arguments: &[OsString], pipes: [Stdio; 3]) -> Result<Self, VideoError> {
        let mut command = Command::new(&program);
        let [stdin, stdout, stderr] = pipes;
        command.args(arguments).stdin(stdin).stdout(stdout).stderr(stderr);
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        #[cfg(windows)]
        std::os::windows::process::CommandExt::creation_flags(&mut command, 0x0000_0200);
        command.spawn().map(Self).map_err(|error| VideoError::start(&program.to_string_lossy(), &error))
    }

    /// Ends it at once.
    pub(super) fn kill(&mut self) {
        // One that has ended already cannot be killed.
        let _ = self.0.kill();
    }

    /// How it ended, where it does within `most`; it is killed otherwise.
    pub(super) fn wait(&mut self, most: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        loop {
            match self.0.try_wait() {
                Ok(None) if start.elapsed() < most => std::thread::sleep(Duration::from_millis(2)),
                Ok(Some(status)) => return Some(status),
                _ => {
                    self.kill();
                    return None;
                }
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        let _ = self.0.wait();
    }
}

/// What a program writes to stdout and to stderr; it is killed where it does not end.
pub(super) fn output(program: OsString, arguments: &[OsString]) -> Result<(String, String), VideoError> {
    let mut process = Process::start(program, arguments, [Stdio::null(), Stdio::piped(), Stdio::piped()])?;
    let (sender, texts) = std::sync::mpsc::channel();
    let pipes: [Option<Box<dyn Read + Send>>; 2] = [
        process.0.stdout.take().map(|pipe| Box::new(pipe) as _),
        process.0.stderr.take().map(|pipe| Box::new(pipe) as _),
    ];
    for (number, pipe) in pipes.into_iter().enumerate() {
        let sender = sender.clone();
        let read = move || {
            let mut bytes = Vec::new();
            // What there is of a text that breaks off is all there is to read.
            let _ = pipe.map(|pipe| pipe.take(1 << 20).read_to_end(&mut bytes));
            let _ = sender.send((number, String::from_utf8_lossy(&bytes).into_owned()));
        };
        spawn("ffmpeg-text", read)?;
    }
    let mut found = [String::new(), String::new()];
    let start = Instant::now();
    for _ in 0..2 {
        let Ok((number, text)) = texts.recv_timeout(PATIENCE.saturating_sub(start.elapsed())) else { break };
        found[number] = text;
    }
    process.wait(PATIENCE.saturating_sub(start.elapsed()));
    let [stdout, stderr] = found;
    Ok((stdout, stderr))
}

/// A thread that nobody waits for.
pub(super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), VideoError> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map(drop).map_err(|error| VideoError::Start { program: "a thread".to_owned(), reason: error.to_string() })
}

/// The best encoder of H.264 that this ffmpeg has, else that of MPEG-4.
pub(super) fn encoder() -> Result<&'static str, VideoError> {
    static FOUND: OnceLock<&str> = OnceLock::new();
    if let Some(found) = FOUND.get() {
        return Ok(found);
    }
    let arguments = ["-hide_banner", "-loglevel", "error", "-encoders"].map(OsString::from);
    let (listed, _) = output(ffmpeg(), &arguments)?;
    Ok(FOUND.get_or_init(|| best(&listed)))
}

fn best(listed: &str) -> &'static str {
    let is_listed = |name: &&str| listed.lines().any(|line| line.split_whitespace().nth(1) == Some(*name));
    ["libx264", "libopenh264", "h264_videotoolbox", "h264_mf"].into_iter().find(is_listed).unwrap_or("mpeg4")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_encoder_is_taken() {
        let listed =
            " V....D libx264rgb           x\n V....D libopenh264  y (codec h264)\n V....D libx264  z (codec h264)\n";
        assert_eq!(best(listed), "libx264");
        assert_eq!(best(" V....D libopenh264 OpenH264\n"), "libopenh264");
        assert_eq!(best(" V.S..D mpeg4 MPEG-4 part 2\n"), "mpeg4");
    }

    #[test]
    fn a_program_that_is_not_there_is_named_with_how_to_get_it() {
        let error = output("no-such-program-at-all".into(), &[]).expect_err("it is not there");
        let text = error.to_string();
        assert!(matches!(error, VideoError::NoProgram { .. }) && text.contains("no-such-program-at-all"), "{text}");
        assert!(text.contains("install"), "{text}");
    }

    #[cfg(unix)]
    #[test]
    fn a_program_that_does_not_end_is_killed() {
        let mut sleeper = Process::start("sleep".into(), &["60".into()], [Stdio::null(), Stdio::null(), Stdio::null()]);
        let sleeper = sleeper.as_mut().expect("it starts");
        let start = Instant::now();
        assert_eq!(sleeper.wait(Duration::from_millis(20)), None);
        assert!(sleeper.0.wait().is_ok() && start.elapsed() < Duration::from_secs(30));
    }
}
