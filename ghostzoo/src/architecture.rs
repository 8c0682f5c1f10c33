//! Which network a name, a yaml or a checkpoint means.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use candle_core::Shape;
use candle_ghostnet::{Config, Reparam, Variant};
use candle_vision::layers::{BatchNormMode, Modules, Summary};
use candle_vision::spec::ParamSpec;
use candle_yolov8::ModelConfig;
use ghostzoo_weights::{ModelEntry, Registry, nearest};

use crate::error::{Context as _, Error, Result, request};
use crate::name::shown;
use crate::spec::ModelSpec;

/// A network and the form of the tensors it is read from.
#[derive(Debug, Clone, PartialEq)]
pub enum Architecture {
    /// A GhostNet.
    Classifier(Config),
    /// A YOLO.
    Detector(ModelConfig),
}

/// The size of a network.
#[derive(Debug, Clone, Copy)]
pub struct ModelSize {
    /// Modules of the PyTorch model.
    pub modules: Modules,
    /// Trainable elements.
    pub parameters: usize,
    /// Elements that a training changes.
    pub gradients: usize,
    /// Floating-point operations of one image.
    pub flops: u64,
}

/// Every architecture that can be built by name.
pub fn architectures() -> Vec<String> {
    let ghostnets = Variant::ALL.iter().map(|variant| variant.name.to_owned());
    ghostnets.chain(candle_yolov8::architectures()).collect()
}

impl Architecture {
    /// The architecture of a shipped name.
    pub fn named(name: &str, nc: Option<usize>) -> Option<Self> {
        // timm's names carry the training after a dot: `ghostnet_100.in1k`.
        if let Some(variant) = Variant::from_name(name.split('.').next().unwrap_or(name)) {
            let config = Config::new(variant);
            return Some(Self::Classifier(config.num_classes(nc.unwrap_or(config.num_classes))));
        }
        candle_yolov8::model_config(name, nc).map(Self::Detector)
    }

    /// The architecture of a name or of a yaml file.
    pub(crate) fn named_or_yaml(word: &OsStr, nc: Option<usize>) -> Result<Option<Self>> {
        let path = Path::new(word);
        let text = shown(word);
        let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if is_yaml && (path.is_file() || Self::named(&text, nc).is_none()) {
            let read = |source| Error::Io { what: format!("cannot read {text}"), source };
            let yaml = std::fs::read_to_string(path).map_err(read)?;
            let def = ModelConfig::from_yaml(&yaml, Some(&text), nc).with_context(|| format!("in {text}"))?;
            return Ok(Some(Self::Detector(def)));
        }
        Ok(Self::named(&text, nc))
    }

    /// The architecture that `word` means, an architecture's name, a yaml file, a registry name or a checkpoint, for `nc` classes
    /// where they are given. `arch` says what a checkpoint is that does
    /// not say it itself.
    ///
    /// # Errors
    /// Where it means none, with the names most like it; where a file cannot be read.
    pub fn of(word: &OsStr, nc: Option<usize>, arch: Option<&OsStr>) -> Result<Self> {
        if let Some(found) = Self::named_or_yaml(word, nc)? {
            return Ok(found);
        }
        let text = &shown(word);
        let registry = Registry::builtin();
        let registered = |entry: &ModelEntry| Self::named(&entry.architecture, nc.or(Some(entry.num_classes)));
        if let Some(found) = registry.find(text).and_then(registered) {
            return Ok(found);
        }
        if Path::new(word).is_file() {
            let checkpoint = ghostzoo_weights::read(Path::new(word))?;
            let found = ModelSpec::of_checkpoint(&checkpoint, arch)?.architecture;
            return Ok(match nc {
                Some(nc) => found.with_classes(nc),
                None => found,
            });
        }
        if let Some(what) = crate::foreign::named(text) {
            return Err(request(what));
        }
        let known = architectures();
        let near = nearest(text, known.iter().map(String::as_str));
        let near = if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(", ")) };
        Err(request(format!("`{text}` is no architecture, no yaml file and no checkpoint{near}")))
    }

    /// The same architecture for another number of classes.
    pub fn with_classes(self, nc: usize) -> Self {
        match self {
            Self::Classifier(config) => Self::Classifier(config.num_classes(nc)),
            Self::Detector(def) => Self::Detector(ModelConfig { nc, ..def }),
        }
    }

    /// The same architecture in the form that the tensors are in.
    pub(crate) fn in_form(self, bare: &Option<Config>, shapes: &BTreeMap<String, Shape>) -> Self {
        match (self, bare) {
            (Self::Classifier(config), Some(found)) => {
                let has_branches = |name: &String| name.contains("_rpr_") || name.contains(".fusion_bn.");
                let is_deploy = config.variant.version.has_branches() && !shapes.keys().any(has_branches);
                let branches = if is_deploy { Reparam::Deploy } else { Reparam::Train };
                Self::Classifier(config.branches(branches).norm(found.norm))
            }
            (Self::Detector(def), _) => {
                let has_norms = shapes.keys().any(|name| name.ends_with("running_mean"));
                let def = candle_yolov8::in_class_channels_of(shapes, def);
                Self::Detector(def.with_norm(if has_norms { BatchNormMode::Keep } else { BatchNormMode::Fused }))
            }
            (classifier, None) => classifier,
        }
    }

    /// The tensors it is read from.
    pub(crate) fn params(&self) -> Result<ParamSpec> {
        Ok(match self {
            Self::Classifier(config) => ParamSpec::of(|vb| candle_ghostnet::GhostNet::new(config, vb))?.1,
            Self::Detector(def) => candle_yolov8::spec(def)?,
        })
    }

    /// The input that `summary` counts for.
    pub fn default_input_size(&self) -> [usize; 2] {
        match self {
            Self::Classifier(_) => [candle_ghostnet::INPUT_SIZE; 2],
            Self::Detector(_) => [640; 2],
        }
    }

    /// The sizes of its forms, for images of `[height, width]`: as trained, and the deploy form of GhostNetV3 and RepGhostNet.
    ///
    /// # Errors
    /// Where it cannot be built.
    pub fn sizes(&self, input: [usize; 2]) -> Result<Vec<(&'static str, ModelSize)>> {
        let size = |found: Summary| {
            let Summary { modules, parameters, gradients, flops, .. } = found;
            ModelSize { modules, parameters, gradients, flops }
        };
        match self {
            Self::Detector(def) => Ok(vec![("", size(candle_yolov8::summary(def, input)?))]),
            Self::Classifier(config) => {
                let size = |branches| -> Result<ModelSize> {
                    let config = config.branches(branches).norm(BatchNormMode::Keep);
                    Ok(size(candle_ghostnet::summary(&config, input)?))
                };
                let mut sizes = vec![("", size(Reparam::Train)?)];
                if config.variant.version.has_branches() {
                    sizes.push(("deploy", size(Reparam::Deploy)?));
                }
                Ok(sizes)
            }
        }
    }
}
