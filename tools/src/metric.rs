//! What a model is worth on labelled images, for commands that keep to it.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use candle_vision::data::{CachedDataset, DatasetOptions, ImageIndex};
use ghostzoo::quantize::Source;
use ghostzoo::{Architecture, Classifier, Detector, Model, ValLabels};

use crate::error::usage;

/// What a model is worth, from 0 to 1.
pub(crate) type Metric = dyn FnMut(Model) -> ghostzoo::Result<f64>;

/// The name of [`metric`] for a reader.
pub(crate) fn name(source: &Source) -> &'static str {
    match &source.spec().architecture {
        Architecture::Detector(_) => "mAP50-95",
        Architecture::Classifier(_) => "top-1",
    }
}

/// mAP50-95 as COCO defines it, or top-1, of models with the classes of `source`, on this part of the data. `imgsz` is
/// `[height, width]`.
pub(crate) fn metric(source: &Source, data: &Path, split: &str, imgsz: Option<[usize; 2]>) -> Result<Box<Metric>> {
    match &source.spec().architecture {
        Architecture::Detector(_) if data.is_dir() => {
            Err(usage("--max-drop measures on labels: give --data a data.yaml instead of a folder"))
        }
        Architecture::Detector(_) => {
            let metadata = &source.checkpoint().metadata;
            let mut dataset = ValLabels::find(data, None, split)?.read(false)?;
            let names = metadata.names.as_deref().unwrap_or_default();
            dataset.agree(source.name(), source.spec().num_classes(), names);
            if dataset.images.iter().all(|image| image.labels.is_empty()) {
                return Err(usage(format!(
                    "--max-drop measures on labels, and no image of `{split}` has any; see --val-split"
                )));
            }
            Ok(Box::new(move |model| {
                let detector = Detector::of(model)?;
                let own = detector.val_options();
                let options = imgsz.map_or(own.clone(), |[height, width]| own.imgsz(height.max(width)));
                Ok(detector.validate(&dataset.images, &options)?.measured.coco.summary.ap.unwrap_or(0.))
            }))
        }
        Architecture::Classifier(config) => {
            let images = Arc::new(CachedDataset::new(index(source, data, config.num_classes, Some(split))?, 0));
            Ok(Box::new(move |model| {
                let mut model = model;
                model.transform.input_size = imgsz.unwrap_or(model.transform.input_size);
                let classifier = Classifier::of(model)?;
                Ok(classifier.validate(images.clone(), &classifier.val_options())?.metrics.top1())
            }))
        }
    }
}

/// A part of a classifier's data, whose classes are the model's.
pub(crate) fn index(source: &Source, data: &Path, classes: usize, split: Option<&str>) -> Result<ImageIndex> {
    let names = source.checkpoint().metadata.names.clone();
    let names = names.unwrap_or_else(|| ghostzoo::imagenet_class_names(classes));
    Ok(ImageIndex::open(data, &DatasetOptions::new(classes).class_names(&names).split(split))?)
}
