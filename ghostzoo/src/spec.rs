//! A checkpoint's network, described once.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use candle_core::Shape;
use candle_vision::spec::{KeyMismatch, ParamSpec};
use candle_yolov8::ModelConfig;
use ghostzoo_weights::Checkpoint;

use crate::architecture::Architecture;
use crate::error::{Context as _, Result};
use crate::name::shown;

/// A network and the tensors that it is read from.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSpec {
    /// The network.
    pub architecture: Architecture,
    /// Names and shapes of its tensors.
    pub params: ParamSpec,
}

impl ModelSpec {
    /// Describes an architecture.
    ///
    /// # Errors
    /// Where it cannot be built.
    pub fn new(architecture: Architecture) -> Result<Self> {
        Ok(Self { params: architecture.params()?, architecture })
    }

    /// What a checkpoint is: as `arch` says, a name or a model's yaml file; else as the file says; else by its tensors'
    /// shapes.
    ///
    /// # Errors
    /// Where it is of a family or for a task that is not read; where nothing tells its architecture.
    pub fn of_checkpoint(checkpoint: &Checkpoint, arch: Option<&OsStr>) -> Result<Self> {
        let shapes = checkpoint.shapes();
        let nc = candle_ghostnet::classes_from_shapes(&shapes).or_else(|| detector_classes(&shapes));
        let in_form = |said: Architecture| {
            let said = said.in_form(&shapes);
            if checkpoint.metadata.pruned { said.pruned_to(&shapes) } else { Ok(said) }
        };
        if let Some(arch) = arch {
            let said = Architecture::named_or_yaml(arch, nc)?.with_context(|| {
                let arch = shown(arch);
                format!(
                    "`options.arch`: `{arch}` is neither an architecture nor a yaml file; `Registry` lists all names"
                )
            })?;
            return Self::new(in_form(said)?);
        }
        crate::foreign::refuse(checkpoint)?;
        let metadata = &checkpoint.metadata;
        let said = match &metadata.yaml {
            // A model's yaml as its file is, from a training here: its name tells the scale.
            Some(serde_json::Value::String(yaml)) => {
                let def = ModelConfig::from_yaml(yaml, metadata.arch.as_deref(), metadata.nc.or(nc));
                Some(Architecture::Detector(def.context("in the checkpoint's model yaml")?))
            }
            Some(yaml) => {
                let scale = yaml.get("scale").and_then(|s| s.as_str()).and_then(|s| s.chars().next());
                let def = ModelConfig::from_value(yaml, scale, metadata.nc.or(nc))
                    .context("in the checkpoint's model yaml")?;
                Some(Architecture::Detector(def))
            }
            None => metadata.arch.as_deref().and_then(|arch| Architecture::named(arch, nc)),
        };
        let by_shapes = || match candle_ghostnet::config_from_shapes(&shapes) {
            Some(config) => Some(Architecture::Classifier(config)),
            None => candle_yolov8::config_from_shapes(&shapes).map(|(_, def)| Architecture::Detector(def)),
        };
        let Some(said) = said.map(in_form).transpose()? else {
            return Self::new(by_shapes().with_context(|| {
                "it does not say its architecture, and its tensors are those of none that ships; say it with \
                 `options.arch`, a name or a yaml file"
            })?);
        };
        let said = Self::new(said)?;
        if said.mismatch(checkpoint).is_empty() {
            return Ok(said);
        }
        // Training scripts replace modules behind the yaml's back; then the shapes know better.
        let found = by_shapes().and_then(|found| Self::new(found).ok());
        Ok(found.filter(|found| found.mismatch(checkpoint).is_empty()).unwrap_or(said))
    }

    /// How a checkpoint differs from what the network needs; the bins of the DFL are a constant and may be absent.
    pub fn mismatch(&self, checkpoint: &Checkpoint) -> KeyMismatch {
        let found = checkpoint.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.dims()));
        let mut mismatch = self.params.check(found);
        mismatch.missing.retain(|name| !name.ends_with("dfl.conv.weight"));
        mismatch
    }

    /// Trainable elements.
    pub fn parameters(&self) -> usize {
        self.params.parameters()
    }

    /// Number of classes.
    pub fn num_classes(&self) -> usize {
        match &self.architecture {
            Architecture::Classifier(config) => config.num_classes,
            Architecture::Detector(def) => def.nc,
        }
    }
}

/// Classes of a detector: outputs of the first level's class branch.
fn detector_classes(shapes: &BTreeMap<String, Shape>) -> Option<usize> {
    let (_, shape) = shapes.iter().find(|(name, _)| name.ends_with(".cv3.0.2.bias"))?;
    Some(shape.elem_count())
}
