//! The models of an evaluation.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use anyhow::{Context, Result};
use candle_core::Device;
use ghostzoo_weights::{Registry, Task};

use super::shard::ModelRow;
use crate::cli::{EvalArgs, GlobalArgs, bytes};
use crate::error::usage;
use crate::model;
use ghostzoo::{Classifier, Network};

/// Files of a folder that are taken for checkpoints.
const CHECKPOINTS: [&str; 4] = ["safetensors", "pt", "pth", "bin"];

/// A classifier ready to run.
pub(super) struct EvalModel {
    pub(super) row: ModelRow,
    pub(super) classifier: Classifier,
}

impl EvalModel {
    pub(super) fn num_classes(&self) -> usize {
        self.classifier.inner().config().num_classes
    }
}

/// The models that the arguments name: wildcards over the registry's classifiers, folders over their checkpoints.
pub(super) fn expand(models: &[OsString]) -> Result<Vec<OsString>> {
    let mut names = Vec::new();
    for given in models {
        let (path, model) = (Path::new(given), bytes::shown(given));
        if path.is_dir() {
            let mut files = Vec::new();
            for entry in std::fs::read_dir(path).with_context(|| format!("cannot read the folder {model}"))? {
                let file = entry?.path();
                let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
                if CHECKPOINTS.contains(&extension) {
                    files.push(file.into_os_string());
                }
            }
            if files.is_empty() {
                return Err(usage(format!(
                    "--model: the folder {model} holds no checkpoint ({})",
                    CHECKPOINTS.join(", ")
                )));
            }
            files.sort();
            names.extend(files);
        } else if model.contains(['*', '?', '[']) && !path.exists() {
            let pattern = glob::Pattern::new(&model).map_err(|error| usage(format!("--model {model}: {error}")))?;
            let registry = Registry::builtin();
            let before = names.len();
            let classifiers = registry.entries().iter().filter(|entry| entry.task == Task::Classify);
            names.extend(
                classifiers.filter(|entry| pattern.matches(&entry.name)).map(|entry| OsString::from(&entry.name)),
            );
            if names.len() == before {
                return Err(usage(format!("--model {model} matches no classifier; `ghostzoo models` lists all names")));
            }
        } else {
            names.push(given.clone());
        }
    }
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    Ok(names)
}

/// Loads the models; they must have the same classes.
pub(super) fn load(args: &EvalArgs, global: &GlobalArgs, device: &Device) -> Result<Vec<EvalModel>> {
    if args.model.is_empty() {
        model::required(None)?;
    }
    let mut candidates: Vec<EvalModel> = Vec::new();
    for name in expand(&args.model)? {
        let candidate = load_one(&name, args, global, device)?;
        if let Some(first) = candidates.first()
            && first.num_classes() != candidate.num_classes()
        {
            return Err(usage(format!(
                "{} has {} classes and {} has {}: they cannot be evaluated on the same labels",
                first.row.name,
                first.num_classes(),
                candidate.row.name,
                candidate.num_classes(),
            )));
        }
        candidates.push(candidate);
    }
    Ok(candidates)
}

fn load_one(name: &OsStr, args: &EvalArgs, global: &GlobalArgs, device: &Device) -> Result<EvalModel> {
    let mut loaded = model::load(name, global, device, args.json)?;
    let Network::Classifier(network) = &loaded.network else {
        let name = loaded.name;
        return Err(usage(format!("{name} is a detector; use `ghostzoo val`")));
    };
    if network.config().num_classes == 0 {
        return Err(usage(format!("{} has no classes", loaded.name)));
    }
    let weights = model::checksum(&loaded)?;
    let transform = &mut loaded.transform;
    transform.input_size = args.imgsz.unwrap_or(transform.input_size);
    transform.crop_pct = args.crop_pct.unwrap_or(transform.crop_pct);
    transform.interpolation = args.interpolation.unwrap_or(transform.interpolation);
    let row = ModelRow {
        name: loaded.name.clone(),
        weights,
        param_count: loaded.parameters,
        img_size: transform.input_size,
        crop_pct: transform.crop_pct,
        interpolation: transform.interpolation.to_string(),
        dtype: loaded.dtype.as_str().to_owned(),
    };
    Ok(EvalModel { row, classifier: Classifier::of(loaded)? })
}
