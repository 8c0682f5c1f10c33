//! Tensor names of other projects to ours (timm's for GhostNet, Ultralytics' for YOLO).

use std::collections::BTreeMap;

use crate::checkpoint::KeyLayout;

/// Where each part of lmz/candle-yolo-v8 sits in Ultralytics' list of layers.
const LMZ_PARTS: [(&str, usize); 17] = [
    ("net.b1.0", 0),
    ("net.b1.1", 1),
    ("net.b2.0", 2),
    ("net.b2.1", 3),
    ("net.b2.2", 4),
    ("net.b3.0", 5),
    ("net.b3.1", 6),
    ("net.b4.0", 7),
    ("net.b4.1", 8),
    ("net.b5.0", 9),
    ("fpn.n1", 12),
    ("fpn.n2", 15),
    ("fpn.n3", 16),
    ("fpn.n4", 18),
    ("fpn.n5", 19),
    ("fpn.n6", 21),
    ("head", 22),
];

/// The first weights of each layout: what precedes one of these names is a wrapper's.
const FIRST: [&str; 6] = [
    "conv_stem.weight",
    "net.b1.0.conv.weight",
    "model.0.conv.weight",
    "model.0.cv1.conv.weight",
    "0.conv.weight",
    "0.cv1.conv.weight",
];
/// What DataParallel, torch.compile, Lightning, transformers, averages and a whole YOLO object put before every name.
const WRAPPERS: [&str; 9] =
    ["module", "_orig_mod", "model", "timm_model", "net", "network", "backbone", "ema_model", "averaged_model"];

/// Renames every tensor to the name our models use, and drops counters that carry no weights.
///
/// Wrappers' prefixes are stripped, of any number and in any order. A tensor that lies outside of them (a loss's weights)
/// keeps its name, for a check to name it.
pub(crate) fn to_ours<T>(tensors: BTreeMap<String, T>) -> (BTreeMap<String, T>, KeyLayout) {
    const COUNTERS: [&str; 4] = ["num_batches_tracked", "total_ops", "total_params", "n_averaged"];
    let is_counter = |name: &str| COUNTERS.contains(&name.rsplit('.').next().unwrap_or(name));
    let mut tensors: BTreeMap<String, T> = tensors.into_iter().filter(|(name, _)| !is_counter(name)).collect();
    if let Some(prefix) = wrapper(&tensors) {
        let inner = |name: &str| name.strip_prefix(&prefix).map(str::to_owned);
        // Two tensors do not become one.
        if tensors.keys().all(|name| inner(name).is_none_or(|inner| !tensors.contains_key(&inner))) {
            tensors = rename(tensors, |name| inner(name).unwrap_or_else(|| name.to_owned()));
        }
    }
    if tensors.contains_key("net.b1.0.conv.weight") {
        return (rename(tensors, |name| from_lmz(name).unwrap_or_else(|| name.to_owned())), KeyLayout::Lmz);
    }
    if tensors.contains_key("conv_stem.weight") {
        let is_huawei = tensors.keys().any(|name| from_huawei(name) != *name);
        let layout = if is_huawei { KeyLayout::Huawei } else { KeyLayout::Timm };
        return (rename(tensors, from_huawei), layout);
    }
    let numbered = |name: &str| name.split('.').next().is_some_and(|part| part.parse::<usize>().is_ok());
    if !tensors.is_empty() && tensors.keys().all(|name| numbered(name)) {
        tensors = rename(tensors, |name| format!("model.{name}"));
    }
    let ultralytics = |name: &str| name.strip_prefix("model.").is_some_and(numbered);
    let layout = if tensors.keys().all(|name| ultralytics(name)) { KeyLayout::Ultralytics } else { KeyLayout::Other };
    (tensors, layout)
}

/// What precedes the names of one network's tensors. `None` where nothing does, and where there are several networks.
fn wrapper<T>(tensors: &BTreeMap<String, T>) -> Option<String> {
    for first in FIRST {
        // A list of layers is a part of many networks.
        let is_bare = first.starts_with('0');
        let is_wrapper = |part: &str| match is_bare {
            true => WRAPPERS.contains(&part),
            false => part.parse::<usize>().is_err(),
        };
        let prefix = |name: &str| name.strip_suffix(first).map(str::to_owned);
        let is_prefix = |prefix: &String| match prefix.strip_suffix('.') {
            Some(parts) => parts.split('.').all(is_wrapper),
            None => prefix.is_empty(),
        };
        let mut prefixes = tensors.keys().filter_map(|name| prefix(name)).filter(is_prefix);
        match (prefixes.next(), prefixes.next()) {
            (None, _) => {}
            (Some(prefix), None) => return (!prefix.is_empty()).then_some(prefix),
            (Some(_), Some(_)) => return None,
        }
    }
    // Of a network that is not known, what surely is a wrapper's.
    let mut prefix = String::new();
    while let Some(part) = ["module.", "_orig_mod."].iter().find(|part| {
        let inner = |name: &String| name.strip_prefix(&prefix).is_some_and(|name| name.starts_with(**part));
        !tensors.is_empty() && tensors.keys().all(inner)
    }) {
        prefix += part;
    }
    (!prefix.is_empty()).then_some(prefix)
}

fn rename<T>(tensors: BTreeMap<String, T>, to: impl Fn(&str) -> String) -> BTreeMap<String, T> {
    tensors.into_iter().map(|(name, tensor)| (to(&name), tensor)).collect()
}

fn from_lmz(name: &str) -> Option<String> {
    let (index, rest) = LMZ_PARTS.iter().find_map(|(part, index)| {
        let rest = name.strip_prefix(part)?.strip_prefix('.')?;
        Some((index, rest))
    })?;
    let rest = match rest.strip_prefix("bottleneck.") {
        Some(rest) => format!("m.{rest}"),
        None => rest.to_owned(),
    };
    Some(format!("model.{index}.{rest}"))
}

/// Huawei's GhostNetV3 calls the batch norm of a branch `bn`, timm `bn1`.
fn from_huawei(name: &str) -> String {
    let is_branch = name.contains("_rpr_conv.") || name.contains("_rpr_scale.");
    if is_branch { name.replace(".bn.", ".bn1.") } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(names: &[&str]) -> (Vec<String>, KeyLayout) {
        let tensors = names.iter().map(|name| ((*name).to_owned(), ())).collect();
        let (tensors, layout) = to_ours(tensors);
        (tensors.into_keys().collect(), layout)
    }

    #[test]
    fn each_foreign_layout_becomes_ours() {
        type Case = (&'static str, &'static [&'static str], &'static [&'static str], KeyLayout);
        let cases: [Case; 8] = [
            ("timm", &["bn1.weight", "conv_stem.weight"], &["bn1.weight", "conv_stem.weight"], KeyLayout::Timm),
            (
                "Huawei v3 with counters, in DataParallel",
                &[
                    "module.blocks.0.0.dw_rpr_scale.bn.bias",
                    "module.blocks.0.0.ghost1.cheap_rpr_conv.2.bn.running_var",
                    "module.blocks.0.0.ghost1.total_ops",
                    "module.bn1.num_batches_tracked",
                    "module.conv_stem.weight",
                ],
                &[
                    "blocks.0.0.dw_rpr_scale.bn1.bias",
                    "blocks.0.0.ghost1.cheap_rpr_conv.2.bn1.running_var",
                    "conv_stem.weight",
                ],
                KeyLayout::Huawei,
            ),
            (
                "Ultralytics",
                &["model.0.conv.weight", "model.22.dfl.conv.weight"],
                &["model.0.conv.weight", "model.22.dfl.conv.weight"],
                KeyLayout::Ultralytics,
            ),
            ("a whole YOLO object", &["model.model.0.conv.weight"], &["model.0.conv.weight"], KeyLayout::Ultralytics),
            (
                "the inner Sequential",
                &["0.conv.weight", "1.bn.bias"],
                &["model.0.conv.weight", "model.1.bn.bias"],
                KeyLayout::Ultralytics,
            ),
            (
                "lmz",
                &[
                    "fpn.n1.bottleneck.0.cv1.conv.weight",
                    "head.cv2.0.2.bias",
                    "net.b1.0.conv.weight",
                    "net.b2.0.cv1.bn.weight",
                ],
                &[
                    "model.0.conv.weight",
                    "model.12.m.0.cv1.conv.weight",
                    "model.2.cv1.bn.weight",
                    "model.22.cv2.0.2.bias",
                ],
                KeyLayout::Lmz,
            ),
            ("unknown", &["encoder.weight"], &["encoder.weight"], KeyLayout::Other),
            ("compiled", &["_orig_mod.model.0.conv.weight"], &["model.0.conv.weight"], KeyLayout::Ultralytics),
        ];
        for (what, names, expected, layout) in cases {
            let (names, found) = map(names);
            assert_eq!(names, expected, "{what}");
            assert_eq!(found, layout, "{what}");
        }
    }
}
