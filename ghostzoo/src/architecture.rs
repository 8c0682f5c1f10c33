//! Which network a name, a yaml or a checkpoint means.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use candle_core::Shape;
use candle_ghostnet::{Config, GhostNet, Reparam, Variant};
use candle_vision::layers::{BatchNormMode, Modules, Summary};
use candle_vision::prune::{Channels, Dependencies};
use candle_vision::spec::ParamSpec;
use candle_yolov8::{ModelConfig, Yolo};
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
            let classes = nc.unwrap_or(config.num_classes);
            return Some(Self::Classifier(config.num_classes(classes)));
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
    pub(crate) fn in_form(self, shapes: &BTreeMap<String, Shape>) -> Self {
        match self {
            Self::Classifier(config) => match candle_ghostnet::classes_from_shapes(shapes) {
                Some(_) => Self::Classifier(candle_ghostnet::in_form_of(shapes, config)),
                None => Self::Classifier(config),
            },
            Self::Detector(def) => {
                let has_norms = shapes.keys().any(|name| name.ends_with("running_mean"));
                let def = candle_yolov8::in_class_channels_of(shapes, def);
                Self::Detector(def.with_norm(if has_norms { BatchNormMode::Keep } else { BatchNormMode::Fused }))
            }
        }
    }

    /// The same architecture, in the form of tensors, with the channels that they have.
    pub(crate) fn pruned_to(self, shapes: &BTreeMap<String, Shape>) -> Result<Self> {
        let whole = self.with_channels(Channels::default());
        let channels = Channels::between(&whole.params()?.shapes, shapes);
        Ok(whole.with_channels(channels))
    }

    /// The same architecture with fewer channels in some tensors.
    fn with_channels(self, channels: Channels) -> Self {
        match self {
            Self::Classifier(config) => Self::Classifier(config.channels(channels)),
            Self::Detector(def) => Self::Detector(def.with_channels(channels)),
        }
    }

    /// Whether layers have fewer channels than the architecture.
    pub fn is_pruned(&self) -> bool {
        match self {
            Self::Classifier(config) => !config.channels.is_empty(),
            Self::Detector(def) => !def.channels.is_empty(),
        }
    }

    /// Which channels of the network can be removed, and what goes with them, by the names of tensors of its form.
    pub(crate) fn dependencies(&self) -> Result<Dependencies> {
        Ok(match self {
            // The stem keeps its batch norm in every form.
            Self::Classifier(config) => {
                let config = config.clone().norm(BatchNormMode::Keep);
                ParamSpec::of(|vb| GhostNet::new(&config, vb))?.0.dependencies()?
            }
            Self::Detector(def) => ParamSpec::of(|vb| Yolo::new(def, vb))?.0.dependencies()?,
        })
    }

    /// The tensors it is read from.
    pub(crate) fn params(&self) -> Result<ParamSpec> {
        Ok(match self {
            Self::Classifier(config) => ParamSpec::of(|vb| GhostNet::new(config, vb))?.1,
            Self::Detector(def) => candle_yolov8::spec(def)?,
        })
    }

    /// What [`LabelledData::measure`](crate::LabelledData::measure) gives of such a model.
    pub fn metric_name(&self) -> &'static str {
        match self {
            Self::Detector(_) => "mAP50-95",
            Self::Classifier(_) => "top-1",
        }
    }

    /// The input that `summary` counts for.
    pub fn default_input_size(&self) -> [usize; 2] {
        match self {
            Self::Classifier(_) => [candle_ghostnet::INPUT_SIZE; 2],
            Self::Detector(_) => [640; 2],
        }
    }

    /// The sizes of its forms, for images of `[height, width]`: as trained, and the deploy form of GhostNetV3 and RepGhostNet. Of a
    /// pruned one that of the form it is in.
    ///
    /// # Errors
    /// Where it cannot be built.
    pub fn sizes(&self, input: [usize; 2]) -> Result<Vec<(&'static str, ModelSize)>> {
        match self {
            Self::Classifier(config) if !self.is_pruned() => {
                let form = |branches| Self::Classifier(config.clone().branches(branches)).size(input);
                let mut sizes = vec![("", form(Reparam::Train)?)];
                if config.variant.version.has_branches() {
                    sizes.push(("deploy", form(Reparam::Deploy)?));
                }
                Ok(sizes)
            }
            // The shapes of a pruned network's other form are not known.
            _ => Ok(vec![("", self.size(input)?)]),
        }
    }

    /// The size of the form that it is in, with its batch norms.
    pub(crate) fn size(&self, input: [usize; 2]) -> Result<ModelSize> {
        let found = match self {
            Self::Classifier(config) => candle_ghostnet::summary(&config.clone().norm(BatchNormMode::Keep), input)?,
            Self::Detector(def) => candle_yolov8::summary(def, input)?,
        };
        let Summary { modules, parameters, gradients, flops, .. } = found;
        Ok(ModelSize { modules, parameters, gradients, flops })
    }
}
