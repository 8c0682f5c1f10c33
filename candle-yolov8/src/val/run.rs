//! A detector over a data set.

use std::sync::Arc;
use std::time::{Duration, Instant};

use candle_core::{Error, Result, Tensor, bail};
use candle_vision::data::{Dataset, ItemError, LoaderError, PrefetchIter};
use candle_vision::image;
use candle_vision::nms::{NmsOptions, NmsOutput};
use rayon::prelude::*;

use super::batches::{ValSample, batches};
use super::evaluator::{DetectionEvaluator, EvalResult};
use super::tiled;
use crate::data::{AnnotatedFiles, AnnotatedImage, Annotation, DetectionItem};
use crate::detector::{Detection, Detector};
use crate::tiles::TileOptions;

/// How to validate.
///
/// Unlike prediction, an anchor counts for each class above the threshold, images are scaled before they are laid into a
/// rectangle common to their batch, and that has a margin.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ValOptions {
    /// Pixels that an image's longer side is scaled to, before rounding: see [`ValOptions::side`].
    pub imgsz: usize,
    /// Images per forward pass; with `rect` it decides the shapes too.
    pub batch: usize,
    /// Whether each batch has the shape that fits its images, or all a square.
    pub rect: bool,
    /// What is kept.
    pub nms: NmsOptions,
    /// Confidence above which detections count into the confusion matrix.
    pub confusion_conf: f32,
    /// Whether all detections count as class 0, and suppress each other; labels must be of class 0 then.
    pub single_cls: bool,
    /// Most pixels of an image that is decoded from a file.
    pub max_pixels: u64,
    /// How each image is looked at tile by tile, as in prediction: `imgsz`, `rect` and `nms` are for each tile, and what is
    /// found counts in pixels of the image. `None` for images as a whole.
    pub tiles: Option<TileOptions>,
}

/// What Ultralytics 8.4.190 rounds the size of a validation up to, whatever the model's stride. Measured with strides 32 and
/// 64.
const SIDE_STEP: usize = 32;

impl ValOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Pixels that an image's longer side is scaled to, before rounding: see [`ValOptions::side`].
    #[must_use]
    pub fn imgsz(self, imgsz: usize) -> Self {
        Self { imgsz, ..self }
    }

    /// Images per forward pass; with `rect` it decides the shapes too.
    #[must_use]
    pub fn batch(self, batch: usize) -> Self {
        Self { batch, ..self }
    }

    /// Whether each batch has the shape that fits its images, or all a square.
    #[must_use]
    pub fn rect(self, rect: bool) -> Self {
        Self { rect, ..self }
    }

    /// What is kept.
    #[must_use]
    pub fn nms(self, nms: NmsOptions) -> Self {
        Self { nms, ..self }
    }

    /// Confidence above which detections count into the confusion matrix.
    #[must_use]
    pub fn confusion_conf(self, confusion_conf: f32) -> Self {
        Self { confusion_conf, ..self }
    }

    /// Whether all detections count as class 0, and suppress each other; labels must be of class 0 then.
    #[must_use]
    pub fn single_cls(self, single_cls: bool) -> Self {
        Self { single_cls, ..self }
    }

    /// Most pixels of an image that is decoded from a file.
    #[must_use]
    pub fn max_pixels(self, max_pixels: u64) -> Self {
        Self { max_pixels, ..self }
    }

    /// How each image is looked at tile by tile; `None` for images as a whole.
    #[must_use]
    pub fn tiles(self, tiles: impl Into<Option<TileOptions>>) -> Self {
        Self { tiles: tiles.into(), ..self }
    }

    /// Pixels that an image's longer side is scaled to: `imgsz` rounded up to a multiple of 32.
    #[must_use]
    pub fn side(&self) -> usize {
        self.imgsz.next_multiple_of(SIDE_STEP)
    }
}

impl Default for ValOptions {
    /// Ultralytics' defaults, but for the confusion matrix: it counts above 0.001 there, 0.25 here.
    fn default() -> Self {
        let nms = NmsOptions::new().conf(0.001).iou(0.7).max_det(300).multi_label(true);
        let max_pixels = image::MAX_PIXELS;
        let (confusion_conf, single_cls, tiles) = (0.25, false, None);
        Self { imgsz: 640, batch: 16, rect: true, nms, confusion_conf, single_cls, max_pixels, tiles }
    }
}

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
}

/// Sizes of images, upright, or why they are not known.
type Sizes = Vec<std::result::Result<[usize; 2], ItemError>>;

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
    let files = AnnotatedFiles::new(images, options.max_pixels);
    let sizes: Sizes = (0..images.len()).into_par_iter().map(|image| Ok(files.size(image)?)).collect();
    let differs = |image: &AnnotatedImage, size: &[usize; 2]| image.size.is_some_and(|said| said != *size);
    let both = images.iter().zip(&sizes);
    let size_mismatches = both.filter(|(image, size)| size.as_ref().is_ok_and(|size| differs(image, size))).count();
    let report = run(detector, &files, sizes, &ranks(images), options, observe)?;
    Ok(ValReport { size_mismatches, elapsed: start.elapsed(), ..report })
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
    let size = |number: usize| item(images, number).map(|item| size(&item.image));
    let sizes: Sizes = (0..images.len()).into_par_iter().map(size).collect();
    let order: Vec<usize> = (0..images.len()).collect();
    let report = run(detector, images, sizes, &order, options, observe)?;
    Ok(ValReport { elapsed: start.elapsed(), ..report })
}

/// The images of known sizes; `ranks` are their places in the order in which COCO takes detections of equal confidence.
fn run(
    detector: &Detector,
    images: &dyn Dataset<Item = DetectionItem>,
    sizes: Sizes,
    ranks: &[usize],
    options: &ValOptions,
    observe: &mut dyn FnMut(BatchOutput<'_>) -> Result<()>,
) -> Result<ValReport> {
    let start = Instant::now();
    let total = sizes.len();
    let mut found: Vec<std::result::Result<Vec<Detection>, ItemError>> = Vec::with_capacity(total);
    let (mut readable, mut shapes) = (Vec::new(), Vec::new());
    for (index, size) in sizes.into_iter().enumerate() {
        found.push(size.map(|size| {
            readable.push(index);
            shapes.push(size);
            Vec::new()
        }));
    }
    let side = options.side();
    // One image at a time is in memory as it is.
    let batch = if options.tiles.is_some() { 1 } else { options.batch };
    let plan = batches(&shapes, side, batch, detector.model().max_stride(), options.rect);
    let classes = if options.single_cls { 1 } else { detector.model().num_classes() };
    let mut measure = DetectionEvaluator::new(classes, options.confusion_conf);
    let nms = options.nms.clone().agnostic(options.nms.agnostic || options.single_cls);
    let (mut times, mut dropped, mut damaged) = ([Duration::ZERO; 3], Vec::new(), Vec::new());
    let mut done = total - readable.len();
    std::thread::scope(|scope| -> Result<()> {
        let readable = &readable;
        let inputs = plan.into_iter().map(move |batch| {
            let numbers = batch.images.iter().map(|image| readable[*image]).collect();
            let prepare = |image: Arc<image::RgbImage>| match options.tiles {
                Some(_) => ValSample::whole(Arc::unwrap_or_clone(image)),
                None => ValSample::new(&image, side, batch.shape),
            };
            Ok::<_, LoaderError>(Inputs::read(images, numbers, prepare))
        });
        for inputs in PrefetchIter::spawn_scoped(scope, inputs).map_err(Error::wrap)? {
            let Inputs { numbers, samples, labels, warned, failed, scaling } = inputs.map_err(Error::wrap)?;
            damaged.extend(warned);
            done += numbers.len() + failed.len();
            failed.into_iter().for_each(|(number, error)| found[number] = Err(error));
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
            for (((&number, labels), sample), kept) in numbers.iter().zip(&labels).zip(&samples).zip(&kept) {
                if let Some(label) = labels.iter().find(|label| label.class >= classes) {
                    let (name, class) = (images.name(number), label.class);
                    bail!("{name}: a label has class {class}, but there are {classes} classes")
                }
                if kept.dropped > 0 {
                    dropped.push((number, kept.dropped));
                }
                found[number] = Ok(measure.add(ranks[number], labels, sample, &kept.candidates));
            }
            let (numbers, images, labels) = (&numbers, &samples, &labels);
            observe(BatchOutput { done, total, numbers, images, labels, raw: &raw, found: &kept })?;
        }
        Ok(())
    })?;
    let (measured, elapsed) = (measure.finish(), start.elapsed());
    Ok(ValReport { measured, images: found, damaged, dropped, size_mismatches: 0, times, elapsed })
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
        numbers: Vec<usize>,
        prepare: impl Fn(Arc<image::RgbImage>) -> ValSample + Sync,
    ) -> Self {
        let read = |number: usize| {
            let DetectionItem { image, labels, warning } = item(images, number).map_err(|error| (number, error))?;
            let start = Instant::now();
            let sample = prepare(image);
            Ok((number, sample, labels, warning, start.elapsed()))
        };
        let results: Vec<_> = numbers.into_par_iter().map(read).collect();
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
fn item(images: &dyn Dataset<Item = DetectionItem>, number: usize) -> std::result::Result<DetectionItem, ItemError> {
    let item = images.get(number)?;
    ItemError::check_pixels(&item.image)?;
    Ok(item)
}

fn size(image: &image::RgbImage) -> [usize; 2] {
    [image.height() as usize, image.width() as usize]
}

/// Each image's place in the order of ids.
fn ranks(images: &[AnnotatedImage]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..images.len()).collect();
    order.sort_by(|a, b| images[*a].image_id.cmp(&images[*b].image_id));
    let mut ranks = vec![0; images.len()];
    order.into_iter().enumerate().for_each(|(rank, image)| ranks[image] = rank);
    ranks
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
