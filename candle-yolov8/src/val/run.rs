//! A detector over a data set.

use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use candle_core::{Result, Tensor};
use candle_vision::image::{self, DecodeOptions, Decoded, ImageError};
use candle_vision::nms::{Kept, NmsOptions};
use rayon::prelude::*;

use super::batches::{ValPicture, batches};
use super::measure::{Measure, Measured};
use crate::data::LabelledPicture;
use crate::detector::{Detection, Detector};

/// How to validate.
///
/// Unlike prediction, an anchor counts for each class above the threshold, pictures are scaled before they are laid into a
/// rectangle common to their batch, and that has a margin.
#[derive(Debug, Clone, PartialEq)]
pub struct ValOptions {
    /// Pixels that a picture's longer side is scaled to, before rounding: see [`ValOptions::side`].
    pub imgsz: usize,
    /// Pictures per forward pass; with `rect` it decides the shapes too.
    pub batch: usize,
    /// Whether each batch has the shape that fits its pictures, or all a square.
    pub rect: bool,
    /// What is kept.
    pub nms: NmsOptions,
    /// Confidence above which detections count into the confusion matrix.
    pub confusion_conf: f32,
    /// Whether all detections count as class 0, and suppress each other; labels must be of class 0 then.
    pub single_cls: bool,
    /// Most pixels of a picture.
    pub max_pixels: u64,
}

/// What Ultralytics 8.4.190 rounds the size of a validation up to, whatever the model's stride. Measured with strides 32 and
/// 64.
const SIDE_STEP: usize = 32;

impl ValOptions {
    /// Pixels that a picture's longer side is scaled to: `imgsz` rounded up to a multiple of 32.
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
pub struct Validated {
    /// The numbers, of all pictures that could be read.
    pub measured: Measured,
    /// By picture, in the order given: its detections in its own pixels, or why it could not be read.
    pub pictures: Vec<std::result::Result<Vec<Detection>, ImageError>>,
    /// Pictures whose files are damaged, and what is to be said of them: they count.
    pub damaged: Vec<(usize, &'static str)>,
    /// Pictures whose candidates were too many, and how many were not looked at: see [`crate::MAX_CANDIDATES`].
    pub dropped: Vec<(usize, usize)>,
    /// Pictures that are not of the size that their labels say: boxes in pixels are then of another picture.
    pub other_size: usize,
    /// Time of scaling, of the network, and of decoding boxes and suppression. Reading pictures runs beside the network.
    pub times: [Duration; 3],
    /// The whole run.
    pub elapsed: Duration,
}

/// A batch that was looked at, and how far the validation is.
#[derive(Debug, Clone, Copy)]
pub struct Looked<'a> {
    /// Pictures done.
    pub done: usize,
    /// Pictures in all.
    pub total: usize,
    /// Which pictures the batch holds.
    pub numbers: &'a [usize],
    /// The same pictures as the network saw them.
    pub pictures: &'a [ValPicture],
    /// The network's output, of [`crate::Yolo::forward_t`].
    pub raw: &'a [Tensor],
    /// What was kept of each picture, in pixels of the input.
    pub found: &'a [Kept],
}

/// A batch on its way to the network.
type Prepared = (Vec<usize>, Vec<ValPicture>, Duration);

/// Pictures of a batch of which there is more to say.
#[derive(Default)]
struct Apart {
    failed: Vec<(usize, ImageError)>,
    warned: Vec<(usize, &'static str)>,
}

/// Looks at every picture and compares with its labels, of the detector's classes. `observe` is called after each batch;
/// its error ends the validation.
///
/// Pictures that cannot be read are in the result and do not count.
pub fn validate(
    detector: &Detector,
    pictures: &[LabelledPicture],
    options: &ValOptions,
    observe: &mut dyn FnMut(Looked<'_>) -> Result<()>,
) -> Result<Validated> {
    let start = Instant::now();
    let decode = DecodeOptions { max_pixels: options.max_pixels, ..DecodeOptions::default() };
    let sizes: Vec<_> = pictures.par_iter().map(|picture| image::upright_size(&picture.path, &decode)).collect();
    let differs = |(picture, size): &(&LabelledPicture, &std::result::Result<[usize; 2], ImageError>)| matches!((picture.size, size), (Some(said), Ok(size)) if said != *size);
    let other_size = pictures.iter().zip(&sizes).filter(differs).count();
    let mut found: Vec<std::result::Result<Vec<Detection>, ImageError>> = Vec::with_capacity(pictures.len());
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
    let ranks = ranks(pictures);
    let classes = if options.single_cls { 1 } else { detector.model().num_classes() };
    let mut measure = Measure::new(classes, options.confusion_conf);
    let nms = NmsOptions { agnostic: options.nms.agnostic || options.single_cls, ..options.nms.clone() };
    let (mut times, mut dropped, mut damaged) = ([Duration::ZERO; 3], Vec::new(), Vec::new());
    let (mut done, total) = (pictures.len() - readable.len(), pictures.len());
    let (sender, receiver) = sync_channel::<(Prepared, Apart)>(1);
    std::thread::scope(|scope| -> Result<()> {
        let readable = &readable;
        scope.spawn(move || {
            for batch in plan {
                let numbers: Vec<usize> = batch.pictures.iter().map(|picture| readable[*picture]).collect();
                if sender.send(read(pictures, numbers, &decode, side, batch.shape)).is_err() {
                    return;
                }
            }
        });
        for ((numbers, prepared, scaling), Apart { failed, warned }) in receiver {
            damaged.extend(warned);
            done += numbers.len() + failed.len();
            failed.into_iter().for_each(|(number, error)| found[number] = Err(error));
            times[0] += scaling;
            let inputs: Vec<_> = prepared.iter().map(|picture| &picture.input).collect();
            let (raw, mut kept, spent) = detector.look(&inputs, &nms)?;
            if options.single_cls {
                kept.iter_mut().flat_map(|kept| &mut kept.candidates).for_each(|candidate| candidate.class_id = 0);
            }
            times.iter_mut().zip(spent).for_each(|(time, spent)| *time += spent);
            for ((&number, picture), kept) in numbers.iter().zip(&prepared).zip(&kept) {
                if kept.dropped > 0 {
                    dropped.push((number, kept.dropped));
                }
                found[number] = Ok(measure.add(ranks[number], &pictures[number], picture, &kept.candidates));
            }
            observe(Looked { done, total, numbers: &numbers, pictures: &prepared, raw: &raw, found: &kept })?;
        }
        Ok(())
    })?;
    Ok(Validated {
        measured: measure.finish(),
        pictures: found,
        damaged,
        dropped,
        other_size,
        times,
        elapsed: start.elapsed(),
    })
}

/// Decodes and scales pictures on all threads; those that could not be read apart.
fn read(
    pictures: &[LabelledPicture],
    numbers: Vec<usize>,
    decode: &DecodeOptions,
    imgsz: usize,
    shape: [usize; 2],
) -> (Prepared, Apart) {
    let prepare = |number: usize| match image::open_with(&pictures[number].path, decode) {
        Ok(Decoded { picture, warning, .. }) => {
            let start = Instant::now();
            let picture = ValPicture::new(&picture, imgsz, shape);
            Ok((number, picture, warning, start.elapsed()))
        }
        Err(error) => Err((number, error)),
    };
    let results: Vec<_> = numbers.into_par_iter().map(prepare).collect();
    let (mut read, mut views, mut scaling, mut apart) = (Vec::new(), Vec::new(), Duration::ZERO, Apart::default());
    for result in results {
        match result {
            Ok((number, picture, warning, spent)) => {
                apart.warned.extend(warning.map(|warning| (number, warning)));
                read.push(number);
                views.push(picture);
                scaling += spent;
            }
            Err(error) => apart.failed.push(error),
        }
    }
    ((read, views, scaling), apart)
}

/// Each picture's place in the order of ids.
fn ranks(pictures: &[LabelledPicture]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..pictures.len()).collect();
    order.sort_by(|a, b| pictures[*a].image_id.cmp(&pictures[*b].image_id));
    let mut ranks = vec![0; pictures.len()];
    order.into_iter().enumerate().for_each(|(rank, picture)| ranks[picture] = rank);
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{ImageId, Label, LabelBox};
    use crate::{Yolo, architecture};
    use candle_core::{DType, Device};
    use candle_vision::image::{Rgb, RgbImage, save};
    use candle_vision::layers::Norm;
    use candle_vision::seeded;

    #[test]
    fn a_detector_finds_again_what_it_labelled() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        let def = architecture("yolov8n-ghostnet", Some(3)).expect("shipped");
        let model = Yolo::new(&def, Norm::Fold, seeded::var_builder(DType::F32, &Device::Cpu))?;
        let detector = Detector::new(model, Device::Cpu, DType::F32, None);
        let options = ValOptions { imgsz: 320, batch: 3, ..Default::default() };
        let mut pictures = Vec::new();
        for (i, (width, height)) in [(400u32, 260u32), (260, 400), (320, 320), (200, 240)].into_iter().enumerate() {
            let level = |x: u32, y: u32, c: u32| (x * (3 + c) + y * 5 + x * y / 7) as u8;
            let picture =
                RgbImage::from_fn(width, height, |x, y| Rgb([level(x, y, 0), level(x, y, 1), level(x, y, 2)]));
            let path = folder.path().join(format!("{i}.png"));
            save(&picture, &path).expect("saved");
            let size = Some([height as usize, width as usize]);
            pictures.push(LabelledPicture { path, image_id: ImageId::Number(i as i64), size, labels: Vec::new() });
        }
        let first = validate(&detector, &pictures, &options, &mut |_| Ok(()))?;
        for (picture, found) in pictures.iter_mut().zip(&first.pictures) {
            // Only a copy of what was found is clipped to the picture, so a box that leaves it is not found again.
            let [height, width] = picture.size.expect("just set").map(|side| side as f32);
            let inside = |xyxy: &[f32; 4]| xyxy[0] > 0. && xyxy[1] > 0. && xyxy[2] < width && xyxy[3] < height;
            let found = found.as_ref().expect("it is there").iter().filter(|detection| inside(&detection.xyxy));
            for detection in found.take(10) {
                let [x1, y1, x2, y2] = detection.xyxy.map(f64::from);
                let place = LabelBox::Pixels([x1, y1, x2 - x1, y2 - y1]);
                picture.labels.push(Label { class: detection.class_id, place, outline_area: None, crowd: false });
            }
            assert_eq!(picture.labels.len(), 10);
        }
        let second = validate(&detector, &pictures, &options, &mut |_| Ok(()))?;
        let recalls = |measured: &Measured| {
            let classes = &measured.ultralytics.classes;
            classes.iter().map(|class| class.recall_curve[0]).fold(1., f64::min)
        };
        assert_eq!(recalls(&second.measured), 1., "all are found again, by Ultralytics' rule");
        assert_eq!(second.measured.coco.summary.ar[2], Some(1.), "and by COCO's");
        assert_eq!(second.pictures.iter().filter(|found| found.is_ok()).count(), 4);
        pictures[1].size = Some([1, 1]);
        assert_eq!((second.other_size, validate(&detector, &pictures, &options, &mut |_| Ok(()))?.other_size), (0, 1));
        Ok(())
    }
}
