//! Processes that Python connects.

use ghostzoo::candle_vision::train::distributed::{Communicator, GroupError, ProcessGroup};
use numpy::{Element, PyArray1, PyArrayMethods};
use pyo3::prelude::*;

use crate::error::refuse;

/// A handle on a group of processes that an object of Python stands for: `rank`, `world_size`, and, of arrays that they change in their
/// places, `all_reduce(values)` and `broadcast(values, root)`; where it has `abort()`, that is called at a failure.
///
/// # Errors
/// An object without these; a rank that there is none of.
pub(crate) fn communicator(py: Python<'_>, object: Option<Py<PyAny>>) -> PyResult<Option<Communicator>> {
    let Some(object) = object else { return Ok(None) };
    let number = |name: &str| object.bind(py).getattr(name)?.extract::<usize>();
    let (rank, world_size) = (number("rank")?, number("world_size")?);
    if rank >= world_size {
        return Err(refuse(format!("`group`: there is no rank {rank} among {world_size} processes")));
    }
    Ok((world_size > 1).then(|| Communicator::new(PythonGroup { object, rank, world_size })))
}

#[derive(Debug)]
struct PythonGroup {
    object: Py<PyAny>,
    rank: usize,
    world_size: usize,
}

impl PythonGroup {
    /// Has Python change values in a copy, and takes them from there.
    fn change<T: Element + Copy>(&self, values: &mut [T], name: &str, root: Option<usize>) -> Result<(), GroupError> {
        let changed = Python::attach(|py| {
            let (object, array) = (self.object.bind(py), PyArray1::from_slice(py, values));
            match root {
                Some(root) => object.call_method1(name, (&array, root))?,
                None => object.call_method1(name, (&array,))?,
            };
            let array = array.try_readonly()?;
            values.copy_from_slice(array.as_slice()?);
            Ok::<_, PyErr>(())
        });
        changed.map_err(|error| {
            let text = error.to_string();
            GroupError::Transport(text.lines().next().unwrap_or_default().to_owned())
        })
    }
}

impl ProcessGroup for PythonGroup {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.world_size
    }

    fn all_reduce_f32(&self, values: &mut [f32]) -> Result<(), GroupError> {
        self.change(values, "all_reduce", None)
    }

    fn all_reduce_f64(&self, values: &mut [f64]) -> Result<(), GroupError> {
        self.change(values, "all_reduce", None)
    }

    fn broadcast(&self, root: usize, bytes: &mut [u8]) -> Result<(), GroupError> {
        self.change(bytes, "broadcast", Some(root))
    }

    fn abort(&self, _: &str) {
        // What comes of it cannot help the error that is on its way.
        let _ = Python::attach(|py| self.object.bind(py).call_method0("abort").map(drop));
    }
}
