//! Tracks in a file of detections, both in the text form of MOTChallenge.
//!
//! `cargo run --release -p ghostzoo-track --example mot -- TRACKER DETECTIONS [KEY=VALUE…]`: TRACKER is `bytetrack`, `botsort`,
//! `ocsort`, `tracktrack` or a file of settings. A line of DETECTIONS is `frame,-1,left,top,width,height,score`, by frame from 1;
//! a line of the output is `frame,identity,left,top,width,height,score,-1,-1,-1`.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;

use ghostzoo_track::{Detection, Tracker, TrackerConfig};

/// Whole numbers up to here are exact in `f32`.
const MOST_FRAMES: f32 = 16_777_216.0;

/// The detections of each frame that has some.
fn read(text: &str) -> Result<BTreeMap<usize, Vec<Detection>>, Box<dyn Error>> {
    let mut frames: BTreeMap<usize, Vec<Detection>> = BTreeMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let numbers: Result<Vec<f32>, _> = line.split(',').map(|field| field.trim().parse()).collect();
        let numbers = numbers.map_err(|error| format!("line {}: {error}", number + 1))?;
        let &[frame, _, left, top, width, height, confidence, ..] = numbers.as_slice() else {
            return Err(format!("line {}: {} numbers where 7 are needed", number + 1, numbers.len()).into());
        };
        if !(1.0..=MOST_FRAMES).contains(&frame) {
            return Err(format!("line {}: frame {frame} is none of 1 to {MOST_FRAMES}", number + 1).into());
        }
        let xyxy = [left, top, left + width, top + height];
        frames.entry(frame as usize).or_default().push(Detection { class_id: 0, confidence, xyxy });
    }
    Ok(frames)
}

fn config(name: &str, settings: &[String]) -> Result<TrackerConfig, Box<dyn Error>> {
    let mut config = match std::fs::read_to_string(name) {
        Ok(text) => TrackerConfig::from_yaml(&text)?,
        Err(_) => TrackerConfig::named(name)?,
    };
    for setting in settings {
        let (key, value) = setting.split_once('=').ok_or_else(|| format!("`{setting}` is no KEY=VALUE"))?;
        config.set(key, value)?;
    }
    Ok(config)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, file, settings @ ..] = arguments.as_slice() else {
        return Err("usage: mot TRACKER DETECTIONS [KEY=VALUE…]".into());
    };
    let frames = read(&std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?)?;
    let mut tracker = Tracker::new(config(name, settings)?)?;
    let mut output = std::io::BufWriter::new(std::io::stdout().lock());
    for frame in 1..=frames.keys().last().copied().unwrap_or(0) {
        let detections = frames.get(&frame).map_or(&[][..], Vec::as_slice);
        for track in tracker.update(detections, None) {
            let [left, top, right, bottom] = track.xyxy;
            let (width, height) = (right - left, bottom - top);
            let (id, score) = (track.track_id, track.confidence);
            writeln!(output, "{frame},{id},{left},{top},{width},{height},{score},-1,-1,-1")?;
        }
    }
    Ok(())
}
