//! The images that a detector is trained on, at the size that it sees them.

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_vision::image::{self, DecodeOptions, Decoded, GREY, Rgb, RgbImage};
use candle_vision::sysinfo;
use rayon::prelude::*;

use super::augment::{BoxTarget, RawSample};
use super::decoded;
use crate::data::{AnnotatedImage, DataError};

/// Part of the available memory that images may take unasked.
const MEMORY_SHARE: u64 = 4;
/// Bytes that images may take unasked where the available memory is not known.
const UNKNOWN_BYTES: u64 = 1 << 30;

/// Whether decoded images stay in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheMode {
    /// Where they take at most a quarter of the available memory.
    #[default]
    Auto,
    /// Always.
    Ram,
    /// In files beside the images: `a.npy` for `a.jpg`, the pixels as Ultralytics keeps them, before they are scaled.
    Disk,
    /// Never: each is decoded when it is used.
    Off,
}

/// What to train on.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectionDatasetOptions {
    /// Pixels that an image's longer side is scaled to.
    pub imgsz: usize,
    /// Whether decoded images stay in memory. It changes no result.
    pub cache: CacheMode,
    /// Whether all objects count as class 0.
    pub single_cls: bool,
    /// Most pixels of an image.
    pub max_pixels: u64,
}

impl Default for DetectionDatasetOptions {
    fn default() -> Self {
        Self { imgsz: 640, cache: CacheMode::Auto, single_cls: false, max_pixels: image::MAX_PIXELS }
    }
}

/// Images with their objects.
#[derive(Debug)]
pub struct DetectionDataset {
    imgsz: usize,
    decode: DecodeOptions,
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
    labelled: AnnotatedImage,
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
        let given = images.len();
        let decode = DecodeOptions { max_pixels: options.max_pixels, ..DecodeOptions::default() };
        let sizes: Vec<_> = images.par_iter().map(|image| image::upright_size(&image.path, &decode)).collect();
        let (mut items, mut messages) = (Vec::with_capacity(images.len()), Vec::new());
        for (labelled, size) in images.into_iter().zip(sizes) {
            match size {
                Ok(size) => items.push(Item::new(labelled, size, options)),
                Err(error) => messages.push(format!("{}; the image is left out", describe(&labelled.path, &error))),
            }
        }
        if items.is_empty() {
            return Err(DataError::AllUnreadable { images: given, first: messages.into_iter().next() });
        }
        if items.iter().all(|item| item.objects.is_empty()) {
            return Err(DataError::NoObjects { images: items.len() });
        }
        let told = Mutex::new(Told { messages, ..Default::default() });
        let mut set = Self { imgsz: options.imgsz, decode, items, cached: None, on_disk: HashSet::new(), told };
        let is_cached = match options.cache {
            CacheMode::Ram => true,
            CacheMode::Off | CacheMode::Disk => false,
            CacheMode::Auto => set.bytes() <= sysinfo::available().map_or(UNKNOWN_BYTES, |bytes| bytes / MEMORY_SHARE),
        };
        if is_cached {
            set.cached = Some((0..set.len()).into_par_iter().map(|index| set.load(index).map(Arc::new)).collect());
            set.told.get_mut().unwrap_or_else(PoisonError::into_inner).messages.sort_unstable();
            set.check_decoded()?;
        }
        if options.cache == CacheMode::Disk {
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
        self.items.iter().map(|item| 3 * item.size[0] as u64 * item.size[1] as u64).sum()
    }

    /// Whether all images are in memory.
    #[must_use]
    pub fn is_cached(&self) -> bool {
        self.cached.is_some()
    }

    /// The file of an image.
    #[must_use]
    pub fn path(&self, index: usize) -> &Path {
        &self.items[index].labelled.path
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
            None => self.load(index).map(Arc::new),
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
            *sharing.entry(decoded::path(&item.labelled.path)).or_default() += 1;
        }
        let (failed, taken) = (OnceLock::new(), OnceLock::new());
        let folders: HashSet<&Path> = sharing.keys().filter_map(|path| path.parent()).collect();
        if let Some(Err(error)) = folders.into_iter().map(decoded::sweep).find(Result::is_err) {
            failed.get_or_init(|| error.to_string());
        }
        let is_there = |index: &usize| {
            let Item { labelled: AnnotatedImage { path, .. }, whole, .. } = &self.items[*index];
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
    fn load(&self, index: usize) -> Option<RgbImage> {
        let Item { labelled, whole, size, .. } = &self.items[index];
        let held = if self.on_disk.contains(&index) { decoded::read(&labelled.path, *whole) } else { None };
        let image = held.or_else(|| self.decode(index))?;
        if [image.height() as usize, image.width() as usize] == *size {
            Some(image)
        } else {
            Some(image::resize_bilinear_alone(&image, *size))
        }
    }

    fn decode(&self, index: usize) -> Option<RgbImage> {
        let labelled = &self.items[index].labelled;
        let told = || self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match image::open_with(&labelled.path, &self.decode) {
            Ok(Decoded { image, warning, .. }) => {
                if let Some(warning) = warning {
                    let mut told = told();
                    if told.damaged.insert(index) {
                        told.messages.push(format!("{}: {warning}", labelled.path.display()));
                    }
                }
                Some(image)
            }
            Err(error) => {
                let mut told = told();
                if told.failed.insert(index) {
                    let why = describe(&labelled.path, &error);
                    told.messages.push(format!("{why}; it counts as a grey image without objects"));
                    told.first.get_or_insert(why);
                }
                None
            }
        }
    }
}

impl Item {
    fn new(labelled: AnnotatedImage, size: [usize; 2], options: &DetectionDatasetOptions) -> Self {
        let objects = labelled.labels.iter().filter(|label| !label.crowd).map(|label| BoxTarget {
            class: if options.single_cls { 0 } else { label.class },
            xywhn: label.xywhn(labelled.size.unwrap_or(size)),
        });
        Self { objects: objects.collect(), whole: size, size: scaled(size, options.imgsz), labelled }
    }
}

/// [height, width] with the longer side scaled to `imgsz` and the shorter rounded up.
fn scaled(size: [usize; 2], imgsz: usize) -> [usize; 2] {
    let ratio = imgsz as f64 / size[0].max(size[1]).max(1) as f64;
    size.map(|side| ((side as f64 * ratio).ceil() as usize).min(imgsz))
}

fn describe(path: &Path, error: &image::ImageError) -> String {
    match error {
        image::ImageError::Io { .. } => error.to_string(),
        error => format!("{}: {error}", path.display()),
    }
}

#[cfg(test)]
#[path = "dataset_tests.rs"]
mod tests;
