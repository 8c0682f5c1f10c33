//! A detector that takes what Python has as images, and gives arrays.

use std::ffi::OsString;
use std::time::Duration;

use ghostzoo::candle_yolov8::{self, PredictOptions, Prediction};
use ghostzoo::image::{DecodeOptions, RgbImage};
use ghostzoo::model::MAX_SIDE;
use numpy::{PyArray1, PyArrayMethods as _};
use pyo3::prelude::*;

use crate::buffers::Buffers;
use crate::error::{exception, refuse};
use crate::input::{Input, Reading, unreadable};
use crate::model::load_options;
use crate::threads::Pool;

/// A detector.
#[pyclass(frozen, module = "ghostzoo._ghostzoo")]
#[derive(Debug)]
pub(crate) struct Detector {
    pub(crate) detector: ghostzoo::Detector,
    pub(crate) pool: Pool,
    buffers: Buffers,
}

/// Boxes of an image, a row each of x1, y1, x2, y2, confidence, class; its height and width; those of the network's input;
/// milliseconds of preprocessing, the network and suppression; the candidates that were not looked at.
type Found<'py> = (Bound<'py, PyAny>, (u32, u32), (usize, usize), [f64; 3], usize);

#[pymethods]
impl Detector {
    /// Loads a model by name, file or address.
    #[new]
    #[pyo3(signature = (model, *, dtype = "f32", threads = None, device = "cpu", arch = None))]
    fn new(
        py: Python<'_>,
        model: OsString,
        dtype: &str,
        threads: Option<usize>,
        device: &str,
        arch: Option<OsString>,
    ) -> PyResult<Self> {
        let (options, pool) = (load_options(dtype, device, arch)?, Pool::new(threads)?);
        let detector = pool.run(py, || options.detector(&model))?.map_err(exception)?;
        Ok(Self { detector, pool, buffers: Buffers::default() })
    }

    /// The objects in a few images, which run as one batch: see `Found`. An image that cannot be read has its exception instead.
    #[pyo3(signature = (images, *, channels, conf, iou, max_det, imgsz, rect, classes, agnostic_nms, max_pixels = None))]
    #[expect(clippy::too_many_arguments, reason = "each has its name in Python")]
    fn predict<'py>(
        &self,
        py: Python<'py>,
        images: Vec<Bound<'py, PyAny>>,
        channels: &str,
        conf: f32,
        iou: f32,
        max_det: usize,
        imgsz: Option<[usize; 2]>,
        rect: bool,
        classes: Option<Vec<usize>>,
        agnostic_nms: bool,
        max_pixels: Option<u64>,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        share("conf", conf)?;
        share("iou", iou)?;
        let defaults = DecodeOptions::default();
        let decode = defaults.max_pixels(max_pixels.unwrap_or(defaults.max_pixels));
        let reading = Reading { decode, is_bgr: channels == "bgr" };
        let nms =
            PredictOptions::new().nms.conf(conf).iou(iou).max_det(max_det).agnostic(agnostic_nms).classes(classes);
        let options = PredictOptions::new().imgsz(imgsz.map(sides).transpose()?).rect(rect).nms(nms);
        let input = |image| Input::new(image, &reading, &self.buffers);
        let inputs: Vec<Input> = images.iter().map(input).collect::<PyResult<_>>()?;
        let paths: Vec<_> = inputs.iter().map(|input| input.path().map(ToOwned::to_owned)).collect();
        let work = || {
            let mut read = Vec::with_capacity(inputs.len());
            let mut images: Vec<RgbImage> = Vec::with_capacity(inputs.len());
            let mut are_pixels = Vec::with_capacity(inputs.len());
            for input in inputs {
                let is_pixels = matches!(input, Input::Pixels(_));
                read.push(input.read(&reading).map(|image| {
                    images.push(image);
                    are_pixels.push(is_pixels);
                }));
            }
            let found = self.detector.inner().predict(&images, &options)?;
            let sizes: Vec<_> = images.iter().map(|image| (image.height(), image.width())).collect();
            let pixels = images.into_iter().zip(are_pixels).filter_map(|(image, is_pixels)| is_pixels.then_some(image));
            Ok::<_, ghostzoo::Error>((read, sizes, found, pixels.collect::<Vec<_>>()))
        };
        let (read, sizes, found, pixels) = self.pool.run(py, work)?.map_err(exception)?;
        pixels.into_iter().for_each(|image| self.buffers.give(image.into_raw()));
        let mut found = sizes.into_iter().zip(found);
        let mut results = Vec::with_capacity(read.len());
        for (index, (read, path)) in read.into_iter().zip(paths).enumerate() {
            results.push(match read {
                Err(error) => unreadable(error, path.as_deref(), index).into_value(py).into_bound(py).into_any(),
                Ok(()) => {
                    let (size, prediction) = found.next().ok_or_else(|| refuse("an image without a result"))?;
                    results_of(py, size, &prediction)?.into_pyobject(py)?.into_any()
                }
            });
        }
        Ok(results)
    }

    /// Names of the classes by their numbers; empty where the checkpoint has none.
    #[getter]
    fn class_names(&self) -> Vec<String> {
        self.detector.class_names().to_vec()
    }

    /// How many classes the network tells apart.
    #[getter]
    fn num_classes(&self) -> usize {
        self.detector.inner().model().num_classes()
    }

    /// Height and width that images are scaled to fit.
    #[getter]
    fn imgsz(&self) -> [usize; 2] {
        self.detector.inner().imgsz()
    }

    /// The licence of the weights, where it is known.
    #[getter]
    fn licence(&self) -> Option<String> {
        self.detector.licence().map(ToOwned::to_owned)
    }
}

/// What Python is given of an image.
fn results_of<'py>(py: Python<'py>, size: (u32, u32), prediction: &Prediction) -> PyResult<Found<'py>> {
    let Prediction { detections, dropped, input: [height, width], preprocess, inference, postprocess, .. } = prediction;
    let row = |found: &candle_yolov8::Detection| {
        let [x1, y1, x2, y2] = found.xyxy;
        [x1, y1, x2, y2, found.confidence, found.class_id as f32]
    };
    let values: Vec<f32> = detections.iter().flat_map(row).collect();
    let boxes = PyArray1::from_vec(py, values).reshape([detections.len(), 6])?;
    let times = [preprocess, inference, postprocess].map(|time| milliseconds(*time));
    Ok((boxes.into_any(), size, (*height, *width), times, *dropped))
}

/// A time in milliseconds.
pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Refuses a threshold that is no share.
pub(crate) fn share(name: &str, value: f32) -> PyResult<()> {
    match (0. ..=1.).contains(&value) {
        true => Ok(()),
        false => Err(refuse(format!("`{name}` is {value}: give a number from 0 to 1"))),
    }
}

/// Refuses sides of no use.
pub(crate) fn sides(sides: [usize; 2]) -> PyResult<[usize; 2]> {
    match sides.iter().all(|side| (1..=MAX_SIDE).contains(side)) {
        true => Ok(sides),
        false => Err(refuse(format!("`imgsz` is {}x{}: give sides from 1 to {MAX_SIDE}", sides[0], sides[1]))),
    }
}
