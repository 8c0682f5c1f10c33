//! What to train on, and where its images are held.

use candle_vision::{image, sysinfo};

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
    /// In files beside the images: `a.npy` for `a.jpg`, the pixels as Ultralytics keeps them, before they are scaled. Images
    /// without files are asked for when they are used.
    Disk,
    /// Never: each is decoded when it is used.
    Off,
}

impl CacheMode {
    /// Bytes that images may take in memory.
    pub(super) fn limit(self) -> u64 {
        match self {
            Self::Ram => u64::MAX,
            Self::Off | Self::Disk => 0,
            Self::Auto => sysinfo::available().map_or(UNKNOWN_BYTES, |bytes| bytes / MEMORY_SHARE),
        }
    }
}

/// What to train on.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
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

impl DetectionDatasetOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Pixels that an image's longer side is scaled to.
    #[must_use]
    pub fn imgsz(self, imgsz: usize) -> Self {
        Self { imgsz, ..self }
    }

    /// Whether decoded images stay in memory.
    #[must_use]
    pub fn cache(self, cache: CacheMode) -> Self {
        Self { cache, ..self }
    }

    /// Whether all objects count as class 0.
    #[must_use]
    pub fn single_cls(self, single_cls: bool) -> Self {
        Self { single_cls, ..self }
    }

    /// Most pixels of an image.
    #[must_use]
    pub fn max_pixels(self, max_pixels: u64) -> Self {
        Self { max_pixels, ..self }
    }
}
