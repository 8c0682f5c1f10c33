//! Errors as Python's exceptions, in Python's words.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::io::ErrorKind;

use ghostzoo::Error;
use ghostzoo::image::ImageError as Unreadable;
use pyo3::create_exception;
use pyo3::exceptions::{PyFileNotFoundError, PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

create_exception!(ghostzoo, ImageError, PyValueError, "An image that cannot be read.");

/// What the library says, and what Python users call it.
const PHRASES: [(&str, &str); 9] = [
    ("`options.hours`", "`time`"),
    ("`Pretrained::No` trains", "`pretrained=False` trains"),
    ("`ResolveOptions::again` downloads", "`ghostzoo.pull(name, force=True)` downloads"),
    ("`DetectionData::files` list them", "their names are in the run's state"),
    ("`Registry` lists all names", "`ghostzoo.models()` lists all names"),
    ("`DatasetSplit::single_cls`", "`single_cls=True`"),
    ("`accept_finished`", "`resume`"),
    ("train a `ClassificationTask`", "`ghostzoo.train_classifier`"),
    ("train a `DetectionTask`", "`ghostzoo.train_detector`"),
];

/// A message of the library as Python has its names: `options.recipe.batch` is `batch`.
pub(crate) fn in_python(message: &str) -> String {
    let text = PHRASES.iter().fold(Cow::from(message), |text, (from, to)| text.replace(from, to).into());
    let mut parts = text.split("`options.");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let path = part.split('`').next().unwrap_or_default();
        let start = path.rfind('.').map_or(0, |dot| dot + 1);
        out.extend(["`", &part[start..]]);
    }
    out
}

/// An error and its causes in one line, without what the message before already ends with and without backtraces.
pub(crate) fn line(error: &dyn StdError) -> String {
    let first = |error: &dyn StdError| in_python(error.to_string().lines().next().unwrap_or_default());
    let mut text = first(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = first(error);
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

/// An exception on its way through the library: [`exception`] gives it back.
pub(crate) fn raised(error: PyErr) -> Error {
    Error::Callback(Box::new(error))
}

/// The exception for an error: `ValueError` for what was asked for, `ImageError` for an image, `OSError` for any file, else
/// `RuntimeError`.
pub(crate) fn exception(error: impl Into<Error>) -> PyErr {
    let error = match error.into() {
        Error::Callback(raised) => match raised.downcast::<PyErr>() {
            Ok(raised) => return *raised,
            Err(other) => return PyRuntimeError::new_err(other.to_string()),
        },
        error => error,
    };
    let text = line(&error);
    match innermost(&error) {
        Error::Image(image) => of_image(image, text),
        Error::Io { source, .. } => of_io(source.kind(), text),
        _ if error.is_request() => PyValueError::new_err(text),
        error => match of_file(error) {
            Some(kind) => of_io(kind, text),
            None => PyRuntimeError::new_err(text),
        },
    }
}

/// Why a file could not be read or written, where that is the cause.
fn of_file(error: &Error) -> Option<ErrorKind> {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return Some(error.kind());
        }
        cause = error.source();
    }
    None
}

fn innermost(error: &Error) -> &Error {
    match error {
        Error::Context { source, .. } => innermost(source),
        _ => error,
    }
}

/// The exception for an image of a name that says it.
pub(crate) fn of_image(error: &Unreadable, text: String) -> PyErr {
    match error {
        Unreadable::Io { source, .. } => of_io(source.kind(), text),
        _ => ImageError::new_err(text),
    }
}

fn of_io(kind: ErrorKind, text: String) -> PyErr {
    match kind {
        ErrorKind::NotFound => PyFileNotFoundError::new_err(text),
        _ => PyOSError::new_err(text),
    }
}

/// A call that cannot be met.
pub(crate) fn refuse(text: impl Into<String>) -> PyErr {
    PyValueError::new_err(text.into())
}
