//! Where names, checkpoints and networks meet.

use std::collections::HashMap;
use std::ffi::OsStr;

use anyhow::{Context, Result, anyhow, bail};
use candle_core::{DType, Device};
use candle_ghostnet::GhostNet;
use candle_nn::VarBuilder;
use candle_vision::image::{EvalTransform, Interpolation};
use candle_vision::layers::BatchNormMode;
use candle_yolov8::Yolo;
use ghostzoo_weights::{
    Checkpoint, CheckpointSource, ModelEntry, Preprocessing, Registry, ResolveError, ResolveOptions, ResolvedModel,
    nearest,
};

use crate::architecture::{self, Architecture};
use crate::cli::{GlobalArgs, MAX_SIDE, bytes};
use crate::error::usage;
use crate::progress::Bar;
use crate::{foreign, soundness};

/// A network ready to run.
pub(crate) enum Network {
    Classifier(Box<GhostNet>),
    Detector(Box<Yolo>),
}

/// A network and what its checkpoint says.
pub(crate) struct Loaded {
    /// What the user asked for.
    pub(crate) name: String,
    pub(crate) network: Network,
    /// Names by class number; empty where only numbers are known.
    pub(crate) class_names: Vec<String>,
    /// [height, width] that it was trained on.
    pub(crate) input_size: Option<[usize; 2]>,
    /// Whether a detector was trained with all classes as one.
    pub(crate) single_cls: bool,
    /// How images are prepared for a classifier.
    pub(crate) transform: EvalTransform,
    /// Trainable elements of the checkpoint.
    pub(crate) parameters: usize,
    /// Where the checkpoint is.
    pub(crate) origin: CheckpointSource,
}

/// The model that must be named.
pub(crate) fn required(model: Option<&OsStr>) -> Result<&OsStr> {
    model.ok_or_else(|| {
        let registry = Registry::builtin();
        let names: Vec<&str> = registry.entries().iter().map(|entry| entry.name.as_str()).collect();
        usage(format!("say which model with --model: a checkpoint's path, or a name such as {}", names.join(", ")))
    })
}

/// Finds a model's files, downloading them where they are not cached, and prints a licence that binds its user.
pub(crate) fn find(model: impl AsRef<OsStr>, global: &GlobalArgs, machine: bool) -> Result<ResolvedModel> {
    find_with(model, &ResolveOptions::default(), global, machine)
}

/// [`find`] with options.
pub(crate) fn find_with(
    model: impl AsRef<OsStr>,
    options: &ResolveOptions,
    global: &GlobalArgs,
    machine: bool,
) -> Result<ResolvedModel> {
    let mut bar = Bar::new(global.quiet || machine);
    let found = ghostzoo_weights::resolve(&model, options, &mut bar);
    let model = &*bytes::shown(model.as_ref());
    match found {
        Ok(found) => {
            if let Some(ModelEntry { licence, .. }) =
                found.entry.as_ref().filter(|entry| entry.licence.starts_with("AGPL"))
                && !global.quiet
            {
                status!("note: the weights of {model} are under {licence}, which binds what you build on them");
            }
            Ok(found)
        }
        Err(ResolveError::Unknown { .. } | ResolveError::NoSuchFile { .. }) if foreign::named(model).is_some() => {
            Err(usage(foreign::named(model).unwrap_or_default()))
        }
        Err(ResolveError::Unknown { name, nearest: registered }) => {
            if Architecture::named(&name, None).is_some() {
                return Err(usage(format!(
                    "`{name}` is an architecture without published weights; give a checkpoint trained for it: --model FILE"
                )));
            }
            let known = architecture::names();
            let mut near = registered;
            near.extend(nearest(&name, known.iter().map(String::as_str)).into_iter().map(str::to_owned));
            near.sort();
            near.dedup();
            let near = if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(", ")) };
            Err(usage(format!("unknown model `{name}`{near} (`ghostzoo models` lists all names)")))
        }
        Err(ResolveError::NoSuchFile { .. }) => Err(usage(format!("no such file: {model}"))),
        Err(error @ ResolveError::BadAddress { .. }) => Err(usage(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// Reads a found model, with what its registry entry adds.
pub(crate) fn read(found: &ResolvedModel) -> Result<Checkpoint> {
    let mut checkpoint = found.origin.read().map_err(|error| in_cache(found, error))?;
    if let Some(entry) = &found.entry {
        let metadata = &mut checkpoint.metadata;
        metadata.arch.get_or_insert_with(|| entry.architecture.clone());
        metadata.licence.get_or_insert_with(|| entry.licence.clone());
        metadata.preprocessing = metadata.preprocessing.take().or_else(|| entry.preprocessing.clone());
    }
    Ok(checkpoint)
}

/// What to do about a damaged file that lies in the Hub's cache.
fn in_cache(found: &ResolvedModel, error: ghostzoo_weights::Error) -> anyhow::Error {
    use ghostzoo_weights::Error;
    let is_damage = match &error {
        Error::Invalid { .. } | Error::Incomplete { .. } => true,
        // Of a name that promises a checkpoint; another comes as it is.
        Error::NotACheckpoint { path, .. } => path
            .extension()
            .is_some_and(|extension| ["safetensors", "pt", "pth"].iter().any(|known| extension == *known)),
        _ => false,
    };
    match found.cached_as.as_deref().filter(|_| is_damage) {
        Some(name) => anyhow!("{error}; it lies in the cache: `ghostzoo pull {name} --force` downloads it again"),
        None => error.into(),
    }
}

/// Refuses a checkpoint that does not fit, with the first tensors that are missing, unexpected or misshaped, and one whose
/// weights are no numbers.
pub(crate) fn check(name: &str, architecture: &Architecture, checkpoint: &Checkpoint) -> Result<()> {
    let mismatch = soundness::read(name, checkpoint, architecture.mismatch(checkpoint)?)?;
    if !mismatch.is_empty() {
        bail!("{name} does not fit its architecture: {mismatch}");
    }
    soundness::finite(name, checkpoint)
}

/// Builds a network for inference, its batch norms folded.
pub(crate) fn build(
    architecture: &Architecture,
    checkpoint: &Checkpoint,
    dtype: DType,
    device: &Device,
) -> Result<Network> {
    let tensors: HashMap<_, _> = checkpoint.tensors.iter().map(|(name, t)| (name.clone(), t.clone())).collect();
    build_with(architecture, VarBuilder::from_tensors(tensors, dtype, device))
}

/// [`build`] from any source of tensors.
pub(crate) fn build_with(architecture: &Architecture, vb: VarBuilder) -> Result<Network> {
    Ok(match architecture {
        Architecture::Classifier(config) => Network::Classifier(Box::new(GhostNet::new(&config.for_inference(), vb)?)),
        Architecture::Detector { def, norm } => {
            let norm = if *norm == BatchNormMode::Keep { BatchNormMode::Fuse } else { *norm };
            Network::Detector(Box::new(Yolo::new(def, norm, vb)?))
        }
    })
}

/// Finds, reads, checks and builds a model. `machine` keeps the progress bar back where stdout is for programs.
pub(crate) fn load(model: impl AsRef<OsStr>, global: &GlobalArgs, device: &Device, machine: bool) -> Result<Loaded> {
    let found = find(&model, global, machine)?;
    let model = bytes::shown(model.as_ref());
    let checkpoint = read(&found)?;
    let architecture = Architecture::of_checkpoint(&checkpoint, global.arch.as_deref())
        .with_context(|| format!("cannot use {model}"))?;
    check(&model, &architecture, &checkpoint)?;
    let network = build(&architecture, &checkpoint, global.dtype(), device)?;
    let metadata = &checkpoint.metadata;
    let classes = match &architecture {
        Architecture::Classifier(config) => config.num_classes,
        Architecture::Detector { def, .. } => def.nc,
    };
    let is_classifier = matches!(network, Network::Classifier(_));
    let class_names = match &metadata.names {
        Some(names) if names.len() != classes => bail!(
            "{model} names {} classes and its tensors have {classes}: one of the two is of another model",
            names.len()
        ),
        Some(names) => names.clone(),
        _ if is_classifier => class_names(classes),
        _ => Vec::new(),
    };
    Ok(Loaded {
        name: model,
        network,
        class_names,
        input_size: metadata.imgsz.map(|side| checked_size([side; 2])).transpose()?,
        single_cls: metadata.train_args.as_ref().is_some_and(|args| args["single_cls"] == true),
        parameters: architecture.spec()?.parameters(),
        origin: found.origin,
        transform: metadata.preprocessing.as_ref().map_or_else(|| Ok(EvalTransform::default()), transform)?,
    })
}

/// A size of images that a checkpoint asks for.
fn checked_size([height, width]: [usize; 2]) -> Result<[usize; 2]> {
    if [height, width].iter().all(|side| (1..=MAX_SIDE).contains(side)) {
        return Ok([height, width]);
    }
    Err(usage(format!(
        "the checkpoint asks for images of {height}x{width}, and sides lie from 1 to {MAX_SIDE}: its metadata are \
         damaged; give the checkpoint it was made from"
    )))
}

/// A classifier's view of an image, as its checkpoint says it.
pub(crate) fn transform(preprocessing: &Preprocessing) -> Result<EvalTransform> {
    let Preprocessing { input_size, crop_pct, ref interpolation, mean, std } = *preprocessing;
    let interpolation: Interpolation = interpolation.parse().map_err(|error: String| usage(error))?;
    // The shortest decimal of the stored number: 0.875, and 0.9 where f32 holds 0.89999998.
    let crop_pct = crop_pct.to_string().parse().unwrap_or(f64::from(crop_pct));
    let input_size = checked_size(input_size)?;
    Ok(EvalTransform { input_size, crop_pct, interpolation, mean, std })
}

/// What [`transform`] reads.
pub(crate) fn preprocessing(transform: &EvalTransform) -> Preprocessing {
    let EvalTransform { input_size, crop_pct, interpolation, mean, std } = *transform;
    Preprocessing { input_size, crop_pct: crop_pct as f32, interpolation: interpolation.to_string(), mean, std }
}

/// What the classes of a classifier that does not name them are called: ImageNet's where there are as many.
pub(crate) fn class_names(classes: usize) -> Vec<String> {
    if classes == 1000 { imagenet_names() } else { Vec::new() }
}

/// The names of ImageNet-1k's classes in the order of their numbers.
fn imagenet_names() -> Vec<String> {
    let line = |line: &str| line.split_once('\t').map_or(line, |(_, name)| name).to_owned();
    include_str!("../data/imagenet_classes.txt").lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vast_sizes_in_metadata_are_refused() {
        assert_eq!(checked_size([480, 640]).expect("a usual size"), [480, 640]);
        for size in [[0, 640], [640, 1_000_000_000]] {
            let error = checked_size(size).expect_err("no usual size").to_string();
            assert!(
                error.starts_with(&format!("the checkpoint asks for images of {}x{},", size[0], size[1])),
                "{error}"
            );
        }
    }

    #[test]
    fn imagenets_classes_are_a_thousand_in_order() {
        let names = imagenet_names();
        assert_eq!(names.len(), 1000);
        assert_eq!(
            (names[0].as_str(), names[999].as_str()),
            ("tench, Tinca tinca", "toilet tissue, toilet paper, bathroom tissue")
        );
    }
}
