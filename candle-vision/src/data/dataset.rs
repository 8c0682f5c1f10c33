//! Items by index: what the loaders take, wherever it comes from.

use std::error::Error;
use std::sync::Arc;

use crate::image::{ImageError, RgbImage};

/// Items by index, from files, memory, a database or the network. The threads of a loader share it.
///
/// ```
/// use candle_vision::data::{ClassificationItem, Dataset, ItemError};
/// use candle_vision::image::{Rgb, RgbImage};
///
/// /// Squares of one color, whose class is whether they are bright.
/// struct Squares;
///
/// impl Dataset for Squares {
///     type Item = ClassificationItem;
///
///     fn len(&self) -> usize {
///         256
///     }
///
///     fn get(&self, index: usize) -> Result<ClassificationItem, ItemError> {
///         let level = u8::try_from(index).map_err(ItemError::other)?;
///         Ok(ClassificationItem::new(RgbImage::from_pixel(32, 32, Rgb([level; 3])), usize::from(level > 127)))
///     }
/// }
///
/// assert_eq!(Squares.get(200)?.class, 1);
/// # Ok::<(), ItemError>(())
/// ```
pub trait Dataset: Send + Sync {
    /// What an index stands for, such as a [`ClassificationItem`].
    type Item;

    /// Number of items. It does not change.
    fn len(&self) -> usize;

    /// The item of an index below [`len`](Self::len): the same at each call, from any thread. A loader may ask for it more
    /// than once in an epoch.
    ///
    /// # Errors
    /// Why there is none now. Who takes items says what becomes of its place.
    fn get(&self, index: usize) -> Result<Self::Item, ItemError>;

    /// What messages and plots call an item, such as the name of its file.
    fn name(&self, index: usize) -> String {
        format!("item {index}")
    }

    /// Whether there is no item.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why a dataset cannot give an item.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ItemError {
    /// Its image cannot be read or decoded.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Another reason.
    #[error(transparent)]
    Other(Box<dyn Error + Send + Sync>),
}

impl ItemError {
    /// Takes any error, or a text.
    pub fn other(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Other(reason.into())
    }

    /// Refuses an image without pixels, which no transform takes.
    ///
    /// # Errors
    /// A side of 0 pixels.
    pub fn check_pixels(image: &RgbImage) -> Result<(), Self> {
        match image.is_empty() {
            true => Err(Self::other("the image has no pixels")),
            false => Ok(()),
        }
    }
}

/// An image and what it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassificationItem {
    /// The image, of any size.
    pub image: Arc<RgbImage>,
    /// Number of its class, from 0.
    pub class: usize,
}

impl ClassificationItem {
    /// Of an image, or of one that is shared.
    pub fn new(image: impl Into<Arc<RgbImage>>, class: usize) -> Self {
        Self { image: image.into(), class }
    }
}

/// A list of items. Images within are shared, not copied, where an item holds them by [`Arc`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InMemoryDataset<T> {
    items: Vec<T>,
}

impl<T> InMemoryDataset<T> {
    /// Of these items, in their order.
    #[must_use]
    pub fn new(items: Vec<T>) -> Self {
        Self { items }
    }
}

impl<T> FromIterator<T> for InMemoryDataset<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self::new(items.into_iter().collect())
    }
}

impl<T: Clone + Send + Sync> Dataset for InMemoryDataset<T> {
    type Item = T;

    fn len(&self) -> usize {
        self.items.len()
    }

    fn get(&self, index: usize) -> Result<T, ItemError> {
        self.items.get(index).cloned().ok_or_else(|| ItemError::other(format!("there is no item {index}")))
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn items_are_given_in_their_order_and_share_their_pixels() {
        let image = Arc::new(RgbImage::new(2, 1));
        let items = (0..3).map(|class| ClassificationItem::new(image.clone(), class));
        let set: Arc<dyn Dataset<Item = ClassificationItem>> = Arc::new(items.collect::<InMemoryDataset<_>>());
        assert_eq!((set.len(), set.is_empty(), set.name(2).as_str()), (3, false, "item 2"));
        let item = set.get(1).unwrap();
        assert!(item.class == 1 && Arc::ptr_eq(&item.image, &image));
        assert_eq!(set.get(3).unwrap_err().to_string(), "there is no item 3");
        assert!(InMemoryDataset::<usize>::new(Vec::new()).is_empty());
    }

    #[test]
    fn reasons_are_told_as_they_are() {
        let refused = io::Error::other("refused");
        assert_eq!(ItemError::other(refused).to_string(), "refused");
        assert_eq!(ItemError::from(ImageError::Empty).to_string(), ImageError::Empty.to_string());
        assert!(ItemError::check_pixels(&RgbImage::new(1, 1)).is_ok());
        let error = ItemError::check_pixels(&RgbImage::new(0, 4)).unwrap_err();
        assert_eq!(error.to_string(), "the image has no pixels");
    }
}
