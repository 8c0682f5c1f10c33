//! `ghostzoo detect` on globs of videos, on files that it would write over, and on what servers send in their own ways.
#![cfg(unix)]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::video::{detect, ffmpeg, found, has_ffmpeg, listen, place, written};

#[test]
fn a_glob_names_videos() {
    if !has_ffmpeg() {
        return;
    }
    let place = place();
    std::fs::copy(place.path("in/a.mp4"), place.path("in/b.MP4")).unwrap();
    let lines = detect(&place, "in/[ab].[mM]* --json --no-save --max-frames 2").succeeded().json();
    let paths: Vec<_> = lines.iter().map(|line| line["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["in/a.mp4", "in/a.mp4", "in/b.MP4", "in/b.MP4"]);
    assert_eq!(detect(&place, "in/*.mp4 --json --no-save").succeeded().json().len(), 10);
    detect(&place, "in/none*.mp4 --no-save").failed(1, &["error: in/none*.mp4: no image or video matches this glob"]);
}

#[test]
fn nothing_is_written_over_what_is_read() {
    if !has_ffmpeg() {
        return;
    }
    let place = place();
    place.image("in/a.png", [120, 80], 3);
    place.image("in/c.jpg", [120, 80], 4);
    // Its video would have the name of the other's.
    ffmpeg(&place, "-i in/a.mp4 -c copy other.mkv");
    std::fs::rename(place.path("other.mkv"), place.path("in/d.mkv")).unwrap();
    std::fs::copy(place.path("in/a.mp4"), place.path("in/d.mp4")).unwrap();
    let files = place.files("in");
    let all = |names: &[&str]| -> Vec<Vec<u8>> {
        names.iter().map(|name| std::fs::read(place.path(&format!("in/{name}"))).unwrap()).collect()
    };
    let names = ["a.mp4", "a.png", "c.jpg", "d.mkv", "d.mp4"];
    let before = all(&names);
    let run = detect(&place, "in/a.mp4 in/a.png in/c.jpg in/d.mkv in/d.mp4 --save-dir ./in/../in --exist-ok");
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(before == all(&names), "{}", run.stderr);
    let errors: Vec<&str> = run.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    let refused = "it is a source of this run; give another --save-dir";
    for (error, source, kind, target) in
        [(0, "a.mp4", "video", "a.mp4"), (1, "c.jpg", "image", "c.jpg"), (2, "d.mkv", "video", "d.mp4")]
    {
        let expected = format!("error: in/{source}: cannot write the {kind} ./in/../in/{target}: {refused}");
        assert_eq!(errors[error], expected);
    }
    assert_eq!(errors.len(), 3, "{}", run.stderr);
    // The others' results have names that were free.
    let mut after = files;
    after.extend(["a-2.png", "d-2.mp4"].map(str::to_owned));
    after.sort();
    assert_eq!(place.files("in"), after);
    assert_eq!(written(&place.path("in/d-2.mp4")).0, 10);
    detect(&place, "in/c.jpg --save-dir out").succeeded();
    detect(&place, "in/c.jpg --save-dir out --exist-ok").succeeded();
}

/// How a server sends a file.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    /// From where it is asked to, and drops the connection after so many bytes.
    Parts(usize),
    /// The first so many bytes of all that it announces, to whoever asks.
    Cut(usize),
    /// Without its length.
    NoLength,
    /// Never.
    Silent,
    /// Only its headers.
    Headers,
}

fn serve(name: &str, bytes: Vec<u8>, manner: Manner) -> String {
    let address = listen(move |mut stream, request| {
        let request = request.to_ascii_lowercase();
        let asked = request.split_once("range: bytes=").and_then(|(_, rest)| rest.split('-').next()?.parse().ok());
        let (start, size) = (asked.unwrap_or(0).min(bytes.len()), bytes.len());
        let length = size - start;
        match manner {
            Manner::Parts(most) => {
                let range = format!("Accept-Ranges: bytes\r\nContent-Range: bytes {start}-{}/{size}\r\n", size - 1);
                write!(stream, "HTTP/1.1 206 Partial Content\r\n{range}Content-Length: {length}\r\n\r\n")?;
                stream.write_all(&bytes[start..size.min(start + most)])?;
            }
            Manner::Cut(most) => {
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")?;
                stream.write_all(&bytes[..most])?;
            }
            Manner::NoLength => {
                write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
                stream.write_all(&bytes)?;
            }
            Manner::Silent => {}
            Manner::Headers => write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")?,
        }
        if matches!(manner, Manner::Silent | Manner::Headers) {
            // Until the other end goes away.
            let _ = stream.read(&mut [0]);
        }
        stream.shutdown(Shutdown::Both)
    });
    format!("{address}/{name}")
}

#[test]
fn what_says_nothing_is_taken_for_nothing() {
    if !has_ffmpeg() {
        return;
    }
    let place = place();
    detect(&place, "in/a.mp4 --no-save --vid-stride 31")
        .failed(1, &["error: in/a.mp4: the video has no frame in the part that was asked for"]);
    let bytes = std::fs::read(place.path("in/a.mp4")).unwrap();
    let address = serve("a.mp4", bytes.clone(), Manner::Parts(bytes.len())).replace("http://", "HTTP://");
    assert_eq!(detect(&place, &format!("{address} --json --no-save")).succeeded().json().len(), 10);
    let mut command = place.command("detect in/a.mp4 --json --no-save -m m.safetensors");
    let output = command.env("GHOSTZOO_FFMPEG", "").env("GHOSTZOO_FFPROBE", "").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_video_of_the_web_is_truncated_only_where_its_end_is_missing() {
    if !has_ffmpeg() {
        return;
    }
    let place = place();
    for (name, options) in [("a.mp4", "-movflags +faststart"), ("a.mkv", "")] {
        ffmpeg(&place, &format!("-f lavfi -i testsrc2=s=120x80:r=10:d=4 -pix_fmt yuv420p {options} {name}"));
        let bytes = std::fs::read(place.path(name)).unwrap();
        let half = bytes.len() / 2;
        let whole = found(&detect(&place, &format!("{name} --json --no-save")).succeeded().json());
        assert_eq!(whole.len(), 40);
        for manner in [Manner::Parts(half + 1), Manner::NoLength] {
            let address = serve(name, bytes.clone(), manner);
            let run = detect(&place, &format!("{address} --json --no-save")).succeeded();
            assert_eq!(found(&run.json()), whole, "{name}");
        }
        let address = serve(name, bytes, Manner::Cut(half));
        let run = detect(&place, &format!("{address} --json --no-save"));
        let run = run.failed(1, &["error: http://127.0.0.1:", "the file is truncated", "Stream ends prematurely at"]);
        let read = run.json().len() - 1;
        assert!(read > 0 && read < 40, "{read} frames of {name}");
    }
}

#[test]
fn an_image_of_the_web_is_waited_for_as_long_as_the_time_out_says() {
    let place = place();
    let image = std::fs::read(place.image("in/a.jpg", [120, 80], 3)).unwrap();
    for manner in [Manner::Silent, Manner::Headers] {
        let address = serve("a.jpg", image.clone(), manner);
        let start = Instant::now();
        let run = detect(&place, &format!("{address} in/a.jpg --json --no-save --timeout 0.5"));
        let run = run.failed(1, &[&format!("error: {address}: stalled: nothing came for 0.5 s")]);
        assert_eq!(run.json().len(), 2);
        assert!(start.elapsed() < Duration::from_secs(30));
    }
    let address = serve("a.jpg", image, Manner::NoLength);
    detect(&place, &format!("{address} --no-save --timeout 20")).succeeded();
}
