//! How good a classifier is on labelled images, of files or of any other dataset.

use std::sync::Arc;

use candle_core::{DType, Device, Error, Result, bail};
use candle_vision::augment::{DataLoader, LoaderOptions};
use candle_vision::data::{ClassificationItem, Dataset, ImageReadError};
use candle_vision::image::EvalTransform;
use candle_vision::metrics::ClassificationMetrics;

use crate::net::GhostNet;

/// How to validate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ValOptions {
    /// Images per forward pass.
    pub batch: usize,
    /// Threads that decode and scale images ahead; 0 does so between the passes.
    pub workers: usize,
    /// Of the network's tensors.
    pub dtype: DType,
}

impl Default for ValOptions {
    /// 128 images, two workers, 32 bits.
    fn default() -> Self {
        let LoaderOptions { batch, workers, .. } = LoaderOptions::default();
        Self { batch, workers, dtype: DType::F32 }
    }
}

impl ValOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Images per forward pass.
    #[must_use]
    pub fn batch(self, batch: usize) -> Self {
        Self { batch, ..self }
    }

    /// Threads that decode and scale images ahead; 0 does so between the passes.
    #[must_use]
    pub fn workers(self, workers: usize) -> Self {
        Self { workers, ..self }
    }

    /// Of the network's tensors.
    #[must_use]
    pub fn dtype(self, dtype: DType) -> Self {
        Self { dtype, ..self }
    }
}

/// What a validation found.
#[derive(Debug)]
#[non_exhaustive]
pub struct ValReport {
    /// The numbers, of all images that could be read.
    pub metrics: ClassificationMetrics,
    /// The others, and why.
    pub unreadable: Vec<ImageReadError>,
}

/// Looks at every image as `transform` has it and compares with its class. `observe` is called after each batch with the
/// numbers of all images so far; its error ends the validation.
///
/// ```
/// use std::sync::Arc;
///
/// use candle_core::{DType, Device};
/// use candle_ghostnet::val::{ValOptions, validate};
/// use candle_ghostnet::{Config, GhostNet, Variant};
/// use candle_vision::data::{ClassificationItem, InMemoryDataset};
/// use candle_vision::image::{EvalTransform, RgbImage};
///
/// # fn main() -> candle_core::Result<()> {
/// let vb = candle_ghostnet::seeded::var_builder(DType::F32, &Device::Cpu);
/// let variant = Variant::from_name("ghostnet_050").expect("one of Variant::ALL");
/// let network = GhostNet::new(&Config::new(variant).num_classes(10).for_inference(), vb)?;
/// let images = (0..10).map(|class| ClassificationItem::new(RgbImage::new(40, 32), class));
/// let images = Arc::new(images.collect::<InMemoryDataset<_>>());
/// let transform = EvalTransform::new().input_size([32, 32]);
/// let options = ValOptions::new().batch(5);
/// let report = validate(&network, &Device::Cpu, images, &transform, &options, &mut |_| Ok(()))?;
/// assert_eq!((report.metrics.images(), report.metrics.top1()), (10, 0.1));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// What the device, the network or `observe` refuses; a dataset without images, an image of a class that the network has not.
pub fn validate(
    network: &GhostNet,
    device: &Device,
    images: Arc<dyn Dataset<Item = ClassificationItem>>,
    transform: &EvalTransform,
    options: &ValOptions,
    observe: &mut dyn FnMut(&ClassificationMetrics) -> Result<()>,
) -> Result<ValReport> {
    let loading = LoaderOptions::new().batch(options.batch).workers(options.workers);
    let loader = DataLoader::eval(images.clone(), transform.clone(), loading).map_err(Error::wrap)?;
    let mut metrics = ClassificationMetrics::default();
    for batch in loader.epoch(0).map_err(Error::wrap)? {
        let batch = batch.map_err(Error::wrap)?;
        let (classes, indices) = (batch.classes.clone(), batch.indices.clone());
        let (inputs, _) = batch.into_tensors(device)?;
        let logits = network.forward(&inputs.to_dtype(options.dtype)?)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        for ((logits, class), index) in logits.iter().zip(classes).zip(indices) {
            if class >= logits.len() {
                bail!("{} has class {class}, but the network has {} classes", images.name(index), logits.len())
            }
            metrics.add(logits, class, &[class]);
        }
        observe(&metrics)?;
    }
    Ok(ValReport { metrics, unreadable: loader.unreadable() })
}

#[cfg(test)]
mod tests {
    use candle_vision::data::InMemoryDataset;
    use candle_vision::image::{Rgb, RgbImage};

    use super::*;
    use crate::config::{Config, Variant};

    /// Images that differ, the second of which has no pixels.
    fn images(classes: &[usize]) -> Vec<ClassificationItem> {
        let image = |number: usize| {
            let side = if number == 1 { 0 } else { 40 };
            let level = |x: u32, y: u32, c: u32| (x * (3 + c) + y * (5 + number as u32) + 60 * number as u32) as u8;
            RgbImage::from_fn(side, 36, |x, y| Rgb([0, 1, 2].map(|channel| level(x, y, channel))))
        };
        classes.iter().enumerate().map(|(number, &class)| ClassificationItem::new(image(number), class)).collect()
    }

    #[test]
    fn the_numbers_are_those_of_single_images() -> Result<()> {
        let vb = candle_vision::seeded::var_builder(DType::F32, &Device::Cpu);
        let variant = Variant::from_name("ghostnet_050").expect("one of Variant::ALL");
        let network = GhostNet::new(&Config { num_classes: 7, ..Config::new(variant) }.for_inference(), vb)?;
        let transform = EvalTransform::new().input_size([32, 32]);
        let items = images(&[0, 1, 2, 3, 4, 5, 6, 0, 1]);
        let mut expected = ClassificationMetrics::default();
        for item in items.iter().filter(|item| item.image.width() > 0) {
            let input = transform.apply(&item.image, &Device::Cpu)?.unsqueeze(0)?;
            expected.add(&network.forward(&input)?.to_vec2::<f32>()?[0], item.class, &[item.class]);
        }
        for workers in [0, 2] {
            let options = ValOptions { batch: 4, workers, ..Default::default() };
            let (set, mut seen) = (Arc::new(InMemoryDataset::new(items.clone())), Vec::new());
            let report = validate(&network, &Device::Cpu, set, &transform, &options, &mut |metrics| {
                seen.push(metrics.images());
                Ok(())
            })?;
            assert_eq!(seen, [3, 7, 8]);
            let found = &report.metrics;
            assert_eq!((found.top1(), found.top5(), found.images()), (expected.top1(), expected.top5(), 8));
            assert!((found.loss() - expected.loss()).abs() < 1e-5, "{} {}", found.loss(), expected.loss());
            assert_eq!(report.unreadable[0].to_string(), "item 1: the image has no pixels");
        }
        let set = Arc::new(InMemoryDataset::new(images(&[0, 0, 7])));
        let error = validate(&network, &Device::Cpu, set, &transform, &ValOptions::default(), &mut |_| Ok(()));
        let error = error.expect_err("a class too many").to_string();
        assert!(error.starts_with("item 2 has class 7, but the network has 7 classes"), "{error}");
        let set = Arc::new(InMemoryDataset::new(Vec::new()));
        let error = validate(&network, &Device::Cpu, set, &transform, &ValOptions::default(), &mut |_| Ok(()));
        assert!(error.expect_err("no image").to_string().starts_with("the dataset has no images"));
        Ok(())
    }
}
