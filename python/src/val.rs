//! Validation: how well a model does on labelled images.

use std::path::PathBuf;
use std::sync::Arc;

use ghostzoo::candle_core::Error as TensorError;
use ghostzoo::candle_ghostnet::val as classifier_val;
use ghostzoo::candle_vision::data::{CachedDataset, DatasetOptions, ImageIndex};
use ghostzoo::candle_vision::metrics::coco::CocoStats;
use ghostzoo::candle_yolov8::NmsOptions;
use ghostzoo::candle_yolov8::val::{ValReport, validate};
use ghostzoo::{Error, ValData, ValLabels};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use serde_json::{Value, json};

use crate::classifier::Classifier;
use crate::detector::{Detector, milliseconds, share};
use crate::error::{exception, refuse};
use crate::long::{self, Caller};
use crate::progress::{self, Progress};

/// Most boxes of an image unless told otherwise; raised to the most objects of an image.
const MAX_DET: usize = 300;

/// Measures a detector; the numbers as JSON.
#[pyfunction]
#[pyo3(signature = (detector, data, *, split, images, imgsz, batch, rect, conf, iou, max_det, agnostic_nms, single_cls, progress))]
#[expect(clippy::too_many_arguments, reason = "each has its name in Python")]
pub(crate) fn val_detector(
    py: Python<'_>,
    detector: &Bound<'_, Detector>,
    data: PathBuf,
    split: String,
    images: Option<PathBuf>,
    imgsz: Option<usize>,
    batch: usize,
    rect: bool,
    conf: f32,
    iou: f32,
    max_det: usize,
    agnostic_nms: bool,
    single_cls: bool,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    share("conf", conf)?;
    share("iou", iou)?;
    if batch == 0 {
        return Err(refuse("`batch` is 0: give at least 1"));
    }
    let Detector { detector, pool, .. } = detector.get();
    let progress = Progress::new(progress);
    let work = |caller: &Caller| {
        let single_cls = single_cls || detector.single_cls();
        let mut data = ValLabels::find(&data, images.as_deref(), &split)?.read(single_cls)?;
        let classes = detector.inner().model().num_classes();
        match single_cls {
            true => data.unite(classes, detector.class_names()),
            false => data.agree(detector.name(), classes, detector.class_names()),
        }
        progress::log(caller, data.report.messages.iter().map(|text| (true, text.clone())).collect());
        let max_det = if max_det == MAX_DET { data.most().max(MAX_DET) } else { max_det };
        let nms = NmsOptions::new().conf(conf).iou(iou).max_det(max_det).agnostic(agnostic_nms).multi_label(true);
        let options = detector.val_options().batch(batch).rect(rect).nms(nms).single_cls(single_cls);
        let options = imgsz.map_or(options.clone(), |imgsz| options.imgsz(imgsz));
        let report = validate(detector.inner(), &data.images, &options, &mut |output| {
            let event = json!({ "event": "batch", "done": output.done, "total": output.total });
            going_on(progress.tell(caller, event))
        })?;
        let failed =
            data.images.iter().zip(&report.images).filter_map(|(image, found)| Some((image, found.as_ref().err()?)));
        let failed: Vec<String> = failed.map(|(image, error)| format!("{}: {error}", image.path.display())).collect();
        if failed.len() == data.images.len() {
            return Err(Error::Invalid(format!("none of the {} images could be read", failed.len())));
        }
        let numbers = of_detector(&data, &report, failed.len());
        progress::log(caller, failed.into_iter().map(|text| (true, text)).collect());
        Ok(numbers)
    };
    finished(long::run(py, pool, work)?)
}

/// Measures a classifier on the images below a folder, or of an archive; the numbers as JSON.
#[pyfunction]
#[pyo3(signature = (classifier, data, *, split, batch, workers, progress))]
pub(crate) fn val_classifier(
    py: Python<'_>,
    classifier: &Bound<'_, Classifier>,
    data: PathBuf,
    split: Option<String>,
    batch: usize,
    workers: usize,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    if batch == 0 {
        return Err(refuse("`batch` is 0: give at least 1"));
    }
    let Classifier { classifier, pool } = classifier.get();
    let progress = Progress::new(progress);
    let work = |caller: &Caller| {
        let classes = classifier.inner().config().num_classes;
        let options = DatasetOptions::new(classes).class_names(classifier.class_names()).split(split.as_deref());
        let index = ImageIndex::open(&data, &options).map_err(Error::from)?;
        progress::log(caller, index.notes().iter().map(|text| (false, text.to_string())).collect());
        let total = index.len();
        let images = Arc::new(CachedDataset::new(index, 0));
        let options = classifier.val_options().batch(batch).workers(workers);
        let (network, device) = (classifier.inner(), classifier.device());
        let report =
            classifier_val::validate(network, device, images, classifier.transform(), &options, &mut |metrics| {
                let event = json!({ "event": "batch", "done": metrics.images(), "total": total });
                going_on(progress.tell(caller, event))
            })?;
        let metrics = &report.metrics;
        let unreadable: Vec<_> = report.unreadable.iter().map(|error| (true, error.to_string())).collect();
        let numbers = json!({
            "images": metrics.images(), "unreadable_images": unreadable.len(), "top1": metrics.top1(), "top5": metrics.top5(),
            "loss": metrics.loss(), "ece": metrics.calibration_error(),
        });
        progress::log(caller, unreadable);
        Ok(numbers)
    };
    finished(long::run(py, pool, work)?)
}

/// Ends work that is to stop.
fn going_on(goes_on: bool) -> Result<(), TensorError> {
    match goes_on {
        true => Ok(()),
        false => Err(TensorError::Msg(STOPPED.to_owned())),
    }
}

/// Why work has no result that `progress` ended.
const STOPPED: &str = "stopped by `progress`";

/// The JSON of what came of it.
fn finished(result: Result<Value, Error>) -> PyResult<String> {
    match result {
        Ok(numbers) => Ok(numbers.to_string()),
        Err(Error::Candle(TensorError::Msg(text))) if text == STOPPED => Err(PyRuntimeError::new_err(text)),
        Err(error) => Err(exception(error)),
    }
}

/// Both definitions' numbers.
fn of_detector(data: &ValData, report: &ValReport, failed: usize) -> Value {
    let metrics = &report.measured.ultralytics;
    let [precision, recall, map50, map] = metrics.means();
    let class = |class: &ghostzoo::candle_vision::metrics::ClassMetrics| {
        json!({
            "class_id": class.class, "class": data.names.get(class.class), "images": class.images, "instances": class.truths,
            "precision": class.precision, "recall": class.recall, "f1": class.f1, "ap": class.ap,
        })
    };
    let coco: serde_json::Map<String, Value> = CocoStats::NAMES
        .iter()
        .zip(report.measured.coco.summary.stats())
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    let confusion = &report.measured.confusion;
    let sides = 0..=confusion.classes();
    let row = |predicted| sides.clone().map(|truth| confusion.count(predicted, truth)).collect::<Vec<_>>();
    let images = report.images.len() - failed;
    json!({
        "images": images, "unreadable_images": failed, "precision": precision, "recall": recall, "map50": map50, "map": map,
        "names": data.names, "classes": metrics.classes.iter().map(class).collect::<Vec<_>>(), "coco": coco,
        "confusion": sides.clone().map(row).collect::<Vec<_>>(),
        "speed": report.times.map(|time| milliseconds(time) / images.max(1) as f64),
    })
}
