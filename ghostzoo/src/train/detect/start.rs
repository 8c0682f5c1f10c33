//! The network that a detector's run starts from.

use std::path::Path;

use candle_vision::prune::Channels;
use candle_yolov8::ModelConfig;
use candle_yolov8::train::Recipe;
use ghostzoo_weights::{Checkpoint, ResolvedModel};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::options::DetectionOptions;
use crate::error::{Context as _, Error, Result, io, request};
use crate::name::shown;
use crate::train::{checks, pretrained};
use crate::{Architecture, ModelSpec, soundness};

/// A network's description, and the weights it starts from.
#[derive(Debug, Clone)]
pub struct DetectionStart {
    pub(super) def: ModelConfig,
    /// Name and, for a yaml of the user's own, its text: what the checkpoints say of their architecture.
    pub(super) arch: String,
    pub(super) yaml: Option<String>,
    pub(super) weights: Option<(String, Checkpoint)>,
    /// Of the weights, where it binds what is made of them.
    pub(super) licence: Option<String>,
}

/// What is decided when a run begins, and holds when it goes on.
#[derive(Serialize, Deserialize)]
pub(super) struct Decided {
    pub(super) arch: String,
    pub(super) yaml: Option<String>,
    pub(super) recipe: Recipe,
    /// Of a head whose class branches come from a checkpoint.
    #[serde(default)]
    pub(super) class_channels: Option<usize>,
    /// Of a pruned network.
    #[serde(default, skip_serializing_if = "Channels::is_empty")]
    pub(super) channels: Channels,
    /// Of the weights that the run began with, where it binds what is made of them.
    #[serde(default)]
    pub(super) licence: Option<String>,
}

impl DetectionStart {
    /// What the options name, for `nc` classes. A model that is not there is downloaded.
    ///
    /// # Errors
    /// Where there is no such model, it is a classifier, or no training can begin from it.
    pub fn find(options: &DetectionOptions, nc: usize) -> Result<Self> {
        Self::find_with(options, nc, &mut pretrained::find)
    }

    /// [`DetectionStart::find`] that finds a model's files by `find`.
    ///
    /// # Errors
    /// As [`DetectionStart::find`].
    pub fn find_with(
        options: &DetectionOptions,
        nc: usize,
        find: &mut dyn FnMut(&str) -> Result<ResolvedModel>,
    ) -> Result<Self> {
        let model = &options.model;
        let path = Path::new(model);
        let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        let named = Architecture::named(model, Some(nc));
        let is_detector = !is_yaml && matches!(named, Some(Architecture::Detector(_)));
        let weights = options.pretrained.weights(model, is_detector, find)?;
        if let Some((name, checkpoint)) = &weights {
            soundness::trainable(name, checkpoint)?;
        }
        if is_yaml && path.is_file() {
            let yaml = std::fs::read_to_string(path).map_err(io(format!("cannot read {}", path.display())))?;
            let def = ModelConfig::from_yaml(&yaml, Some(model), Some(nc)).with_context(|| format!("in {model}"))?;
            let arch = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Ok(Self::new(def, arch, Some(yaml), weights));
        }
        if let Some(architecture) = named {
            let Architecture::Detector(def) = architecture else { return Err(is_classifier(model)) };
            let arch = model.trim_end_matches(".yaml").to_owned();
            return Ok(Self::new(def, arch, None, weights));
        }
        let (name, checkpoint) = pretrained::read(model, find)?;
        let spec = ModelSpec::of_checkpoint(&checkpoint, options.arch.as_deref())?;
        let Architecture::Detector(def) = spec.architecture.with_classes(nc) else {
            return Err(is_classifier(&name));
        };
        soundness::trainable(&name, &checkpoint)?;
        let metadata = &checkpoint.metadata;
        let yaml = metadata.yaml.as_ref().map(|yaml| yaml.as_str().map_or_else(|| yaml.to_string(), str::to_owned));
        let by_shapes = || candle_yolov8::config_from_shapes(&checkpoint.shapes()).map(|(name, _)| name);
        let said = metadata.arch.clone().or_else(|| options.arch.as_deref().map(shown));
        let arch = said.or_else(by_shapes).unwrap_or_else(|| name.clone());
        let weights = weights.or(Some((name, checkpoint)));
        Ok(Self::new(def, arch, yaml, weights))
    }

    fn new(def: ModelConfig, arch: String, yaml: Option<String>, weights: Option<(String, Checkpoint)>) -> Self {
        let licence = pretrained::binding_licence(weights.as_ref());
        Self { def: trained_on_from(&weights, def), arch, yaml, weights, licence }
    }

    /// The network of a run that goes on, by what it [`decided`](crate::train::SavedRun::decided); its weights are in the
    /// run's state.
    ///
    /// # Errors
    /// What no run decides.
    pub fn again(decided: &Value, nc: usize) -> Result<Self> {
        let Decided { arch, yaml, class_channels, channels, licence, .. } = checks::read(decided)?;
        let def = match &yaml {
            Some(yaml) => {
                ModelConfig::from_yaml(yaml, Some(&arch), Some(nc)).context("in the model yaml of the run")?
            }
            None => candle_yolov8::model_config(&arch, Some(nc))
                .with_context(|| format!("the run's architecture {arch} is none that ships"))?,
        };
        let def = def.with_channels(channels);
        let def = class_channels.map_or(def.clone(), |channels| def.with_class_channels(channels));
        Ok(Self { def, arch, yaml, weights: None, licence })
    }

    /// What a side of the input is a multiple of.
    pub fn stride(&self) -> usize {
        self.def.rows.iter().fold(32., |most: f64, row| most.max(row.stride)) as usize
    }
}

fn is_classifier(name: &str) -> Error {
    request(format!("{name} is a classifier: train a `ClassificationTask`"))
}

/// The network as it is trained on from `weights`.
fn trained_on_from(weights: &Option<(String, Checkpoint)>, def: ModelConfig) -> ModelConfig {
    match weights {
        Some((_, checkpoint)) => candle_yolov8::trained_on_from(&checkpoint.shapes(), def),
        None => def,
    }
}
