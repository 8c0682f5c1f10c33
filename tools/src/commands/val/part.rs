//! Parts of a validation: what each image adds to the numbers, by the batches that the whole would have.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use candle_vision::data::ItemError;
use candle_vision::metrics::{IOU_LEVELS, IouMatches, coco::GroundTruth};
use candle_yolov8::data::{AnnotatedImage, ImageId};
use candle_yolov8::val::{BatchOutput, DetectionEvaluator, ImageEval, ValPlan, ValReport};
use candle_yolov8::{Detection, val};
use ghostzoo::ValData;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error;
use crate::part::{Fingerprint, PartFile, PartWriter};

/// Says what a part's file is, and in which version.
pub(super) const FORMAT: &str = "ghostzoo val part 1";

/// A batch, or the images whose sizes cannot be read, which come behind the last batch.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    at: usize,
    done: bool,
    images: Vec<ImageLine>,
}

/// What an image adds. Floats are their bits: nothing is lost on the way through decimals.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageLine {
    /// Its number in the data.
    number: usize,
    /// Its place in the order of ids.
    rank: usize,
    path: String,
    id: ImageId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Class, confidence, left, top, right, bottom, and a bit for each overlap at which it is right.
    #[serde(default)]
    found: Vec<(usize, u32, [u32; 4], u16)>,
    /// Class; left, top, width, height; area; whether it is a crowd.
    #[serde(default)]
    truths: Vec<(usize, [u64; 4], u64, bool)>,
    /// Predicted and true class.
    #[serde(default)]
    confusion: Vec<(usize, usize)>,
}

/// What results need besides the images.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Details {
    /// Images of all parts.
    images: usize,
    names: Vec<String>,
    categories: Vec<Option<i64>>,
    left_out: usize,
    left_out_objects: usize,
    backgrounds: usize,
    size_mismatches: usize,
}

/// What a part says of its data, beside each image.
pub(super) fn details(dataset: &ValData, plan: &ValPlan) -> Result<Value> {
    let report = &dataset.report;
    Ok(serde_json::to_value(Details {
        images: dataset.images.len(),
        names: dataset.names.clone(),
        categories: dataset.categories().to_vec(),
        left_out: report.left_out,
        left_out_objects: report.left_out_objects,
        backgrounds: report.backgrounds,
        size_mismatches: plan.size_mismatches(),
    })?)
}

/// Hash of the images' names and labels, and of the batches, which their sizes decide.
pub(super) fn fingerprint(dataset: &ValData, plan: &ValPlan) -> String {
    let mut hash = Fingerprint::default();
    for AnnotatedImage { path, image_id, labels, .. } in &dataset.images {
        hash.add(path.file_name().unwrap_or_default().as_encoded_bytes());
        hash.add(format!("{image_id:?} {labels:?}").as_bytes());
    }
    plan.batches().iter().for_each(|batch| hash.add(format!("{batch:?}").as_bytes()));
    hash.finish()
}

/// Items of all parts: the batches, and the images that are in none.
pub(super) fn items(plan: &ValPlan) -> usize {
    plan.batches().len() + 1
}

/// Writes what the batches of a part show.
pub(super) struct PartOutput<'a> {
    dataset: &'a ValData,
    ranks: Vec<usize>,
    writer: PartWriter,
    next: usize,
}

impl<'a> PartOutput<'a> {
    pub(super) fn new(dataset: &'a ValData, writer: PartWriter) -> Self {
        let (ranks, next) = (val::ranks(&dataset.images), writer.next());
        Self { dataset, ranks, writer, next }
    }

    /// Adds a batch.
    pub(super) fn add(&mut self, batch: &BatchOutput<'_>) -> Result<()> {
        let found = batch.numbers.iter().zip(batch.evals);
        let found = found.map(|(number, eval)| self.line(*number, None).with(eval));
        let failed = batch.failed.iter().map(|(number, error)| self.line(*number, Some(error)));
        let images = found.chain(failed).collect();
        self.write(images)
    }

    /// Adds the images that are in no batch, where they are this part's, and finishes the file.
    pub(super) fn finish(mut self, plan: &ValPlan, end: usize) -> Result<()> {
        if self.next < end {
            let failed = plan.unreadable().iter();
            let images = failed.map(|(number, error)| self.line(*number, Some(error))).collect();
            self.write(images)?;
        }
        self.writer.finish()
    }

    fn write(&mut self, images: Vec<ImageLine>) -> Result<()> {
        self.writer.add(&Line { at: self.next, done: true, images })?;
        self.next += 1;
        self.writer.flush()
    }

    fn line(&self, number: usize, error: Option<&ItemError>) -> ImageLine {
        let image = &self.dataset.images[number];
        ImageLine {
            number,
            rank: self.ranks[number],
            path: image.path.to_string_lossy().into_owned(),
            id: image.image_id.clone(),
            error: error.map(|error| error::text(&anyhow::Error::msg(error.to_string()))),
            found: Vec::new(),
            truths: Vec::new(),
            confusion: Vec::new(),
        }
    }
}

impl ImageLine {
    fn with(self, eval: &ImageEval) -> Self {
        let found = |(found, right): (&Detection, &IouMatches)| {
            let bits = right.iter().enumerate().map(|(level, right)| u16::from(*right) << level).sum();
            (found.class_id, found.confidence.to_bits(), found.xyxy.map(f32::to_bits), bits)
        };
        let truth =
            |truth: &GroundTruth| (truth.class, truth.bbox.map(f64::to_bits), truth.area.to_bits(), truth.crowd);
        Self {
            found: eval.detections.iter().zip(&eval.matches).map(found).collect(),
            truths: eval.truths.iter().map(truth).collect(),
            confusion: eval.confusion.clone(),
            ..self
        }
    }

    fn eval(&self) -> ImageEval {
        let detection = |(class_id, confidence, xyxy, _): &(usize, u32, [u32; 4], u16)| Detection {
            class_id: *class_id,
            confidence: f32::from_bits(*confidence),
            xyxy: xyxy.map(f32::from_bits),
        };
        let truth = |(class, bbox, area, crowd): &(usize, [u64; 4], u64, bool)| GroundTruth {
            image: self.rank,
            class: *class,
            bbox: bbox.map(f64::from_bits),
            area: f64::from_bits(*area),
            crowd: *crowd,
        };
        let right = |bits: u16| std::array::from_fn::<bool, IOU_LEVELS, _>(|level| bits >> level & 1 == 1);
        ImageEval {
            detections: self.found.iter().map(detection).collect(),
            matches: self.found.iter().map(|(.., bits)| right(*bits)).collect(),
            truths: self.truths.iter().map(truth).collect(),
            confusion: self.confusion.clone(),
        }
    }
}

/// What parts hold together; the images of one part alone where it is not the whole.
pub(super) struct Assembled {
    pub(super) dataset: ValData,
    pub(super) report: ValReport,
}

/// Puts the images of parts together, in the order of the batches, which decides between equal confidences.
pub(super) fn assemble(parts: &[PartFile], is_whole: bool) -> Result<Assembled> {
    let Some(first) = parts.first() else { bail!("there is no part") };
    let unknown = || format!("{} is no part of this version ({FORMAT})", first.path.display());
    let details: Details = serde_json::from_value(first.header.details.clone()).with_context(unknown)?;
    let classes = details.names.len();
    // What counts into the confusion matrix was decided when the images were looked at.
    let mut measure = DetectionEvaluator::new(classes, 0.);
    let mut seen = BTreeMap::new();
    for part in parts {
        part.each(|line: Line| {
            for image in line.images {
                let eval = image.eval();
                let beyond = eval.truths.iter().any(|truth| truth.class >= classes)
                    || eval.detections.iter().any(|found| found.class_id >= classes)
                    || image.number >= details.images;
                if beyond {
                    bail!("{} names an image or a class that there is none of", part.path.display());
                }
                let found = match image.error {
                    Some(error) => Err(ItemError::other(error)),
                    None => {
                        measure.add_eval(image.rank, &eval);
                        Ok(eval.detections)
                    }
                };
                let path = PathBuf::from(&image.path);
                let seen_now = AnnotatedImage { path, image_id: image.id, size: None, labels: Vec::new() };
                if seen.insert(image.number, (seen_now, found)).is_some() {
                    bail!("{}: {} is in two batches: the parts do not fit", part.path.display(), image.path);
                }
            }
            Ok(())
        })?;
    }
    let missing = details.images - seen.len();
    if is_whole && missing > 0 {
        bail!("{missing} images of {} are in no part: the parts do not fit", details.images);
    }
    let (images, found) = seen.into_values().unzip();
    let mut report = ValReport::new(measure.finish(), found);
    report.size_mismatches = details.size_mismatches;
    let mut labels = candle_yolov8::data::LabelReport::default();
    (labels.left_out, labels.left_out_objects) = (details.left_out, details.left_out_objects);
    labels.backgrounds = details.backgrounds;
    let Details { names, categories, .. } = details;
    Ok(Assembled { dataset: ValData::new(images, names, labels, categories), report })
}

/// The confidence above which boxes counted into the confusion matrix of a part.
pub(super) fn confusion_conf(part: &PartFile) -> f32 {
    let kept = part.header.options.get("confusion_conf").unwrap_or(&json!(null)).as_f64();
    kept.map_or(f32::NAN, |conf| conf as f32)
}
