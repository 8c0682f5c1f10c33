//! The network that a classifier's run starts from.

use candle_ghostnet::Config;
use candle_vision::image::EvalTransform;
use ghostzoo_weights::{Checkpoint, ResolvedModel};

use super::options::ClassificationOptions;
use crate::error::{Result, request};
use crate::train::pretrained;
use crate::{Architecture, ModelSpec, model, soundness};

/// An architecture, the weights it starts from, and how those have their images prepared.
#[derive(Debug, Clone)]
pub struct ClassificationStart {
    pub(super) config: Config,
    pub(super) weights: Option<(String, Checkpoint)>,
    pub(super) view: EvalTransform,
}

impl ClassificationStart {
    /// What the options name, for `num_classes` classes. A model that is not there is downloaded.
    ///
    /// # Errors
    /// Where there is no such model, it is a detector, or no training can begin from it.
    pub fn find(options: &ClassificationOptions, num_classes: usize) -> Result<Self> {
        Self::find_with(options, num_classes, &mut pretrained::find)
    }

    /// [`ClassificationStart::find`] that finds a model's files by `find`.
    ///
    /// # Errors
    /// As [`ClassificationStart::find`].
    pub fn find_with(
        options: &ClassificationOptions,
        num_classes: usize,
        find: &mut dyn FnMut(&str) -> Result<ResolvedModel>,
    ) -> Result<Self> {
        let model = &options.model;
        let named = Architecture::named(model, Some(num_classes));
        let is_classifier = matches!(named, Some(Architecture::Classifier(_)));
        let weights = options.pretrained.weights(model, is_classifier, find)?;
        let Some(architecture) = named else {
            let (name, checkpoint) = pretrained::read(model, find)?;
            let architecture = ModelSpec::of_checkpoint(&checkpoint, options.arch.as_deref())?.architecture;
            let config = classifier(model, architecture.with_classes(num_classes))?;
            return Self::new(config, Some(weights.unwrap_or((name, checkpoint))));
        };
        Self::new(classifier(model, architecture)?, weights)
    }

    fn new(config: Config, weights: Option<(String, Checkpoint)>) -> Result<Self> {
        let mut view = EvalTransform::default();
        if let Some((name, checkpoint)) = &weights {
            let own = config.variant.name;
            let theirs = checkpoint.metadata.arch.as_deref().and_then(|arch| arch.split('.').next()).unwrap_or(own);
            if theirs != own {
                return Err(request(format!("{name} is a {theirs}, whose weights do not fit `options.model` {own}")));
            }
            let is_deploy = config.variant.version.has_branches()
                && checkpoint.tensors.contains_key("blocks.0.0.ghost1.primary_conv.0.bias");
            if checkpoint.quantized.is_empty() && (checkpoint.metadata.fused || is_deploy) {
                return Err(request(format!(
                    "{name} has its batch norms or branches folded, and cannot be trained on: give it as it was trained"
                )));
            }
            soundness::trainable(name, checkpoint)?;
            if let Some(preprocessing) = &checkpoint.metadata.preprocessing {
                view = model::transform(preprocessing)?;
            }
        }
        Ok(Self { config, weights, view })
    }
}

fn classifier(name: &str, architecture: Architecture) -> Result<Config> {
    match architecture {
        Architecture::Classifier(config) => Ok(config),
        Architecture::Detector(_) => Err(request(format!("{name} is a detector: train a `DetectionTask`"))),
    }
}
