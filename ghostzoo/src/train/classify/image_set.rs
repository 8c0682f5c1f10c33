//! Images with their classes: of an index of files, or items of any dataset.

use std::sync::Arc;

use candle_vision::data::{CachedDataset, ClassificationItem, Dataset};
use rayon::prelude::*;

use crate::error::{Context as _, Result};

pub(super) enum ImageSet {
    Files(Arc<CachedDataset>),
    Items { images: Arc<dyn Dataset<Item = ClassificationItem>>, names: Vec<String>, classes: Vec<usize> },
}

impl ImageSet {
    /// Asks for each item, for its class.
    ///
    /// # Errors
    /// Where the dataset cannot give an item.
    pub(super) fn items(images: Arc<dyn Dataset<Item = ClassificationItem>>) -> Result<Self> {
        let names: Vec<String> = (0..images.len()).map(|index| images.name(index)).collect();
        let class = |index: usize| Ok(images.get(index).with_context(|| names[index].clone())?.class);
        let classes = (0..images.len()).into_par_iter().map(class).collect::<Result<_>>()?;
        Ok(Self::Items { images, names, classes })
    }

    pub(super) fn dataset(&self) -> Arc<dyn Dataset<Item = ClassificationItem>> {
        match self {
            Self::Files(images) => images.clone(),
            Self::Items { images, .. } => images.clone(),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Files(images) => images.set().len(),
            Self::Items { classes, .. } => classes.len(),
        }
    }

    pub(super) fn name(&self, index: usize) -> &str {
        match self {
            Self::Files(images) => images.set().name(index),
            Self::Items { names, .. } => &names[index],
        }
    }

    pub(super) fn class_of(&self, index: usize) -> usize {
        match self {
            Self::Files(images) => images.set().class_of(index),
            Self::Items { classes, .. } => classes[index],
        }
    }

    /// Tells sets apart by names and classes.
    pub(super) fn fingerprint(&self) -> String {
        match self {
            Self::Files(images) => images.set().fingerprint(),
            Self::Items { names, classes, .. } => {
                let mut hasher = crc32fast::Hasher::new();
                for (name, class) in names.iter().zip(classes) {
                    hasher.update(format!("{name}\n{class}\n").as_bytes());
                }
                format!("{:08x}", hasher.finalize())
            }
        }
    }
}
