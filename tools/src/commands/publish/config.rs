//! `config.json`: what a program needs to build the network and to prepare images for it.

use anyhow::{Context, Result};
use candle_vision::image::EvalTransform;
use ghostzoo::{Architecture, ModelSpec};
use ghostzoo_weights::Checkpoint;
use serde_json::{Value, json};

/// A classifier's as timm reads it; a detector's in the same words, with its strides and its letterbox.
pub(super) fn of(checkpoint: &Checkpoint, spec: &ModelSpec, classes: &[String]) -> Result<Value> {
    let metadata = &checkpoint.metadata;
    let mut config = json!({
        "architecture": metadata.arch, "task": metadata.task, "num_classes": spec.num_classes(), "license": metadata.licence,
    });
    if !classes.is_empty() {
        config["label_names"] = json!(classes);
    }
    match &spec.architecture {
        Architecture::Classifier(_) => {
            let transform = match &metadata.preprocessing {
                Some(preprocessing) => ghostzoo::model::transform(preprocessing)?,
                None => EvalTransform::default(),
            };
            let [height, width] = transform.input_size;
            config["pretrained_cfg"] = json!({
                "input_size": [3, height, width], "fixed_input_size": false, "crop_pct": transform.crop_pct,
                "crop_mode": "center", "interpolation": transform.interpolation.to_string(),
                "mean": decimals(transform.mean)?, "std": decimals(transform.std)?,
                "num_classes": spec.num_classes(), "license": metadata.licence,
            });
        }
        Architecture::Detector(def) => {
            let side = metadata.imgsz.unwrap_or(640);
            let strides: Vec<f64> = def
                .rows
                .last()
                .map(|head| {
                    head.from.iter().flatten().filter_map(|level| def.rows.get(*level)).map(|row| row.stride).collect()
                })
                .unwrap_or_default();
            config["imgsz"] = json!(side);
            config["strides"] = json!(strides.iter().map(|stride| *stride as u64).collect::<Vec<_>>());
            config["preprocessing"] = json!({
                "resize": "letterbox", "interpolation": "bilinear", "padding": candle_vision::image::GREY,
                "channels": "RGB", "rescale_factor": 1. / 255.,
            });
        }
    }
    Ok(config)
}

/// The shortest decimals of numbers that have 32 bits.
fn decimals(values: [f32; 3]) -> Result<Vec<f64>> {
    values.iter().map(|value| value.to_string().parse().context("a number that was written")).collect()
}
