//! The architectures that ship, and how a bare state dict is recognised.

use std::collections::BTreeMap;

use candle_core::{Result, Shape};
use candle_vision::layers::BatchNormMode;
use candle_vision::spec::ParamSpec;

use crate::net::Yolo;
use crate::yaml::{LayerKind, LayerSpec, ModelConfig, scale_letter};

/// Name without its scale, and the yaml.
const FAMILIES: [(&str, &str); 8] = [
    ("yolov8", include_str!("../models/yolov8.yaml")),
    ("yolov8-p2", include_str!("../models/yolov8-p2.yaml")),
    ("yolov8-p6", include_str!("../models/yolov8-p6.yaml")),
    ("yolov8-ghost", include_str!("../models/yolov8-ghost.yaml")),
    ("yolov8-ghost-p2", include_str!("../models/yolov8-ghost-p2.yaml")),
    ("yolov8-ghost-p6", include_str!("../models/yolov8-ghost-p6.yaml")),
    ("yolov8-ghostnet", include_str!("../models/yolov8-ghostnet.yaml")),
    ("yolov8-ghostnet-all", include_str!("../models/yolov8-ghostnet-all.yaml")),
];

/// The scales of every shipped family, smallest first.
const SCALES: [char; 5] = ['n', 's', 'm', 'l', 'x'];

/// Most classes of a detector.
pub const MAX_CLASSES: usize = 65_536;

/// Every shipped architecture, such as `yolov8n-ghost`.
pub fn architectures() -> impl Iterator<Item = String> {
    FAMILIES.iter().flat_map(|(family, _)| SCALES.iter().map(move |scale| with_scale(family, *scale)))
}

fn with_scale(family: &str, scale: char) -> String {
    family.replacen("yolov8", &format!("yolov8{scale}"), 1)
}

/// The shipped architecture of this name, with `nc` classes instead of COCO's 80 where given.
///
/// A name without a scale (`yolov8-ghost`) means its smallest. `None` for other names, and for no or more than [`MAX_CLASSES`]
/// classes.
pub fn model_config(name: &str, nc: Option<usize>) -> Option<ModelConfig> {
    if nc.is_some_and(|nc| !(1..=MAX_CLASSES).contains(&nc)) {
        return None;
    }
    let name = name.strip_suffix(".yaml").unwrap_or(name).to_ascii_lowercase();
    let (_, yaml) = FAMILIES
        .iter()
        .find(|(family, _)| name == *family || SCALES.iter().any(|scale| name == with_scale(family, *scale)))?;
    Some(
        ModelConfig::from_yaml(yaml, scale_letter(&name).map(|_| name.as_str()), nc).expect("shipped yamls are tested"),
    )
}

/// The shipped architecture whose tensors these are, by names and shapes alone, in the form they are in.
///
/// Where none fits exactly it is the one that fits best, so that a check can list what is wrong; `None` where more than
/// half of the tensors fit none. The bins of the DFL may be absent.
pub fn config_from_shapes(shapes: &BTreeMap<String, Shape>) -> Option<(String, ModelConfig)> {
    let (_, class_bias) = shapes.iter().find(|(name, _)| name.ends_with(".cv3.0.2.bias"))?;
    let nc = class_bias.elem_count();
    let norm = if shapes.keys().any(|name| name.ends_with(".running_mean")) {
        BatchNormMode::Keep
    } else {
        BatchNormMode::Fused
    };
    let mut best = None;
    let mut fewest = shapes.len() / 2 + 1;
    // The first convolution tells the scale, so that few networks are built for a checkpoint that fits one.
    let first = |name: &str| shapes.get(name).and_then(|shape| shape.dims().first().copied());
    // A ghost convolution makes half of its channels by each of its two.
    let width = first("model.0.conv.weight").or(first("model.0.cv1.conv.weight").map(|half| 2 * half));
    let scale = match width {
        Some(16) => Some('n'),
        Some(32) => Some('s'),
        Some(48) => Some('m'),
        Some(64) => Some('l'),
        Some(80) => Some('x'),
        _ => None,
    };
    let mut names: Vec<String> = architectures().collect();
    names.sort_by_key(|name| scale_letter(name) != scale);
    for name in names {
        let def = in_class_channels_of(shapes, model_config(&name, Some(nc))?).with_norm(norm);
        let mismatch = spec(&def).ok()?.check(shapes.iter().map(|(name, shape)| (name.as_str(), shape.dims())));
        let missing = mismatch.missing.iter().filter(|name| !name.ends_with("dfl.conv.weight"));
        let faults = missing.count() + mismatch.unexpected.len() + mismatch.misshaped.len();
        if faults < fewest {
            (best, fewest) = (Some((name, def)), faults);
        }
        if faults == 0 {
            break;
        }
    }
    best
}

/// `def` with as many channels in its class branches as those of the tensors `shapes` have, whose head may read other
/// channels: a network keeps its class branches where it is trained on for other classes. Of branches that differ, as those of a
/// pruned network do, the most.
pub fn in_class_channels_of(shapes: &BTreeMap<String, Shape>, def: ModelConfig) -> ModelConfig {
    let Some(branches) =
        shapes.keys().find_map(|name| name.strip_suffix(".0.2.weight").filter(|head| head.ends_with(".cv3")))
    else {
        return def;
    };
    let reads = |level: usize, conv: &str| match shapes.get(&format!("{branches}.{level}.{conv}.weight"))?.dims() {
        [_, channels, _, _] => Some(*channels),
        _ => None,
    };
    let most = |level: usize| Some(reads(level, "2")?.max(reads(level, "1.conv").unwrap_or(0)));
    match (0..).map_while(most).max() {
        Some(channels) => def.with_class_channels(channels),
        None => def,
    }
}

/// `def` as Ultralytics trains it on from the tensors `shapes`: with their class branches where its head reads the
/// same channels as theirs, else as it is.
pub fn trained_on_from(shapes: &BTreeMap<String, Shape>, def: ModelConfig) -> ModelConfig {
    let Some(LayerSpec { module: LayerKind::Detect { ch, .. }, .. }) = def.rows.last() else { return def };
    let first = |level: usize| shapes.get(&format!("model.{}.cv2.{level}.0.conv.weight", def.rows.len() - 1));
    let theirs: Vec<usize> = (0..).map_while(first).filter_map(|shape| shape.dims().get(1).copied()).collect();
    if *ch == theirs { in_class_channels_of(shapes, def) } else { def }
}

/// The tensors that a model needs.
pub fn spec(def: &ModelConfig) -> Result<ParamSpec> {
    Ok(ParamSpec::of(|vb| Yolo::new(def, vb))?.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_classes_than_a_detector_has_are_no_architecture() {
        for (nc, is_one) in [(0, false), (1, true), (MAX_CLASSES, true), (MAX_CLASSES + 1, false)] {
            assert_eq!(model_config("yolov8n-ghost", Some(nc)).is_some(), is_one, "{nc}");
        }
    }
}
