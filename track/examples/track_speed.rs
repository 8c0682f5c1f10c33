//! Frames per second of a tracker, on the detections of a file: `track_speed TRACKER FILE`.
//!
//! A line of the file is `frame left top right bottom score class`, frames in order from 0. `tests/oracle/track_speed.py` writes
//! one, and times Ultralytics' tracker beside this. Printed are frames per second, the slowest frame in milliseconds, and a
//! checksum of the identities.

use std::error::Error;
use std::time::Instant;

use ghostzoo_track::{Detection, Tracker, TrackerConfig};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(name), Some(path)) = (arguments.next(), arguments.next()) else {
        return Err("give the name of a tracker and a file of detections".into());
    };
    let frames = read(&std::fs::read_to_string(path)?)?;
    let mut tracker = Tracker::new(TrackerConfig::named(&name)?)?;
    let (mut checksum, mut slowest) = (0_u64, 0.0_f64);
    let begin = Instant::now();
    for detections in &frames {
        let frame = Instant::now();
        for (place, track) in tracker.update(detections, None).iter().enumerate() {
            let one = (place as u64 + 1) * track.track_id * (track.detection_index as u64 + 1);
            checksum = (checksum + one) % (1 << 32);
        }
        slowest = slowest.max(frame.elapsed().as_secs_f64());
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!("{:.1} {:.3} {checksum}", frames.len() as f64 / seconds, slowest * 1e3);
    Ok(())
}

fn read(text: &str) -> Result<Vec<Vec<Detection>>, Box<dyn Error>> {
    let mut frames: Vec<Vec<Detection>> = Vec::new();
    for line in text.lines() {
        let numbers = line.split(' ').map(str::parse).collect::<Result<Vec<f32>, _>>()?;
        let [frame, x1, y1, x2, y2, confidence, class] = numbers[..] else {
            return Err(format!("seven numbers are a detection, not `{line}`").into());
        };
        if frame as usize >= frames.len() {
            frames.push(Vec::new());
        }
        let detection = Detection { class_id: class as usize, confidence, xyxy: [x1, y1, x2, y2] };
        frames.last_mut().ok_or("no frame")?.push(detection);
    }
    Ok(frames)
}
