//! What Python hears of work that takes long.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::Value;

use crate::error::in_python;
use crate::long::Caller;

/// A callable that is told of each step, and may end the work.
pub(crate) struct Progress(Option<Arc<Py<PyAny>>>);

impl Progress {
    /// Told of nothing where it is `None`.
    pub(crate) fn new(callable: Option<Py<PyAny>>) -> Self {
        Self(callable.map(Arc::new))
    }

    /// Calls it with an event, whose numbers that are none are NaN; whether the work is to go on: unless it gives `False`.
    pub(crate) fn tell(&self, caller: &Caller, event: Value) -> bool {
        let Some(callable) = self.0.clone() else { return !caller.stop().is_set() };
        caller.call(move |py| {
            let answer = callable.bind(py).call1((to_python(py, &event)?,))?;
            Ok(!answer.extract::<bool>().is_ok_and(|goes_on| !goes_on))
        })
    }
}

/// Logs lines, each of which is a warning or a note, to the logger `ghostzoo`.
pub(crate) fn log(caller: &Caller, lines: Vec<(bool, String)>) {
    if lines.is_empty() {
        return;
    }
    caller.call(move |py| {
        let logger = py.import("logging")?.call_method1("getLogger", ("ghostzoo",))?;
        for (is_warning, text) in lines {
            let level = if is_warning { "warning" } else { "info" };
            logger.call_method1(level, ("%s", in_python(&text)))?;
        }
        Ok(true)
    });
}

/// A value of Python.
pub(crate) fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => f64::NAN.into_pyobject(py)?.into_any(),
        Value::Bool(value) => value.into_pyobject(py)?.to_owned().into_any(),
        Value::Number(number) => match number.as_i64() {
            Some(number) => number.into_pyobject(py)?.into_any(),
            None => number.as_f64().unwrap_or(f64::NAN).into_pyobject(py)?.into_any(),
        },
        Value::String(text) => text.into_pyobject(py)?.into_any(),
        Value::Array(values) => {
            let values: Vec<_> = values.iter().map(|value| to_python(py, value)).collect::<PyResult<_>>()?;
            values.into_pyobject(py)?.into_any()
        }
        Value::Object(entries) => {
            let dict = PyDict::new(py);
            for (name, value) in entries {
                dict.set_item(name, to_python(py, value)?)?;
            }
            dict.into_any()
        }
    })
}
