//! Models by name.

use std::ffi::OsString;

use ghostzoo::candle_core::{DType, Device};
use ghostzoo::weights::{NoProgress, Registry, ResolveOptions};
use ghostzoo::{LoadOptions, model};
use pyo3::prelude::*;

use crate::error::{exception, refuse};

/// The names of the models that can be loaded by name, in the registry's order.
#[pyfunction]
pub(crate) fn models() -> Vec<String> {
    Registry::builtin().entries().iter().map(|entry| entry.name.clone()).collect()
}

/// Fetches a model into the cache, where it is not there yet.
#[pyfunction]
#[pyo3(signature = (model, force = false))]
pub(crate) fn pull(py: Python<'_>, model: OsString, force: bool) -> PyResult<()> {
    let options = ResolveOptions::default().again(force);
    py.detach(|| model::find(&model, &options, &mut NoProgress)).map_err(exception)?;
    Ok(())
}

/// Options to load a model with.
///
/// # Errors
/// A type or a device that is none.
pub(crate) fn load_options(dtype: &str, device: &str, arch: Option<OsString>) -> PyResult<LoadOptions> {
    let options = LoadOptions::new().device(self::device(device)?);
    let options = match dtype {
        "f32" | "float32" => options.dtype(DType::F32),
        "f16" | "float16" => options.dtype(DType::F16),
        "bf16" | "bfloat16" => options.dtype(DType::BF16),
        "auto" => options.best_dtype(),
        _ => return Err(refuse(format!("`dtype` is {dtype:?}: give \"f32\", \"f16\", \"bf16\" or \"auto\""))),
    };
    Ok(match arch {
        Some(arch) => options.arch(arch),
        None => options,
    })
}

/// The device of a name: "cpu", "cuda", "cuda:N" or N, "metal" or "mps".
///
/// # Errors
/// A name of none; a device that is not there.
pub(crate) fn device(name: &str) -> PyResult<Device> {
    let number = if name == "cuda" { "0" } else { name.strip_prefix("cuda:").unwrap_or(name) };
    let found = match (name, number.parse()) {
        ("cpu", _) => Ok(Device::Cpu),
        ("metal" | "mps", _) => Device::new_metal(0),
        (_, Ok(number)) => Device::new_cuda(number),
        _ => return Err(refuse(format!("`device` is {name:?}: give \"cpu\", \"cuda\", \"cuda:N\" or \"metal\""))),
    };
    found.map_err(exception)
}
