//! The grammar of Ultralytics' model yamls: `nc`, `scales`, `activation`, and rows `[from, repeats, module, arguments]`.
//!
//! A row's channels are scaled by the width of the model's scale and its repeats by the depth:
//! `channels = ⌈min(c, most) · width / 8⌉ · 8`, `repeats = max(round(n · depth), 1)` for `n > 1`.

mod budget;
mod literal;
mod load;
mod row;

use candle_vision::layers::BatchNormMode;
use candle_vision::prune::Channels;
use ghostzoo_kernels::Activation;
use serde_json::Value;

pub(crate) use load::load;
pub use row::{CspVariant, LayerKind, LayerSpec};

use crate::YamlError;

/// A model's layers with all channels and repeats resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Number of classes.
    pub nc: usize,
    /// The letter of the scale, where the yaml has scales.
    pub scale: Option<char>,
    /// The activation of every layer that does not name one.
    pub activation: Activation,
    /// Backbone and head in order; the last row is `Detect`.
    pub rows: Vec<LayerSpec>,
    /// What becomes of the batch norms.
    pub norm: BatchNormMode,
    /// The tensors that have fewer channels than the rows say: those of a pruned network.
    pub channels: Channels,
}

/// Depth multiple, width multiple and most channels before the width multiple.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Scale {
    depth: f64,
    width: f64,
    most: f64,
}

impl ModelConfig {
    /// Reads a yaml. `file_name` may name the scale (`yolov8s-mine.yaml`); else the yaml's `scale` key counts, else its
    /// first scale. `nc` replaces the yaml's own class count.
    ///
    /// # Errors
    /// [`YamlError`] names the key or the row, what is wrong and what is allowed.
    pub fn from_yaml(text: &str, file_name: Option<&str>, nc: Option<usize>) -> Result<Self, YamlError> {
        Self::from_value(&literal::parse(text)?, file_name.and_then(scale_letter), nc)
    }

    /// [`ModelConfig::from_yaml`] for a tree that is parsed already, as a checkpoint carries it.
    ///
    /// # Errors
    /// As [`ModelConfig::from_yaml`].
    pub fn from_value(yaml: &Value, scale: Option<char>, nc: Option<usize>) -> Result<Self, YamlError> {
        check_extras(yaml)?;
        let (letter, factors) = scale_of(yaml, scale)?;
        let nc = match nc {
            Some(nc) => nc,
            None => yaml.get("nc").and_then(Value::as_u64).ok_or_else(|| key("nc", "a number of classes is needed"))?
                as usize,
        };
        if nc == 0 {
            return Err(key("nc", "at least one class is needed"));
        }
        let activation = match yaml.get("activation") {
            None | Some(Value::Null) => Activation::Silu,
            Some(Value::String(text)) => row::activation(text).map_err(|problem| key("activation", problem))?,
            Some(other) => return Err(key("activation", format!("{other} is no activation"))),
        };
        let mut rows = Vec::new();
        let mut budget = budget::Budget::default();
        for part in ["backbone", "head"] {
            let list = yaml.get(part).and_then(Value::as_array).ok_or_else(|| key(part, "a list of rows is needed"))?;
            for fields in list {
                let row = row::resolve(fields, &rows, factors, activation, nc)?;
                budget.add(fields.get(2).and_then(Value::as_str).unwrap_or_default(), &row)?;
                rows.push(row);
            }
        }
        budget.check_maps(&rows, nc)?;
        match rows.iter().position(|row| matches!(row.module, LayerKind::Detect { .. })) {
            Some(last) if last + 1 == rows.len() => {
                let (norm, channels) = (BatchNormMode::Keep, Channels::default());
                Ok(Self { nc, scale: letter, activation, rows, norm, channels })
            }
            _ => Err(key("head", "its last row, and no other, must be Detect")),
        }
    }

    /// The same network with its batch norms so.
    #[must_use]
    pub fn with_norm(self, norm: BatchNormMode) -> Self {
        Self { norm, ..self }
    }

    /// The same network with fewer channels in some tensors.
    #[must_use]
    pub fn with_channels(self, channels: Channels) -> Self {
        Self { channels, ..self }
    }

    /// The same network ready to run: its batch norms are folded as its weights are read.
    #[must_use]
    pub fn for_inference(&self) -> Self {
        let norm = if self.norm == BatchNormMode::Keep { BatchNormMode::Fuse } else { self.norm };
        self.clone().with_norm(norm)
    }

    /// Channels between the convolutions of the head's class branches; 0 of a model without a head.
    pub fn class_channels(&self) -> usize {
        match self.rows.last().map(|row| &row.module) {
            Some(LayerKind::Detect { class_channels, .. }) => *class_channels,
            _ => 0,
        }
    }

    /// The same network with `channels` between the convolutions of its class branches.
    #[must_use]
    pub fn with_class_channels(mut self, channels: usize) -> Self {
        if let Some(LayerSpec { module: LayerKind::Detect { class_channels, .. }, .. }) = self.rows.last_mut() {
            *class_channels = channels;
        }
        self
    }
}

fn key(key: &'static str, problem: impl Into<String>) -> YamlError {
    YamlError::Key { key, problem: problem.into() }
}

/// The scale's letter in a name such as `yolov8s-ghost.yaml`: right behind `yolo` or `yolov` and the version's digits.
pub(crate) fn scale_letter(name: &str) -> Option<char> {
    let name = name.rsplit(['/', '\\']).next()?;
    let (_, version) = name.split_once("yolo")?;
    let version = version.strip_prefix('v').unwrap_or(version);
    let rest = version.trim_start_matches(|c: char| c.is_ascii_digit());
    let letter = rest.chars().next().filter(|c| rest.len() < version.len() && "nsmlx".contains(*c))?;
    let next = rest[1..].chars().next();
    next.is_none_or(|c| !c.is_alphabetic()).then_some(letter)
}

/// Refuses what would make another network than the rows say.
fn check_extras(yaml: &Value) -> Result<(), YamlError> {
    for (name, only) in [("ch", 3), ("channels", 3), ("reg_max", 16)] {
        if yaml.get(name).is_some_and(|value| value.as_u64() != Some(only)) {
            return Err(key(name, format!("only {only} is supported")));
        }
    }
    if yaml.get("end2end").is_some_and(|value| value.as_bool() == Some(true)) {
        return Err(key("end2end", "only False is supported: boxes go through non-maximum suppression"));
    }
    Ok(())
}

fn scale_of(yaml: &Value, asked: Option<char>) -> Result<(Option<char>, Scale), YamlError> {
    let number = |value: Option<&Value>, default: f64| value.and_then(Value::as_f64).unwrap_or(default);
    let scales = match yaml.get("scales") {
        Some(Value::Object(scales)) if !scales.is_empty() => scales,
        None | Some(Value::Null | Value::Object(_)) => {
            let (depth, width) = (number(yaml.get("depth_multiple"), 1.), number(yaml.get("width_multiple"), 1.));
            return Ok((None, checked(Scale { depth, width, most: f64::INFINITY })?));
        }
        Some(_) => return Err(key("scales", "letters with [depth, width, most channels] are needed")),
    };
    let own = || yaml.get("scale").and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    let letter = asked.map(String::from).or_else(own).or_else(|| scales.keys().next().cloned()).unwrap_or_default();
    let Some(Value::Array(factors)) = scales.get(&letter) else {
        let known: Vec<&str> = scales.keys().map(String::as_str).collect();
        return Err(key("scales", format!("there is no scale `{letter}`, only {}", known.join(", "))));
    };
    let most = number(factors.get(2), f64::INFINITY);
    let scale = Scale { depth: number(factors.first(), f64::NAN), width: number(factors.get(1), f64::NAN), most };
    Ok((letter.chars().next(), checked(scale)?))
}

fn checked(scale: Scale) -> Result<Scale, YamlError> {
    let is_sane = |x: f64| x > 0. && x <= 16.;
    if is_sane(scale.depth) && is_sane(scale.width) && scale.most >= 1. {
        Ok(scale)
    } else {
        Err(key("scales", format!("depth and width must lie in (0, 16] and channels above 0, got {scale:?}")))
    }
}

#[cfg(test)]
mod tests;
