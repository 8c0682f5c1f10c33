//! What goes to files image by image: a part of the data, and a table.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::error::usage;
use crate::output::{JsonRecord, ParquetRows};
use crate::part::{Fingerprint, PartFile, PartHeader, PartWriter};
use crate::source::{Source, SourceEntry};

/// Says what a part's file is, and in which version.
pub(super) const FORMAT: &str = "ghostzoo detect part 1";

/// A line of a part: an image, a frame, or what says that a video is over.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Line {
    at: usize,
    done: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) image: Option<JsonRecord>,
}

/// Where the rows go.
#[derive(Default)]
pub(super) struct RowFiles {
    part: Option<Part>,
    table: Option<ParquetRows>,
}

/// A part that is being made.
struct Part {
    writer: PartWriter,
    /// The part's first source.
    start: usize,
    /// Of each source of the part, whether it is a video.
    videos: Vec<bool>,
    /// Sources of the part that are done.
    done: usize,
    /// Those that an earlier run did.
    before: usize,
    is_stopped: bool,
}

impl RowFiles {
    /// A table alone, made while the images are looked at.
    pub(super) fn table(path: Option<&Path>) -> Result<Self> {
        Ok(Self { part: None, table: path.map(ParquetRows::create).transpose()? })
    }

    /// A part's file, new or gone on with; how many of its sources are done.
    pub(super) fn part(
        path: &Path,
        header: &PartHeader,
        resume: bool,
        entries: &[SourceEntry],
    ) -> Result<(Self, usize)> {
        let writer = PartWriter::open(path, header, resume)?;
        let done = writer.next() - header.start;
        let videos = entries.iter().map(is_video).collect();
        let part = Part { writer, start: header.start, videos, done, before: done, is_stopped: false };
        Ok((Self { part: Some(part), table: None }, done))
    }

    /// Adds an image or a frame of the `entry`th source that is looked at.
    pub(super) fn add(&mut self, entry: usize, record: impl FnOnce() -> JsonRecord) -> Result<()> {
        if self.part.is_none() && self.table.is_none() {
            return Ok(());
        }
        let record = record();
        if let Some(table) = &mut self.table {
            table.add(&record)?;
        }
        match &mut self.part {
            Some(part) => part.add(entry, record),
            None => Ok(()),
        }
    }

    /// Says that nothing follows of a video.
    pub(super) fn end(&mut self, entry: usize) -> Result<()> {
        self.part.as_mut().map_or(Ok(()), |part| part.end_before(part.before + entry + 1))
    }

    /// Keeps what follows out of the part: somebody asked to stop, so that a video may have ended before its end.
    pub(super) fn stop(&mut self) {
        if let Some(part) = &mut self.part {
            part.is_stopped = true;
        }
    }

    /// Writes what was added.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.part.as_mut().map_or(Ok(()), |part| part.writer.flush())
    }

    /// After the last image, or where somebody asked to stop.
    pub(super) fn finish(self) -> Result<()> {
        self.part.map_or(Ok(()), |part| part.writer.finish())?;
        self.table.map_or(Ok(()), ParquetRows::finish)
    }
}

impl Part {
    fn add(&mut self, entry: usize, record: JsonRecord) -> Result<()> {
        if self.is_stopped {
            return Ok(());
        }
        let entry = self.before + entry;
        self.end_before(entry)?;
        let done = !self.videos.get(entry).copied().unwrap_or(false);
        self.writer.add(&Line { at: self.start + entry, done, image: Some(record) })?;
        self.done += usize::from(done);
        Ok(())
    }

    /// Ends the videos before a source: how frames come in batches plays no part in the lines' order.
    fn end_before(&mut self, entry: usize) -> Result<()> {
        while !self.is_stopped && self.done < entry && self.videos.get(self.done).copied().unwrap_or(false) {
            self.writer.add(&Line { at: self.start + self.done, done: true, image: None })?;
            self.done += 1;
        }
        Ok(())
    }
}

fn is_video(entry: &SourceEntry) -> bool {
    entry.source.as_ref().is_ok_and(|source| source.video().is_some())
}

/// What a run in parts is of: the sources, and no such that cannot be looked at again.
pub(super) fn fingerprint(entries: &[SourceEntry]) -> Result<String> {
    let mut hash = Fingerprint::default();
    for SourceEntry { label, source } in entries {
        let is_lasting = |source: &Source| match source {
            Source::File(_) | Source::Remote(_) | Source::BuiltIn(_) => true,
            Source::Stdin | Source::Stream(_) => false,
            Source::Video(_) => source.path().is_some(),
        };
        if source.as_ref().is_ok_and(|source| !is_lasting(source)) {
            return Err(usage(format!("--part: {label} is not there a second time, so a run could not go on with it")));
        }
        hash.add(label.as_bytes());
    }
    Ok(hash.finish())
}

/// What finished parts hold.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) images: usize,
    pub(super) boxes: usize,
    pub(super) failed: usize,
}

/// Gives each image of parts to a table, where there is to be one, and to `each`.
pub(super) fn write_table(
    parts: &[PartFile],
    table: Option<&Path>,
    mut each: impl FnMut(&JsonRecord) -> Result<()>,
) -> Result<Totals> {
    let (mut table, mut totals) = (table.map(ParquetRows::create).transpose()?, Totals::default());
    for part in parts {
        part.each(|line: Line| {
            let Some(image) = line.image else { return Ok(()) };
            if let Some(table) = &mut table {
                table.add(&image)?;
            }
            totals.images += 1;
            totals.boxes += image.detections.as_ref().map_or(0, Vec::len);
            totals.failed += usize::from(image.error.is_some());
            each(&image)
        })?;
    }
    table.map_or(Ok(()), ParquetRows::finish)?;
    Ok(totals)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ghostzoo::video::VideoInput;
    use serde_json::{Map, Value};

    #[test]
    fn a_video_that_was_stopped_is_not_done() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("p.jsonl");
        let video = |name: &str| SourceEntry {
            label: name.to_owned(),
            source: Ok(Source::Video(VideoInput::File(name.into()))),
        };
        let entries = [video("a.mp4"), video("b.mp4"), video("c.mp4")];
        let header = PartHeader {
            format: FORMAT.to_owned(),
            data: fingerprint(&entries)?,
            total: 3,
            start: 0,
            end: 3,
            model: "m".to_owned(),
            weights: 1,
            options: Map::new(),
            details: Value::Null,
        };
        let frame = |name: &str| JsonRecord::failed(name, "damaged");
        let (mut rows, done) = RowFiles::part(&path, &header, false, &entries)?;
        assert_eq!(done, 0);
        rows.add(0, || frame("a.mp4"))?;
        rows.end(0)?;
        rows.add(1, || frame("b.mp4"))?;
        rows.stop();
        rows.add(1, || frame("b.mp4"))?;
        rows.end(1)?;
        rows.add(2, || frame("c.mp4"))?;
        rows.end(2)?;
        rows.finish()?;
        let (_, done) = RowFiles::part(&path, &header, true, &entries)?;
        assert_eq!(done, 1);
        Ok(())
    }
}
