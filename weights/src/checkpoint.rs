//! Named tensors and what is known about them.

use std::collections::BTreeMap;

use candle_core::{DType, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

use crate::quantized::QuantizedConv;

/// The tensors of a checkpoint under the names our models use, and its metadata.
#[derive(Debug, Clone, Default)]
pub struct Checkpoint {
    /// Tensors on the CPU, in their stored dtype.
    pub tensors: BTreeMap<String, Tensor>,
    /// What the file says about itself.
    pub metadata: Metadata,
    /// The convolutions whose weights are 8-bit integers in a file, by their path `X`: `X.weight` is F32 here, whole multiples of
    /// these steps.
    pub quantized: BTreeMap<String, QuantizedConv>,
}

/// The element types that a checkpoint may hold: those of at least a byte that candle stores as themselves.
pub(crate) const DTYPES: [DType; 9] =
    [DType::F64, DType::F32, DType::F16, DType::BF16, DType::I64, DType::I32, DType::I16, DType::U32, DType::U8];

/// Whose tensor names a file had before they were mapped to ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyLayout {
    /// Names that no map knows, passed through.
    #[default]
    Other,
    /// timm's GhostNets.
    Timm,
    /// Huawei's original GhostNets.
    Huawei,
    /// Ultralytics' `model.{i}.…`.
    Ultralytics,
    /// The copies of YOLOv8 at `lmz/candle-yolo-v8`.
    Lmz,
}

/// What a checkpoint says about itself. Whatever the file does not say is `None`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// Architecture name, such as `ghostnet_100` or `yolov8n-ghost`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// `detect` or `classify`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Number of classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nc: Option<usize>,
    /// Class names in the order of their ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
    /// The model yaml as a tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub yaml: Option<serde_json::Value>,
    /// Strides of the detection levels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stride: Option<Vec<usize>>,
    /// Side in pixels of the images it was trained on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imgsz: Option<usize>,
    /// Arguments of the training run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_args: Option<serde_json::Value>,
    /// How images are prepared for a classifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preprocessing: Option<Preprocessing>,
    /// Licence of the weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Epochs trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
    /// How its weights became 8-bit integers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantization: Option<QuantizationInfo>,
    /// Tensors beside those that were read, whose elements no type of candle's holds: the name, and what is wrong with it.
    #[serde(skip)]
    pub unread: BTreeMap<String, String>,
    /// Whose names the file had.
    pub layout: KeyLayout,
    /// Whether batch norms are folded into their convolutions.
    pub fused: bool,
    /// Whether layers have fewer channels than their architecture: the tensors' shapes say how many.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pruned: bool,
}

/// How weights became 8-bit integers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct QuantizationInfo {
    /// How the ranges of inputs were chosen: `minmax`, `percentile` or `mse`.
    pub method: String,
    /// Per cent of the inputs that a range holds, of `percentile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percentile: Option<f64>,
    /// Number of images that were looked at.
    pub images: usize,
    /// `[height, width]` of the images as the network saw them.
    pub imgsz: [usize; 2],
    /// Whether biases make up for the mean error of the weights.
    pub bias_correction: bool,
    /// Paths of convolutions that were left as they were, because it was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
}

/// How a classifier's images are prepared, as timm's `pretrained_cfg` says it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// Height and width in pixels.
    pub input_size: [usize; 2],
    /// Share of the resized image that the centre crop keeps.
    pub crop_pct: f32,
    /// `bicubic`, `bilinear` or `nearest`.
    pub interpolation: String,
    /// Mean per channel, of values in [0, 1].
    pub mean: [f32; 3],
    /// Standard deviation per channel, of values in [0, 1].
    pub std: [f32; 3],
}

impl Checkpoint {
    /// The shapes of its tensors by name.
    #[must_use]
    pub fn shapes(&self) -> BTreeMap<String, Shape> {
        self.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shape().clone())).collect()
    }

    /// The same checkpoint with floating-point tensors in `dtype`. Weights that are 8-bit integers in a file become floats there, too.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        let cast =
            |tensor: &Tensor| if tensor.dtype().is_float() { tensor.to_dtype(dtype) } else { Ok(tensor.clone()) };
        let tensors = self.tensors.iter().map(|(name, tensor)| Ok((name.clone(), cast(tensor)?)));
        let metadata = Metadata { quantization: None, ..self.metadata.clone() };
        Ok(Self { tensors: tensors.collect::<Result<_>>()?, metadata, quantized: BTreeMap::new() })
    }
}

impl Metadata {
    /// Fills what timm's `config.json` knows: architecture, class count, class names, preprocessing and licence.
    pub fn merge_timm_config(&mut self, config: &serde_json::Value) {
        let pretrained = config.get("pretrained_cfg").unwrap_or(config);
        let text = |value: &serde_json::Value, key: &str| value.get(key)?.as_str().map(str::to_owned);
        self.arch = self.arch.take().or_else(|| text(config, "architecture"));
        self.licence = self.licence.take().or_else(|| text(pretrained, "license"));
        let classes = config.get("num_classes").or_else(|| pretrained.get("num_classes"));
        self.nc = self.nc.or_else(|| classes?.as_u64().map(|n| n as usize));
        let labels =
            |names: &serde_json::Value| names.as_array()?.iter().map(|n| n.as_str().map(str::to_owned)).collect();
        self.names = self.names.take().or_else(|| labels(config.get("label_names")?));
        self.preprocessing = self.preprocessing.take().or_else(|| Preprocessing::from_timm(pretrained));
        self.task.get_or_insert_with(|| "classify".to_owned());
    }
}

impl Preprocessing {
    /// Reads timm's `pretrained_cfg`; `None` where a field is absent or of another shape.
    pub fn from_timm(config: &serde_json::Value) -> Option<Self> {
        let triple = |key: &str| -> Option<[f32; 3]> {
            let values: Option<Vec<f32>> =
                config.get(key)?.as_array()?.iter().map(|v| Some(v.as_f64()? as f32)).collect();
            values?.try_into().ok()
        };
        let size = config.get("input_size")?.as_array()?;
        let side = |i: usize| Some(size.get(i)?.as_u64()? as usize);
        Some(Self {
            input_size: [side(1)?, side(2)?],
            crop_pct: config.get("crop_pct")?.as_f64()? as f32,
            interpolation: config.get("interpolation")?.as_str()?.to_owned(),
            mean: triple("mean")?,
            std: triple("std")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timms_config_fills_what_the_file_did_not_say() {
        let config = serde_json::json!({
            "architecture": "ghostnet_100", "num_classes": 1000,
            "pretrained_cfg": {"input_size": [3, 224, 192], "interpolation": "bicubic", "crop_pct": 0.875,
                "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "license": "apache-2.0"}
        });
        let mut metadata = Metadata { nc: Some(10), ..Default::default() };
        metadata.merge_timm_config(&config);
        assert_eq!(metadata.nc, Some(10), "what the file says stays");
        assert_eq!(metadata.arch.as_deref(), Some("ghostnet_100"));
        assert_eq!(metadata.licence.as_deref(), Some("apache-2.0"));
        let preprocessing = metadata.preprocessing.expect("complete in the config");
        assert_eq!((preprocessing.input_size, preprocessing.crop_pct), ([224, 192], 0.875));
        assert_eq!(Preprocessing::from_timm(&serde_json::json!({"input_size": [3, 224]})), None);
    }
}
