//! The images that a detector is trained on, at the size that it sees them.

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_vision::data::{Dataset, ItemError};
use candle_vision::image::{self, GREY, Rgb, RgbImage};
use rayon::prelude::*;

use super::augment::{BoxTarget, RawSample};
use super::dataset_options::{CacheMode, DetectionDatasetOptions};
use super::decoded;
use super::source::{Outline, Source};
use crate::data::{AnnotatedFiles, AnnotatedImage, DataError, DetectionItem};

/// Images with their objects, from files or from any other [`Dataset`], at the size that the detector sees them.
///
/// ```
/// use std::sync::Arc;
///
/// use candle_vision::data::InMemoryDataset;
/// use candle_vision::image::RgbImage;
/// use candle_yolov8::data::{Annotation, DetectionItem};
/// use candle_yolov8::train::{DataLoader, DetectionDataset, DetectionDatasetOptions, LoaderOptions};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let item = DetectionItem::new(RgbImage::new(80, 60), vec![Annotation::normalised(0, [0.5, 0.5, 0.2, 0.4])]);
/// let images = Arc::new(InMemoryDataset::new(vec![item; 4]));
/// let options = DetectionDatasetOptions::new().imgsz(64);
/// let dataset = DetectionDataset::from_dataset(images, &options)?;
/// let loader = DataLoader::new(Arc::new(dataset), LoaderOptions::new().batch(2).workers(0))?;
/// for batch in loader.epoch(0, true, 0)? {
///     assert_eq!((batch?.size, loader.batches_per_epoch()), ([64, 64], 2));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct DetectionDataset {
    imgsz: usize,
    source: Source,
    items: Vec<Item>,
    cached: Option<Vec<Option<Arc<RgbImage>>>>,
    /// Images whose decoded pixels lie beside them.
    on_disk: HashSet<usize>,
    told: Mutex<Told>,
}

/// What is to be said about images.
#[derive(Debug, Default)]
struct Told {
    messages: Vec<String>,
    /// Images whose files are damaged, each of which is told of once.
    damaged: HashSet<usize>,
    /// Images that could not be decoded, each of which is told of once.
    failed: HashSet<usize>,
    /// Why the first of them could not.
    first: Option<String>,
}

#[derive(Debug)]
struct Item {
    /// Its place in the source.
    number: usize,
    path: PathBuf,
    /// [height, width] of the file, upright.
    whole: [usize; 2],
    /// [height, width] at which it is seen.
    size: [usize; 2],
    objects: Vec<BoxTarget>,
}

impl DetectionDataset {
    /// Looks at all files as [`image::upright_size`] does: those that are no image, end too early or are too large are
    /// left out, with their objects. Decodes all images if they are cached. What was left out, or failed, is told by
    /// [`DetectionDataset::take_messages`].
    ///
    /// # Errors
    /// `AllUnreadable` if no image is left, `NoObjects` if those left show none, and as [`DetectionDataset::check_decoded`].
    pub fn new(images: Vec<AnnotatedImage>, options: &DetectionDatasetOptions) -> Result<Self, DataError> {
        Self::of(Source::Files(AnnotatedFiles::new(images, options.max_pixels)), options)
    }

    /// Asks for all items, for their sizes and objects; those that the dataset cannot give, or without pixels, are left out.
    /// Afterwards each is asked for whenever it is used, unless all of them fit in the cache. What was left out, or fails
    /// later, is told by [`DetectionDataset::take_messages`]. `max_pixels` means nothing.
    ///
    /// # Errors
    /// As [`DetectionDataset::new`].
    pub fn from_dataset(
        items: Arc<dyn Dataset<Item = DetectionItem>>,
        options: &DetectionDatasetOptions,
    ) -> Result<Self, DataError> {
        Self::of(Source::Items(items), options)
    }

    fn of(source: Source, options: &DetectionDatasetOptions) -> Result<Self, DataError> {
        let given = source.len();
        let (limit, fetched) = (options.cache.limit(), AtomicU64::new(0));
        let look = |number: usize| {
            let Outline { size: whole, mut objects, image } = source.outline(number)?;
            if options.single_cls {
                objects.iter_mut().for_each(|object| object.class = 0);
            }
            let size = scaled(whole, options.imgsz);
            let bytes = bytes(size);
            // Images that had to be fetched are kept while there is room for them.
            let has_room = fetched.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= limit;
            let kept = image.filter(|_| has_room).map(|image| resized(image, size));
            Ok((Item { number, path: source.path(number), whole, size, objects }, kept))
        };
        let looked: Vec<Result<_, String>> = (0..given).into_par_iter().map(look).collect();
        let (mut items, mut kept, mut messages) = (Vec::with_capacity(given), Vec::new(), Vec::new());
        for looked in looked {
            match looked {
                Ok((item, image)) => {
                    items.push(item);
                    kept.extend(image);
                }
                Err(why) => messages.push(format!("{why}; the image is left out")),
            }
        }
        if items.is_empty() {
            return Err(DataError::AllUnreadable { images: given, first: messages.into_iter().next() });
        }
        if items.iter().all(|item| item.objects.is_empty()) {
            return Err(DataError::NoObjects { images: items.len() });
        }
        let told = Mutex::new(Told { messages, ..Default::default() });
        let mut set = Self { imgsz: options.imgsz, source, items, cached: None, on_disk: HashSet::new(), told };
        if kept.len() == set.len() {
            set.cached = Some(kept.into_iter().map(Some).collect());
        } else if set.bytes() <= limit {
            set.cached = Some((0..set.len()).into_par_iter().map(|index| set.load(index)).collect());
            set.told.get_mut().unwrap_or_else(PoisonError::into_inner).messages.sort_unstable();
            set.check_decoded()?;
        }
        if options.cache == CacheMode::Disk && matches!(set.source, Source::Files(_)) {
            set.write_decoded();
        }
        Ok(set)
    }

    /// Number of images; at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Pixels of an image's longer side.
    #[must_use]
    pub fn imgsz(&self) -> usize {
        self.imgsz
    }

    /// Bytes of all images, decoded and scaled.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.items.iter().map(|item| bytes(item.size)).sum()
    }

    /// Whether all images are in memory.
    #[must_use]
    pub fn is_cached(&self) -> bool {
        self.cached.is_some()
    }

    /// The file of an image; of one from another dataset, its name.
    #[must_use]
    pub fn path(&self, index: usize) -> &Path {
        &self.items[index].path
    }

    /// [height, width] of an image's file, upright.
    #[must_use]
    pub fn size(&self, index: usize) -> [usize; 2] {
        self.items[index].whole
    }

    /// The objects of an image, as fractions of it. Those of crowds are not among them.
    #[must_use]
    pub fn objects(&self, index: usize) -> &[BoxTarget] {
        &self.items[index].objects
    }

    /// What was left out or failed since the last call, one line for each image, once.
    #[must_use]
    pub fn take_messages(&self) -> Vec<String> {
        std::mem::take(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner).messages)
    }

    /// # Errors
    /// `MostlyUndecodable` if more than half of the images were tried and could not be decoded.
    pub fn check_decoded(&self) -> Result<(), DataError> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (failed, images) = (told.failed.len(), self.len());
        if 2 * failed > images {
            return Err(DataError::MostlyUndecodable { failed, images, first: told.first.clone() });
        }
        Ok(())
    }

    /// An image with its objects. One that cannot be decoded is grey and shows nothing.
    #[must_use]
    pub fn scene(&self, index: usize) -> RawSample {
        let image = match &self.cached {
            Some(images) => images[index].clone(),
            None => self.load(index),
        };
        let Item { size: [height, width], objects, .. } = &self.items[index];
        match image {
            Some(image) => RawSample { image, objects: objects.clone() },
            None => {
                let grey = RgbImage::from_pixel(*width as u32, *height as u32, Rgb([GREY; 3]));
                RawSample { image: Arc::new(grey), objects: Vec::new() }
            }
        }
    }

    /// Number of images whose decoded pixels lie in files beside them.
    #[must_use]
    pub fn on_disk(&self) -> usize {
        self.on_disk.len()
    }

    /// Writes the pixels of all images whose file lacks or is out of date. Images that would share one, or whose file's
    /// place is taken, are decoded at each use, and so are all that are left where one cannot be written.
    fn write_decoded(&mut self) {
        let mut sharing: HashMap<PathBuf, usize> = HashMap::new();
        for item in &self.items {
            *sharing.entry(decoded::path(&item.path)).or_default() += 1;
        }
        let (failed, taken) = (OnceLock::new(), OnceLock::new());
        let folders: HashSet<&Path> = sharing.keys().filter_map(|path| path.parent()).collect();
        if let Some(Err(error)) = folders.into_iter().map(decoded::sweep).find(Result::is_err) {
            failed.get_or_init(|| error.to_string());
        }
        let is_there = |index: &usize| {
            let Item { path, whole, .. } = &self.items[*index];
            if sharing[&decoded::path(path)] > 1 || failed.get().is_some() {
                return false;
            }
            if decoded::read(path, *whole).is_some() {
                return true;
            }
            let Some(image) = self.decode(*index) else { return false };
            let written = decoded::write(path, &image);
            let place = || decoded::path(path).display().to_string();
            match &written {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    taken.get_or_init(|| format!("{} is no array of an image and stays as it is", place()));
                }
                Err(error) => {
                    failed.get_or_init(|| format!("cannot write {}: {error}", place()));
                }
                Ok(()) => (),
            }
            written.is_ok()
        };
        self.on_disk = (0..self.len()).into_par_iter().filter(is_there).collect();
        let messages = &mut self.told.get_mut().unwrap_or_else(PoisonError::into_inner).messages;
        let shared = sharing.values().filter(|count| **count > 1).sum::<usize>();
        if shared > 0 {
            messages.push(format!(
                "{shared} images share a name but for its ending, as a.jpg and a.png: they are decoded at each use"
            ));
        }
        for why in [failed.into_inner(), taken.into_inner()].into_iter().flatten() {
            messages.push(format!("{why}; images without a file of their pixels are decoded at each use"));
        }
        messages.sort_unstable();
    }

    /// Decodes and scales an image, on this thread alone.
    fn load(&self, index: usize) -> Option<Arc<RgbImage>> {
        let Item { path, whole, size, .. } = &self.items[index];
        let held = if self.on_disk.contains(&index) { decoded::read(path, *whole) } else { None };
        held.map(Arc::new).or_else(|| self.decode(index)).map(|image| resized(image, *size))
    }

    fn decode(&self, index: usize) -> Option<Arc<RgbImage>> {
        let Item { number, path, .. } = &self.items[index];
        let told = || self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match self.source.image(*number) {
            Ok((image, warning)) => {
                if let Some(warning) = warning {
                    let mut told = told();
                    if told.damaged.insert(index) {
                        told.messages.push(format!("{}: {warning}", path.display()));
                    }
                }
                Some(image)
            }
            Err(why) => {
                let mut told = told();
                if told.failed.insert(index) {
                    told.messages.push(format!("{why}; it counts as a grey image without objects"));
                    told.first.get_or_insert(why);
                }
                None
            }
        }
    }
}

impl Dataset for DetectionDataset {
    type Item = RawSample;

    fn len(&self) -> usize {
        self.items.len()
    }

    fn get(&self, index: usize) -> Result<RawSample, ItemError> {
        Ok(self.scene(index))
    }

    fn name(&self, index: usize) -> String {
        self.path(index).display().to_string()
    }
}

/// Bytes of an image of [height, width].
fn bytes([height, width]: [usize; 2]) -> u64 {
    3 * height as u64 * width as u64
}

/// The image scaled to [height, width], on this thread alone; itself where it has that size.
fn resized(image: Arc<RgbImage>, size: [usize; 2]) -> Arc<RgbImage> {
    match [image.height() as usize, image.width() as usize] == size {
        true => image,
        false => Arc::new(image::resize_bilinear_alone(&image, size)),
    }
}

/// [height, width] with the longer side scaled to `imgsz` and the shorter rounded up.
fn scaled(size: [usize; 2], imgsz: usize) -> [usize; 2] {
    let ratio = imgsz as f64 / size[0].max(size[1]).max(1) as f64;
    size.map(|side| ((side as f64 * ratio).ceil() as usize).min(imgsz))
}

#[cfg(test)]
#[path = "dataset_tests.rs"]
mod tests;
