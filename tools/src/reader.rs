//! Images decoded and scaled on a thread of their own, while the model works on those before.

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use candle_vision::data::{LoaderError, PrefetchIter};
use candle_vision::image::{self, DecodeOptions, Decoded, ImageError, RgbImage};
use rayon::prelude::*;

use crate::source::{ModelEntry, Source};
use crate::stdin::Files;

/// An image ready for the model.
pub(crate) struct Ready<T> {
    pub(crate) source: Source,
    pub(crate) image: RgbImage,
    /// What is to be said of the file.
    pub(crate) warning: Option<&'static str>,
    /// Frames or pages of the file, of which this is the first.
    pub(crate) frames: usize,
    /// What the preparation made of it.
    pub(crate) prepared: T,
    /// Time of the preparation, without reading and decoding.
    pub(crate) preprocess: Duration,
}

/// An entry's label, and its image.
pub(crate) struct Item<T> {
    pub(crate) label: String,
    /// One more than the entries: a stream's second file or a later one.
    pub(crate) follows: bool,
    pub(crate) ready: Result<Ready<T>>,
}

/// Turns a decoded image into what a model needs.
pub(crate) type Prepare<T> = Box<dyn Fn(&RgbImage) -> Result<T> + Send + Sync>;

/// Entries in their order, `batch` at a time, on a thread of their own: one batch waits while another is made.
///
/// Stdin gives as many items as it holds files. `options` say how to decode. `prepare` is received once, when the first
/// batch is decoded, so that images are decoded while the model is loaded; where its sender is gone, nothing follows.
/// `on_all_threads`: the images of a batch are decoded side by side, where the network computes elsewhere.
pub(crate) fn read<T: Send + 'static>(
    entries: Vec<ModelEntry>,
    batch: usize,
    on_all_threads: bool,
    options: DecodeOptions,
    prepare: Receiver<Prepare<T>>,
) -> Result<PrefetchIter<Vec<Item<T>>, LoaderError>> {
    let mut files = entries.into_iter().flat_map(files);
    let mut received = None;
    let next = move || {
        let files: Vec<File> = files.by_ref().take(batch).collect();
        if files.is_empty() {
            return None;
        }
        let decoded = |file| decoded(file, &options);
        let decoded: Vec<Opened> = match on_all_threads {
            true => files.into_par_iter().map(decoded).collect(),
            false => files.into_iter().map(decoded).collect(),
        };
        if received.is_none() {
            received = prepare.recv().ok();
        }
        let prepare = received.as_ref()?;
        Some(Ok(decoded.into_iter().map(|opened| item(opened, prepare)).collect()))
    };
    Ok(PrefetchIter::spawn(std::iter::from_fn(next))?)
}

/// A file that is to be decoded.
enum File {
    /// The entry's own.
    Of(ModelEntry),
    /// One from stdin, and how many came before it.
    Streamed(usize, Result<Vec<u8>>),
}

/// The files of an entry: those in the stream where it is stdin.
fn files(entry: ModelEntry) -> Box<dyn Iterator<Item = File> + Send> {
    match entry.source {
        Ok(Source::Stdin) => {
            Box::new(Files::new(std::io::stdin()).map(|(before, bytes)| File::Streamed(before, bytes)))
        }
        _ => Box::new(std::iter::once(File::Of(entry))),
    }
}

/// A file's label, whether it follows another of its entry, and its image as it was decoded.
type Opened = (String, bool, Result<(Source, Decoded)>);

fn decoded(file: File, options: &DecodeOptions) -> Opened {
    match file {
        File::Of(ModelEntry { label, source }) => {
            let image = source.and_then(|source| {
                let image = source.decode(options)?;
                Ok((source, image))
            });
            (label, false, image)
        }
        File::Streamed(before, bytes) => {
            let image = bytes.and_then(|bytes| match image::decode_with(&bytes, options) {
                Err(ImageError::NotAnImage { length }) if before > 0 => {
                    bail!("the last {length} bytes on stdin, after image {before}, are no image")
                }
                image => Ok((Source::Stdin, image?)),
            });
            let label = if before == 0 { Source::Stdin.label() } else { format!("stdin-{}", before + 1) };
            (label, before > 0, image)
        }
    }
}

fn item<T>((label, follows, decoded): Opened, prepare: &Prepare<T>) -> Item<T> {
    let ready = decoded.and_then(|(source, Decoded { image, warning, frames })| {
        let start = Instant::now();
        let prepared = prepare(&image)?;
        Ok(Ready { source, image, warning, frames, prepared, preprocess: start.elapsed() })
    });
    Item { label, follows, ready }
}
