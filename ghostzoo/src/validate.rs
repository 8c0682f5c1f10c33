//! How well a detector finds what is labelled.

use candle_yolov8::data::AnnotatedImage;
use candle_yolov8::val::{ValOptions, ValReport, validate};

use crate::detector::Detector;
use crate::error::{Result, request};

impl Detector {
    /// Ultralytics' settings of a validation, at the size that the network was trained at.
    pub fn val_options(&self) -> ValOptions {
        let [height, width] = self.inner().imgsz();
        ValOptions { imgsz: height.max(width), single_cls: self.single_cls(), ..ValOptions::default() }
    }

    /// Measures on labelled images, whose classes are the network's by their numbers: precision, recall, mAP as Ultralytics
    /// and as COCO define them, and the confusion matrix. An image that cannot be read does not count, and has its error in
    /// [`ValReport::images`].
    ///
    /// # Errors
    /// A label of a class that the network does not have; where the device fails.
    pub fn validate(&self, images: &[AnnotatedImage], options: &ValOptions) -> Result<ValReport> {
        let classes = self.inner().model().num_classes();
        let classes_of_labels = if options.single_cls { 1 } else { classes };
        for image in images {
            if let Some(label) = image.labels.iter().find(|label| label.class >= classes_of_labels) {
                return Err(request(format!(
                    "{} has a label of class {}, and {} tells {classes_of_labels} apart, numbered from 0",
                    crate::shown(&image.path),
                    label.class,
                    self.name()
                )));
            }
        }
        Ok(validate(self.inner(), images, options, &mut |_| Ok(()))?)
    }
}
