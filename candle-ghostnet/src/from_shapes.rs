//! Which network a bare state dict belongs to.

use std::collections::BTreeMap;

use candle_core::Shape;
use candle_vision::layers::BatchNormMode;

use crate::config::{Config, FINAL_CHANNELS, Reparam, STEM_CHANNELS, Variant, Version};

/// What tells a folded network.
const FOLDED: &str = "blocks.9.0.conv.bias";

/// Variant, class count and form of the checkpoint whose tensors have these names and dimensions.
///
/// Returns `None` where they are not a GhostNet of [`Variant::ALL`]; that every tensor fits is for
/// [`candle_vision::spec::ParamSpec::check`] to say. A fully folded V3 is the same network as the folded V2 of its width, and
/// is reported as that where there is one: a checkpoint that records its variant should be believed over this.
pub fn config_from_shapes(shapes: &BTreeMap<String, Shape>) -> Option<Config> {
    let any = |part: &str| shapes.keys().any(|name| name.contains(part));
    let channels = |name: &str| shapes.get(name).and_then(|shape| shape.dims().first()).copied();
    // The stem alone does not tell RepGhostNet's widths apart.
    let (stem_c, final_c) = (channels("conv_stem.weight")?, channels("blocks.9.0.conv.weight")?);
    if !any("blocks.0.0.ghost1.") {
        return None;
    }
    let deployed_rep = shapes.contains_key("blocks.0.0.ghost1.cheap_operation.weight");
    let branched = any("_rpr_") || any(".fusion_bn.");
    let merged = shapes.contains_key("blocks.0.0.ghost1.primary_conv.0.bias");
    let folded = shapes.contains_key(FOLDED);
    let versions: &[Version] = match (branched, any(".short_conv."), merged, folded) {
        _ if deployed_rep || any(".fusion_bn.") => &[Version::Rep],
        (true, ..) => &[Version::V3],
        (_, false, ..) => &[Version::V1],
        (_, _, true, false) => &[Version::V3],
        (_, _, true, true) => &[Version::V2, Version::V3],
        (_, _, false, _) => &[Version::V2],
    };
    let variant = versions.iter().find_map(|version| {
        let widths = |variant: &Variant| [STEM_CHANNELS, FINAL_CHANNELS].map(|channels| variant.scale(channels));
        Variant::ALL.into_iter().find(|variant| variant.version == *version && widths(variant) == [stem_c, final_c])
    })?;
    Some(in_form_of(shapes, Config::new(variant).num_classes(channels("classifier.weight").unwrap_or(0))))
}

/// Outputs of the classifier of a GhostNet whose tensors have these names and dimensions; `None` of another network.
pub fn classes_from_shapes(shapes: &BTreeMap<String, Shape>) -> Option<usize> {
    let is_ghostnet = ["conv_stem.weight", "blocks.9.0.conv.weight"].iter().all(|name| shapes.contains_key(*name));
    let classes = shapes.get("classifier.weight").and_then(|shape| shape.dims().first()).copied();
    is_ghostnet.then(|| classes.unwrap_or(0))
}

/// `config` in the form that tensors of these names are in: whether branches are merged and batch norms folded.
pub fn in_form_of(shapes: &BTreeMap<String, Shape>, config: Config) -> Config {
    let is_branched = shapes.keys().any(|name| name.contains("_rpr_") || name.contains(".fusion_bn."));
    let is_deploy = config.variant.version.has_branches() && !is_branched;
    let branches = if is_deploy { Reparam::Deploy } else { Reparam::Train };
    let norm = if shapes.contains_key(FOLDED) { BatchNormMode::Fused } else { BatchNormMode::Keep };
    config.branches(branches).norm(norm)
}
