//! How well a model does on labelled images.

use std::sync::Arc;

use candle_ghostnet::val as classifier_val;
use candle_vision::data::{ClassificationItem, Dataset};
use candle_yolov8::data::{AnnotatedImage, Annotation, DetectionItem};
use candle_yolov8::val::{ValOptions, ValReport, validate, validate_dataset};

use crate::classifier::Classifier;
use crate::detector::Detector;
use crate::error::{Result, request};

impl Detector {
    /// Ultralytics' settings of a validation, at the size that the network was trained at.
    pub fn val_options(&self) -> ValOptions {
        let [height, width] = self.inner().imgsz();
        ValOptions::new().imgsz(height.max(width)).single_cls(self.single_cls())
    }

    /// Measures on labelled images, whose classes are the network's by their numbers: precision, recall, mAP as Ultralytics
    /// and as COCO define them, and the confusion matrix. An image that cannot be read does not count, and has its error in
    /// [`ValReport::images`].
    ///
    /// # Errors
    /// A label of a class that the network does not have; where the device fails.
    pub fn validate(&self, images: &[AnnotatedImage], options: &ValOptions) -> Result<ValReport> {
        images.iter().try_for_each(|image| self.check_labels(&crate::shown(&image.path), &image.labels, options))?;
        Ok(validate(self.inner(), images, options, &mut |_| Ok(()))?)
    }

    /// Refuses labels of classes that the network does not have.
    fn check_labels(&self, image: &str, labels: &[Annotation], options: &ValOptions) -> Result<()> {
        let classes = self.inner().model().num_classes();
        let highest = labels.iter().map(|label| label.class).max().unwrap_or(0);
        if options.single_cls && highest > 0 {
            return Err(request(format!(
                "{image} has a label of class {highest}, and with `single_cls` all are of class 0: read them by \
                 `DatasetSplit::single_cls`"
            )));
        }
        if highest >= classes {
            let name = self.name();
            return Err(request(format!(
                "{image} has a label of class {highest}, and {name} tells {classes} apart, numbered from 0"
            )));
        }
        Ok(())
    }

    /// [`Detector::validate`] on any dataset, such as images in memory. Each item is asked for three times: for its labels, its
    /// size and its pixels.
    ///
    /// # Errors
    /// As [`Detector::validate`].
    pub fn validate_dataset(
        &self,
        images: &dyn Dataset<Item = DetectionItem>,
        options: &ValOptions,
    ) -> Result<ValReport> {
        for index in 0..images.len() {
            // One that cannot be had now does not count.
            if let Ok(item) = images.get(index) {
                self.check_labels(&images.name(index), &item.labels, options)?;
            }
        }
        Ok(validate_dataset(self.inner(), images, options, &mut |_| Ok(()))?)
    }
}

impl Classifier {
    /// The settings of a validation, in the type that the network computes in.
    pub fn val_options(&self) -> classifier_val::ValOptions {
        classifier_val::ValOptions::new().dtype(self.dtype())
    }

    /// Measures on labelled images, of a [`CachedDataset`](candle_vision::data::CachedDataset) or any other dataset: top-1, top-5,
    /// loss, calibration. Images that cannot be read do not count, and are named.
    ///
    /// # Errors
    /// A dataset without images, an image of a class that the network does not have; where the device fails.
    pub fn validate(
        &self,
        images: Arc<dyn Dataset<Item = ClassificationItem>>,
        options: &classifier_val::ValOptions,
    ) -> Result<classifier_val::ValReport> {
        let (network, device) = (self.inner(), self.device());
        Ok(classifier_val::validate(network, device, images, self.transform(), options, &mut |_| Ok(()))?)
    }
}
