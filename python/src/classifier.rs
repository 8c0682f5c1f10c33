//! A classifier that takes what Python has as images, and gives arrays.

use std::ffi::OsString;

use ghostzoo::image::DecodeOptions;
use ghostzoo::{ClassifySpeed, TopK};
use numpy::PyArray1;
use pyo3::prelude::*;

use crate::buffers::Buffers;
use crate::detector::milliseconds;
use crate::error::{exception, refuse};
use crate::input::{Input, Reading, unreadable};
use crate::model::load_options;
use crate::threads::Pool;

/// A classifier.
#[pyclass(frozen, module = "ghostzoo._ghostzoo")]
#[derive(Debug)]
pub(crate) struct Classifier {
    pub(crate) classifier: ghostzoo::Classifier,
    pub(crate) pool: Pool,
}

/// Probabilities by class; the image's height and width; milliseconds of the copy, the network and the ranking, per image.
type Found<'py> = (Bound<'py, PyAny>, (u32, u32), [f64; 3]);

#[pymethods]
impl Classifier {
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
        let classifier = pool.run(py, || options.classifier(&model))?.map_err(exception)?;
        Ok(Self { classifier, pool })
    }

    /// The classes of a few images, which run as one batch: see `Found`. An image that cannot be read has its exception instead.
    #[pyo3(signature = (images, *, channels, max_pixels = None))]
    fn predict<'py>(
        &self,
        py: Python<'py>,
        images: Vec<Bound<'py, PyAny>>,
        channels: &str,
        max_pixels: Option<u64>,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let defaults = DecodeOptions::stored();
        let decode = defaults.max_pixels(max_pixels.unwrap_or(defaults.max_pixels));
        let reading = Reading { decode, is_bgr: channels == "bgr" };
        let input = |image| Input::new(image, &reading, &Buffers::default());
        let inputs: Vec<Input> = images.iter().map(input).collect::<PyResult<_>>()?;
        let paths: Vec<_> = inputs.iter().map(|input| input.path().map(ToOwned::to_owned)).collect();
        let work = || {
            let (mut read, mut prepared) = (Vec::with_capacity(inputs.len()), Vec::with_capacity(inputs.len()));
            for input in inputs {
                read.push(match input.read(&reading) {
                    Ok(image) => {
                        prepared.push(self.classifier.prepare(&image)?);
                        Ok((image.height(), image.width()))
                    }
                    Err(error) => Err(error),
                });
            }
            let found = self.classifier.predict_prepared(&prepared.iter().collect::<Vec<_>>())?;
            Ok::<_, ghostzoo::Error>((read, found))
        };
        let (read, (found, speed)) = self.pool.run(py, work)?.map_err(exception)?;
        let times = times(speed, found.len());
        let mut found = found.into_iter();
        let mut results = Vec::with_capacity(read.len());
        for (index, (read, path)) in read.into_iter().zip(paths).enumerate() {
            results.push(match read {
                Err(error) => unreadable(error, path.as_deref(), index).into_value(py).into_bound(py).into_any(),
                Ok(size) => {
                    let found = found.next().ok_or_else(|| refuse("an image without a result"))?;
                    let result: Found<'py> = (PyArray1::from_vec(py, probabilities(&found)).into_any(), size, times);
                    result.into_pyobject(py)?.into_any()
                }
            });
        }
        Ok(results)
    }

    /// Names of the classes by their numbers; empty where they are not known.
    #[getter]
    fn class_names(&self) -> Vec<String> {
        self.classifier.class_names().to_vec()
    }

    /// How many classes the network tells apart.
    #[getter]
    fn num_classes(&self) -> usize {
        self.classifier.inner().config().num_classes
    }

    /// Height and width of the network's input.
    #[getter]
    fn imgsz(&self) -> [usize; 2] {
        self.classifier.transform().input_size
    }

    /// The licence of the weights, where it is known.
    #[getter]
    fn licence(&self) -> Option<String> {
        self.classifier.licence().map(ToOwned::to_owned)
    }
}

/// By class.
fn probabilities(found: &TopK) -> Vec<f32> {
    let ranked = found.top(usize::MAX);
    let mut by_class = vec![0.; ranked.len()];
    ranked.iter().for_each(|class| by_class[class.class_id] = class.probability);
    by_class
}

/// Milliseconds per image.
fn times(speed: ClassifySpeed, images: usize) -> [f64; 3] {
    [speed.preprocess, speed.inference, speed.postprocess].map(|time| milliseconds(time) / images.max(1) as f64)
}
