//! Which network a name, a yaml or a checkpoint means.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context, Result};
use candle_core::Shape;
use candle_ghostnet::{Config, Reparam, Variant};
use candle_vision::layers::{BatchNormMode, Modules};
use candle_vision::spec::{KeyMismatch, ParamSpec};
use candle_yolov8::{ModelConfig, Yolo};
use ghostzoo_weights::{Checkpoint, ModelEntry, Registry, nearest};

use crate::cli::{GlobalArgs, bytes};
use crate::error::usage;

/// A network and the form of the tensors it is read from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Architecture {
    Classifier(Config),
    Detector { def: ModelConfig, norm: BatchNormMode },
}

/// The size of a network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) modules: Modules,
    pub(crate) parameters: usize,
    pub(crate) gradients: usize,
    pub(crate) flops: u64,
}

/// Every architecture that can be built by name.
pub(crate) fn names() -> Vec<String> {
    let ghostnets = Variant::ALL.iter().map(|variant| variant.name.to_owned());
    ghostnets.chain(candle_yolov8::architectures()).collect()
}

impl Architecture {
    /// The architecture of a shipped name.
    pub(crate) fn named(name: &str, nc: Option<usize>) -> Option<Self> {
        // timm's names carry the training after a dot: `ghostnet_100.in1k`.
        if let Some(variant) = Variant::from_name(name.split('.').next().unwrap_or(name)) {
            let config = Config::new(variant);
            return Some(Self::Classifier(Config { num_classes: nc.unwrap_or(config.num_classes), ..config }));
        }
        candle_yolov8::model_config(name, nc).map(|def| Self::Detector { def, norm: BatchNormMode::Keep })
    }

    /// The architecture of a name or of a yaml file.
    fn named_or_yaml(word: &OsStr, nc: Option<usize>) -> Result<Option<Self>> {
        let path = Path::new(word);
        let text = bytes::shown(word);
        let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if is_yaml && (path.is_file() || Self::named(&text, nc).is_none()) {
            let yaml = std::fs::read_to_string(path).with_context(|| format!("cannot read {text}"))?;
            let def = ModelConfig::from_yaml(&yaml, Some(&text), nc).with_context(|| format!("in {text}"))?;
            return Ok(Some(Self::Detector { def, norm: BatchNormMode::Keep }));
        }
        Ok(Self::named(&text, nc))
    }

    /// What `summary` shows: an architecture's name, a yaml file, a registry name or a checkpoint.
    pub(crate) fn of(word: &OsStr, nc: Option<usize>, global: &GlobalArgs) -> Result<Self> {
        if let Some(found) = Self::named_or_yaml(word, nc)? {
            return Ok(found);
        }
        let text = &bytes::shown(word);
        let registry = Registry::builtin();
        let registered = |entry: &ModelEntry| Self::named(&entry.architecture, nc.or(Some(entry.num_classes)));
        if let Some(found) = registry.find(text).and_then(registered) {
            return Ok(found);
        }
        if Path::new(word).is_file() {
            let checkpoint = ghostzoo_weights::read(Path::new(word))?;
            let found = Self::of_checkpoint(&checkpoint, global.arch.as_deref())?;
            return Ok(match nc {
                Some(nc) => found.with_classes(nc),
                None => found,
            });
        }
        if let Some(what) = crate::foreign::named(text) {
            return Err(usage(what));
        }
        let known = names();
        let near = nearest(text, known.iter().map(String::as_str));
        let near = if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(", ")) };
        Err(usage(format!("`{text}` is no architecture, no yaml file and no checkpoint{near}")))
    }

    /// The same architecture for another number of classes.
    pub(crate) fn with_classes(self, nc: usize) -> Self {
        match self {
            Self::Classifier(config) => Self::Classifier(Config { num_classes: nc, ..config }),
            Self::Detector { def, norm } => Self::Detector { def: ModelConfig { nc, ..def }, norm },
        }
    }

    /// The architecture of a checkpoint: as `--arch` says, else as the file says, else by its tensors' shapes.
    pub(crate) fn of_checkpoint(checkpoint: &Checkpoint, arch: Option<&OsStr>) -> Result<Self> {
        let shapes = checkpoint.shapes();
        let dims = || shapes.iter().map(|(name, shape)| (name.as_str(), shape.dims()));
        let bare = candle_ghostnet::config_from_shapes(dims());
        let nc = match &bare {
            Some(config) => Some(config.num_classes),
            None => detector_classes(&shapes),
        };
        if let Some(arch) = arch {
            let said = Self::named_or_yaml(arch, nc)?.with_context(|| {
                let arch = bytes::shown(arch);
                format!(
                    "--arch: `{arch}` is neither an architecture nor a yaml file; `ghostzoo models` lists all names"
                )
            })?;
            return Ok(said.in_form(&bare, &shapes));
        }
        crate::foreign::refuse(checkpoint)?;
        let metadata = &checkpoint.metadata;
        let said = match &metadata.yaml {
            // A model's yaml as its file is, from a training here: its name tells the scale.
            Some(serde_json::Value::String(yaml)) => {
                let def = ModelConfig::from_yaml(yaml, metadata.arch.as_deref(), metadata.nc.or(nc));
                Some(Self::Detector { def: def.context("in the checkpoint's model yaml")?, norm: BatchNormMode::Keep })
            }
            Some(yaml) => {
                let scale = yaml.get("scale").and_then(|s| s.as_str()).and_then(|s| s.chars().next());
                let def = ModelConfig::from_value(yaml, scale, metadata.nc.or(nc))
                    .context("in the checkpoint's model yaml")?;
                Some(Self::Detector { def, norm: BatchNormMode::Keep })
            }
            None => metadata.arch.as_deref().and_then(|arch| Self::named(arch, nc)),
        };
        let by_shapes = || match bare {
            Some(config) => Some(Self::Classifier(config)),
            None => candle_yolov8::config_from_shapes(&shapes).map(|(_, def, norm)| Self::Detector { def, norm }),
        };
        match said.map(|said| said.in_form(&bare, &shapes)) {
            // Training scripts replace modules behind the yaml's back; then the shapes know better.
            Some(said) if !said.mismatch(checkpoint)?.is_empty() => {
                let fits = |found: &Self| found.mismatch(checkpoint).is_ok_and(|mismatch| mismatch.is_empty());
                Ok(by_shapes().filter(fits).unwrap_or(said))
            }
            Some(said) => Ok(said),
            None => by_shapes().with_context(|| {
                "it does not status its architecture, and its tensors are those of none that ships; status it with --arch NAME or \
                 --arch FILE.yaml"
            }),
        }
    }

    /// The same architecture in the form that the tensors are in.
    fn in_form(self, bare: &Option<Config>, shapes: &BTreeMap<String, Shape>) -> Self {
        match (self, bare) {
            (Self::Classifier(config), Some(found)) => {
                let has_branches = |name: &String| name.contains("_rpr_") || name.contains(".fusion_bn.");
                let is_deploy = config.variant.version.has_branches() && !shapes.keys().any(has_branches);
                let branches = if is_deploy { Reparam::Deploy } else { Reparam::Train };
                Self::Classifier(Config { branches, norm: found.norm, ..config })
            }
            (Self::Detector { def, .. }, _) => {
                let has_norms = shapes.keys().any(|name| name.ends_with("running_mean"));
                let def = candle_yolov8::in_class_channels_of(shapes, def);
                Self::Detector { def, norm: if has_norms { BatchNormMode::Keep } else { BatchNormMode::Fused } }
            }
            (classifier, None) => classifier,
        }
    }

    /// The tensors it is read from.
    pub(crate) fn spec(&self) -> Result<ParamSpec> {
        Ok(match self {
            Self::Classifier(config) => ParamSpec::of(|vb| candle_ghostnet::GhostNet::new(config, vb))?.1,
            Self::Detector { def, norm } => ParamSpec::of(|vb| Yolo::new(def, *norm, vb))?.1,
        })
    }

    /// How a checkpoint differs from what it needs; the bins of the DFL are a constant and may be absent.
    pub(crate) fn mismatch(&self, checkpoint: &Checkpoint) -> Result<KeyMismatch> {
        let found = checkpoint.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.dims()));
        let mut mismatch = self.spec()?.check(found);
        mismatch.missing.retain(|name| !name.ends_with("dfl.conv.weight"));
        Ok(mismatch)
    }

    /// The input that `summary` counts for.
    pub(crate) fn default_input_size(&self) -> [usize; 2] {
        match self {
            Self::Classifier(_) => [candle_ghostnet::INPUT_SIZE; 2],
            Self::Detector { .. } => [640; 2],
        }
    }

    /// The sizes of its forms, for images of `[height, width]`: as trained, and the deploy form of GhostNetV3 and RepGhostNet.
    pub(crate) fn sizes(&self, input: [usize; 2]) -> Result<Vec<(&'static str, Size)>> {
        match self {
            Self::Detector { def, .. } => {
                let found = candle_yolov8::summary(def)?;
                let area = (input[0] * input[1]) as f64 / (640. * 640.);
                let flops = (found.flops as f64 * area).round() as u64;
                let candle_yolov8::Summary { modules, parameters, gradients, .. } = found;
                Ok(vec![("", Size { modules, parameters, gradients, flops })])
            }
            Self::Classifier(config) => {
                let size = |branches| -> Result<Size> {
                    let config = Config { branches, norm: BatchNormMode::Keep, ..*config };
                    let found = candle_ghostnet::summary(&config, input)?;
                    let candle_ghostnet::Summary { modules, parameters, cost } = found;
                    Ok(Size { modules, parameters, gradients: parameters, flops: cost.flops() })
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

/// Classes of a detector: outputs of the first level's class branch.
fn detector_classes(shapes: &BTreeMap<String, Shape>) -> Option<usize> {
    let (_, shape) = shapes.iter().find(|(name, _)| name.ends_with(".cv3.0.2.bias"))?;
    Some(shape.elem_count())
}
