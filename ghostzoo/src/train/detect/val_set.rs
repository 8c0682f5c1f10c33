//! The images that a detector is measured on: files, or items of any dataset.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Result;
use candle_vision::data::Dataset;
use candle_yolov8::Detector;
use candle_yolov8::data::{AnnotatedImage, Annotation, DetectionItem};
use candle_yolov8::val::{BatchOutput, ValOptions, ValReport, validate, validate_dataset};
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
}
