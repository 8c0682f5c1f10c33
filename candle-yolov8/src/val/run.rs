//! A detector over a data set.

use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use candle_core::{Result, Tensor};
use candle_vision::image::{self, DecodeOptions, Decoded, ImageError};
use candle_vision::nms::{NmsOptions, NmsOutput};
use rayon::prelude::*;

use super::batches::{ValSample, batches};
use super::evaluator::{DetectionEvaluator, EvalResult};
use crate::data::AnnotatedImage;
use crate::detector::{Detection, Detector};

/// How to validate.
///
/// Unlike prediction, an anchor counts for each class above the threshold, images are scaled before they are laid into a
/// rectangle common to their batch, and that has a margin.
#[derive(Debug, Clone, PartialEq)]
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
    /// Most pixels of an image.
    pub max_pixels: u64,
}

/// What Ultralytics 8.4.190 rounds the size of a validation up to, whatever the model's stride. Measured with strides 32 and
/// 64.
const SIDE_STEP: usize = 32;

impl ValOptions {
    /// Pixels that an image's longer side is scaled to: `imgsz` rounded up to a multiple of 32.
    #[must_use]
    pub fn side(&self) -> usize {
        self.imgsz.next_multiple_of(SIDE_STEP)
    }
}

impl Default for ValOptions {
    /// Ultralytics' defaults, but for the confusion matrix: it counts above 0.001 there, 0.25 here.
    fn default() -> Self {
        let nms = NmsOptions { conf: 0.001, iou: 0.7, max_det: 300, multi_label: true, ..Default::default() };
        let max_pixels = image::MAX_PIXELS;
        Self { imgsz: 640, batch: 16, rect: true, nms, confusion_conf: 0.25, single_cls: false, max_pixels }
    }
}

/// What a validation found.
#[derive(Debug)]
pub struct ValReport {
    /// The numbers, of all images that could be read.
    pub measured: EvalResult,
    /// By image, in the order given: its detections in its own pixels, or why it could not be read.
    pub images: Vec<std::result::Result<Vec<Detection>, ImageError>>,
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
pub struct BatchOutput<'a> {
    /// Images done.
    pub done: usize,
    /// Images in all.
    pub total: usize,
    /// Which images the batch holds.
    pub numbers: &'a [usize],
    /// The same images as the network saw them.
    pub images: &'a [ValSample],
    /// The network's output, of [`crate::Yolo::forward_t`].
    pub raw: &'a [Tensor],
    /// What was kept of each image, in pixels of the input.
    pub found: &'a [NmsOutput],
}

/// A batch on its way to the network.
type PreparedImage = (Vec<usize>, Vec<ValSample>, Duration);

/// Images of a batch of which there is more to say.
#[derive(Default)]
struct Apart {
    failed: Vec<(usize, ImageError)>,
    warned: Vec<(usize, &'static str)>,
}

/// Looks at every image and compares with its labels, of the detector's classes. `observe` is called after each batch;
/// its error ends the validation.
///
/// Images that cannot be read are in the result and do not count.
pub fn validate(
    detector: &Detector,
    images: &[AnnotatedImage],
    options: &ValOptions,
    observe: &mut dyn FnMut(BatchOutput<'_>) -> Result<()>,
) -> Result<ValReport> {
    let start = Instant::now();
    let decode = DecodeOptions { max_pixels: options.max_pixels, ..DecodeOptions::default() };
    let sizes: Vec<_> = images.par_iter().map(|image| image::upright_size(&image.path, &decode)).collect();
    let differs = |(image, size): &(&AnnotatedImage, &std::result::Result<[usize; 2], ImageError>)| matches!((image.size, size), (Some(said), Ok(size)) if said != *size);
    let size_mismatches = images.iter().zip(&sizes).filter(differs).count();
    let mut found: Vec<std::result::Result<Vec<Detection>, ImageError>> = Vec::with_capacity(images.len());
    let (mut readable, mut shapes) = (Vec::new(), Vec::new());
    for (index, size) in sizes.into_iter().enumerate() {
        found.push(size.map(|size| {
            readable.push(index);
            shapes.push(size);
            Vec::new()
        }));
    }
    let stride = detector.model().max_stride();
    let side = options.side();
    let plan = batches(&shapes, side, options.batch, stride, options.rect);
    let ranks = ranks(images);
    let classes = if options.single_cls { 1 } else { detector.model().num_classes() };
    let mut measure = DetectionEvaluator::new(classes, options.confusion_conf);
    let nms = NmsOptions { agnostic: options.nms.agnostic || options.single_cls, ..options.nms.clone() };
    let (mut times, mut dropped, mut damaged) = ([Duration::ZERO; 3], Vec::new(), Vec::new());
    let (mut done, total) = (images.len() - readable.len(), images.len());
    let (sender, receiver) = sync_channel::<(PreparedImage, Apart)>(1);
    std::thread::scope(|scope| -> Result<()> {
        let readable = &readable;
        scope.spawn(move || {
            for batch in plan {
                let numbers: Vec<usize> = batch.images.iter().map(|image| readable[*image]).collect();
                if sender.send(read(images, numbers, &decode, side, batch.shape)).is_err() {
                    return;
                }
            }
        });
        for ((numbers, prepared, scaling), Apart { failed, warned }) in receiver {
            damaged.extend(warned);
            done += numbers.len() + failed.len();
            failed.into_iter().for_each(|(number, error)| found[number] = Err(error));
            times[0] += scaling;
            let inputs: Vec<_> = prepared.iter().map(|image| &image.input).collect();
            let (raw, mut kept, spent) = detector.forward_batch(&inputs, &nms)?;
            if options.single_cls {
                kept.iter_mut().flat_map(|kept| &mut kept.candidates).for_each(|candidate| candidate.class_id = 0);
            }
            times.iter_mut().zip(spent).for_each(|(time, spent)| *time += spent);
            for ((&number, image), kept) in numbers.iter().zip(&prepared).zip(&kept) {
                if kept.dropped > 0 {
                    dropped.push((number, kept.dropped));
                }
                found[number] = Ok(measure.add(ranks[number], &images[number], image, &kept.candidates));
            }
            observe(BatchOutput { done, total, numbers: &numbers, images: &prepared, raw: &raw, found: &kept })?;
        }
        Ok(())
    })?;
    Ok(ValReport {
        measured: measure.finish(),
        images: found,
        damaged,
        dropped,
        size_mismatches,
        times,
        elapsed: start.elapsed(),
    })
}

/// Decodes and scales images on all threads; those that could not be read apart.
fn read(
    images: &[AnnotatedImage],
    numbers: Vec<usize>,
    decode: &DecodeOptions,
    imgsz: usize,
    shape: [usize; 2],
) -> (PreparedImage, Apart) {
    let prepare = |number: usize| match image::open_with(&images[number].path, decode) {
        Ok(Decoded { image, warning, .. }) => {
            let start = Instant::now();
            let image = ValSample::new(&image, imgsz, shape);
            Ok((number, image, warning, start.elapsed()))
        }
        Err(error) => Err((number, error)),
    };
    let results: Vec<_> = numbers.into_par_iter().map(prepare).collect();
    let (mut read, mut views, mut scaling, mut apart) = (Vec::new(), Vec::new(), Duration::ZERO, Apart::default());
    for result in results {
        match result {
            Ok((number, image, warning, spent)) => {
                apart.warned.extend(warning.map(|warning| (number, warning)));
                read.push(number);
                views.push(image);
                scaling += spent;
            }
            Err(error) => apart.failed.push(error),
        }
    }
    ((read, views, scaling), apart)
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
mod tests {
    use super::*;
    use crate::data::{Annotation, BBox, ImageId};
    use crate::seeded;
    use crate::{Yolo, model_config};
    use candle_core::{DType, Device};
    use candle_vision::image::{Rgb, RgbImage, save};
    use candle_vision::layers::BatchNormMode;

    #[test]
    fn a_detector_finds_again_what_it_labelled() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        let def = model_config("yolov8n-ghostnet", Some(3)).expect("shipped");
        let model = Yolo::new(&def, BatchNormMode::Fuse, seeded::var_builder(DType::F32, &Device::Cpu))?;
        let detector = Detector::new(model, Device::Cpu, DType::F32, None);
        let options = ValOptions { imgsz: 320, batch: 3, ..Default::default() };
        let mut images = Vec::new();
        for (i, (width, height)) in [(400u32, 260u32), (260, 400), (320, 320), (200, 240)].into_iter().enumerate() {
            let level = |x: u32, y: u32, c: u32| (x * (3 + c) + y * 5 + x * y / 7) as u8;
            let image = RgbImage::from_fn(width, height, |x, y| Rgb([level(x, y, 0), level(x, y, 1), level(x, y, 2)]));
            let path = folder.path().join(format!("{i}.png"));
            save(&image, &path).expect("saved");
            let size = Some([height as usize, width as usize]);
            images.push(AnnotatedImage { path, image_id: ImageId::Number(i as i64), size, labels: Vec::new() });
        }
        let first = validate(&detector, &images, &options, &mut |_| Ok(()))?;
        for (image, found) in images.iter_mut().zip(&first.images) {
            // Only a copy of what was found is clipped to the image, so a box that leaves it is not found again.
            let [height, width] = image.size.expect("just set").map(|side| side as f32);
            let inside = |xyxy: &[f32; 4]| xyxy[0] > 0. && xyxy[1] > 0. && xyxy[2] < width && xyxy[3] < height;
            let found = found.as_ref().expect("it is there").iter().filter(|detection| inside(&detection.xyxy));
            for detection in found.take(10) {
                let [x1, y1, x2, y2] = detection.xyxy.map(f64::from);
                let place = BBox::Pixels([x1, y1, x2 - x1, y2 - y1]);
                image.labels.push(Annotation { class: detection.class_id, place, outline_area: None, crowd: false });
            }
            assert_eq!(image.labels.len(), 10);
        }
        let second = validate(&detector, &images, &options, &mut |_| Ok(()))?;
        let recalls = |measured: &EvalResult| {
            let classes = &measured.ultralytics.classes;
            classes.iter().map(|class| class.recall_curve[0]).fold(1., f64::min)
        };
        assert_eq!(recalls(&second.measured), 1., "all are found again, by Ultralytics' rule");
        assert_eq!(second.measured.coco.summary.ar[2], Some(1.), "and by COCO's");
        assert_eq!(second.images.iter().filter(|found| found.is_ok()).count(), 4);
        images[1].size = Some([1, 1]);
        assert_eq!(
            (second.size_mismatches, validate(&detector, &images, &options, &mut |_| Ok(()))?.size_mismatches),
            (0, 1)
        );
        Ok(())
    }
}
