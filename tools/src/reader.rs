//! Images decoded and scaled on a thread of their own, while the model works on those before.

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use candle_vision::data::{LoaderError, PrefetchIter};
use candle_vision::image::{self, DecodeOptions, Decoded, ImageError, RgbImage};
use rayon::prelude::*;

use crate::source::{Source, SourceEntry};
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
    entries: Vec<SourceEntry>,
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
    Of(SourceEntry),
    /// One from stdin, and how many came before it.
    Streamed(usize, Result<Vec<u8>>),
}

/// The files of an entry: those in the stream where it is stdin.
fn files(entry: SourceEntry) -> Box<dyn Iterator<Item = File> + Send> {
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
        File::Of(SourceEntry { label, source }) => {
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::time::Duration;

    use candle_vision::image::{Rgb, save};

    use super::*;

    /// Five images, of which the fourth is none.
    fn entries(folder: &std::path::Path) -> Vec<SourceEntry> {
        let entry = |number: u32| {
            let path = folder.join(format!("{number}.png"));
            save(&RgbImage::from_pixel(4 + number, 3, Rgb([9; 3])), &path).unwrap();
            if number == 3 {
                std::fs::write(&path, b"none").unwrap();
            }
            SourceEntry { label: number.to_string(), source: Ok(Source::File(path)) }
        };
        (0..5).map(entry).collect()
    }

    #[test]
    fn images_are_decoded_before_and_prepared_when_the_model_is_there() {
        let folder = tempfile::tempdir().unwrap();
        for on_all_threads in [false, true] {
            let (sender, prepare): (Sender<Prepare<u32>>, _) = channel();
            let batches = read(entries(folder.path()), 2, on_all_threads, DecodeOptions::default(), prepare).unwrap();
            std::thread::sleep(Duration::from_millis(50));
            sender.send(Box::new(|image| Ok(image.width()))).unwrap();
            let found: Vec<Vec<(String, Option<u32>)>> = batches
                .map(|items| items.unwrap().into_iter().map(|item| (item.label, item.ready.ok().map(|it| it.prepared))))
                .map(Iterator::collect)
                .collect();
            let expected = [Some(4), Some(5), Some(6), None, Some(8)];
            assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
            let flat = found.into_iter().flatten().enumerate();
            flat.for_each(|(number, item)| assert_eq!(item, (number.to_string(), expected[number])));
        }
    }

    #[test]
    fn nothing_waits_for_a_model_that_is_not_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let (sender, prepare): (Sender<Prepare<u32>>, _) = channel();
        let mut batches = read(entries(folder.path()), 2, false, DecodeOptions::default(), prepare).unwrap();
        drop(sender);
        assert!(batches.next().is_none());
    }
}
