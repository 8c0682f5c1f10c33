//! Images decoded and scaled on a thread of their own, while the model works on those before.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
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

/// Entries in their order, `batch` at a time; at most two batches wait.
pub(crate) struct Reader<T> {
    batches: Receiver<Vec<Item<T>>>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Reader<T> {
    /// Starts to read; stdin gives as many items as it holds files. `prepare`, which `wait` gives once the model is known,
    /// turns a decoded image into what that needs. `options` say how to decode. `on_all_threads`: the images of a batch are decoded side by side, where the network
    /// computes elsewhere.
    pub(crate) fn start<P>(
        entries: Vec<ModelEntry>,
        batch: usize,
        on_all_threads: bool,
        options: DecodeOptions,
        wait: impl Fn() -> P + Send + 'static,
    ) -> Result<Self>
    where
        P: Fn(&RgbImage) -> Result<T>,
    {
        let (sender, batches) = sync_channel(1);
        let read = move || {
            let decoded = |entry| decoded(entry, &options);
            let mut files = entries.into_iter().flat_map(files);
            loop {
                let entries: Vec<File> = files.by_ref().take(batch).collect();
                if entries.is_empty() {
                    return;
                }
                // No thread of the pool waits for the model, whose loading needs them.
                let decoded: Box<dyn Iterator<Item = Opened>> = match on_all_threads {
                    true => Box::new(entries.into_par_iter().map(decoded).collect::<Vec<_>>().into_iter()),
                    false => Box::new(entries.into_iter().map(decoded)),
                };
                let items = decoded.map(|decoded| item(decoded, &wait)).collect();
                if sender.send(items).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("reader".to_owned()).spawn(read)?;
        Ok(Self { batches, thread: Some(thread) })
    }

    /// The next batch, or `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<Item<T>>>> {
        match self.batches.recv() {
            Ok(items) => Ok(Some(items)),
            Err(_) => match self.thread.take().map(JoinHandle::join) {
                Some(Err(_)) => Err(anyhow!("the thread that reads images failed; this is a bug of ghostzoo")),
                _ => Ok(None),
            },
        }
    }
}

/// A file that is to be decoded.
enum File {
    /// The entry's own.
    Of(ModelEntry),
    /// One from stdin, and how many came before it.
    Streamed(usize, Result<Vec<u8>>),
}

/// The files of an entry: those in the stream where it is stdin.
fn files(entry: ModelEntry) -> Box<dyn Iterator<Item = File>> {
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

fn item<T, P: Fn(&RgbImage) -> Result<T>>((label, follows, decoded): Opened, wait: &impl Fn() -> P) -> Item<T> {
    let ready = decoded.and_then(|(source, Decoded { image, warning, frames })| {
        let prepare = wait();
        let start = Instant::now();
        let prepared = prepare(&image)?;
        Ok(Ready { source, image, warning, frames, prepared, preprocess: start.elapsed() })
    });
    Item { label, follows, ready }
}
