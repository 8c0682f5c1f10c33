//! Quantization by images of Python's.

use std::path::PathBuf;

use ghostzoo::candle_vision::data::{Dataset, ItemError};
use ghostzoo::image::{DecodeOptions, RgbImage};
use ghostzoo::quantize::{QuantizeCallbacks, QuantizeOptions, RangeMethod, Source, quantize};
use ghostzoo::train::Message;
use ghostzoo::{Architecture, Error, weights};
use pyo3::prelude::*;
use serde_json::{Value, json};

use crate::buffers::Buffers;
use crate::detector::sides;
use crate::error::{exception, refuse};
use crate::input::{Input, Reading};
use crate::long::{self, Caller};
use crate::progress::{Progress, log};
use crate::threads::Pool;

/// Quantizes a model by images; the report as JSON.
#[pyfunction]
#[pyo3(signature = (model, images, output, *, count, method, percentile, bias_correction, skip, imgsz, channels, threads, progress))]
#[expect(clippy::too_many_arguments, reason = "each has its name in Python")]
pub(crate) fn quantize_model(
    py: Python<'_>,
    model: PathBuf,
    images: Vec<Py<PyAny>>,
    output: PathBuf,
    count: usize,
    method: &str,
    percentile: f64,
    bias_correction: bool,
    skip: Vec<String>,
    imgsz: Option<[usize; 2]>,
    channels: &str,
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let method = match method {
        "minmax" => RangeMethod::MinMax,
        "percentile" if percentile > 50. && percentile <= 100. => RangeMethod::Percentile(percentile),
        "percentile" => {
            return Err(refuse(format!("`percentile` is {percentile}: give a number above 50 and up to 100")));
        }
        "mse" => RangeMethod::Mse,
        _ => return Err(refuse(format!("`method` is {method:?}: give \"mse\", \"minmax\" or \"percentile\""))),
    };
    let options = QuantizeOptions::new()
        .images(count)
        .method(method)
        .bias_correction(bias_correction)
        .skip(skip)
        .imgsz(imgsz.map(sides).transpose()?);
    let (pool, progress, is_bgr) = (Pool::new(threads)?, Progress::new(progress), channels == "bgr");
    let work = |caller: &Caller| {
        let source = Source::find(&model)?;
        // Each task's images are read as in prediction.
        let decode = match source.spec().architecture {
            Architecture::Detector(_) => DecodeOptions::default(),
            Architecture::Classifier(_) => DecodeOptions::stored(),
        };
        let images = Images { images, reading: Reading { decode, is_bgr } };
        let quantized = quantize(&source, &images, &options, &mut Told { caller, progress: &progress })?;
        weights::write(&output, &quantized.checkpoint)?;
        let report = &quantized.report;
        Ok::<Value, Error>(json!({
            "file": output.to_string_lossy(), "images": report.images, "imgsz": report.imgsz, "method": report.method,
            "layers": report.layers, "left": report.left,
        }))
    };
    match long::run(py, &pool, work)? {
        Ok(report) => Ok(report.to_string()),
        Err(error) => Err(exception(error)),
    }
}

/// Images that are read when they are asked for.
struct Images {
    images: Vec<Py<PyAny>>,
    reading: Reading,
}

impl Dataset for Images {
    type Item = RgbImage;

    fn len(&self) -> usize {
        self.images.len()
    }

    fn get(&self, index: usize) -> Result<RgbImage, ItemError> {
        let image = Python::attach(|py| Input::new(self.images[index].bind(py), &self.reading, &Buffers::default()));
        let image = image.map_err(|error| ItemError::other(Python::attach(|py| error.value(py).to_string())))?;
        Ok(image.read(&self.reading)?)
    }

    fn name(&self, index: usize) -> String {
        let image = Python::attach(|py| Input::new(self.images[index].bind(py), &self.reading, &Buffers::default()));
        let path = image.ok().and_then(|image| Some(image.path()?.display().to_string()));
        path.unwrap_or_else(|| format!("image {index}"))
    }
}

struct Told<'a> {
    caller: &'a Caller,
    progress: &'a Progress,
}

impl QuantizeCallbacks for Told<'_> {
    fn on_image(&mut self, done: usize, total: usize) -> ghostzoo::Result<()> {
        match self.progress.tell(self.caller, json!({ "event": "image", "done": done, "total": total })) {
            true => Ok(()),
            false => Err(Error::Callback("stopped by `progress`".into())),
        }
    }

    fn message(&mut self, message: &Message) {
        log(self.caller, vec![(matches!(message, Message::Warning(_)), message.text().to_owned())]);
    }
}
