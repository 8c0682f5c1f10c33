//! Which images of a data set go together.

use candle_vision::data::{Dataset, ItemError};
use rayon::prelude::*;

use super::batches::{ValBatch, batches};
use super::options::ValOptions;
use super::run::{item, size};
use crate::data::{AnnotatedFiles, AnnotatedImage, DetectionItem};
use crate::detector::Detector;

/// The batches of a validation, by the sizes of all images: the same on every machine that has the same images and options.
#[derive(Debug)]
pub struct ValPlan {
    batches: Vec<ValBatch>,
    unreadable: Vec<(usize, ItemError)>,
    size_mismatches: usize,
}

impl ValPlan {
    /// Reads the sizes of images from their files.
    #[must_use]
    pub fn new(detector: &Detector, images: &[AnnotatedImage], options: &ValOptions) -> Self {
        let files = AnnotatedFiles::new(images, options.max_pixels);
        let sizes: Sizes = (0..images.len()).into_par_iter().map(|image| Ok(files.size(image)?)).collect();
        let differs = |image: &AnnotatedImage, size: &[usize; 2]| image.size.is_some_and(|said| said != *size);
        let both = images.iter().zip(&sizes);
        let size_mismatches = both.filter(|(image, size)| size.as_ref().is_ok_and(|size| differs(image, size))).count();
        Self { size_mismatches, ..Self::of_sizes(detector, sizes, options) }
    }

    /// Asks any dataset for its images, for their sizes.
    #[must_use]
    pub fn of_dataset(detector: &Detector, images: &dyn Dataset<Item = DetectionItem>, options: &ValOptions) -> Self {
        let size = |number: usize| item(images, number).map(|item| size(&item.image));
        Self::of_sizes(detector, (0..images.len()).into_par_iter().map(size).collect(), options)
    }

    /// Of images of known sizes.
    fn of_sizes(detector: &Detector, sizes: Sizes, options: &ValOptions) -> Self {
        let (mut readable, mut shapes, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
        for (index, size) in sizes.into_iter().enumerate() {
            match size {
                Ok(size) => {
                    readable.push(index);
                    shapes.push(size);
                }
                Err(error) => unreadable.push((index, error)),
            }
        }
        // One image at a time is in memory as it is.
        let batch = if options.tiles.is_some() { 1 } else { options.batch };
        let mut batches = batches(&shapes, options.side(), batch, detector.model().max_stride(), options.rect);
        batches.iter_mut().flat_map(|batch| &mut batch.images).for_each(|image| *image = readable[*image]);
        Self { batches, unreadable, size_mismatches: 0 }
    }

    /// The batches, by the numbers of their images.
    #[must_use]
    pub fn batches(&self) -> &[ValBatch] {
        &self.batches
    }

    /// The images whose sizes cannot be read: they are in no batch and do not count.
    #[must_use]
    pub fn unreadable(&self) -> &[(usize, ItemError)] {
        &self.unreadable
    }

    /// Images that are not of the size that their labels say.
    #[must_use]
    pub fn size_mismatches(&self) -> usize {
        self.size_mismatches
    }

    /// [`Self::unreadable`].
    pub(super) fn into_unreadable(self) -> Vec<(usize, ItemError)> {
        self.unreadable
    }
}

/// Sizes of images, upright, or why they are not known.
type Sizes = Vec<Result<[usize; 2], ItemError>>;
