//! `ghostzoo detect` on videos, cameras and streams. Where there is no ffmpeg, tests that need it say so and pass.
#![cfg(unix)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ghostzoo::video::{FrameSource, VideoInput, VideoOptions};
use serde_json::Value;

use crate::detect::checkpoint;
use crate::support::{CommandOutput, TestDir};

const OPTIONS: &str = "--conf 0.3 --max-det 5 -m m.safetensors";

pub(crate) fn has_ffmpeg() -> bool {
    let is_there = Command::new("ffmpeg").arg("-version").output().is_ok();
    if !is_there {
        println!("skipped: there is no ffmpeg");
    }
    is_there
}

pub(crate) fn ffmpeg(place: &TestDir, arguments: &str) {
    let output = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-y", "-nostdin"])
        .args(arguments.split_whitespace())
        .current_dir(place.path(""))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A folder with a checkpoint and a video of ten frames, 120x80 at 10 per second.
pub(crate) fn place() -> TestDir {
    let place = TestDir::new();
    checkpoint(&place, "m.safetensors");
    std::fs::create_dir(place.path("in")).unwrap();
    if has_ffmpeg() {
        ffmpeg(&place, "-f lavfi -i testsrc2=s=120x80:r=10:d=1 -pix_fmt yuv420p in/a.mp4");
    }
    place
}

pub(crate) fn detect(place: &TestDir, arguments: &str) -> CommandOutput {
    place.run(&format!("detect {arguments} {OPTIONS}"))
}

/// Runs `detect` with a shell script in the place of ffmpeg.
fn detect_with(place: &TestDir, script: &str, arguments: &str) -> CommandOutput {
    use std::os::unix::fs::PermissionsExt;
    let path = place.write("stand-in", format!("#!/bin/sh\n{script}\n"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = place.command(&format!("detect {arguments} {OPTIONS}"));
    command.env("GHOSTZOO_FFMPEG", path).env("GHOSTZOO_FFPROBE", place.path("none"));
    output(command)
}

fn output(mut command: Command) -> CommandOutput {
    let output = command.stdin(Stdio::null()).output().unwrap();
    CommandOutput {
        code: output.status.code().expect("no signal"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// How many frames a written video has, and their size.
pub(crate) fn written(path: &Path) -> (usize, (u32, u32)) {
    let source = FrameSource::open(&VideoInput::parse(path), &VideoOptions::new()).unwrap();
    let frames: Vec<_> = source.map(Result::unwrap).collect();
    (frames.len(), frames[0].image.dimensions())
}

pub(crate) fn found(lines: &[Value]) -> Vec<Value> {
    lines.iter().map(|line| line["detections"].clone()).collect()
}

#[test]
fn frames_are_looked_at_as_the_images_that_they_are() {
    if !has_ffmpeg() {
        return;
    }
    let place = place();
    std::fs::create_dir(place.path("frames")).unwrap();
    ffmpeg(&place, "-i in/a.mp4 frames/%03d.png");
    let images = detect(&place, "frames --json --no-save").succeeded().json();
    let frames = detect(&place, "in/a.mp4 --json --no-save").succeeded().json();
    assert_eq!(found(&frames), found(&images));
    assert!(found(&frames).iter().any(|found| !found.as_array().unwrap().is_empty()), "there is something to look at");
    for (number, line) in frames.iter().enumerate() {
        let keys: Vec<&String> = line.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["path", "frame", "time_s", "width", "height", "detections", "speed_ms"]);
        assert_eq!((&line["path"], line["frame"].as_u64()), (&"in/a.mp4".into(), Some(number as u64 + 1)));
        assert_eq!(line["time_s"].as_f64(), Some(number as f64 / 10.));
    }
    assert_eq!(found(&detect(&place, "in/a.mp4 --json --no-save --batch 4").succeeded().json()), found(&images));
    let part = detect(&place, "in --json --no-save --vid-stride 3 --max-frames 2").succeeded().json();
    assert_eq!(found(&part), [&images[2], &images[5]].map(|image| image["detections"].clone()));
    let part = detect(&place, "in/a.mp4 --json --no-save --start 0.4 --end 0.6").succeeded().json();
    assert_eq!(found(&part), found(&images[4..6]));
    assert_eq!(part[0]["time_s"].as_f64(), Some(0.4));
    let csv = detect(&place, "in/a.mp4 frames/001.png --csv --no-save").succeeded();
    assert!(csv.lines()[0].starts_with("path,frame,time_s,width,"), "{}", csv.lines()[0]);
    assert!(csv.lines().iter().any(|line| line.starts_with("in/a.mp4,2,0.100000,120,80,")), "{}", csv.stdout);
    assert!(csv.lines().last().unwrap().starts_with("frames/001.png,,,120,80,"), "{}", csv.stdout);
}

#[test]
fn videos_labels_and_frames_are_written_under_the_names_that_ultralytics_gives() {
    if !has_ffmpeg() {
        return;
    }
    let place = place();
    place.image("in/a.png", [120, 80], 3);
    ffmpeg(&place, "-f lavfi -i testsrc2=s=120x80:r=10:d=0.5 -vf scale=121:81 -pix_fmt yuv444p in/b.mkv");
    let run = detect(&place, "in --save-txt --save-frames --save-crop --coco-json --save-dir out").succeeded();
    let lines = run.lines();
    assert!(lines[0].starts_with("image 1/3 in/a.png: 64x96 "), "{}", lines[0]);
    assert!(lines[1].starts_with("video 2/3 (frame 1/10) in/a.mp4: 64x96 "), "{}", lines[1]);
    assert!(
        lines[15].starts_with("video 3/3 (frame 5/5) in/b.mkv: 96x96 ") || lines[15].contains("(frame 5/5) in/b.mkv"),
        "{}",
        lines[15]
    );
    let files = place.files("out");
    // The video's stem is taken by the image.
    for file in [
        "a.png",
        "a-2.mp4",
        "b.mp4",
        "a-2_frames/a-2_1.jpg",
        "a-2_frames/a-2_10.jpg",
        "b_frames/b_5.jpg",
        "predictions.json",
    ] {
        assert!(files.contains(&file.to_owned()), "{file} in {files:?}");
    }
    assert!(files.iter().any(|file| file.starts_with("labels/a-2_")), "{files:?}");
    assert!(files.iter().any(|file| file.starts_with("crops/") && file.contains("/a-2_")), "{files:?}");
    assert!(!files.iter().any(|file| file.ends_with(".tmp")), "{files:?}");
    assert_eq!(written(&place.path("out/a-2.mp4")), (10, (120, 80)));
    assert_eq!(written(&place.path("out/b.mp4")), (5, (122, 82)), "odd sides have a pixel more");
    detect(&place, "in/a.mp4 --vid-stride 2 --save-dir half").succeeded();
    let half = FrameSource::open(&VideoInput::parse(place.path("half/a.mp4")), &VideoOptions::new()).unwrap();
    assert_eq!(half.info().unwrap().frame_rate, Some(5.), "it takes as long as the whole");
}

#[test]
fn what_fails_is_one_line_and_the_others_are_done() {
    if !has_ffmpeg() {
        return;
    }
    let place = place();
    place.write("text.mp4", "this is no video");
    place.write("empty.mkv", "");
    ffmpeg(&place, "-f lavfi -i sine=d=1 -f mp4 sound.mp4");
    ffmpeg(&place, "-f lavfi -i testsrc2=s=120x80:r=10:d=4 -pix_fmt yuv420p -g 4 long.mkv");
    let bytes = std::fs::read(place.path("long.mkv")).unwrap();
    place.write("cut.mkv", &bytes[..bytes.len() / 2]);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let sources =
        format!("text.mp4 empty.mkv in/a.mp4 sound.mp4 cut.mkv none.mp4 rtsp://me:secret@127.0.0.1:{port}/x 4000000");
    let run = detect(&place, &format!("{sources} --json --save-dir out"));
    assert_eq!(run.code, 1, "{}", run.stderr);
    let errors: Vec<&str> = run.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    for (label, part) in [
        ("text.mp4", "not a video"),
        ("empty.mkv", "not a video"),
        ("sound.mp4", "sound, but no video"),
        ("cut.mkv", "the file is truncated"),
        ("none.mp4", "there is no such file"),
        (&format!("rtsp://***@127.0.0.1:{port}/x"), "cannot be reached"),
        ("4000000", "there is no camera 4000000"),
    ] {
        let said: Vec<_> = errors.iter().filter(|error| error.starts_with(&format!("error: {label}: "))).collect();
        assert!(said.len() == 1 && said[0].contains(part), "{label}: {said:?} in {}", run.stderr);
    }
    assert!(errors.len() == 7 && !run.stderr.contains("secret"), "{}", run.stderr);
    let lines = run.json();
    assert_eq!(lines.iter().filter(|line| line["path"] == "in/a.mp4").count(), 10);
    let read = lines.iter().filter(|line| line["path"] == "cut.mkv" && line.get("error").is_none()).count();
    assert!(read > 0 && written(&place.path("out/cut.mp4")).0 == read, "what could be read is written");
}

#[test]
fn without_ffmpeg_images_are_done_and_videos_say_what_is_missing() {
    let place = place();
    place.image("in/a.png", [120, 80], 3);
    place.write("in/a.mp4", "");
    let mut command = place.command(&format!("detect in --json --no-save {OPTIONS}"));
    command.env("GHOSTZOO_FFMPEG", place.path("no-ffmpeg")).env("GHOSTZOO_FFPROBE", place.path("no-ffprobe"));
    let run = output(command).failed(1, &["in/a.mp4", "no-ffmpeg", "install", "GHOSTZOO_FFMPEG"]);
    assert_eq!(run.json().len(), 2);
}

#[test]
fn an_ffmpeg_that_is_killed_stalls_or_writes_nonsense_is_one_line() {
    let place = place();
    place.write("in/b.mp4", "");
    for (script, part) in [
        ("kill -9 $$", "killed after 0 frames"),
        ("echo nonsense that is longer than a header", "cannot be read: it is no NUT stream"),
        ("exit 3", "not a video"),
        ("echo '[error] something odd' >&2; exit 1", "something odd"),
        ("exec sleep 60", "stalled: nothing came"),
        ("sleep 60", "stalled: nothing came"),
    ] {
        let start = Instant::now();
        let run = detect_with(&place, script, "in/b.mp4 --json --no-save --timeout 0.5");
        run.failed(1, &["error: in/b.mp4: ", part]);
        assert!(start.elapsed() < Duration::from_secs(30), "{script}");
    }
    if !has_ffmpeg() {
        return;
    }
    let half = "case \"$*\" in *pipe:1*) ffmpeg \"$@\" | head -c 100000; kill -9 $$;; esac; exec ffmpeg \"$@\"";
    let run = detect_with(&place, half, "in/a.mp4 --json --save-dir out").json_failed("killed after 3 frames");
    assert_eq!(run.len(), 4, "three frames and the error");
    assert_eq!(written(&place.path("out/a.mp4")).0, 3);
}

#[test]
fn a_video_that_cannot_be_written_is_one_line_and_its_frames_are_still_told() {
    if !has_ffmpeg() {
        return;
    }
    let place = place();
    for (script, part) in
        [("echo 'No space left on device' >&2; exit 1", "No space left on device"), ("kill -9 $$", "killed")]
    {
        let script = format!("case \"$*\" in *pipe:1*|*encoders*) exec ffmpeg \"$@\";; esac; {script}");
        let run = detect_with(&place, &script, "in/a.mp4 --json --save-dir out --exist-ok");
        assert!(run.stderr.contains("error: in/a.mp4: cannot write the video out/a.mp4: "), "{}", run.stderr);
        let errors = run.stderr.lines().filter(|line| line.starts_with("error: ")).count();
        assert!(run.stderr.contains(part) && errors == 1, "{}", run.stderr);
        assert_eq!(run.json_failed(part).len(), 11);
        assert_eq!(place.files("out"), [""; 0]);
    }
}

impl CommandOutput {
    /// The objects of a run that failed with one line that holds `part`.
    #[track_caller]
    fn json_failed(self, part: &str) -> Vec<Value> {
        let errors: Vec<&str> = self.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert!(self.code == 1 && errors.len() == 1 && errors[0].contains(part), "{}", self.stderr);
        self.json()
    }
}

#[test]
fn frames_come_from_stdin() {
    if !has_ffmpeg() {
        return;
    }
    let place = place();
    let expected = found(&detect(&place, "in/a.mp4 --json --no-save").succeeded().json());
    let piped = |arguments: &str| {
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-loglevel", "error", "-i"]).arg(place.path("in/a.mp4"));
        command.args(arguments.split_whitespace()).output().unwrap().stdout
    };
    let run = |format: &str, bytes: &[u8]| {
        let arguments =
            format!("detect - --format {format} --json --save-dir {} {OPTIONS}", format.replace([':', '@'], "-"));
        place.run_with_stdin(&arguments, bytes)
    };
    let raw = piped("-f rawvideo -pix_fmt rgb24 -");
    let lines = run("rawvideo:120x80@10", &raw).succeeded().json();
    assert_eq!(found(&lines), expected);
    assert_eq!((&lines[3]["path"], lines[3]["time_s"].as_f64()), (&"-".into(), Some(0.3)));
    assert_eq!(written(&place.path("rawvideo-120x80-10/stdin.mp4")), (10, (120, 80)));
    assert_eq!(run("mjpeg", &piped("-f mjpeg -q:v 2 -")).succeeded().json().len(), 10);
    run("mjpeg", b"nothing of the kind").json_failed("error: -: ");
    let cut = run("rawvideo:120x80@20", &raw[..raw.len() - 1]);
    // Nine frames and the error.
    assert_eq!((cut.code, cut.json().len()), (1, 10), "{}", cut.stderr);
    assert!(cut.stderr.contains("truncated: 9 frames could be read"), "{}", cut.stderr);
    assert_eq!(run("rawvideo:120", &raw).code, 2);
}

/// A server on this machine that gives each connection, with the head of its request, to `answer`.
pub(crate) fn listen(answer: impl Fn(TcpStream, &str) -> std::io::Result<()> + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answered = move |mut stream: TcpStream| -> std::io::Result<()> {
        let (mut request, mut byte) = (Vec::new(), [0]);
        while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? > 0 {
            request.push(byte[0]);
        }
        answer(stream, &String::from_utf8_lossy(&request))
    };
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answered = answered.clone();
            std::thread::spawn(move || answered(stream));
        }
    });
    format!("http://{address}")
}

/// Serves a JPEG again and again, every 20 ms, or once where it is asked for a picture.
fn serve(jpeg: Vec<u8>) -> String {
    listen(move |mut stream, request| {
        let head = format!("Content-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", jpeg.len());
        if request.starts_with("GET /a.jpg") {
            stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}").as_bytes())?;
            return stream.write_all(&jpeg);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=next\r\n\r\n")?;
        loop {
            stream.write_all(format!("--next\r\n{head}").as_bytes())?;
            stream.write_all(&jpeg)?;
            stream.write_all(b"\r\n")?;
            std::thread::sleep(Duration::from_millis(20));
        }
    })
}

#[test]
fn streams_are_read_side_by_side_and_pictures_of_the_web_once() {
    if !has_ffmpeg() {
        return;
    }
    let place = place();
    let image = place.image("in/a.jpg", [120, 80], 3);
    let address = serve(std::fs::read(image).unwrap());
    place.write("all.streams", format!("{address}/one\n{address}/two\n4000000\n"));
    let run = detect(&place, "all.streams --max-frames 4 --save-dir out");
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stderr.contains("error: 4000000: there is no camera"), "{}", run.stderr);
    for name in ["one", "two"] {
        let lines = run.lines().into_iter().filter(|line| line.contains(&format!("/{name}: "))).count();
        assert!(lines == 4 && run.stdout.contains("(frame 4) http://127.0.0.1"), "{}", run.stdout);
        assert!(written(&place.path(&format!("out/{name}.mp4"))).0 >= 4);
    }
    let of_web = detect(&place, &format!("{address}/a.jpg --json --save-dir web")).succeeded().json();
    let of_file = detect(&place, "in/a.jpg --json --no-save").succeeded().json();
    assert_eq!(found(&of_web), found(&of_file));
    assert_eq!(place.files("web"), ["a.jpg"]);
}

#[test]
fn an_interrupted_run_leaves_a_video_that_plays() {
    if !has_ffmpeg() {
        return;
    }
    let place = place();
    let image = place.image("in/a.jpg", [120, 80], 3);
    let address = serve(std::fs::read(image).unwrap());
    let mut command = place.command(&format!("detect {address}/live --save-dir out {OPTIONS}"));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let (mut text, mut bytes) = (String::new(), [0; 4096]);
    while text.matches("(frame ").count() < 5 {
        let count = stdout.read(&mut bytes).unwrap();
        assert!(count > 0, "it ended: {text}");
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    // SIGINT is ignored where the tests run in the background of a shell.
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    stdout.read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(text.contains("Results saved to out"), "{text}");
    assert!(written(&place.path("out/live.mp4")).0 >= 5);
    assert_eq!(place.files("out"), ["live.mp4"]);
}
