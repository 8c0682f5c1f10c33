//! Where the images of a training come from.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_vision::data::{Dataset, ItemError};
use candle_vision::image::{Decoded, ImageError, RgbImage};

use super::augment::BoxTarget;
use crate::data::{AnnotatedFiles, Annotation, DetectionItem};

/// Files, or any dataset.
pub(super) enum Source {
    Files(AnnotatedFiles<'static>),
    Items(Arc<dyn Dataset<Item = DetectionItem>>),
}

/// What is known of an image before it is used.
pub(super) struct Outline {
    /// [height, width], upright.
    pub(super) size: [usize; 2],
    /// The objects. Those of crowds are not among them.
    pub(super) objects: Vec<BoxTarget>,
    /// The pixels, where they had to be fetched.
    pub(super) image: Option<Arc<RgbImage>>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(files) => files.fmt(f),
            Self::Items(items) => write!(f, "a dataset of {} items", items.len()),
        }
    }
}

impl Source {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Files(files) => files.len(),
            Self::Items(items) => items.len(),
        }
    }

    /// The file of an image; of one that has none its name.
    pub(super) fn path(&self, number: usize) -> PathBuf {
        match self {
            Self::Files(files) => files.images()[number].path.clone(),
            Self::Items(items) => PathBuf::from(items.name(number)),
        }
    }

    /// An image's size and objects: of a file by its header. The error names the image.
    pub(super) fn outline(&self, number: usize) -> Result<Outline, String> {
        match self {
            Self::Files(files) => {
                let labelled = &files.images()[number];
                let size = files.size(number).map_err(|error| describe(&labelled.path, &error))?;
                let objects = targets(&labelled.labels, labelled.size.unwrap_or(size));
                Ok(Outline { size, objects, image: None })
            }
            Self::Items(items) => {
                let DetectionItem { image, labels, .. } = item(items.as_ref(), number)?;
                let size = [image.height() as usize, image.width() as usize];
                Ok(Outline { size, objects: targets(&labels, size), image: Some(image) })
            }
        }
    }

    /// The pixels of an image, and what is to be said of its file. The error names the image.
    pub(super) fn image(&self, number: usize) -> Result<(Arc<RgbImage>, Option<&'static str>), String> {
        match self {
            Self::Files(files) => match files.decode(number) {
                Ok(Decoded { image, warning, .. }) => Ok((Arc::new(image), warning)),
                Err(error) => Err(describe(&files.images()[number].path, &error)),
            },
            Self::Items(items) => item(items.as_ref(), number).map(|item| (item.image, item.warning)),
        }
    }
}

fn item(items: &dyn Dataset<Item = DetectionItem>, number: usize) -> Result<DetectionItem, String> {
    let item = items.get(number).and_then(|item| ItemError::check_pixels(&item.image).map(|()| item));
    item.map_err(|error| format!("{}: {error}", items.name(number)))
}

fn targets(labels: &[Annotation], size: [usize; 2]) -> Vec<BoxTarget> {
    let labels = labels.iter().filter(|label| !label.crowd);
    labels.map(|label| BoxTarget { class: label.class, xywhn: label.xywhn(size) }).collect()
}

fn describe(path: &Path, error: &ImageError) -> String {
    match error {
        ImageError::Io { .. } => error.to_string(),
        error => format!("{}: {error}", path.display()),
    }
}
