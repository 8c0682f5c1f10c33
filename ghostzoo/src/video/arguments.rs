use std::ffi::OsString;
use std::path::Path;

use super::error::VideoError;
use super::input::{StdinFormat, VideoInput};
use super::options::VideoOptions;
use super::program;

/// The system's name for a source: what stands behind ffmpeg's `-i`, and what before it.
pub(super) fn of_input(input: &VideoInput) -> Result<Vec<OsString>, VideoError> {
    let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
    Ok(match input {
        VideoInput::File(path) => {
            let mut file = OsString::from("file:");
            file.push(path);
            vec!["-i".into(), file]
        }
        VideoInput::Url(address) => {
            // ffmpeg knows protocols by small letters alone.
            let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
            let scheme = scheme.to_ascii_lowercase();
            let before: &[&str] = match &*scheme {
                // UDP loses packets, and frames with them.
                "rtsp" | "rtsps" => &["-rtsp_transport", "tcp"],
                // A file that breaks off goes on where it was.
                "http" | "https" => &["-reconnect", "1", "-reconnect_delay_max", "4"],
                _ => &[],
            };
            words(&[before, &["-i", &format!("{scheme}://{rest}")]].concat())
        }
        VideoInput::Camera(number) => camera(*number)?,
        VideoInput::Stdin(StdinFormat::Mjpeg) => words(&["-f", "mjpeg", "-framerate", "25", "-i", "pipe:0"]),
        VideoInput::Stdin(StdinFormat::Raw { width, height, frame_rate }) => {
            let (size, rate) = (format!("{width}x{height}"), frame_rate.to_string());
            let rest = ["-video_size", &size, "-framerate", &rate, "-i", "pipe:0"];
            words(&[&["-f", "rawvideo", "-pixel_format", "rgb24"], &rest[..]].concat())
        }
    })
}

fn camera(number: u32) -> Result<Vec<OsString>, VideoError> {
    let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
    match std::env::consts::OS {
        "macos" => Ok(words(&["-f", "avfoundation", "-framerate", "30", "-i", &format!("{number}:none")])),
        "windows" => {
            let listing = ["-hide_banner", "-list_devices", "true", "-f", "dshow", "-i", "dummy"].map(OsString::from);
            let (_, listed) = program::output(program::ffmpeg(), &listing)?;
            let names = direct_show(&listed);
            let Some(name) = names.get(number as usize) else {
                return Err(VideoError::NoCamera { number, found: found(&names) });
            };
            Ok(words(&["-f", "dshow", "-i", &format!("video={name}")]))
        }
        _ => {
            let device = format!("/dev/video{number}");
            if !Path::new(&device).exists() {
                let entries = std::fs::read_dir("/dev").into_iter().flatten().flatten();
                let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
                let mut there: Vec<String> = names.filter(|name| name.starts_with("video")).collect();
                there.sort();
                return Err(VideoError::NoCamera { number, found: found(&there) });
            }
            Ok(words(&["-f", "v4l2", "-i", &device]))
        }
    }
}

fn found(names: &[String]) -> String {
    if names.is_empty() { "none was found".to_owned() } else { format!("there are {}", names.join(", ")) }
}

/// The cameras in what ffmpeg lists on Windows: lines that end in `"NAME" (video)`.
fn direct_show(listed: &str) -> Vec<String> {
    let name = |line: &str| {
        let (_, quoted) = line.trim_end().strip_suffix("\" (video)")?.split_once('"')?;
        Some(quoted.to_owned())
    };
    listed.lines().filter_map(name).collect()
}

/// One run of ffmpeg: how it reads a source and writes frames to its stdout.
#[derive(Debug, Clone, Default)]
pub(super) struct Attempt {
    /// `[width, height]` that frames are scaled to; as they come where there is none.
    pub(super) size: Option<[u32; 2]>,
    /// Frames that are still wanted.
    pub(super) frames: Option<u64>,
    /// Whether the options are those of ffmpeg before 5.1.
    pub(super) is_old: bool,
}

/// All arguments of a run.
pub(super) fn of_run(
    input: &VideoInput,
    options: &VideoOptions,
    attempt: &Attempt,
) -> Result<Vec<OsString>, VideoError> {
    let mut all: Vec<OsString> =
        ["-hide_banner", "-nostdin", "-nostats", "-loglevel", "level+info"].map(OsString::from).to_vec();
    let mut part = Vec::new();
    if let Some(start) = options.start.filter(|start| *start > 0.) {
        part.extend(["-ss".to_owned(), seconds(start)]);
    }
    // A file is sought in, whatever else comes is decoded and left out.
    let seeks = matches!(input, VideoInput::File(_));
    if seeks {
        all.extend(part.iter().map(OsString::from));
    }
    all.extend(of_input(input)?);
    if !seeks {
        all.extend(part.iter().map(OsString::from));
    }
    // The first stream of frames that is no cover.
    all.extend(["-map", "0:V:0", "-map_metadata", "-1", "-map_chapters", "-1"].map(OsString::from));
    // Each frame once, at its own time, to the microsecond.
    let each = if attempt.is_old { "-vsync" } else { "-fps_mode" };
    all.extend([each, "passthrough", "-enc_time_base", "1/1000000"].map(OsString::from));
    let mut filters = Vec::new();
    if options.vid_stride > 1 {
        filters.push(format!("select=not(mod(n+1\\,{}))", options.vid_stride));
    }
    if let Some([width, height]) = attempt.size {
        filters.push(format!("scale={width}:{height}"));
    }
    if !filters.is_empty() {
        all.extend(["-vf".into(), filters.join(",").into()]);
    }
    if let Some(frames) = attempt.frames {
        all.extend(["-frames:v".into(), frames.to_string().into()]);
    }
    all.extend(
        ["-c:v", "rawvideo", "-pix_fmt", "rgb24", "-flush_packets", "1", "-f", "nut", "pipe:1"].map(OsString::from),
    );
    Ok(all)
}

/// A time that ffmpeg takes, to the microsecond.
fn seconds(time: f64) -> String {
    format!("{time:.6}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(input: &str, options: &VideoOptions, attempt: &Attempt) -> String {
        let all = of_run(&VideoInput::parse(input), options, attempt).expect("arguments");
        all.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_name_is_never_an_option_or_a_protocol() {
        for name in ["-y", "concat:a|b", "pipe:0"] {
            assert!(line(name, &VideoOptions::new(), &Attempt::default()).contains(&format!("-i file:{name} ")));
        }
    }

    #[test]
    fn files_are_sought_in_and_streams_are_not() {
        let options = VideoOptions::new().start(1.5).vid_stride(3);
        let file = line("a.mp4", &options, &Attempt { frames: Some(7), ..Attempt::default() });
        assert!(file.contains("-ss 1.500000 -i file:a.mp4"), "{file}");
        assert!(file.contains("-vf select=not(mod(n+1\\,3)) -frames:v 7 "), "{file}");
        assert!(line("HTTP://H/A", &VideoOptions::new(), &Attempt::default()).contains("_max 4 -i http://H/A "));
        let stream =
            line("rtsp://h/a", &options, &Attempt { size: Some([64, 48]), is_old: true, ..Attempt::default() });
        assert!(stream.contains("-rtsp_transport tcp -i rtsp://h/a -ss 1.500000"), "{stream}");
        assert!(stream.contains(",scale=64:48 ") && stream.contains("-vsync passthrough"), "{stream}");
    }

    #[test]
    fn cameras_of_windows_have_the_names_that_ffmpeg_lists() {
        let listed = "[dshow @ 1] \"Integrated Camera\" (video)\r\n[dshow @ 1]   Alternative name \"@device\"\r\n\
                      [dshow @ 1] \"Microphone\" (audio)\n[dshow @ 1] \"USB\" (video)\n";
        assert_eq!(direct_show(listed), ["Integrated Camera", "USB"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_camera_that_is_not_there_is_said() {
        let text = camera(4_000_000).expect_err("no such camera").to_string();
        assert!(text.starts_with("there is no camera 4000000: "), "{text}");
    }
}
