//! A detector over a data set.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use candle_core::{Error, Result, Tensor, bail};
use candle_vision::data::{Dataset, ItemError, LoaderError, PrefetchIter};
use candle_vision::image;
use candle_vision::nms::NmsOutput;
use rayon::prelude::*;

use super::batches::{ValBatch, ValSample};
use super::evaluator::{DetectionEvaluator, EvalResult, ImageEval};
use super::options::ValOptions;
use super::plan::ValPlan;
use super::tiled;
use crate::data::{AnnotatedFiles, AnnotatedImage, Annotation, DetectionItem};
use crate::detector::{Detection, Detector};

/// What a validation found.
#[derive(Debug)]
#[non_exhaustive]
pub struct ValReport {
    /// The numbers, of all images that could be read.
    pub measured: EvalResult,
    /// By image, in the order given: its detections in its own pixels, or why it could not be read.
    pub images: Vec<std::result::Result<Vec<Detection>, ItemError>>,
    /// Images whose files are damaged, and what is to be said of them: they count.
    pub damaged: Vec<(usize, &'static str)>,
    /// Images whose candidates were too many, and how many were not looked at: see [`crate::MAX_CANDIDATES`].
    pub dropped: Vec<(usize, usize)>,
    /// Images that are not of the size that their labels say: boxes in pixels are then of another image.
    pub size_mismatches: usize,
    /// Time of scaling, of the network, and of decoding boxes and suppression. Reading images runs beside the network.
    pub times: [Duration; 3],
    /// The whole run.
    pub elapsed: Duration,
}

impl ValReport {
    /// Of images that were looked at elsewhere, such as in parts: without times and without what was noted on the way.
    #[must_use]
    pub fn new(measured: EvalResult, images: Vec<std::result::Result<Vec<Detection>, ItemError>>) -> Self {
        Self {
            measured,
            images,
            damaged: Vec::new(),
            dropped: Vec::new(),
            size_mismatches: 0,
            times: [Duration::ZERO; 3],
            elapsed: Duration::ZERO,
        }
    }
}

/// A batch that was looked at, and how far the validation is.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct BatchOutput<'a> {
    /// Images done.
    pub done: usize,
    /// Images in all.
    pub total: usize,
    /// Which images the batch holds.
    pub numbers: &'a [usize],
    /// The same images as the network saw them; as they are where it saw tiles.
    pub images: &'a [ValSample],
    /// The network's output, of [`crate::Yolo::forward_t`]; none where it saw tiles.
    pub raw: &'a [Tensor],
    /// What they show.
    pub labels: &'a [Vec<Annotation>],
    /// What was kept of each image, in pixels of the input.
    pub found: &'a [NmsOutput],
    /// What each image adds to the numbers.
    pub evals: &'a [ImageEval],
    /// Images of the batch that could not be read, which do not count.
    pub failed: &'a [(usize, ItemError)],
    /// Images of the batch whose files are damaged, and what is to be said of them.
    pub damaged: &'a [(usize, &'static str)],
}

/// Looks at the images of files and compares with their labels, of the detector's classes. `observe` is called after each
/// batch; its error ends the validation.
///
/// Images that cannot be read are in the result and do not count.
///
/// # Errors
/// What the device, the network or `observe` refuses; a label of a class that the detector has not.
pub fn validate(
    detector: &Detector,
    images: &[AnnotatedImage],
    options: &ValOptions,
    observe: &mut dyn FnMut(BatchOutput<'_>) -> Result<()>,
) -> Result<ValReport> {
    let start = Instant::now();
    let plan = ValPlan::new(detector, images, options);
    let size_mismatches = plan.size_mismatches();
    let files = AnnotatedFiles::new(images, options.max_pixels);
    let report = whole(detector, &files, plan, &ranks(images), options, observe)?;
    Ok(ValReport { size_mismatches, elapsed: start.elapsed(), ..report })
}

/// [`validate`] of some batches of a plan alone: for parts that are looked at on several machines. What they show is given to
/// `observe`; [`DetectionEvaluator::add_eval`] puts the images of all batches together, in the order of the batches.
///
/// # Errors
/// As [`validate`].
///
/// # Panics
/// Batches that the plan has not.
pub fn validate_batches(
    detector: &Detector,
    images: &[AnnotatedImage],
    options: &ValOptions,
    plan: &ValPlan,
    batches: Range<usize>,
    observe: &mut dyn FnMut(BatchOutput<'_>) -> Result<()>,
) -> Result<()> {
    let files = AnnotatedFiles::new(images, options.max_pixels);
    some(detector, &files, &plan.batches()[batches], &ranks(images), options, observe)
}

/// [`validate`] of any dataset, such as images in memory. Each item is asked for twice, first for its size.
///
/// # Errors
/// As [`validate`].
pub fn validate_dataset(
    detector: &Detector,
    images: &dyn Dataset<Item = DetectionItem>,
    options: &ValOptions,
    observe: &mut dyn FnMut(BatchOutput<'_>) -> Result<()>,
) -> Result<ValReport> {
    let start = Instant::now();
    let order: Vec<usize> = (0..images.len()).collect();
    let report = whole(detector, images, ValPlan::of_dataset(detector, images, options), &order, options, observe)?;
    Ok(ValReport { elapsed: start.elapsed(), ..report })
}

/// [`validate_batches`] of any dataset, of which images have their own order for that of ids.
///
/// # Errors
/// As [`validate`].
///
/// # Panics
/// Batches that the plan has not.
pub fn validate_dataset_batches(
    detector: &Detector,
    images: &dyn Dataset<Item = DetectionItem>,
    options: &ValOptions,
    plan: &ValPlan,
    batches: Range<usize>,
    observe: &mut dyn FnMut(BatchOutput<'_>) -> Result<()>,
) -> Result<()> {
    let order: Vec<usize> = (0..images.len()).collect();
    some(detector, images, &plan.batches()[batches], &order, options, observe)
}

/// Batches alone.
fn some(
    detector: &Detector,
    images: &dyn Dataset<Item = DetectionItem>,
    batches: &[ValBatch],
    ranks: &[usize],
    options: &ValOptions,
    observe: &mut dyn FnMut(BatchOutput<'_>) -> Result<()>,
) -> Result<()> {
    let total = batches.iter().map(|batch| batch.images.len()).sum();
    run(detector, images, batches, [0, total], ranks, options, observe).map(drop)
}

/// All batches of a plan.
fn whole(
    detector: &Detector,
    images: &dyn Dataset<Item = DetectionItem>,
    plan: ValPlan,
    ranks: &[usize],
    options: &ValOptions,
    observe: &mut dyn FnMut(BatchOutput<'_>) -> Result<()>,
) -> Result<ValReport> {
    let start = Instant::now();
    let total = images.len();
    let mut found: Vec<std::result::Result<Vec<Detection>, ItemError>> = (0..total).map(|_| Ok(Vec::new())).collect();
    let bounds = [plan.unreadable().len(), total];
    let Pass { measure, images, damaged, dropped, times } =
        run(detector, images, plan.batches(), bounds, ranks, options, observe)?;
    for (number, image) in images {
        found[number] = image;
    }
    for (number, error) in plan.into_unreadable() {
        found[number] = Err(error);
    }
    let report = ValReport::new(measure.finish(), found);
    Ok(ValReport { damaged, dropped, times, elapsed: start.elapsed(), ..report })
}

/// What a pass over batches found: the fields of [`ValReport`].
struct Pass {
    measure: DetectionEvaluator,
    images: Vec<(usize, std::result::Result<Vec<Detection>, ItemError>)>,
    damaged: Vec<(usize, &'static str)>,
    dropped: Vec<(usize, usize)>,
    times: [Duration; 3],
}

/// The images of batches; `done` of `total` were looked at before. `ranks` are the images' places in the order in which COCO
/// takes detections of equal confidence.
fn run(
    detector: &Detector,
    images: &dyn Dataset<Item = DetectionItem>,
    plan: &[ValBatch],
    [mut done, total]: [usize; 2],
    ranks: &[usize],
    options: &ValOptions,
    observe: &mut dyn FnMut(BatchOutput<'_>) -> Result<()>,
) -> Result<Pass> {
    let side = options.side();
    let classes = if options.single_cls { 1 } else { detector.model().num_classes() };
    let mut measure = DetectionEvaluator::new(classes, options.confusion_conf);
    let nms = options.nms.clone().agnostic(options.nms.agnostic || options.single_cls);
    let (mut times, mut dropped, mut damaged) = ([Duration::ZERO; 3], Vec::new(), Vec::new());
    let mut looked = Vec::new();
    std::thread::scope(|scope| -> Result<()> {
        let inputs = plan.iter().map(move |batch| {
            let prepare = |image: Arc<image::RgbImage>| match options.tiles {
                Some(_) => ValSample::whole(Arc::unwrap_or_clone(image)),
                None => ValSample::new(&image, side, batch.shape),
            };
            Ok::<_, LoaderError>(Inputs::read(images, &batch.images, prepare))
        });
        for inputs in PrefetchIter::spawn_scoped(scope, inputs).map_err(Error::wrap)? {
            let Inputs { numbers, samples, labels, warned, failed, scaling } = inputs.map_err(Error::wrap)?;
            done += numbers.len() + failed.len();
            times[0] += scaling;
            let (raw, mut kept, spent) = match &options.tiles {
                Some(tiles) => {
                    let name = |number: usize| images.name(numbers[number]);
                    let (kept, spent) = tiled::predict(detector, &samples, tiles, options, &nms, name)?;
                    (Vec::new(), kept, spent)
                }
                None => {
                    let pixels: Vec<_> = samples.iter().map(|sample| &sample.input).collect();
                    detector.forward_batch(&pixels, &nms)?
                }
            };
            if options.single_cls {
                kept.iter_mut().flat_map(|kept| &mut kept.candidates).for_each(|candidate| candidate.class_id = 0);
            }
            times.iter_mut().zip(spent).for_each(|(time, spent)| *time += spent);
            let mut evals = Vec::with_capacity(numbers.len());
            for (((&number, labels), sample), kept) in numbers.iter().zip(&labels).zip(&samples).zip(&kept) {
                if let Some(label) = labels.iter().find(|label| label.class >= classes) {
                    let (name, class) = (images.name(number), label.class);
                    bail!("{name}: a label has class {class}, but there are {classes} classes")
                }
                if kept.dropped > 0 {
                    dropped.push((number, kept.dropped));
                }
                let eval = measure.judge(ranks[number], labels, sample, &kept.candidates);
                measure.add_eval(ranks[number], &eval);
                evals.push(eval);
            }
            observe(BatchOutput {
                done,
                total,
                numbers: &numbers,
                images: &samples,
                labels: &labels,
                raw: &raw,
                found: &kept,
                evals: &evals,
                failed: &failed,
                damaged: &warned,
            })?;
            damaged.extend(warned);
            looked.extend(numbers.into_iter().zip(evals.into_iter().map(|eval| Ok(eval.detections))));
            looked.extend(failed.into_iter().map(|(number, error)| (number, Err(error))));
        }
        Ok(())
    })?;
    Ok(Pass { measure, images: looked, damaged, dropped, times })
}

/// A batch on its way to the network.
#[derive(Default)]
struct Inputs {
    numbers: Vec<usize>,
    samples: Vec<ValSample>,
    labels: Vec<Vec<Annotation>>,
    /// Images whose files are damaged, and what is to be said of them.
    warned: Vec<(usize, &'static str)>,
    /// Images that there are none of.
    failed: Vec<(usize, ItemError)>,
    /// Time of scaling.
    scaling: Duration,
}

impl Inputs {
    /// Takes images and prepares them on all threads.
    fn read(
        images: &dyn Dataset<Item = DetectionItem>,
        numbers: &[usize],
        prepare: impl Fn(Arc<image::RgbImage>) -> ValSample + Sync,
    ) -> Self {
        let read = |number: usize| {
            let DetectionItem { image, labels, warning } = item(images, number).map_err(|error| (number, error))?;
            let start = Instant::now();
            let sample = prepare(image);
            Ok((number, sample, labels, warning, start.elapsed()))
        };
        let results: Vec<_> = numbers.par_iter().copied().map(read).collect();
        let mut inputs = Self::default();
        for result in results {
            match result {
                Ok((number, sample, labels, warning, spent)) => {
                    inputs.numbers.push(number);
                    inputs.samples.push(sample);
                    inputs.labels.push(labels);
                    inputs.warned.extend(warning.map(|warning| (number, warning)));
                    inputs.scaling += spent;
                }
                Err(failed) => inputs.failed.push(failed),
            }
        }
        inputs
    }
}

/// An item with pixels.
pub(super) fn item(
    images: &dyn Dataset<Item = DetectionItem>,
    number: usize,
) -> std::result::Result<DetectionItem, ItemError> {
    let item = images.get(number)?;
    ItemError::check_pixels(&item.image)?;
    Ok(item)
}

pub(super) fn size(image: &image::RgbImage) -> [usize; 2] {
    [image.height() as usize, image.width() as usize]
}

/// Each image's place in the order of ids, in which COCO takes detections of equal confidence.
#[must_use]
pub fn ranks(images: &[AnnotatedImage]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..images.len()).collect();
    order.sort_by(|a, b| images[*a].image_id.cmp(&images[*b].image_id));
    let mut ranks = vec![0; images.len()];
    order.into_iter().enumerate().for_each(|(rank, image)| ranks[image] = rank);
    ranks
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
