//! Images with what was found in them.

use std::path::{Path, PathBuf};

use ghostzoo::Detection;
use ghostzoo::image::{DecodeOptions, RgbImage, save, swap_red_blue};
use ghostzoo::plot::{BoxStyle, annotate, drawable};
use numpy::{PyArray1, PyArrayMethods as _, PyReadonlyArray2};
use pyo3::prelude::*;

use crate::buffers::Buffers;
use crate::error::{exception, refuse};
use crate::input::{Input, Reading, unreadable};

/// Widest line of a box, in pixels.
const MAX_LINE_WIDTH: u32 = 200;

/// The levels of an image that a model was given, blue, green, red: (height, width, 3).
#[pyfunction]
#[pyo3(signature = (image, *, channels, orient, max_pixels = None))]
pub(crate) fn read_image<'py>(
    py: Python<'py>,
    image: &Bound<'py, PyAny>,
    channels: &str,
    orient: bool,
    max_pixels: Option<u64>,
) -> PyResult<Bound<'py, PyAny>> {
    let defaults = if orient { DecodeOptions::default() } else { DecodeOptions::stored() };
    let decode = defaults.max_pixels(max_pixels.unwrap_or(defaults.max_pixels));
    let reading = Reading { decode, is_bgr: channels == "bgr" };
    let input = Input::new(image, &reading, &Buffers::default())?;
    let path = input.path().map(Path::to_owned);
    let read = py.detach(|| input.read(&reading)).map_err(|error| unreadable(error, path.as_deref(), 0))?;
    to_array(py, &read)
}

/// Draws boxes, a row each of x1, y1, x2, y2, confidence, class, on levels that are blue, green, red: the levels with them, and what is
/// to be said of names that cannot be drawn.
#[pyfunction]
#[pyo3(signature = (image, rows, names, *, labels, conf, boxes, line_width))]
#[expect(clippy::too_many_arguments, reason = "each has its name in Python")]
pub(crate) fn draw_boxes<'py>(
    py: Python<'py>,
    image: &Bound<'py, PyAny>,
    rows: PyReadonlyArray2<'py, f32>,
    names: Vec<String>,
    labels: bool,
    conf: bool,
    boxes: bool,
    line_width: Option<u32>,
) -> PyResult<(Bound<'py, PyAny>, Option<String>)> {
    if let Some(width) = line_width.filter(|width| !(1..=MAX_LINE_WIDTH).contains(width)) {
        return Err(refuse(format!("`line_width` is {width}: give a whole number from 1 to {MAX_LINE_WIDTH}")));
    }
    let mut image = pixels(image)?;
    let rows = rows.as_array();
    let object = |row: numpy::ndarray::ArrayView1<'_, f32>| match row.to_vec()[..] {
        [x1, y1, x2, y2, confidence, class] => {
            Ok(Detection { class_id: class as usize, confidence, xyxy: [x1, y1, x2, y2] })
        }
        _ => Err(refuse("a box is a row of x1, y1, x2, y2, confidence, class")),
    };
    let objects = rows.outer_iter().map(object).collect::<PyResult<Vec<Detection>>>()?;
    let note = py.detach(|| {
        let (names, note) = if labels && boxes { drawable(&names) } else { (Vec::new(), None) };
        let style = BoxStyle::new(names).labels(labels).conf(conf).boxes(boxes).line_width(line_width);
        annotate(&mut image, objects.iter().map(|object| (object, None)), &style);
        note
    });
    Ok((to_array(py, &image)?, note))
}

/// Writes levels that are blue, green, red in the format of the file's ending, whole or not at all.
#[pyfunction]
pub(crate) fn save_image(py: Python<'_>, image: &Bound<'_, PyAny>, file: PathBuf) -> PyResult<()> {
    let image = pixels(image)?;
    py.detach(|| save(&image, &file)).map_err(exception)
}

/// An image of levels that are blue, green, red.
fn pixels(levels: &Bound<'_, PyAny>) -> PyResult<RgbImage> {
    let reading = Reading { decode: DecodeOptions::default(), is_bgr: true };
    match Input::new(levels, &reading, &Buffers::default())? {
        Input::Pixels(image) => Ok(image),
        _ => Err(refuse("an array of (height, width, 3) is needed here")),
    }
}

/// Levels that are blue, green, red.
fn to_array<'py>(py: Python<'py>, image: &RgbImage) -> PyResult<Bound<'py, PyAny>> {
    let levels = PyArray1::from_vec(py, swap_red_blue(image));
    Ok(levels.reshape([image.height() as usize, image.width() as usize, 3])?.into_any())
}
