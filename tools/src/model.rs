//! Models as the command loads them: with a progress bar, and a note on a licence that binds its user.

use std::ffi::OsStr;

use anyhow::{Result, bail};
use candle_core::Device;
use ghostzoo::{LoadOptions, Model, model};
use ghostzoo_weights::{CheckpointSource, ModelEntry, Registry, ResolveOptions, ResolvedModel};

use crate::cli::{Float, GlobalArgs, bytes};
use crate::error::usage;
use crate::files;
use crate::progress::Bar;

/// The model that must be named.
pub(crate) fn required(model: Option<&OsStr>) -> Result<&OsStr> {
    model.ok_or_else(|| {
        let registry = Registry::builtin();
        let names: Vec<&str> = registry.entries().iter().map(|entry| entry.name.as_str()).collect();
        usage(format!("say which model with --model: a checkpoint's path, or a name such as {}", names.join(", ")))
    })
}

/// Finds a model's files, downloading them where they are not cached, and prints a licence that binds its user. `machine`
/// keeps the progress bar back where stdout is for programs.
pub(crate) fn find(model: impl AsRef<OsStr>, global: &GlobalArgs, machine: bool) -> ghostzoo::Result<ResolvedModel> {
    find_with(model, &ResolveOptions::default(), global, machine)
}

/// [`find`] with options.
pub(crate) fn find_with(
    model: impl AsRef<OsStr>,
    options: &ResolveOptions,
    global: &GlobalArgs,
    machine: bool,
) -> ghostzoo::Result<ResolvedModel> {
    let found = model::find(&model, options, &mut Bar::new(global.quiet || machine))?;
    if let Some(ModelEntry { licence, .. }) = found.entry.as_ref().filter(|entry| entry.licence.starts_with("AGPL"))
        && !global.quiet
    {
        let model = bytes::shown(model.as_ref());
        status!("note: the weights of {model} are under {licence}, which binds what you build on them");
    }
    Ok(found)
}

/// How the command line says that models are loaded.
pub(crate) fn options(global: &GlobalArgs, device: &Device) -> LoadOptions {
    let options = LoadOptions::new().device(device.clone());
    let options = match global.dtype.map(Float::named) {
        None => options,
        Some(Some(dtype)) => options.dtype(dtype),
        Some(None) => options.best_dtype(),
    };
    match &global.arch {
        Some(arch) => options.arch(arch),
        None => options,
    }
}

/// Finds, reads, checks and builds a model.
pub(crate) fn load(model: impl AsRef<OsStr>, global: &GlobalArgs, device: &Device, machine: bool) -> Result<Model> {
    let found = find(&model, global, machine)?;
    let loaded = model::load(&bytes::shown(model.as_ref()), &found, &options(global, device))?;
    if loaded.widened && !global.quiet {
        status!(
            "note: {} has weights in 8 bits, and computes in floats here: 8 bits are for the CPU, in f32",
            loaded.name
        );
    }
    Ok(loaded)
}

/// The CRC-32 of a model's file.
pub(crate) fn checksum(loaded: &Model) -> Result<u32> {
    match &loaded.source {
        Some(CheckpointSource::File(path)) => files::checksum(path),
        Some(CheckpointSource::Bundled(shipped)) => Ok(crc32fast::hash(shipped.bytes())),
        None => bail!("{} is in memory alone; this is a bug of ghostzoo", loaded.name),
    }
}
