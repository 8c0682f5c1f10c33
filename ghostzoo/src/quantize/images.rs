//! The images of a calibration as the network sees them.

use std::sync::Arc;

use candle_core::Device;
use candle_vision::data::{ClassificationItem, Dataset, ItemError};
use candle_vision::image::{EvalTransform, Letterbox, RgbImage, letterbox, to_tensor};
use candle_yolov8::data::DetectionItem;

/// An item of a dataset that has an image.
pub trait HasImage: Send {
    /// Its image.
    fn image(&self) -> &RgbImage;
}

impl HasImage for RgbImage {
    fn image(&self) -> &RgbImage {
        self
    }
}

impl HasImage for Arc<RgbImage> {
    fn image(&self) -> &RgbImage {
        self
    }
}

impl HasImage for ClassificationItem {
    fn image(&self) -> &RgbImage {
        &self.image
    }
}

impl HasImage for DetectionItem {
    fn image(&self) -> &RgbImage {
        &self.image
    }
}

/// How an image becomes a network's input, as prediction has it.
#[derive(Debug, Clone)]
pub(super) enum View {
    Letterbox(Letterbox),
    Transform(EvalTransform),
}

impl View {
    /// [height, width] of the input.
    pub(super) fn size(&self) -> [usize; 2] {
        match self {
            Self::Letterbox(letterbox) => letterbox.size,
            Self::Transform(transform) => transform.input_size,
        }
    }

    /// (channels, height, width) of an item's image.
    pub(super) fn input<I: HasImage>(
        &self,
        images: &dyn Dataset<Item = I>,
        index: usize,
    ) -> Result<Vec<f32>, ItemError> {
        let item = images.get(index)?;
        ItemError::check_pixels(item.image())?;
        let tensor = match self {
            Self::Letterbox(view) => to_tensor(&letterbox(item.image(), view).0, &Device::Cpu),
            Self::Transform(transform) => transform.apply(item.image(), &Device::Cpu),
        };
        tensor.and_then(|xs| xs.flatten_all()?.to_vec1()).map_err(ItemError::other)
    }
}

/// Numbers of `count` items of `len`, spread evenly.
pub(crate) fn spread(len: usize, count: usize) -> Vec<usize> {
    let count = count.min(len);
    (0..count).map(|number| number * len / count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_spread_evenly() {
        assert_eq!(spread(10, 3), [0, 3, 6]);
        assert_eq!(spread(2, 5), [0, 1]);
        assert!(spread(0, 5).is_empty());
    }
}
