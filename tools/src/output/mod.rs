//! What was found, as text, JSON, CSV and files.

mod annotate;
mod coco;
mod crop;
mod csv;
mod json;
mod lines;
mod parquet;
mod stdout;
mod table;
mod tracks;
mod txt;

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::sync::Once;
use std::time::Duration;

use candle_vision::image::RgbImage;
use candle_yolov8::Detection;
use serde::{Deserialize, Serialize};

use crate::cli::bytes;
use crate::reader::VideoFrame;
use crate::source::shortened;

pub(crate) use annotate::{annotated, save_annotated};
pub(crate) use coco::CocoResults;
pub(crate) use crop::save_crops;
pub(crate) use csv::CsvRows;
pub(crate) use json::{JsonClass, JsonDetection, JsonDetections, JsonError, JsonRecord, JsonTop};
pub(crate) use lines::{MeanSpeed, counts};
pub(crate) use parquet::ParquetRows;
pub(crate) use stdout::Stdout;
pub(crate) use table::{Table, grouped};
pub(crate) use tracks::{JsonCrossing, JsonZone, Tracked};
pub(crate) use txt::save_txt;

/// Most notes of one kind.
const MOST_NOTES: usize = 20;

/// Says what may hold of many images: the first twenty, and how many more.
pub(crate) fn notes<T: Display>(messages: &[T]) {
    for message in messages.iter().take(MOST_NOTES) {
        status!("note: {message}");
    }
    if messages.len() > MOST_NOTES {
        status!("note: and {} more", messages.len() - MOST_NOTES);
    }
}

/// The names of classes as they are drawn: see [`ghostzoo::plot::drawable`], whose note is said once.
pub(crate) fn drawable(names: &[String], quiet: bool) -> Vec<String> {
    static TOLD: Once = Once::new();
    let (drawn, note) = ghostzoo::plot::drawable(names);
    if let Some(note) = note.filter(|_| !quiet) {
        TOLD.call_once(|| status!("note: {note}"));
    }
    drawn
}

/// Says of which files only the first of several frames or pages is read: of the first three by name.
#[derive(Default)]
pub(crate) struct FrameNotes {
    files: usize,
}

impl FrameNotes {
    const MOST: usize = 3;

    /// Counts a file, and may say so.
    pub(crate) fn add(&mut self, label: &str, frames: usize) {
        if frames > 1 {
            self.files += 1;
            if self.files <= Self::MOST {
                status!("note: {}: the file has {frames} frames or pages; the first is read", shown(label));
            }
        }
    }

    /// Says how many more there were.
    pub(crate) fn close(&self) {
        if self.files > Self::MOST {
            let more = self.files - Self::MOST;
            status!("note: of {more} more with several frames or pages the first is read");
        }
    }
}

/// An image and the objects in it.
pub(crate) struct Found {
    /// The source's name.
    pub(crate) path: String,
    pub(crate) image: RgbImage,
    /// Its place in the video that it is from.
    pub(crate) frame: Option<VideoFrame>,
    /// The most confident first, in pixels of the image.
    pub(crate) detections: Vec<Detection>,
    /// Of a tracked image.
    pub(crate) tracked: Option<Tracked>,
    /// [height, width] that the model saw.
    pub(crate) input_size: [usize; 2],
    pub(crate) speed: Speed,
}

impl Found {
    /// What of it is printed.
    pub(crate) fn record(&self) -> ImageRecord<'_> {
        ImageRecord {
            path: &self.path,
            frame: self.frame,
            size: [self.image.width(), self.image.height()],
            detections: &self.detections,
            tracked: self.tracked.as_ref(),
            speed: self.speed,
        }
    }
}

/// The objects in one image, without its pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ImageRecord<'a> {
    pub(crate) path: &'a str,
    pub(crate) frame: Option<VideoFrame>,
    /// [width, height]
    pub(crate) size: [u32; 2],
    pub(crate) detections: &'a [Detection],
    pub(crate) tracked: Option<&'a Tracked>,
    pub(crate) speed: Speed,
}

impl ImageRecord<'_> {
    /// The identity of a detection.
    fn track_id(&self, index: usize) -> Option<u64> {
        self.tracked.and_then(|tracked| tracked.track_ids.get(index)).copied()
    }
}

/// Time spent on one image, in milliseconds; a batch's time is shared out evenly.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Speed {
    pub(crate) preprocess: f64,
    pub(crate) inference: f64,
    pub(crate) postprocess: f64,
}

impl Speed {
    /// The part of each of `count` images.
    pub(crate) fn shared(self, count: usize) -> Self {
        let share = |time: f64| time / count.max(1) as f64;
        Self {
            preprocess: share(self.preprocess),
            inference: share(self.inference),
            postprocess: share(self.postprocess),
        }
    }
}

/// A time in milliseconds, to the microsecond.
pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

/// The name of a class: the checkpoint's, else its number.
pub(crate) fn class_name(names: &[String], class_id: usize) -> String {
    names.get(class_id).cloned().unwrap_or_else(|| class_id.to_string())
}

/// Text for a terminal: control characters, which would steer it, are escaped.
pub(crate) fn shown(text: &str) -> String {
    let escape = |character: char| {
        if character.is_control() { character.escape_default().to_string() } else { character.to_string() }
    };
    text.chars().map(escape).collect()
}

/// [`shown`] for lines and lists of lines: line feeds and tabs stay, and a character that stands for a byte is `\xE9`.
pub(crate) fn safe(text: &str) -> Cow<'_, str> {
    let is_safe = |given: char| matches!(given, '\n' | '\t') || !given.is_control();
    if text.chars().all(|given| is_safe(given) && bytes::of_character(given).is_none()) {
        return Cow::Borrowed(text);
    }
    let escape = |given: char| match bytes::of_character(given) {
        Some(byte) => format!("\\x{byte:02X}"),
        None if is_safe(given) => given.to_string(),
        None => given.escape_default().to_string(),
    };
    text.chars().map(escape).collect()
}

/// The name of a file of what is saved of an image.
pub(crate) fn file_name(stem: &OsStr, end: &str) -> OsString {
    let mut name = stem.to_owned();
    name.push(end);
    name
}

/// A file name without its extension, made of what every file system takes: a class's name comes from a checkpoint.
pub(crate) fn safe_name(name: &str) -> String {
    let replace = |character: char| match character {
        '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|' => '_',
        character if character.is_control() => '_',
        character => character,
    };
    let name: String = name.chars().map(replace).collect();
    if name.trim_matches(['.', ' ']).is_empty() {
        return "_".to_owned();
    }
    shortened(OsStr::new(&name)).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_steer_a_terminal() {
        let names = ["red\u{1b}[31m\u{9b}\n".to_owned()];
        let detection = Detection { xyxy: [0.; 4], confidence: 1., class_id: 0 };
        assert_eq!(counts(&[detection], &names), r"1 red\u{1b}[31m\u{9b}\n");
        let mut table = Table::new(&["class"], 1);
        table.row(vec![names[0].clone()]);
        assert_eq!(table.lines(), ["class", r"red\u{1b}[31m\u{9b}\n"]);
        assert_eq!(shown("grün 犬"), "grün 犬");
    }

    #[test]
    fn class_names_cannot_leave_the_folder() {
        for (name, expected) in
            [("traffic light", "traffic light"), ("../../etc", ".._.._etc"), ("..", "_"), ("", "_"), ("a\0b", "a_b")]
        {
            assert_eq!(safe_name(name), expected);
        }
    }
}
