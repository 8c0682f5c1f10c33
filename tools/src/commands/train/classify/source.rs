//! The network that a classifier's run starts from.

use anyhow::{Result, anyhow};
use candle_ghostnet::Config;
use candle_vision::image::EvalTransform;
use ghostzoo_weights::{Checkpoint, Registry};

use crate::cli::{ClassifyTrainArgs, GlobalArgs};
use crate::error::{text, usage};
use crate::model;
use ghostzoo::soundness;
use ghostzoo::{Architecture, ModelSpec};

/// An architecture, the weights it starts from, and how those have their images prepared.
pub(super) struct Source {
    pub(super) config: Config,
    pub(super) weights: Option<(String, Checkpoint)>,
    pub(super) view: EvalTransform,
}

impl Source {
    /// What `--model` and `--pretrained` name, for `num_classes` classes.
    pub(super) fn of(args: &ClassifyTrainArgs, num_classes: usize, global: &GlobalArgs) -> Result<Self> {
        let read = |name: &str| -> Result<(String, Checkpoint)> {
            let found = model::find(name, global, args.run.json)?;
            Ok((name.to_owned(), ghostzoo::model::read(&found)?))
        };
        let named = Architecture::named(&args.model, Some(num_classes));
        if named.is_some() {
            global.refuse_arch(&args.model)?;
        }
        let weights = match args.pretrained.as_str() {
            "false" => None,
            "true" if named.is_some() && Registry::builtin().find(&args.model).is_none() => {
                return Err(usage(format!(
                    "--pretrained: {} has no published weights; leave it out, or name a checkpoint: --pretrained FILE",
                    args.model
                )));
            }
            "true" if named.is_some() => {
                let advised = |error| anyhow!("{}; without --pretrained it trains from the start", text(&error));
                Some(read(&args.model).map_err(advised)?)
            }
            "true" => None,
            file => Some(read(file)?),
        };
        let Some(architecture) = named else {
            let (name, checkpoint) = read(&args.model)?;
            let architecture = ModelSpec::of_checkpoint(&checkpoint, global.arch.as_deref())?.architecture;
            let config = classifier(&args.model, architecture.with_classes(num_classes))?;
            return Self::new(config, Some(weights.unwrap_or((name, checkpoint))));
        };
        Self::new(classifier(&args.model, architecture)?, weights)
    }

    fn new(config: Config, weights: Option<(String, Checkpoint)>) -> Result<Self> {
        let mut view = EvalTransform::default();
        if let Some((name, checkpoint)) = &weights {
            let own = config.variant.name;
            let theirs = checkpoint.metadata.arch.as_deref().and_then(|arch| arch.split('.').next()).unwrap_or(own);
            if theirs != own {
                return Err(usage(format!("{name} is a {theirs}, whose weights do not fit --model {own}")));
            }
            let is_deploy = config.variant.version.has_branches()
                && checkpoint.tensors.contains_key("blocks.0.0.ghost1.primary_conv.0.bias");
            if checkpoint.metadata.fused || is_deploy {
                return Err(usage(format!(
                    "{name} has its batch norms or branches folded, and cannot be trained on: give it as it was trained"
                )));
            }
            soundness::trainable(name, checkpoint)?;
            if let Some(preprocessing) = &checkpoint.metadata.preprocessing {
                view = ghostzoo::model::transform(preprocessing)?;
            }
        }
        Ok(Self { config, weights, view })
    }
}

fn classifier(name: &str, architecture: Architecture) -> Result<Config> {
    match architecture {
        Architecture::Classifier(config) => Ok(config),
        Architecture::Detector { .. } => Err(usage(format!("{name} is a detector: `ghostzoo train detect`"))),
    }
}
