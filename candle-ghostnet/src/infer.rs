//! Which network a bare state dict belongs to.

use std::collections::BTreeMap;

use candle_vision::layers::Norm;

use crate::config::{Branches, Config, STEM_CHANNELS, Variant, Version};

/// Variant, class count and form of the checkpoint whose tensors have these names and dimensions.
///
/// Returns `None` where they are not a GhostNet of [`Variant::ALL`]; that every tensor fits is for
/// [`candle_vision::spec::Spec::check`] to say. A fully folded V3 is the same network as the folded V2 of its width, and
/// is reported as that where there is one: a checkpoint that records its variant should be believed over this.
pub fn infer<'a>(shapes: impl IntoIterator<Item = (&'a str, &'a [usize])>) -> Option<Config> {
    let shapes: BTreeMap<&str, &[usize]> = shapes.into_iter().collect();
    let any = |part: &str| shapes.keys().any(|name| name.contains(part));
    let stem_c = *shapes.get("conv_stem.weight")?.first()?;
    if !any("blocks.0.0.ghost1.") {
        return None;
    }
    let branched = any("_rpr_");
    let merged = shapes.contains_key("blocks.0.0.ghost1.primary_conv.0.bias");
    let folded = shapes.contains_key("blocks.9.0.conv.bias");
    let versions: &[Version] = match (branched, any(".short_conv."), merged, folded) {
        (true, ..) => &[Version::V3],
        (_, false, ..) => &[Version::V1],
        (_, _, true, false) => &[Version::V3],
        (_, _, true, true) => &[Version::V2, Version::V3],
        (_, _, false, _) => &[Version::V2],
    };
    let variant = versions.iter().find_map(|version| {
        let fits = |variant: &Variant| variant.version == *version && variant.scale(STEM_CHANNELS) == stem_c;
        Variant::ALL.into_iter().find(fits)
    })?;
    Some(Config {
        variant,
        num_classes: shapes.get("classifier.weight").and_then(|dims| dims.first()).copied().unwrap_or(0),
        branches: if variant.version == Version::V3 && !branched { Branches::Deploy } else { Branches::Training },
        norm: if folded { Norm::Folded } else { Norm::Separate },
    })
}
