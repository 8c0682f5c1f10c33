//! From a checkpoint to one with fewer channels.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use candle_core::Shape;
use candle_vision::layers::BatchNormMode;
use candle_vision::prune::{Criterion, Dependencies, PruneRule};
use ghostzoo_weights::{Checkpoint, Metadata};
use serde_json::Value;

use super::target::{check, found};
use super::{PruneOptions, PruneReport, Pruned, PrunedLayer, Source, Taylor};
use crate::error::{Context as _, Result, invalid, io, request};
use crate::name::shown;
use crate::{Architecture, ModelSpec, model};

/// Removes the least important channels of a network. The result computes the same where what is removed was zero; else it is less
/// exact until it is trained on.
///
/// A checkpoint that is pruned already can be pruned again.
///
/// # Errors
/// [`Error::Request`](crate::Error::Request) where the target is out of reach, or the criterion has nothing to measure.
pub fn prune(source: &Source, options: &PruneOptions) -> Result<Pruned> {
    to_target(&Prunable::of(source, None, options)?, options)
}

/// [`prune`] by what images say of the channels of `source`, in the place of [`PruneOptions::criterion`].
///
/// # Errors
/// As [`prune`].
pub fn prune_by(source: &Source, taylor: &Taylor, options: &PruneOptions) -> Result<Pruned> {
    to_target(&Prunable::of(source, Some(taylor), options)?, options)
}

fn to_target(network: &Prunable<'_>, options: &PruneOptions) -> Result<Pruned> {
    let (removed, millis) = found(network, options)?;
    let mut pruned = network.pruned(&removed)?;
    pruned.report.millis = millis;
    Ok(pruned)
}

/// A network whose channels can be removed, and how much each counts.
pub(super) struct Prunable<'a> {
    source: &'a Source,
    dependencies: Dependencies,
    importance: Vec<Option<f64>>,
    shapes: BTreeMap<String, Shape>,
    rule: PruneRule,
    pub(super) imgsz: [usize; 2],
}

impl<'a> Prunable<'a> {
    /// By what images say of the channels, where that is given, else by [`PruneOptions::criterion`].
    pub(super) fn of(source: &'a Source, taylor: Option<&Taylor>, options: &PruneOptions) -> Result<Self> {
        check(options)?;
        let dependencies = source.spec.architecture.dependencies()?;
        if let Some(taylor) = taylor {
            let importance = dependencies.taylor_importance(taylor.products())?;
            return Self::new(source, dependencies, importance, options);
        }
        let importance = dependencies.importance(&source.checkpoint.tensors, options.criterion)?;
        let norm = match &source.spec.architecture {
            Architecture::Classifier(config) => config.norm,
            Architecture::Detector(def) => def.norm,
        };
        if options.criterion == Criterion::BatchNorm && norm == BatchNormMode::Fused {
            return Err(request(format!(
                "`options.criterion`: {} has its batch norms folded, whose weights are to be measured: give it as it was \
                 trained, or another criterion",
                source.name
            )));
        }
        Self::new(source, dependencies, importance, options)
    }

    fn new(
        source: &'a Source,
        dependencies: Dependencies,
        importance: Vec<Option<f64>>,
        options: &PruneOptions,
    ) -> Result<Self> {
        if !dependencies.groups().iter().flatten().any(|channel| importance[*channel].is_some()) {
            return Err(request(format!("{} has no channels that can be removed", source.name)));
        }
        let rule =
            PruneRule::new(0.).scope(options.scope).min_channels(options.min_channels).round_to(options.round_to);
        let shapes = source.spec.params.shapes.clone();
        let metadata = &source.checkpoint.metadata;
        let own = metadata.preprocessing.as_ref().map(|own| own.input_size).or(metadata.imgsz.map(|side| [side; 2]));
        let imgsz = options.imgsz.or(own).unwrap_or_else(|| source.spec.architecture.default_input_size());
        if imgsz.iter().any(|side| !(1..=model::MAX_SIDE).contains(side)) {
            return Err(request(format!("images of {}x{} are of no use: see `options.imgsz`", imgsz[0], imgsz[1])));
        }
        Ok(Self { source, dependencies, importance, shapes, rule, imgsz })
    }

    pub(super) fn architecture(&self) -> &Architecture {
        &self.source.spec.architecture
    }

    pub(super) fn name(&self) -> &str {
        &self.source.name
    }

    /// Channels that can be removed.
    pub(super) fn channels(&self) -> usize {
        self.dependencies.groups().iter().map(Vec::len).sum()
    }

    /// The least important channels, about this share of all.
    pub(super) fn least(&self, ratio: f64) -> BTreeSet<usize> {
        self.dependencies.select(&self.importance, &self.rule.ratio(ratio))
    }

    /// The network without channels.
    pub(super) fn architecture_without(&self, removed: &BTreeSet<usize>) -> Result<Architecture> {
        self.architecture().clone().pruned_to(&self.dependencies.pruned_shapes(&self.shapes, removed))
    }

    /// The checkpoint without channels, and what became of it.
    pub(super) fn pruned(&self, removed: &BTreeSet<usize>) -> Result<Pruned> {
        let source = self.source;
        let checkpoint = self.without(removed)?;
        let after = self.architecture_without(removed)?;
        if !removed.is_empty() {
            let mismatch = ModelSpec::of_checkpoint(&checkpoint, None)?.mismatch(&checkpoint);
            if !mismatch.is_empty() {
                invalid!("the pruned {} does not fit its network, which is a bug of ghostzoo: {mismatch}", source.name);
            }
        }
        let [before_size, after_size] = [self.architecture(), &after].map(|network_of| network_of.size(self.imgsz));
        let (before_size, after_size) = (before_size?, after_size?);
        let all = self.channels();
        let report = PruneReport {
            layers: layers(&source.checkpoint.shapes(), &checkpoint.shapes()),
            channels: [all, all - removed.len()],
            parameters: [before_size.parameters, after_size.parameters],
            gflops: [before_size.flops, after_size.flops].map(|flops| flops as f64 / 1e9),
            imgsz: self.imgsz,
            millis: None,
            metric: None,
        };
        Ok(Pruned { checkpoint, report })
    }

    /// The checkpoint without channels.
    pub(super) fn without(&self, removed: &BTreeSet<usize>) -> Result<Checkpoint> {
        let checkpoint = &self.source.checkpoint;
        if removed.is_empty() {
            return Ok(checkpoint.clone());
        }
        let tensors = self.dependencies.prune(&checkpoint.tensors, removed)?;
        let metadata = Metadata { pruned: true, ..self.metadata()? };
        Ok(Checkpoint { tensors, metadata, quantized: BTreeMap::new() })
    }

    /// The checkpoint's metadata, which say its architecture: its shapes no longer tell it.
    fn metadata(&self) -> Result<Metadata> {
        let Source { checkpoint, spec, arch, .. } = self.source;
        let mut metadata = checkpoint.metadata.clone();
        if let Some(arch) = arch {
            let path = Path::new(arch);
            let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
            metadata.yaml = match is_yaml && path.is_file() {
                true => {
                    let yaml = std::fs::read_to_string(path).map_err(io(format!("cannot read {}", shown(arch))))?;
                    Some(Value::String(yaml))
                }
                false => None,
            };
            metadata.arch = Some(shown(path.file_name().unwrap_or(arch)));
            return Ok(metadata);
        }
        // What it says may be of another network than the one that fits.
        let said = Checkpoint { metadata: Metadata { pruned: true, ..metadata.clone() }, ..checkpoint.clone() };
        let says = metadata.arch.is_some() || metadata.yaml.is_some();
        if says && ModelSpec::of_checkpoint(&said, None).is_ok_and(|said| said.architecture == spec.architecture) {
            return Ok(metadata);
        }
        metadata.arch = Some(match &spec.architecture {
            Architecture::Classifier(config) => config.variant.name.to_owned(),
            Architecture::Detector(_) => {
                let found = candle_yolov8::config_from_shapes(&checkpoint.shapes());
                found
                    .map(|(name, _)| name)
                    .context("the checkpoint does not say its architecture: see `options.arch`")?
            }
        });
        metadata.yaml = None;
        Ok(metadata)
    }
}

/// The convolutions and linear layers whose weights have other shapes.
fn layers(before: &BTreeMap<String, Shape>, after: &BTreeMap<String, Shape>) -> Vec<PrunedLayer> {
    let sides = |shape: &Shape| match shape.dims() {
        [out, inputs, ..] => Some([*out, *inputs]),
        _ => None,
    };
    let layer = |(name, shape): (&String, &Shape)| {
        let path = name.strip_suffix(".weight")?.to_owned();
        let (before, after) = (sides(shape)?, sides(after.get(name)?)?);
        (before != after).then_some(PrunedLayer { path, before, after })
    };
    before.iter().filter_map(layer).collect()
}
