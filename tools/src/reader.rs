//! Images decoded and scaled on a thread of their own, while the model works on those before.

mod frames;

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use candle_vision::data::{LoaderError, PrefetchIter};
use candle_vision::image::{self, DecodeOptions, Decoded, ImageError, RgbImage};
use ghostzoo::video::VideoOptions;
use rayon::prelude::*;

use crate::source::{Source, SourceEntry};
use crate::stdin::Files;

pub(crate) use frames::VideoFrame;
use frames::{Streams, VideoFiles};

/// An image ready for the model.
pub(crate) struct Ready<T> {
    pub(crate) source: Source,
    pub(crate) image: RgbImage,
    /// What is to be said of the file.
    pub(crate) warning: Option<&'static str>,
    /// Frames or pages of the file, of which this is the first.
    pub(crate) frames: usize,
    /// Its place in the video that it is from.
    pub(crate) frame: Option<VideoFrame>,
    /// What the preparation made of it.
    pub(crate) prepared: T,
    /// Time of the preparation, without reading and decoding.
    pub(crate) preprocess: Duration,
}

/// An entry's label, and its image.
pub(crate) struct Item<T> {
    /// The entry's place among all.
    pub(crate) entry: usize,
    pub(crate) label: String,
    /// One more than the entries: a stream's second file or a later one.
    pub(crate) follows: bool,
    pub(crate) ready: Result<Ready<T>>,
}

/// Images that are looked at together, and what else happened up to the last of them.
pub(crate) struct Batch<T> {
    pub(crate) items: Vec<Item<T>>,
    /// What is to be said of entries, by their labels.
    pub(crate) notes: Vec<(String, String)>,
    /// Videos that nothing follows of, by their places among the entries, and how many of their frames were skipped.
    pub(crate) ended: Vec<(usize, u64)>,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self { items: Vec::new(), notes: Vec::new(), ended: Vec::new() }
    }
}

/// Turns a decoded image into what a model needs.
pub(crate) type Prepare<T> = Arc<dyn Fn(&RgbImage) -> Result<T> + Send + Sync>;

/// How entries are read.
#[derive(Debug, Clone)]
pub(crate) struct ReadOptions {
    /// Images that are looked at together.
    pub(crate) batch: usize,
    /// Whether the images of a batch are decoded side by side, where the network computes elsewhere.
    pub(crate) on_all_threads: bool,
    pub(crate) decode: DecodeOptions,
    pub(crate) video: VideoOptions,
}

/// Entries being read, before the model is there.
pub(crate) struct Reader<T> {
    ahead: PrefetchIter<Batch<T>, LoaderError>,
    streams: Streams,
    sender: SyncSender<Prepare<T>>,
}

/// Entries in their order, `batch` at a time, on a thread of their own: one batch waits while another is made. Cameras and streams
/// come last, side by side: their newest frames when they are asked for.
///
/// Stdin and videos give as many items as they hold images. Images are decoded while the model is loaded, and prepared when
/// [`Reader::batches`] says how; where it never does, nothing follows.
pub(crate) fn read<T: Send + 'static>(entries: Vec<SourceEntry>, options: ReadOptions) -> Result<Reader<T>> {
    let (sender, prepare) = sync_channel::<Prepare<T>>(1);
    let entries = entries.into_iter().enumerate();
    let (streams, others): (Vec<_>, Vec<_>) =
        entries.partition(|(_, entry)| matches!(entry.source, Ok(Source::Stream(_))));
    let streams = Streams::start(streams, &options.video);
    let video = options.video.clone();
    let mut files = others.into_iter().flat_map(move |(number, entry)| files(number, entry, &video));
    let mut received = None;
    let next = move || {
        let mut steps: Vec<Step> = Vec::new();
        let mut images = 0;
        while images < options.batch
            && let Some(step) = files.next()
        {
            images += usize::from(matches!(step, Step::Image(_)));
            steps.push(step);
        }
        if steps.is_empty() {
            return None;
        }
        let decoded = |step| match step {
            Step::Image(file) => Done::Image(decoded(file, &options)),
            Step::Note(label, note) => Done::Note(label, note),
            Step::End(entry) => Done::End(entry),
        };
        let decoded: Vec<Done> = match options.on_all_threads {
            true => steps.into_par_iter().map(decoded).collect(),
            false => steps.into_iter().map(decoded).collect(),
        };
        if received.is_none() {
            received = prepare.recv().ok();
        }
        let prepare = received.as_ref()?;
        let mut batch = Batch::default();
        for done in decoded {
            match done {
                Done::Image(opened) => batch.items.push(item(opened, prepare)),
                Done::Note(label, note) => batch.notes.push((label, note)),
                Done::End(entry) => batch.ended.push((entry, 0)),
            }
        }
        Some(Ok(batch))
    };
    Ok(Reader { ahead: PrefetchIter::spawn(std::iter::from_fn(next))?, streams, sender })
}

impl<T: Send + 'static> Reader<T> {
    /// The batches.
    pub(crate) fn batches(self, prepare: Prepare<T>) -> impl Iterator<Item = Result<Batch<T>>> {
        let Self { ahead, mut streams, sender } = self;
        // A reader that has ended needs none.
        let _ = sender.send(prepare.clone());
        let live = std::iter::from_fn(move || streams.batch(&prepare).map(Ok));
        ahead.map(|batch| Ok(batch?)).chain(live)
    }
}

/// A file that is to be decoded.
enum File {
    /// The entry's own.
    Of(usize, SourceEntry),
    /// One from stdin, and how many came before it.
    Streamed(usize, usize, Result<Vec<u8>>),
    /// A frame of a video, or why there is none.
    Frame(Opened),
}

/// What comes of an entry next.
enum Step {
    Image(File),
    Note(String, String),
    End(usize),
}

/// A [`Step`] whose image is decoded.
enum Done {
    Image(Opened),
    Note(String, String),
    End(usize),
}

/// What an entry holds: the files on stdin, the frames of a video, else its one file.
fn files(number: usize, entry: SourceEntry, options: &VideoOptions) -> Box<dyn Iterator<Item = Step> + Send> {
    match entry.source {
        Ok(Source::Stdin) => {
            let files = Files::new(std::io::stdin());
            Box::new(files.map(move |(before, bytes)| Step::Image(File::Streamed(number, before, bytes))))
        }
        Ok(Source::Video(_)) => Box::new(VideoFiles::new(number, entry, options.clone())),
        _ => Box::new(std::iter::once(Step::Image(File::Of(number, entry)))),
    }
}

/// An image as it was decoded, and what it is from.
struct Opened {
    entry: usize,
    label: String,
    /// Whether it follows another of its entry.
    follows: bool,
    image: Result<(Source, Decoded, Option<VideoFrame>)>,
}

fn decoded(file: File, options: &ReadOptions) -> Opened {
    match file {
        File::Of(entry, SourceEntry { label, source }) => {
            let image = source.and_then(|source| {
                let image = source.decode(&options.decode, options.video.timeout)?;
                Ok((source, image, None))
            });
            Opened { entry, label, follows: false, image }
        }
        File::Streamed(entry, before, bytes) => {
            let image = bytes.and_then(|bytes| match image::decode_with(&bytes, &options.decode) {
                Err(ImageError::NotAnImage { length }) if before > 0 => {
                    bail!("the last {length} bytes on stdin, after image {before}, are no image")
                }
                image => Ok((Source::Stdin, image?, None)),
            });
            let label = if before == 0 { Source::Stdin.label() } else { format!("stdin-{}", before + 1) };
            Opened { entry, label, follows: before > 0, image }
        }
        File::Frame(opened) => opened,
    }
}

fn item<T>(Opened { entry, label, follows, image }: Opened, prepare: &Prepare<T>) -> Item<T> {
    let ready = image.and_then(|(source, Decoded { image, warning, frames }, frame)| {
        let start = Instant::now();
        let prepared = prepare(&image)?;
        Ok(Ready { source, image, warning, frames, frame, prepared, preprocess: start.elapsed() })
    });
    Item { entry, label, follows, ready }
}

#[cfg(test)]
#[path = "reader/tests.rs"]
mod tests;
