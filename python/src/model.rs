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
    let device = match device {
        "cpu" => Ok(Device::Cpu),
        "metal" | "mps" => Device::new_metal(0),
        _ => match device
            .strip_prefix("cuda:")
            .or(Some(device))
            .map(|number| if number == "cuda" { "0" } else { number })
        {
            Some(number) if number.parse::<usize>().is_ok() => Device::new_cuda(number.parse().unwrap_or(0)),
            _ => {
                return Err(refuse(format!("`device` is {device:?}: give \"cpu\", \"cuda\", \"cuda:N\" or \"metal\"")));
            }
        },
    };
    let options = LoadOptions::new().device(device.map_err(exception)?);
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
