//! From a name to a network: found, read, checked and built.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt;

use candle_core::{DType, Device};
use candle_ghostnet::GhostNet;
use candle_nn::VarBuilder;
use candle_vision::image::{EvalTransform, Interpolation};
use candle_yolov8::Yolo;
use ghostzoo_kernels::plan::{ConvQuantization, Quantization};
use ghostzoo_weights::{
    Checkpoint, CheckpointSource, DownloadProgress, Preprocessing, QuantizedConv, ResolveError, ResolveOptions,
    ResolvedModel, nearest,
};

use crate::architecture::{self, Architecture};
use crate::error::{Context as _, Error, Result, invalid, request};
use crate::imagenet;
use crate::name::shown;
use crate::options::{LoadOptions, best_dtype};
use crate::spec::ModelSpec;
use crate::{foreign, soundness};

/// Longest side of an image that a network is asked to look at, in pixels.
pub const MAX_SIDE: usize = 16_384;

/// A network ready to run.
pub enum Network {
    /// A GhostNet.
    Classifier(Box<GhostNet>),
    /// A YOLO.
    Detector(Box<Yolo>),
}

impl fmt::Debug for Network {
    /// The task, without the tensors.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Classifier(_) => "Classifier",
            Self::Detector(_) => "Detector",
        })
    }
}

/// A network and what its checkpoint says.
#[derive(Debug)]
#[non_exhaustive]
pub struct Model {
    /// What was asked for.
    pub name: String,
    /// The network.
    pub network: Network,
    /// Names by class number; empty where only numbers are known.
    pub class_names: Vec<String>,
    /// [height, width] that it was trained on.
    pub input_size: Option<[usize; 2]>,
    /// Whether a detector was trained with all classes as one.
    pub single_cls: bool,
    /// How images are prepared for a classifier.
    pub transform: EvalTransform,
    /// Trainable elements of the checkpoint.
    pub parameters: usize,
    /// The licence of the weights, where it is known.
    pub licence: Option<String>,
    /// Where the checkpoint is; `None` of one in memory.
    pub source: Option<CheckpointSource>,
    /// Where it computes.
    pub device: Device,
    /// The type that it computes in.
    pub dtype: DType,
    /// Whether convolutions compute in 8 bits, as the checkpoint has them: on the CPU, in f32.
    pub quantized: bool,
    /// Whether the checkpoint has convolutions in 8 bits that compute in floats here: on another device, or in another type.
    pub widened: bool,
}

/// Finds a model's files: a file's path, a name of the registry, or `hf://organisation/repository[@revision]/file`. What is
/// not cached is downloaded.
///
/// # Errors
/// [`Error::Request`] where there is no such model, with the names most like it; [`Error::Resolve`] where it cannot be
/// downloaded.
pub fn find(
    model: impl AsRef<OsStr>,
    options: &ResolveOptions,
    progress: &mut dyn DownloadProgress,
) -> Result<ResolvedModel> {
    let found = ghostzoo_weights::resolve(&model, options, progress);
    let model = &*shown(&model);
    match found {
        Ok(found) => Ok(found),
        Err(ResolveError::Unknown { .. } | ResolveError::NoSuchFile { .. }) if foreign::named(model).is_some() => {
            Err(request(foreign::named(model).unwrap_or_default()))
        }
        Err(ResolveError::Unknown { name, nearest: registered }) => {
            if Architecture::named(&name, None).is_some() {
                return Err(request(format!(
                    "`{name}` is an architecture without published weights; give a checkpoint trained for it"
                )));
            }
            let known = architecture::architectures();
            let mut near = registered;
            near.extend(nearest(&name, known.iter().map(String::as_str)).into_iter().map(str::to_owned));
            near.sort();
            near.dedup();
            let near = if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(", ")) };
            Err(request(format!("unknown model `{name}`{near} (`Registry` lists all names)")))
        }
        Err(ResolveError::NoSuchFile { .. }) => Err(request(format!("no such file: {model}"))),
        Err(error @ ResolveError::BadAddress { .. }) => Err(request(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// Reads a found model, with what its registry entry adds.
///
/// # Errors
/// [`Error::Checkpoint`]; of a damaged file in the Hub's cache, how to get it anew.
pub fn read(found: &ResolvedModel) -> Result<Checkpoint> {
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
fn in_cache(found: &ResolvedModel, error: ghostzoo_weights::Error) -> Error {
    use ghostzoo_weights::Error as Damage;
    let is_damage = match &error {
        Damage::Invalid { .. } | Damage::Incomplete { .. } => true,
        // Of a name that promises a checkpoint; another comes as it is.
        Damage::NotACheckpoint { path, .. } => path
            .extension()
            .is_some_and(|extension| ["safetensors", "pt", "pth"].iter().any(|known| extension == *known)),
        _ => false,
    };
    match found.cached_as.as_deref().filter(|_| is_damage) {
        Some(name) => {
            Error::Invalid(format!("{error}; it lies in the cache: `ResolveOptions::again` downloads {name} anew"))
        }
        None => error.into(),
    }
}

/// Refuses a checkpoint that does not fit, with the first tensors that are missing, unexpected or misshaped, and one whose
/// weights are no numbers.
///
/// # Errors
/// [`Error::Invalid`], which names `name`.
pub fn check(name: &str, spec: &ModelSpec, checkpoint: &Checkpoint) -> Result<()> {
    let mismatch = soundness::read(name, checkpoint, spec.mismatch(checkpoint))?;
    if !mismatch.is_empty() {
        invalid!("{name} does not fit its architecture: {mismatch}");
    }
    soundness::finite(name, checkpoint)
}

/// Builds a network for inference, its batch norms folded.
///
/// # Errors
/// Where a tensor is missing or the device has no memory left.
pub fn build(architecture: &Architecture, checkpoint: &Checkpoint, dtype: DType, device: &Device) -> Result<Network> {
    let tensors: HashMap<_, _> = checkpoint.tensors.iter().map(|(name, t)| (name.clone(), t.clone())).collect();
    build_with(architecture, VarBuilder::from_tensors(tensors, dtype, device))
}

/// [`build`] from any source of tensors.
///
/// # Errors
/// As [`build`].
pub fn build_with(architecture: &Architecture, vb: VarBuilder) -> Result<Network> {
    Ok(match architecture {
        Architecture::Classifier(config) => Network::Classifier(Box::new(GhostNet::new(&config.for_inference(), vb)?)),
        Architecture::Detector(def) => Network::Detector(Box::new(Yolo::new(&def.for_inference(), vb)?)),
    })
}

/// Reads, checks and builds a found model, whose errors name it `name`.
///
/// # Errors
/// As [`read`] and [`from_checkpoint`].
pub fn load(name: &str, found: &ResolvedModel, options: &LoadOptions) -> Result<Model> {
    check_dtype(options)?;
    let model = from_checkpoint(name, &read(found)?, options)?;
    Ok(Model { source: Some(found.origin.clone()), ..model })
}

/// Refuses a type that no network computes in.
fn check_dtype(options: &LoadOptions) -> Result<()> {
    match options.dtype {
        None | Some(DType::F32 | DType::F16 | DType::BF16) => Ok(()),
        Some(dtype) => Err(request(format!("networks compute in f32, f16 or bf16, not in {dtype:?}"))),
    }
}

/// Checks and builds a model of a checkpoint in memory, whose errors name it `name`.
///
/// # Errors
/// As [`ModelSpec::of_checkpoint`] and [`check`]; where names or sizes in its metadata cannot be.
pub fn from_checkpoint(name: &str, checkpoint: &Checkpoint, options: &LoadOptions) -> Result<Model> {
    check_dtype(options)?;
    let has_integers = !checkpoint.quantized.is_empty();
    let best = || if has_integers { DType::F32 } else { best_dtype(&options.device) };
    let dtype = options.dtype.unwrap_or_else(best);
    let spec =
        ModelSpec::of_checkpoint(checkpoint, options.arch.as_deref()).with_context(|| format!("cannot use {name}"))?;
    check(name, &spec, checkpoint)?;
    let mut network = build(&spec.architecture, checkpoint, dtype, &options.device)?;
    let quantized = has_integers && options.device.is_cpu() && dtype == DType::F32;
    if quantized {
        quantize(name, &mut network, checkpoint)?;
    }
    let (metadata, classes) = (&checkpoint.metadata, spec.num_classes());
    let is_classifier = matches!(network, Network::Classifier(_));
    let class_names = match &metadata.names {
        Some(names) if names.len() != classes => invalid!(
            "{name} names {} classes and its tensors have {classes}: one of the two is of another model",
            names.len()
        ),
        Some(names) => names.clone(),
        _ if is_classifier => imagenet::class_names(classes),
        _ => Vec::new(),
    };
    Ok(Model {
        name: name.to_owned(),
        network,
        class_names,
        input_size: metadata.imgsz.map(|side| checked_size([side; 2])).transpose()?,
        single_cls: metadata.train_args.as_ref().is_some_and(|args| args["single_cls"] == true),
        parameters: spec.parameters(),
        licence: metadata.licence.clone(),
        source: None,
        device: options.device.clone(),
        dtype,
        quantized,
        widened: has_integers && !quantized,
        transform: metadata.preprocessing.as_ref().map_or_else(|| Ok(EvalTransform::default()), transform)?,
    })
}

/// Has a network compute the convolutions in 8 bits that its checkpoint has so.
fn quantize(name: &str, network: &mut Network, checkpoint: &Checkpoint) -> Result<()> {
    let conv = |(path, conv): (&String, &QuantizedConv)| {
        let QuantizedConv { weight_scale, input_scale, input_zero_point } = conv.clone();
        (path.clone(), ConvQuantization { weight_scale, input_scale, input_zero_point })
    };
    let quantization: Quantization = checkpoint.quantized.iter().map(conv).collect();
    let done = match network {
        Network::Classifier(net) => net.quantize(quantization),
        Network::Detector(net) => net.quantize(quantization),
    };
    done.map_err(|error| {
        // Without the backtrace that candle may put behind it.
        let error = error.to_string();
        let why = error.lines().next().unwrap_or_default();
        Error::Invalid(format!("{name} does not fit its network in 8 bits: {why}; quantize it anew"))
    })
}

/// A size of images that a checkpoint asks for.
fn checked_size([height, width]: [usize; 2]) -> Result<[usize; 2]> {
    if [height, width].iter().all(|side| (1..=MAX_SIDE).contains(side)) {
        return Ok([height, width]);
    }
    Err(request(format!(
        "the checkpoint asks for images of {height}x{width}, and sides lie from 1 to {MAX_SIDE}: its metadata are \
         damaged; give the checkpoint it was made from"
    )))
}

/// A classifier's view of an image, as its checkpoint says it.
///
/// # Errors
/// [`Error::Request`] where a side or the interpolation cannot be.
pub fn transform(preprocessing: &Preprocessing) -> Result<EvalTransform> {
    let Preprocessing { input_size, crop_pct, ref interpolation, mean, std } = *preprocessing;
    let interpolation: Interpolation = interpolation.parse().map_err(request)?;
    // The shortest decimal of the stored number: 0.875, and 0.9 where f32 holds 0.89999998.
    let crop_pct = crop_pct.to_string().parse().unwrap_or(f64::from(crop_pct));
    let input_size = checked_size(input_size)?;
    Ok(EvalTransform::new().input_size(input_size).crop_pct(crop_pct).interpolation(interpolation).mean(mean).std(std))
}

/// What [`transform`] reads.
pub fn preprocessing(transform: &EvalTransform) -> Preprocessing {
    let EvalTransform { input_size, crop_pct, interpolation, mean, std, .. } = *transform;
    Preprocessing { input_size, crop_pct: crop_pct as f32, interpolation: interpolation.to_string(), mean, std }
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
}
