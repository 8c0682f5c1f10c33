use std::path::Path;
use std::process::Command;

use ghostzoo::video::{Frame, FrameSource, VideoError, VideoInput, VideoOptions};

use crate::{ffmpeg, has_ffmpeg, video};

/// All frames, and how the source ended.
fn read(path: &Path, options: &VideoOptions) -> (Vec<Frame>, Result<(), VideoError>) {
    let source = match FrameSource::open(&VideoInput::parse(path), options) {
        Ok(source) => source,
        Err(error) => return (Vec::new(), Err(error)),
    };
    let mut frames = Vec::new();
    for frame in source {
        match frame {
            Ok(frame) => frames.push(frame),
            Err(error) => return (frames, Err(error)),
        }
    }
    (frames, Ok(()))
}

fn whole(path: &Path, options: &VideoOptions) -> Vec<Frame> {
    let (frames, end) = read(path, options);
    end.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    frames
}

fn error(path: &Path) -> String {
    let (frames, end) = read(path, &VideoOptions::new());
    let error = end.expect_err("an error").to_string();
    assert!(frames.is_empty() && !error.contains('\n'), "{error}");
    error
}

/// Times in frames of a 25th of a second.
fn places(frames: &[Frame]) -> Vec<u64> {
    frames.iter().map(|frame| (frame.time_s * 25.).round() as u64).collect()
}

#[test]
fn frames_are_those_that_ffmpeg_decodes_in_order_with_their_times() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.mp4", "a.mkv", "a.mov", "a.ts"] {
        let path = video(folder.path(), name, 2);
        let source = FrameSource::open(&VideoInput::parse(&path), &VideoOptions::new()).unwrap();
        let info = source.info().unwrap();
        assert_eq!((info.width, info.height, info.is_live), (64, 48, false), "{name}");
        assert_eq!(
            (info.frames.map(|frames| frames.abs_diff(50) <= 1), info.frame_rate),
            (Some(true), Some(25.)),
            "{name}"
        );
        let frames: Vec<Frame> = source.map(Result::unwrap).collect();
        assert_eq!(places(&frames), (0..50).collect::<Vec<_>>(), "{name}");
        assert!(frames.iter().enumerate().all(|(place, frame)| frame.index == place as u64));
        let decoded = Command::new("ffmpeg")
            .args(["-loglevel", "error", "-nostdin", "-i"])
            .arg(&path)
            .args(["-map", "0:v:0", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"])
            .output()
            .unwrap();
        let pixels: Vec<u8> = frames.iter().flat_map(|frame| frame.image.as_raw()).copied().collect();
        assert!(decoded.stdout == pixels, "{name}");
    }
}

#[test]
fn a_part_of_the_frames_is_read() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = video(folder.path(), "a.mp4", 2);
    // OpenCV's `grab` three times, then `retrieve`.
    let strided = VideoOptions::new().vid_stride(3);
    assert_eq!(places(&whole(&path, &strided)), (0..16).map(|frame| 3 * frame + 2).collect::<Vec<_>>());
    let info = FrameSource::open(&VideoInput::parse(&path), &strided).unwrap().info().unwrap();
    assert_eq!((info.frames, info.frame_rate), (Some(16), Some(25. / 3.)));
    let part = VideoOptions::new().start(0.5).end(0.8);
    assert_eq!(places(&whole(&path, &part)), (13..20).collect::<Vec<_>>(), "12.5 to 20, the end exclusive");
    assert_eq!(places(&whole(&path, &VideoOptions::new().max_frames(4).start(1.))), [25, 26, 27, 28]);
    let (frames, end) = read(&path, &VideoOptions::new().start(7.));
    assert_eq!((frames.len(), end), (0, Err(VideoError::NoFrames { is_part: true })));
}

#[test]
fn a_varying_rate_keeps_its_times() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    ffmpeg(
        folder.path(),
        "-f lavfi -i testsrc2=s=64x48:r=25:d=1 -vf setpts='if(lt(N,10),N,10+(N-10)*7)' -vsync passthrough v.mkv",
    );
    let places = places(&whole(&folder.path().join("v.mkv"), &VideoOptions::new()));
    assert_eq!(places, (0..25).map(|n| if n < 10 { n } else { 10 + (n - 10) * 7 }).collect::<Vec<_>>());
}

#[test]
fn frames_are_upright_of_8_bits_and_of_one_size() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    video(folder, "a.mp4", 1);
    let size = |name: &str| {
        let frames = whole(&folder.join(name), &VideoOptions::new());
        let first = frames[0].image.dimensions();
        assert!(frames.iter().all(|frame| frame.image.dimensions() == first), "{name}");
        (frames.len(), first)
    };
    for (degrees, expected) in [(90, (48, 64)), (180, (64, 48)), (45, (64, 48))] {
        ffmpeg(folder, &format!("-i a.mp4 -c copy -metadata:s:v:0 rotate={degrees} r.mp4"));
        // Newer ffmpeg writes no such tag any more: then the frames lie as they were.
        let (count, found) = size("r.mp4");
        assert!(count == 25 && (found == expected || found == (64, 48)), "{degrees}: {found:?}");
    }
    ffmpeg(folder, "-f lavfi -i testsrc2=s=66x50:r=25:d=1 -pix_fmt yuv420p10le ten.mkv");
    assert_eq!(size("ten.mkv"), (25, (66, 50)));
    for (name, side) in [("one.ts", "64x48"), ("two.ts", "96x64")] {
        ffmpeg(folder, &format!("-f lavfi -i testsrc2=s={side}:r=25:d=1 -pix_fmt yuv420p -c:v mpeg2video {name}"));
    }
    let both = [std::fs::read(folder.join("one.ts")).unwrap(), std::fs::read(folder.join("two.ts")).unwrap()];
    std::fs::write(folder.join("both.ts"), both.concat()).unwrap();
    let (count, found) = size("both.ts");
    assert!(count > 40 && found == (64, 48), "{count} {found:?}");
}

#[test]
fn what_is_no_video_is_called_what_it_is() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    ffmpeg(folder, "-f lavfi -i sine=d=1 sound.m4a");
    std::fs::write(folder.join("text.mp4"), "this is no video").unwrap();
    std::fs::write(folder.join("empty.mp4"), "").unwrap();
    let bytes = std::fs::read(video(folder, "a.mp4", 1)).unwrap();
    std::fs::write(folder.join("head.mp4"), &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(error(&folder.join("sound.m4a")), "there is sound, but no video in it");
    for name in ["text.mp4", "empty.mp4", "head.mp4"] {
        let said = error(&folder.join(name));
        assert!(said.starts_with("not a video that ffmpeg reads (") && !said.contains(name), "{said}");
    }
    assert_eq!(error(&folder.join("none.mp4")), "there is no such file");
    assert!(error(folder).contains("a folder"));
    let (_, end) = read(&folder.join("a.mp4"), &VideoOptions::new().max_pixels(64 * 48 - 1));
    assert_eq!(end, Err(VideoError::TooLarge { width: 64, height: 48, limit: 3071 }));
}

#[test]
fn a_truncated_file_gives_what_it_has_and_says_so() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, options) in [("a.mkv", ""), ("a.mp4", "-movflags faststart")] {
        ffmpeg(folder.path(), &format!("-f lavfi -i testsrc2=s=64x48:r=25:d=4 -pix_fmt yuv420p -g 5 {options} {name}"));
        let path = folder.path().join(name);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() * 3 / 4]).unwrap();
        let (frames, end) = read(&path, &VideoOptions::new());
        assert!((10..100).contains(&frames.len()), "{name}: {}", frames.len());
        let said = end.expect_err("it is truncated").to_string();
        assert!(said.starts_with(&format!("the file is truncated: {} frames", frames.len())), "{name}: {said}");
    }
}

#[test]
fn a_source_that_is_left_or_stopped_ends_its_program() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = video(folder.path(), "a.mp4", 4);
    let options = VideoOptions::new();
    let mut source = FrameSource::open(&VideoInput::parse(&path), &options).unwrap();
    assert!(source.next().unwrap().is_ok());
    drop(source);
    let mut source = FrameSource::open(&VideoInput::parse(&path), &options).unwrap();
    options.stop.set();
    assert!(source.next().is_none() && source.next().is_none());
}
