//! What a caller gives as an image.

use std::path::{Path, PathBuf};

use ghostzoo::Error;
use ghostzoo::image::{DecodeOptions, ImageError, RgbImage, decode_with, open_with, swap_red_blue_into};
use numpy::{PyReadonlyArrayDyn, PyUntypedArray, PyUntypedArrayMethods as _};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView, PyString};

use crate::buffers::Buffers;
use crate::error::{self, refuse};

/// An image that may still have to be read.
pub(crate) enum Input {
    /// A file.
    File(PathBuf),
    /// A file's content.
    Encoded(PyBackedBytes),
    /// Pixels.
    Pixels(RgbImage),
}

/// How images are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    /// Of files.
    pub(crate) decode: DecodeOptions,
    /// Whether arrays hold blue, green, red.
    pub(crate) is_bgr: bool,
}

impl Input {
    /// Takes a path, encoded bytes, an array of (height, width, 3) levels, or an image of Pillow; pixels into memory of `buffers`.
    ///
    /// # Errors
    /// Another type, shape or type of elements.
    pub(crate) fn new(given: &Bound<'_, PyAny>, reading: &Reading, buffers: &Buffers) -> PyResult<Self> {
        if let Ok(array) = given.cast::<PyUntypedArray>() {
            return of_array(array, reading.is_bgr, buffers).map(Self::Pixels);
        }
        if given.is_instance_of::<PyBytes>() || given.is_instance_of::<PyByteArray>() {
            return Ok(Self::Encoded(given.extract()?));
        }
        if given.is_instance_of::<PyMemoryView>() {
            return Ok(Self::Encoded(given.py().get_type::<PyBytes>().call1((given,))?.extract()?));
        }
        if given.is_instance_of::<PyString>() || given.hasattr("__fspath__")? {
            return Ok(Self::File(given.extract()?));
        }
        if given.hasattr("mode")? && given.hasattr("convert")? {
            let module = given.py().import("ghostzoo._pillow")?;
            let array = module.call_method1("rgb", (given, reading.decode.orient))?;
            return of_array(array.cast::<PyUntypedArray>()?, false, buffers).map(Self::Pixels);
        }
        Err(PyTypeError::new_err(format!(
            "{} is no image: give a path, the bytes of a file, a numpy array of uint8 (height, width, 3), or an image of Pillow",
            given.get_type().fully_qualified_name()?
        )))
    }

    /// The pixels.
    ///
    /// # Errors
    /// Where a file cannot be read or decoded.
    pub(crate) fn read(self, reading: &Reading) -> Result<RgbImage, ImageError> {
        match self {
            Self::File(path) => Ok(open_with(&path, &reading.decode)?.image),
            Self::Encoded(bytes) => Ok(decode_with(&bytes, &reading.decode)?.image),
            Self::Pixels(image) => Ok(image),
        }
    }

    /// The file, where it is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            _ => None,
        }
    }
}

/// The exception for an image that cannot be read, of a file or one among several.
pub(crate) fn unreadable(error: ImageError, path: Option<&Path>, index: usize) -> PyErr {
    let place = match path {
        Some(path) => ghostzoo::shown(path.as_os_str()),
        None => format!("image {index}"),
    };
    let said = error::line(&Error::Context { what: place, source: Box::new(Error::Invalid(error.to_string())) });
    let said = if matches!(error, ImageError::Io { .. }) { error::line(&error) } else { said };
    error::of_image(&error, said)
}

/// The image of an array.
///
/// # Errors
/// Another type of elements, another shape, no pixel.
fn of_array(array: &Bound<'_, PyUntypedArray>, is_bgr: bool, buffers: &Buffers) -> PyResult<RgbImage> {
    let shape = array.shape().to_vec();
    let Ok(levels) = array.extract::<PyReadonlyArrayDyn<'_, u8>>() else {
        return Err(PyTypeError::new_err(format!(
            "an array of {} is no image: give uint8, levels from 0 to 255",
            array.dtype()
        )));
    };
    let (height, width, channels) = match shape[..] {
        [height, width] => (height, width, 1),
        [height, width, channels @ (1 | 3)] => (height, width, channels),
        _ => {
            let sides: Vec<String> = shape.iter().map(ToString::to_string).collect();
            return Err(refuse(format!(
                "an array of shape ({}) is no image: give (height, width, 3)",
                sides.join(", ")
            )));
        }
    };
    let [Ok(columns), Ok(rows)] = [width, height].map(u32::try_from) else {
        return Err(refuse(format!("an image of {width}x{height} is too large")));
    };
    if rows == 0 || columns == 0 {
        return Err(refuse(format!("an image of {width}x{height} has no pixel")));
    }
    let view = levels.as_array();
    // A slice of an array in Fortran's order has its columns first.
    let slice = levels.as_slice().ok().filter(|_| levels.is_c_contiguous());
    let mut out = buffers.take(height * width * 3);
    match (slice, channels, is_bgr) {
        (Some(levels), 3, true) => swap_red_blue_into(levels, &mut out),
        (None, 3, true) => swap_red_blue_into(&view.iter().copied().collect::<Vec<u8>>(), &mut out),
        (Some(levels), 3, false) => out.copy_from_slice(levels),
        (None, 3, false) => out.iter_mut().zip(view).for_each(|(out, level)| *out = *level),
        _ => out.as_chunks_mut().0.iter_mut().zip(view).for_each(|(out, level)| *out = [*level; 3]),
    }
    RgbImage::from_raw(columns, rows, out).ok_or_else(|| refuse("an array whose size is not its shape's"))
}
