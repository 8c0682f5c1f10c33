//! One row of a model yaml: its module with channels, kernel and repeats resolved.

use ghostzoo_kernels::Activation;
use serde_json::Value;

use super::{Scale, literal};
use crate::YamlError;

/// One layer.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerSpec {
    /// Numbers of the layers it reads; `None` is the image.
    pub from: Vec<Option<usize>>,
    /// What it computes.
    pub module: LayerKind,
    /// How often the module stands behind itself; C2f and its kin repeat inside instead.
    pub repeats: usize,
    /// Output channels.
    pub channels: usize,
    /// Pixels of the image per element of the output, along each axis.
    pub stride: f64,
}

/// The modules of the grammar. `c1` and `c2` are input and output channels.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the fields carry the grammar's own names")]
pub enum LayerKind {
    /// Convolution, batch norm, activation.
    Conv { c1: usize, c2: usize, k: [usize; 2], s: usize, p: Option<usize>, g: usize, d: usize, act: Activation },
    /// [`LayerKind::Conv`] with as many groups as `c1` and `c2` share.
    DwConv { c1: usize, c2: usize, k: [usize; 2], s: usize, d: usize, act: Activation },
    /// Half the channels by a convolution, the other half by a cheap 5x5 depthwise one from those.
    GhostConv { c1: usize, c2: usize, k: [usize; 2], s: usize, g: usize, act: Activation },
    /// Two convolutions, with the input added where the channels agree.
    Bottleneck { c1: usize, c2: usize, shortcut: bool, g: usize, e: f64 },
    /// Two ghost convolutions, with a depthwise one between them at stride 2.
    GhostBottleneck { c1: usize, c2: usize, k: usize, s: usize },
    /// Cross-stage blocks of `n` inner bottlenecks.
    CspVariant { kind: CspVariant, c1: usize, c2: usize, n: usize, shortcut: bool, g: usize, e: f64 },
    /// Three chained max pools of `k`, concatenated.
    Sppf { c1: usize, c2: usize, k: usize },
    /// Nearest-neighbour upsampling.
    Upsample { scale: f64 },
    /// Concatenation of channels.
    Concat,
    /// The detection head over levels of `ch` channels. `class_channels` are those between the convolutions of its class
    /// branches: of a network from nothing max(ch of the first level, min(classes, 100)), of one that was trained on from a
    /// checkpoint those of the checkpoint, whatever its classes are.
    Detect { ch: Vec<usize>, class_channels: usize },
}

/// The cross-stage blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CspVariant {
    /// All halves and intermediate results concatenated, bottlenecks inside.
    C2f,
    /// [`CspVariant::C2f`] with ghost bottlenecks inside.
    C2fGhost,
    /// Two halves of one convolution, bottlenecks on the first.
    C2,
    /// Two convolutions side by side, bottlenecks behind the first.
    C3,
    /// [`CspVariant::C3`] with ghost bottlenecks inside.
    C3Ghost,
}

const KNOWN: &str = "Conv, DWConv, GhostConv, Bottleneck, GhostBottleneck, C2f, C2fGhost, C2, C3, C3Ghost, SPPF, \
                     nn.Upsample, Concat, Detect";

/// The activation that a Python expression such as `nn.LeakyReLU(0.1)` builds.
pub(super) fn activation(text: &str) -> Result<Activation, String> {
    let text = text.trim().trim_start_matches("torch.").trim_start_matches("nn.");
    let (name, arguments) = text.split_once('(').unwrap_or((text, ")"));
    let arguments = arguments.trim_end().trim_end_matches(')');
    let first = arguments.split(',').map(str::trim).find(|a| !a.is_empty() && !a.starts_with("inplace"));
    let slope = || first.map(|a| a.trim_start_matches("negative_slope=")).map_or(Ok(0.01), str::parse);
    Ok(match name {
        "SiLU" => Activation::Silu,
        "ReLU" => Activation::Relu,
        "ReLU6" => Activation::Relu6,
        "LeakyReLU" => Activation::LeakyRelu(slope().map_err(|_| format!("`{text}` has no number as its slope"))?),
        "Hardswish" => Activation::HardSwish,
        "Hardsigmoid" => Activation::HardSigmoid,
        "Sigmoid" => Activation::Sigmoid,
        "GELU" => Activation::Gelu,
        "Identity" => Activation::Identity,
        _ => {
            return Err(format!(
                "`{text}` is not known; known are nn.SiLU, ReLU, ReLU6, LeakyReLU, Hardswish, Hardsigmoid, Sigmoid, GELU, \
                 Identity"
            ));
        }
    })
}

/// A row's arguments, read in order with defaults.
struct Arguments<'a> {
    values: &'a [Value],
    nc: usize,
    default_activation: Activation,
}

impl Arguments<'_> {
    /// The argument at `position`, its Python literal resolved, or `None` where it is absent.
    fn get(&self, position: usize) -> Option<Value> {
        self.values.get(position).map(|value| match value {
            Value::String(text) if text == "nc" => Value::from(self.nc),
            Value::String(text) => literal::literal(text),
            value => value.clone(),
        })
    }

    fn count(&self, position: usize, default: Option<usize>) -> Result<usize, String> {
        match (self.get(position), default) {
            (None, Some(default)) => Ok(default),
            (None, None) => Err(format!("argument {position} is missing")),
            (Some(value), _) => match value.as_u64().filter(|n| (1..=65_536).contains(n)) {
                Some(n) => Ok(n as usize),
                None => Err(format!("argument {position} is {value} and must be a whole number from 1 to 65536")),
            },
        }
    }

    fn flag(&self, position: usize, default: bool) -> Result<bool, String> {
        match self.get(position) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(Value::Number(number)) => Ok(number.as_f64() != Some(0.)),
            Some(other) => Err(format!("argument {position} is {other} and must be True or False")),
        }
    }

    fn factor(&self, position: usize, default: f64) -> Result<f64, String> {
        match self.get(position).map(|value| value.as_f64().ok_or(value)) {
            None => Ok(default),
            Some(Ok(factor)) if factor > 0. && factor <= 64. => Ok(factor),
            Some(other) => Err(format!("argument {position} is {other:?} and must be a number in (0, 64]")),
        }
    }

    fn kernel(&self, position: usize, default: usize) -> Result<[usize; 2], String> {
        match self.get(position) {
            Some(Value::Array(sides)) => match sides.iter().map(Value::as_u64).collect::<Option<Vec<_>>>().as_deref() {
                Some([h @ 1..=64, w @ 1..=64]) => Ok([*h as usize, *w as usize]),
                _ => Err(format!("argument {position} must be one or two sides of a kernel")),
            },
            _ => self.count(position, Some(default)).map(|side| [side, side]),
        }
    }

    fn padding(&self, position: usize) -> Result<Option<usize>, String> {
        match self.get(position) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64().filter(|n| *n <= 64) {
                Some(pad) => Ok(Some(pad as usize)),
                None => Err(format!("argument {position} is {value} and must be a padding or None")),
            },
        }
    }

    fn activation(&self, position: usize) -> Result<Activation, String> {
        match self.get(position) {
            None | Some(Value::Bool(true)) => Ok(self.default_activation),
            Some(Value::Bool(false)) => Ok(Activation::Identity),
            Some(Value::String(text)) => activation(&text),
            Some(other) => Err(format!("argument {position} is {other} and must be an activation")),
        }
    }
}

/// Resolves one `[from, repeats, module, arguments]`.
pub(super) fn resolve(
    fields: &Value,
    earlier: &[LayerSpec],
    scale: Scale,
    default_activation: Activation,
    nc: usize,
) -> Result<LayerSpec, YamlError> {
    let index = earlier.len();
    let named = |module: &str, problem: String| YamlError::Layer { index, module: module.to_owned(), problem };
    let Some([from, repeats, module, arguments]) = fields.as_array().map(Vec::as_slice) else {
        return Err(named("?", "a row is [from, repeats, module, arguments]".to_owned()));
    };
    let Some(name) = module.as_str() else { return Err(named("?", format!("{module} is no module's name"))) };
    let fail = |problem: String| named(name, problem);
    let from = sources(from, index).map_err(fail)?;
    let repeats = repeats.as_u64().filter(|n| (1..=1000).contains(n));
    let repeats = repeats.ok_or_else(|| fail("repeats must be a whole number from 1 to 1000".to_owned()))? as usize;
    let repeats = if repeats > 1 { ((repeats as f64 * scale.depth).round_ties_even() as usize).max(1) } else { 1 };
    let Some(values) = arguments.as_array() else { return Err(fail("its arguments are no list".to_owned())) };
    let arguments = Arguments { values, nc, default_activation };
    let inputs: Vec<usize> = from.iter().map(|f| f.map_or(3, |f| earlier[f].channels)).collect();
    let strides: Vec<f64> = from.iter().map(|f| f.map_or(1., |f| earlier[f].stride)).collect();
    let is_joint = matches!(name, "Concat" | "Detect");
    if !is_joint && from.len() != 1 {
        return Err(fail("it reads one layer".to_owned()));
    }
    let (module, repeats) = build(name, &arguments, &inputs, scale, repeats).map_err(fail)?;
    let most = most_arguments(name);
    if values.len() > most {
        return Err(fail(format!("it has {} arguments and can have at most {most}", values.len())));
    }
    check_groups(&module).map_err(fail)?;
    if matches!(module, LayerKind::Concat) && strides.iter().any(|stride| *stride != strides[0]) {
        return Err(fail(format!("the layers it reads have strides {strides:?}; they must be equal")));
    }
    let channels = match &module {
        LayerKind::Concat | LayerKind::Detect { .. } => inputs.iter().sum(),
        LayerKind::Upsample { .. } => inputs[0],
        LayerKind::Conv { c2, .. }
        | LayerKind::DwConv { c2, .. }
        | LayerKind::GhostConv { c2, .. }
        | LayerKind::Bottleneck { c2, .. }
        | LayerKind::GhostBottleneck { c2, .. }
        | LayerKind::CspVariant { c2, .. }
        | LayerKind::Sppf { c2, .. } => *c2,
    };
    let factor = match &module {
        LayerKind::Conv { s, .. }
        | LayerKind::DwConv { s, .. }
        | LayerKind::GhostConv { s, .. }
        | LayerKind::GhostBottleneck { s, .. } => (*s as f64).powi(repeats as i32),
        LayerKind::Upsample { scale } => 1. / scale,
        _ => 1.,
    };
    if repeats > 1 && matches!(module, LayerKind::Upsample { .. } | LayerKind::Concat | LayerKind::Detect { .. }) {
        return Err(fail("it cannot be repeated".to_owned()));
    }
    if repeats > 1 && inputs[0] != channels {
        return Err(fail("a repeated module must keep its channels".to_owned()));
    }
    Ok(LayerSpec { from, module, repeats, channels, stride: strides[0] * factor })
}

/// Absolute layer numbers of a `from` field.
fn sources(from: &Value, index: usize) -> Result<Vec<Option<usize>>, String> {
    let one = |value: &Value| -> Result<Option<usize>, String> {
        let from =
            value.as_i64().ok_or_else(|| format!("from is {value} and must be a whole number or a list of them"))?;
        let absolute = if from < 0 { index as i64 + from } else { from };
        match usize::try_from(absolute) {
            Ok(layer) if layer < index => Ok(Some(layer)),
            Err(_) if index == 0 && from == -1 => Ok(None),
            _ => Err(format!("from is {from}, and only layers before it can be read")),
        }
    };
    match from {
        Value::Array(list) if list.is_empty() => Err("it reads no layer".to_owned()),
        Value::Array(list) => list.iter().map(one).collect(),
        single => Ok(vec![one(single)?]),
    }
}

fn build(
    name: &str,
    arguments: &Arguments<'_>,
    inputs: &[usize],
    scale: Scale,
    n: usize,
) -> Result<(LayerKind, usize), String> {
    let c1 = inputs[0];
    let c2 = || arguments.count(0, None).map(|c2| scaled(c2, scale));
    let module = match name {
        "Conv" => LayerKind::Conv {
            c1,
            c2: c2()?,
            k: arguments.kernel(1, 1)?,
            s: arguments.count(2, Some(1))?,
            p: arguments.padding(3)?,
            g: arguments.count(4, Some(1))?,
            d: arguments.count(5, Some(1))?,
            act: arguments.activation(6)?,
        },
        "DWConv" => LayerKind::DwConv {
            c1,
            c2: c2()?,
            k: arguments.kernel(1, 1)?,
            s: arguments.count(2, Some(1))?,
            d: arguments.count(3, Some(1))?,
            act: arguments.activation(4)?,
        },
        "GhostConv" => LayerKind::GhostConv {
            c1,
            c2: c2()?,
            k: arguments.kernel(1, 1)?,
            s: arguments.count(2, Some(1))?,
            g: arguments.count(3, Some(1))?,
            act: arguments.activation(4)?,
        },
        "Bottleneck" if arguments.get(3).is_some_and(|k| k != serde_json::json!([3, 3])) => {
            return Err("other kernels than [3, 3] are not supported".to_owned());
        }
        "Bottleneck" => LayerKind::Bottleneck {
            c1,
            c2: c2()?,
            shortcut: arguments.flag(1, true)?,
            g: arguments.count(2, Some(1))?,
            e: arguments.factor(4, 0.5)?,
        },
        "GhostBottleneck" => {
            let s = arguments.count(2, Some(1))?;
            if s > 2 {
                return Err(format!("its stride is {s} and must be 1 or 2"));
            }
            LayerKind::GhostBottleneck { c1, c2: c2()?, k: arguments.count(1, Some(3))?, s }
        }
        "C2f" | "C2fGhost" | "C2" | "C3" | "C3Ghost" => {
            let (kind, shortcut) = match name {
                "C2f" => (CspVariant::C2f, false),
                "C2fGhost" => (CspVariant::C2fGhost, true),
                "C2" => (CspVariant::C2, true),
                "C3" => (CspVariant::C3, true),
                _ => (CspVariant::C3Ghost, true),
            };
            let (shortcut, g, e) =
                (arguments.flag(1, shortcut)?, arguments.count(2, Some(1))?, arguments.factor(3, 0.5)?);
            // The repeats stand inside the block.
            return Ok((LayerKind::CspVariant { kind, c1, c2: c2()?, n, shortcut, g, e }, 1));
        }
        "SPPF" => LayerKind::Sppf { c1, c2: c2()?, k: arguments.count(1, Some(5))? },
        "nn.Upsample" => {
            if arguments.get(0).is_some_and(|size| !size.is_null()) {
                return Err("a fixed size is not supported: give [None, scale, nearest]".to_owned());
            }
            match arguments.get(2) {
                None => {}
                Some(Value::String(mode)) if mode == "nearest" => {}
                Some(mode) => return Err(format!("mode {mode} is not supported: only nearest is")),
            }
            LayerKind::Upsample { scale: arguments.factor(1, 1.)? }
        }
        "Concat" => match arguments.get(0) {
            None => LayerKind::Concat,
            Some(dim) if dim.as_i64() == Some(1) => LayerKind::Concat,
            Some(dim) => return Err(format!("dimension {dim} is not supported: channels are dimension 1")),
        },
        "Detect" => {
            let nc = arguments.count(0, None)?;
            if nc != arguments.nc {
                return Err(format!("it has {nc} classes where the model has {}", arguments.nc));
            }
            LayerKind::Detect { ch: inputs.to_vec(), class_channels: c1.max(nc.min(100)) }
        }
        _ => return Err(format!("this module is not known; known are {KNOWN}")),
    };
    Ok((module, n))
}

/// Most arguments of each module.
fn most_arguments(name: &str) -> usize {
    match name {
        "Conv" => 7,
        "DWConv" | "GhostConv" | "Bottleneck" => 5,
        "C2f" | "C2fGhost" | "C2" | "C3" | "C3Ghost" => 4,
        "GhostBottleneck" | "nn.Upsample" => 3,
        "SPPF" => 2,
        _ => 1,
    }
}

/// Refuses channels that do not split into a module's groups.
fn check_groups(module: &LayerKind) -> Result<(), String> {
    let (channels, groups) = match *module {
        LayerKind::Conv { c1, c2, g, .. } => ([c1, c2], g),
        LayerKind::GhostConv { c1, c2, g, .. } => ([c1, c2 / 2], g),
        LayerKind::Bottleneck { c2, g, e, .. } => ([(c2 as f64 * e) as usize, c2], g),
        LayerKind::CspVariant { c2, g, e, .. } => ([(c2 as f64 * e) as usize; 2], g),
        LayerKind::GhostBottleneck { c1, c2, s: 1, .. } if c1 != c2 => {
            return Err(format!("at stride 1 it keeps its channels, but it reads {c1} and gives {c2}"));
        }
        _ => return Ok(()),
    };
    match channels.iter().find(|c| **c == 0 || !c.is_multiple_of(groups)) {
        Some(channels) => Err(format!("{channels} channels do not split into {groups} groups")),
        None => Ok(()),
    }
}

fn scaled(channels: usize, scale: Scale) -> usize {
    ((channels as f64).min(scale.most) * scale.width / 8.).ceil() as usize * 8
}
