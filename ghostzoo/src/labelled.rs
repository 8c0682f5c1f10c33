//! What a model is worth on labelled images.

use std::path::Path;
use std::sync::Arc;

use candle_vision::data::{CachedDataset, Dataset as _};
use candle_yolov8::data::AnnotatedImage;

use crate::error::{Result, request};
use crate::quantize::Source;
use crate::{Architecture, Classifier, Detector, Model, ValLabels};

/// A part of a data set with labels, for [`prune_within`](crate::prune::prune_within) and
/// [`quantize_within`](crate::quantize::quantize_within) to keep to.
///
/// ```no_run
/// use ghostzoo::LabelledData;
/// use ghostzoo::prune::{PruneOptions, PruneTarget, Source, Taylor, prune_within};
///
/// let (source, data) = (Source::find("yolov8n-ghostnet-bccd")?, "bccd/data.yaml".as_ref());
/// let taylor = Taylor::of_data(&source, data, None, 128, None, &mut ())?;
/// let labelled = LabelledData::open(&source, data, "val", None)?;
/// let options = PruneOptions::new(PruneTarget::NEARLY_ALL);
/// // Loses at most half a point of mAP50-95.
/// let pruned = prune_within(&source, Some(&taylor), &options, 0.005, &mut |model| labelled.measure(model), &mut ())?;
/// println!("{} of {} parameters", pruned.report.parameters[1], pruned.report.parameters[0]);
/// # Ok::<(), ghostzoo::Error>(())
/// ```
pub struct LabelledData {
    images: Images,
    imgsz: Option<[usize; 2]>,
    messages: Vec<String>,
}

enum Images {
    Detection(Vec<AnnotatedImage>),
    Classification(Arc<CachedDataset>),
}

impl std::fmt::Debug for LabelledData {
    /// How many images there are.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let images = match &self.images {
            Images::Detection(images) => images.len(),
            Images::Classification(images) => images.len(),
        };
        f.debug_struct("LabelledData").field("images", &images).field("imgsz", &self.imgsz).finish_non_exhaustive()
    }
}

impl LabelledData {
    /// The part `split` of `data`, whose classes are those of `source`: for a detector a data.yaml, or an instances file of COCO; for a
    /// classifier class folders, tars or Parquet. `imgsz` is `[height, width]`; without it a model's own.
    ///
    /// # Errors
    /// Data that cannot be read, or of other classes; a detector's without a label.
    pub fn open(source: &Source, data: &Path, split: &str, imgsz: Option<[usize; 2]>) -> Result<Self> {
        let (images, messages) = match &source.spec().architecture {
            Architecture::Detector(def) => {
                let mut labels = ValLabels::find(data, None, split)?.read(false)?;
                let names = source.checkpoint().metadata.names.as_deref();
                labels.agree(source.name(), def.nc, names.unwrap_or_default());
                if labels.images.iter().all(|image| image.labels.is_empty()) {
                    return Err(request(format!(
                        "a model is measured on labels, and no image of `{split}` in {} has any: take another split",
                        data.display()
                    )));
                }
                (Images::Detection(labels.images), labels.report.messages)
            }
            Architecture::Classifier(_) => {
                (Images::Classification(Arc::new(source.classified(data, Some(split))?)), Vec::new())
            }
        };
        Ok(Self { images, imgsz, messages })
    }

    /// What is left out of a detector's labels, and each doubt about them, in a line. A classifier's images have none.
    pub fn messages(&self) -> &[String] {
        &self.messages
    }

    /// A detector's mAP50-95 as COCO defines it, or a classifier's top-1, from 0 to 1.
    ///
    /// # Errors
    /// A model for the other task; what [`Detector::validate`] and [`Classifier::validate`] give.
    pub fn measure(&self, mut model: Model) -> Result<f64> {
        match &self.images {
            Images::Detection(images) => {
                let detector = Detector::of(model)?;
                let own = detector.val_options();
                let options = self.imgsz.map_or(own.clone(), |[height, width]| own.imgsz(height.max(width)));
                Ok(detector.validate(images, &options)?.measured.coco.summary.ap.unwrap_or(0.))
            }
            Images::Classification(images) => {
                model.transform.input_size = self.imgsz.unwrap_or(model.transform.input_size);
                let classifier = Classifier::of(model)?;
                Ok(classifier.validate(images.clone(), &classifier.val_options())?.metrics.top1())
            }
        }
    }
}
