use std::path::Path;

use ghostzoo::RgbImage;
use ghostzoo::candle_vision::image::Rgb;
use ghostzoo::video::{Frame, FrameSource, VideoError, VideoInput, VideoOptions, VideoWriter};

use crate::has_ffmpeg;

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// A plain image that differs from frame to frame.
fn image(size: (u32, u32), number: u32) -> RgbImage {
    RgbImage::from_pixel(size.0, size.1, Rgb([(40 + number * 5) as u8, 160, 90]))
}

#[test]
fn a_written_video_has_the_images_at_their_rate() {
    if !has_ffmpeg() {
        return;
    }
    for (size, found) in [((64, 48), (64, 48)), ((65, 49), (66, 50)), ((1, 1), (2, 2))] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.mp4");
        let mut writer = VideoWriter::create(&path, size, Some(12.5)).unwrap();
        (0..30).for_each(|number| writer.write(image(size, number)).unwrap());
        assert!(!path.exists(), "it has its name when it is whole");
        writer.finish().unwrap();
        assert_eq!(names(folder.path()), ["out.mp4"]);
        let source = FrameSource::open(&VideoInput::parse(&path), &VideoOptions::new()).unwrap();
        let info = source.info().unwrap();
        assert_eq!(((info.width, info.height), info.frames, info.frame_rate), (found, Some(30), Some(12.5)));
        let frames: Vec<Frame> = source.map(Result::unwrap).collect();
        assert_eq!(frames.len(), 30);
        for (number, frame) in frames.iter().enumerate().filter(|_| size.0 > 1) {
            let (wanted, pixel) = (image(size, number as u32), frame.image.get_pixel(8, 8));
            let differs = |channel: usize| wanted.get_pixel(8, 8)[channel].abs_diff(pixel[channel]);
            assert!((0..3).all(|channel| differs(channel) <= 8), "{number}: {pixel:?}");
        }
    }
}

#[test]
fn a_video_that_is_not_finished_leaves_nothing() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut writer = VideoWriter::create(&folder.path().join("out.mp4"), (64, 48), None).unwrap();
    writer.write(image((64, 48), 0)).unwrap();
    let error = writer.write(image((48, 64), 0)).expect_err("another size");
    assert_eq!(error.to_string(), "an image of 48x64 pixels, where the video has 64x48");
    drop(writer);
    assert_eq!(names(folder.path()), [""; 0]);
    let nowhere = folder.path().join("none/out.mp4");
    let error = VideoWriter::create(&nowhere, (64, 48), None).expect_err("no folder");
    assert!(matches!(error, VideoError::Write { .. }) && error.to_string().contains("out.mp4"), "{error}");
    std::fs::create_dir(folder.path().join("taken.mp4")).unwrap();
    let mut writer = VideoWriter::create(&folder.path().join("taken.mp4"), (64, 48), None).unwrap();
    writer.write(image((64, 48), 0)).unwrap();
    assert!(writer.finish().is_err());
    assert_eq!(names(folder.path()), ["taken.mp4"]);
}
