//! The images that a detector is measured on: files, or items of any dataset.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Result;
use candle_vision::data::Dataset;
use candle_yolov8::Detector;
use candle_yolov8::data::{AnnotatedImage, Annotation, DetectionItem};
use candle_yolov8::val::{
    BatchOutput, ValOptions, ValPlan, ValReport, ranks, validate, validate_batches, validate_dataset,
    validate_dataset_batches,
};
use rayon::prelude::*;

pub(super) enum ValSet {
    Files(Vec<AnnotatedImage>),
    Items { images: Arc<dyn Dataset<Item = DetectionItem>>, names: Vec<PathBuf>, labels: Vec<Vec<Annotation>> },
}

impl fmt::Debug for ValSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} images", self.len())
    }
}

impl ValSet {
    /// Asks for each item, for its labels; one that the dataset cannot give has none, and is told of by the validation.
    pub(super) fn items(images: Arc<dyn Dataset<Item = DetectionItem>>) -> Self {
        let names = (0..images.len()).map(|index| images.name(index).into()).collect();
        let labels = |index: usize| images.get(index).map_or_else(|_| Vec::new(), |item| item.labels);
        Self::Items { names, labels: (0..images.len()).into_par_iter().map(labels).collect(), images }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Files(images) => images.len(),
            Self::Items { labels, .. } => labels.len(),
        }
    }

    /// The file of an image, or its name.
    pub(super) fn path(&self, index: usize) -> &Path {
        match self {
            Self::Files(images) => &images[index].path,
            Self::Items { names, .. } => &names[index],
        }
    }

    pub(super) fn labels(&self, index: usize) -> &[Annotation] {
        match self {
            Self::Files(images) => &images[index].labels,
            Self::Items { labels, .. } => &labels[index],
        }
    }

    pub(super) fn validate(
        &self,
        detector: &Detector,
        options: &ValOptions,
        observe: &mut dyn FnMut(BatchOutput<'_>) -> Result<()>,
    ) -> Result<ValReport> {
        match self {
            Self::Files(images) => validate(detector, images, options, observe),
            Self::Items { images, .. } => validate_dataset(detector, &**images, options, observe),
        }
    }

    /// The batches of a validation.
    pub(super) fn plan(&self, detector: &Detector, options: &ValOptions) -> ValPlan {
        match self {
            Self::Files(images) => ValPlan::new(detector, images, options),
            Self::Items { images, .. } => ValPlan::of_dataset(detector, &**images, options),
        }
    }

    /// Each image's place in the order of ids.
    pub(super) fn places(&self) -> Vec<usize> {
        match self {
            Self::Files(images) => ranks(images),
            Self::Items { labels, .. } => (0..labels.len()).collect(),
        }
    }

    /// Some of the batches.
    pub(super) fn validate_batches(
        &self,
        detector: &Detector,
        options: &ValOptions,
        plan: &ValPlan,
        batches: Range<usize>,
        observe: &mut dyn FnMut(BatchOutput<'_>) -> Result<()>,
    ) -> Result<()> {
        match self {
            Self::Files(images) => validate_batches(detector, images, options, plan, batches, observe),
            Self::Items { images, .. } => {
                validate_dataset_batches(detector, &**images, options, plan, batches, observe)
            }
        }
    }
}
