//! Labelled images as a dataset gives them: from files, or from wherever else.

use std::borrow::Cow;
use std::sync::Arc;

use candle_vision::data::{Dataset, ItemError};
use candle_vision::image::{self, DecodeOptions, Decoded, ImageError, RgbImage};

use super::{AnnotatedImage, Annotation};

/// An image and its objects.
///
/// ```
/// use candle_vision::data::InMemoryDataset;
/// use candle_vision::image::RgbImage;
/// use candle_yolov8::data::{Annotation, DetectionItem};
///
/// let objects = vec![Annotation::normalised(0, [0.5, 0.5, 0.25, 0.25]), Annotation::pixels(1, [8., 0., 16., 16.])];
/// let images = InMemoryDataset::new(vec![DetectionItem::new(RgbImage::new(64, 48), objects)]);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DetectionItem {
    /// The image, upright, of any size.
    pub image: Arc<RgbImage>,
    /// Its objects; none for a background image.
    pub labels: Vec<Annotation>,
    /// What is to be said of its file, which is damaged and was decoded all the same.
    pub warning: Option<&'static str>,
}

impl DetectionItem {
    /// Of an image, or of one that is shared.
    pub fn new(image: impl Into<Arc<RgbImage>>, labels: Vec<Annotation>) -> Self {
        Self { image: image.into(), labels, warning: None }
    }
}

/// Image files with their labels. Each is decoded whenever it is asked for.
#[derive(Debug, Clone)]
pub struct AnnotatedFiles<'a> {
    images: Cow<'a, [AnnotatedImage]>,
    decode: DecodeOptions,
}

impl<'a> AnnotatedFiles<'a> {
    /// Of a list, as [`DatasetSplit`](super::DatasetSplit) or [`CocoInstances`](super::CocoInstances) reads it. Images of more
    /// than `max_pixels` are errors.
    pub fn new(images: impl Into<Cow<'a, [AnnotatedImage]>>, max_pixels: u64) -> Self {
        Self { images: images.into(), decode: DecodeOptions::new().max_pixels(max_pixels) }
    }

    /// The files and their labels.
    #[must_use]
    pub fn images(&self) -> &[AnnotatedImage] {
        &self.images
    }

    /// `[height, width]` of an image, upright: from its header, with a look at the file's end.
    ///
    /// # Errors
    /// The file is no image, ends too early, or is too large.
    pub fn size(&self, index: usize) -> Result<[usize; 2], ImageError> {
        image::upright_size(&self.images[index].path, &self.decode)
    }

    /// The pixels of an image, upright.
    ///
    /// # Errors
    /// The file cannot be read or decoded.
    pub fn decode(&self, index: usize) -> Result<Decoded, ImageError> {
        image::open_with(&self.images[index].path, &self.decode)
    }
}

impl Dataset for AnnotatedFiles<'_> {
    type Item = DetectionItem;

    fn len(&self) -> usize {
        self.images.len()
    }

    fn get(&self, index: usize) -> Result<DetectionItem, ItemError> {
        let Decoded { image, warning, .. } = self.decode(index)?;
        Ok(DetectionItem { warning, ..DetectionItem::new(image, self.images[index].labels.clone()) })
    }

    fn name(&self, index: usize) -> String {
        self.images[index].path.display().to_string()
    }
}
