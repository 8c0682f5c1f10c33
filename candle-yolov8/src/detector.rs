//! Images to boxes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Result, Tensor};
use candle_vision::image::{Letterbox, LetterboxTransform, RgbImage, Upload, letterbox, letterbox_uploads, to_tensor};
use candle_vision::nms::{Candidate, NmsOptions, NmsOutput, iou, nms, nms_batched};
use ghostzoo_kernels::has_kernels;
use rayon::current_num_threads;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::candidates::candidates;
use crate::net::{Endpoint, Yolo};

/// Images of a thread that a CPU looks at at a time: enough that no thread waits for another, few enough for its caches.
const PER_THREAD: usize = 2;

/// One found object, in pixels of the original image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Class number.
    pub class_id: usize,
    /// Probability of the class.
    pub confidence: f32,
    /// Left, top, right, bottom, inside the image.
    pub xyxy: [f32; 4],
}

/// How to look.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PredictOptions {
    /// `[height, width]` that images are scaled to fit, rounded up to multiples of the largest stride; `None` for the
    /// detector's own.
    pub imgsz: Option<[usize; 2]>,
    /// Pad only to the next multiple of the stride instead of to the full size.
    pub rect: bool,
    /// What is kept.
    pub nms: NmsOptions,
}

impl Default for PredictOptions {
    /// The detector's own size, rectangular, Ultralytics' thresholds.
    fn default() -> Self {
        Self { imgsz: None, rect: true, nms: NmsOptions::default() }
    }
}

impl PredictOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `[height, width]` that images are scaled to fit; `None` for the detector's own.
    #[must_use]
    pub fn imgsz(self, imgsz: impl Into<Option<[usize; 2]>>) -> Self {
        Self { imgsz: imgsz.into(), ..self }
    }

    /// Pad only to the next multiple of the stride instead of to the full size.
    #[must_use]
    pub fn rect(self, rect: bool) -> Self {
        Self { rect, ..self }
    }

    /// What is kept.
    #[must_use]
    pub fn nms(self, nms: NmsOptions) -> Self {
        Self { nms, ..self }
    }
}

/// An image ready for the network: letterboxed, or on its way to a GPU that letterboxes it.
#[derive(Debug)]
pub struct PreparedImage {
    pixels: Pixels,
    info: LetterboxTransform,
}

#[derive(Debug)]
enum Pixels {
    Seen(RgbImage),
    Sent(Upload),
}

impl PreparedImage {
    /// Letterboxes an image as [`Detector::letterbox`] says, or sends it to `device` where that has a kernel for it. Neither
    /// changes a result. Made on another thread than the one that detects, it takes none of that one's time.
    ///
    /// # Errors
    /// If the device has no memory left.
    pub fn new(image: &RgbImage, view: &Letterbox, device: &Device) -> Result<Self> {
        if has_kernels(device) {
            let (upload, info) = Upload::new(image, view, device)?;
            return Ok(Self { pixels: Pixels::Sent(upload), info });
        }
        let (image, info) = letterbox(image, view);
        Ok(Self { pixels: Pixels::Seen(image), info })
    }
}

/// What was found in one image, best first, and how long it took.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Prediction {
    /// The objects.
    pub detections: Vec<Detection>,
    /// With [`NmsOptions::loose_iou`], the objects that the looser suppression keeps and whose intersection over union with each of
    /// `detections` is less than 0.97, as Ultralytics gives them to its trackers; best first. None where an image is looked at by tiles.
    pub suppressed: Vec<Detection>,
    /// How many candidates were too many to be looked at: see [`crate::MAX_CANDIDATES`].
    pub dropped: usize,
    /// `[height, width]` of the network's input.
    pub input: [usize; 2],
    /// The copy to the device, and in [`Detector::predict`] the scaling; an image's share of its batch, as below.
    pub preprocess: Duration,
    /// The network.
    pub inference: Duration,
    /// Decoding and suppression.
    pub postprocess: Duration,
}

/// Side of the images, in pixels, that a network looks at where nothing says at what it was trained.
pub const DEFAULT_SIDE: usize = 640;

/// Overlap from which on a suppressed detection is one that was kept.
const SAME: f32 = 0.97;

/// A network with the device and dtype it runs in, and the size it looks at. Make one and use it for every image.
#[derive(Debug)]
pub struct Detector {
    model: Yolo,
    device: Device,
    dtype: DType,
    imgsz: [usize; 2],
}

impl Detector {
    /// Takes a network whose tensors are on `device` in `dtype`. `imgsz` is the `[height, width]` that it was trained at, as
    /// its checkpoint says it (`imgsz` of its metadata), which [`PredictOptions`] take unless they say another: at twice the
    /// size a network finds other boxes. Where the checkpoint does not say, 640 by 640.
    pub fn new(model: Yolo, device: Device, dtype: DType, imgsz: Option<[usize; 2]>) -> Self {
        Self { model, device, dtype, imgsz: imgsz.unwrap_or([DEFAULT_SIDE; 2]) }
    }

    /// `[height, width]` that images are scaled to fit unless told otherwise.
    pub fn imgsz(&self) -> [usize; 2] {
        self.imgsz
    }

    /// The network.
    pub fn model(&self) -> &Yolo {
        &self.model
    }

    /// The letterbox that `options` mean for this network.
    pub fn letterbox(&self, options: &PredictOptions) -> Letterbox {
        let stride = self.model.max_stride();
        let size = options.imgsz.unwrap_or(self.imgsz).map(|side| side.max(1).next_multiple_of(stride));
        Letterbox::new(size).stride(stride).auto(options.rect)
    }

    /// Looks at images in order.
    pub fn predict(&self, images: &[RgbImage], options: &PredictOptions) -> Result<Vec<Prediction>> {
        let (start, view) = (Instant::now(), self.letterbox(options));
        let prepare = |image| PreparedImage::new(image, &view, &self.device);
        // A GPU's launches stay on this thread's stream.
        let prepared: Vec<PreparedImage> = match has_kernels(&self.device) {
            true => images.iter().map(prepare).collect::<Result<_>>()?,
            false => images.par_iter().map(prepare).collect::<Result<_>>()?,
        };
        let scaling = start.elapsed() / images.len().max(1) as u32;
        let mut predictions = self.predict_prepared(&prepared.iter().collect::<Vec<_>>(), &options.nms)?;
        predictions.iter_mut().for_each(|found| found.preprocess += scaling);
        Ok(predictions)
    }

    /// Looks at prepared images in order. Those of one shape run as one batch, on a CPU as several, so that no result depends on
    /// the other images.
    pub fn predict_prepared(&self, images: &[&PreparedImage], options: &NmsOptions) -> Result<Vec<Prediction>> {
        let mut groups: BTreeMap<[usize; 2], Vec<usize>> = BTreeMap::new();
        for (index, image) in images.iter().enumerate() {
            groups.entry(image.info.size).or_default().push(index);
        }
        let mut predictions: Vec<Option<Prediction>> = vec![None; images.len()];
        let most = match self.device.is_cpu() && !has_kernels(&self.device) {
            true => PER_THREAD * current_num_threads(),
            false => images.len(),
        };
        for (input, indices) in groups {
            for indices in indices.chunks(most.max(1)) {
                let members: Vec<&PreparedImage> = indices.iter().map(|index| images[*index]).collect();
                let found = self.predict_group(&members, input, options)?;
                indices.iter().zip(found).for_each(|(index, found)| predictions[*index] = Some(found));
            }
        }
        Ok(predictions.into_iter().map(|found| found.expect("every image is in one group")).collect())
    }

    fn predict_group(
        &self,
        images: &[&PreparedImage],
        input: [usize; 2],
        options: &NmsOptions,
    ) -> Result<Vec<Prediction>> {
        let start = Instant::now();
        let (mut seen, mut sent) = (Vec::new(), Vec::new());
        for image in images {
            match &image.pixels {
                Pixels::Seen(image) => seen.push(image),
                Pixels::Sent(upload) => sent.push(upload),
            }
        }
        let xs = match (seen.is_empty(), sent.is_empty()) {
            (true, _) => letterbox_uploads(&sent, self.dtype)?,
            (false, true) => self.tensor(&seen)?,
            (false, false) => candle_core::bail!("images that were prepared for two devices"),
        };
        let endpoint = Endpoint::of_detection(&self.device);
        let (_, found, times) = self.detect(endpoint, &xs, start, options)?;
        let [preprocess, inference, postprocess] = times.map(|time| time / images.len().max(1) as u32);
        let prediction = |(NmsOutput { candidates, loose, dropped }, image): (NmsOutput, &&PreparedImage)| {
            let detection = |Candidate { class_id, confidence, xyxy }| Detection {
                class_id,
                confidence,
                xyxy: image.info.to_original(xyxy),
            };
            let detections: Vec<Detection> = candidates.into_iter().map(detection).collect();
            let is_new = |other: &Detection| detections.iter().all(|kept| iou(&kept.xyxy, &other.xyxy) < SAME);
            let suppressed = loose.into_iter().map(detection).filter(is_new).collect();
            Prediction { detections, suppressed, dropped, input, preprocess, inference, postprocess }
        };
        Ok(found.into_iter().zip(images).map(prediction).collect())
    }

    /// One forward pass over images of one size, which the network takes as they are: its output, what is left of each
    /// image, in its pixels, and the time of the copy to the device, of the network, and of decoding and suppression.
    pub fn forward_batch(
        &self,
        images: &[&RgbImage],
        options: &NmsOptions,
    ) -> Result<(Vec<Tensor>, Vec<NmsOutput>, [Duration; 3])> {
        let start = Instant::now();
        if images.is_empty() {
            return Ok(Default::default());
        }
        self.detect(Endpoint::Levels, &self.tensor(images)?, start, options)
    }

    /// Images of one size as (n, 3, h, w) on the device.
    fn tensor(&self, images: &[&RgbImage]) -> Result<Tensor> {
        let tensor = |image: &&RgbImage| to_tensor(image, &Device::Cpu);
        let xs = match images {
            [image] => tensor(image)?.unsqueeze(0)?,
            _ => Tensor::stack(&images.par_iter().map(tensor).collect::<Result<Vec<_>>>()?, 0)?,
        };
        xs.to_device(&self.device)?.to_dtype(self.dtype)
    }

    /// The network's output for (n, 3, h, w), which was begun at `start`, and what is left of each image.
    fn detect(
        &self,
        endpoint: Endpoint,
        xs: &Tensor,
        start: Instant,
        options: &NmsOptions,
    ) -> Result<(Vec<Tensor>, Vec<NmsOutput>, [Duration; 3])> {
        let preprocess = start.elapsed();
        let start = Instant::now();
        let outputs = self.model.run(endpoint, xs)?;
        self.device.synchronize()?;
        let inference = start.elapsed();
        let start = Instant::now();
        let found = match endpoint {
            Endpoint::Boxes => nms_batched(&outputs[0], options)?,
            Endpoint::Levels => {
                let found = candidates(&outputs, self.model.strides(), options)?;
                found.into_par_iter().map(|candidates| nms(candidates, options)).collect()
            }
        };
        Ok((outputs, found, [preprocess, inference, start.elapsed()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model_config;
    use crate::seeded;
    use ghostzoo_kernels::with_emulated_gpu;

    fn image(width: u32, height: u32, seed: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            let v = (x * 7 + y * 13 + seed * 101) ^ (x * y);
            candle_vision::image::Rgb([v as u8, (v >> 2) as u8, (v >> 4) as u8])
        })
    }

    #[test]
    fn what_a_looser_suppression_keeps_beside_the_detections_is_given() -> Result<()> {
        let def = model_config("yolov8n-ghostnet", Some(4)).expect("shipped");
        let model = Yolo::new(&def.for_inference(), seeded::var_builder(DType::F32, &Device::Cpu))?;
        let detector = Detector::new(model, Device::Cpu, DType::F32, None);
        let images = [image(97, 60, 1)];
        let with = |nms: NmsOptions| -> Result<Prediction> {
            let options = PredictOptions { imgsz: Some([128; 2]), rect: true, nms };
            Ok(detector.predict(&images, &options)?.remove(0))
        };
        let tight = NmsOptions::new().conf(0.1).iou(0.3);
        let (plain, loose) = (with(tight.clone())?, with(tight.clone().iou(0.95))?);
        let both = with(tight.loose_iou(0.95))?;
        assert_eq!(both.detections, plain.detections);
        let is_new = |other: &&Detection| plain.detections.iter().all(|kept| iou(&kept.xyxy, &other.xyxy) < SAME);
        let expected: Vec<Detection> = loose.detections.iter().filter(is_new).copied().collect();
        assert!(!expected.is_empty() && plain.suppressed.is_empty(), "the test has something to compare");
        assert_eq!(both.suppressed, expected);
        Ok(())
    }

    /// With letterboxes of the device's and its launches.
    #[test]
    fn a_gpu_finds_what_the_cpu_finds() -> Result<()> {
        let def = model_config("yolov8n-ghostnet", Some(4)).expect("shipped");
        let model = Yolo::new(&def.for_inference(), seeded::var_builder(DType::F32, &Device::Cpu))?;
        let detector = Detector::new(model, Device::Cpu, DType::F32, None);
        let images = [image(97, 60, 1), image(60, 97, 2), image(128, 80, 3), image(97, 60, 5)];
        let nms = NmsOptions::new().conf(0.1);
        let options = PredictOptions { imgsz: Some([64; 2]), rect: true, nms };
        let expected = detector.predict(&images, &options)?;
        let Some(found) = with_emulated_gpu(|| detector.predict(&images, &options)) else { return Ok(()) };
        for (found, expected) in found?.iter().zip(&expected) {
            assert_eq!((found.input, found.detections.len()), (expected.input, expected.detections.len()));
            for (found, expected) in found.detections.iter().zip(&expected.detections) {
                assert_eq!(found.class_id, expected.class_id);
                assert!((found.confidence - expected.confidence).abs() < 1e-5, "{found:?} {expected:?}");
                let close = found.xyxy.iter().zip(&expected.xyxy).all(|(a, b)| (a - b).abs() < 1e-2);
                assert!(close, "{found:?} {expected:?}");
            }
        }
        Ok(())
    }

    #[test]
    fn a_detector_looks_at_the_size_it_was_trained_at_unless_told_otherwise() -> Result<()> {
        let def = model_config("yolov8n-ghostnet", Some(4)).expect("shipped");
        let square = |imgsz: Option<[usize; 2]>| PredictOptions { imgsz, rect: false, nms: NmsOptions::default() };
        for (own, asked, expected) in [
            (Some([96, 128]), None, [96, 128]),
            (Some([96, 128]), Some([64; 2]), [64, 64]),
            (Some([100; 2]), None, [128; 2]),
            (None, None, [640; 2]),
        ] {
            let model = Yolo::new(&def.for_inference(), seeded::var_builder(DType::F32, &Device::Cpu))?;
            let detector = Detector::new(model, Device::Cpu, DType::F32, own);
            assert_eq!(detector.letterbox(&square(asked)).size, expected, "{own:?} {asked:?}");
            if expected[0] < 640 {
                let found = detector.predict(&[image(97, 60, 1)], &square(asked))?;
                assert_eq!(found[0].input, expected);
                assert_eq!(asked.is_none(), found[0].input == detector.letterbox(&PredictOptions::default()).size);
            }
        }
        Ok(())
    }

    #[test]
    fn no_result_depends_on_the_other_images_and_boxes_lie_inside() -> Result<()> {
        let def = model_config("yolov8n-ghostnet", Some(4)).expect("shipped");
        let model = Yolo::new(&def.for_inference(), seeded::var_builder(DType::F32, &Device::Cpu))?;
        let detector = Detector::new(model, Device::Cpu, DType::F32, None);
        let images = [image(97, 60, 1), image(60, 97, 2), image(128, 80, 3), image(1, 1, 4), image(97, 60, 5)];
        for rect in [true, false] {
            let nms = NmsOptions::new().conf(0.1);
            let options = PredictOptions { imgsz: Some([128; 2]), rect, nms };
            let together = detector.predict(&images, &options)?;
            for (image, found) in images.iter().zip(&together) {
                let alone = detector.predict(std::slice::from_ref(image), &options)?;
                assert_eq!(alone[0].detections, found.detections);
                assert!(!found.detections.is_empty(), "the test has something to compare");
                let (w, h) = (image.width() as f32, image.height() as f32);
                for Detection { xyxy: [x1, y1, x2, y2], .. } in &found.detections {
                    assert!(0. <= *x1 && x1 <= x2 && *x2 <= w && 0. <= *y1 && y1 <= y2 && *y2 <= h, "{found:?}");
                }
            }
            let sides: Vec<_> = together.iter().map(|found| found.input).collect();
            let expected = if rect { [96, 128] } else { [128, 128] };
            assert_eq!(sides[0], expected);
        }
        Ok(())
    }
}
