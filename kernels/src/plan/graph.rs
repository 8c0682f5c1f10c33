//! The operations of a network on one image, before they are placed in memory.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use candle_core::{Result, Tensor, bail};

use super::quantization::ConvQuantization;
use crate::infer::{BOX_CHANNELS, LowPrecision};
use crate::{Activation, ConvGeometry};

/// A map of a [`Graph`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(pub(super) usize);

/// A network that can be planned.
pub trait Traced {
    /// What can be asked of it.
    type Endpoint: Copy + Eq + Hash + Send;

    /// Adds what `endpoint` needs to the graph of an image, and makes it the graph's outputs.
    fn trace(&self, endpoint: Self::Endpoint, graph: &mut Graph, image: Value) -> Result<()>;
}

/// A network with one endpoint.
impl<F: Fn(&mut Graph, Value) -> Result<()>> Traced for F {
    type Endpoint = ();

    fn trace(&self, (): (), graph: &mut Graph, image: Value) -> Result<()> {
        self(graph, image)
    }
}

/// What a network computes from one image, traced by its layers.
#[derive(Default)]
pub struct Graph {
    pub(super) nodes: Vec<Node>,
    pub(super) outputs: Vec<Output>,
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Graph")
            .field("nodes", &self.nodes.len())
            .field("outputs", &self.outputs.len())
            .finish_non_exhaustive()
    }
}

/// An operation and the size of its map.
pub(super) struct Node {
    pub(super) op: Op,
    /// Height, width, channels.
    pub(super) shape: [usize; 3],
}

pub(super) enum Op {
    Image,
    Conv {
        xs: Value,
        conv: Conv,
        residual: Option<Value>,
    },
    /// The map of a convolution before its residual is added.
    Plain(Value),
    Pool {
        xs: Value,
        geometry: ConvGeometry,
        is_max: bool,
    },
    GlobalAverage(Value),
    Resample(Value),
    Concat(Vec<Value>),
    Narrow {
        xs: Value,
        start: usize,
    },
    Add(Value, Value),
    /// The second map is resampled to the first's size.
    Multiply(Value, Value),
    /// Low-precision numbers of a map, several channels to an element.
    Quantize {
        xs: Value,
        precision: LowPrecision,
    },
    /// Nothing: another node took over its work.
    Gone,
}

/// A convolution's tensors and form.
#[derive(Clone)]
pub(super) struct Conv {
    pub(super) weight: Tensor,
    pub(super) bias: Option<Tensor>,
    pub(super) geometry: ConvGeometry,
    pub(super) activation: Activation,
    pub(super) path: String,
    /// What it multiplies.
    pub(super) arithmetic: Arithmetic,
    /// Whether it reads a map of `f32` and makes the low-precision numbers that it multiplies itself.
    pub(super) converts_input: bool,
    /// Of one whose map is only read as low-precision numbers: how.
    pub(super) precision: Option<LowPrecision>,
    /// Whether its residual is stored as `bf16`.
    pub(super) is_residual_bf16: bool,
}

/// What a convolution multiplies.
#[derive(Clone, Default)]
pub(super) enum Arithmetic {
    #[default]
    Float,
    /// Input and weights as `bf16`.
    Bf16,
    /// Input and weights as integers.
    Int8(Arc<ConvQuantization>),
}

/// What a run gives back.
pub(super) enum Output {
    /// A map as (1, channels, height, width), its channels last in memory.
    Map(Value),
    /// Levels with their pixels per cell, as (1, 4 + nc, anchors).
    Boxes(Vec<(Value, f64)>),
}

impl Graph {
    /// A graph with its image of `[channels, height, width]`.
    pub(super) fn new([channels, height, width]: [usize; 3]) -> (Self, Value) {
        let mut graph = Self::default();
        let image = graph.push(Op::Image, [height, width, channels]);
        (graph, image)
    }

    /// What `endpoint` of a network needs of an image of `[channels, height, width]`.
    pub(super) fn of<N: Traced>(net: &N, endpoint: N::Endpoint, image: [usize; 3]) -> Result<Self> {
        let (mut graph, value) = Self::new(image);
        net.trace(endpoint, &mut graph, value)?;
        Ok(graph)
    }

    pub(super) fn push(&mut self, op: Op, shape: [usize; 3]) -> Value {
        self.nodes.push(Node { op, shape });
        Value(self.nodes.len() - 1)
    }

    /// Height, width and channels of a map.
    pub fn shape(&self, xs: Value) -> [usize; 3] {
        self.nodes[xs.0].shape
    }

    /// [`crate::conv2d`]; `path` names the layer in errors and profiles.
    pub fn conv2d(
        &mut self,
        xs: Value,
        weight: &Tensor,
        bias: Option<&Tensor>,
        geometry: &ConvGeometry,
        activation: Activation,
        path: &str,
    ) -> Result<Value> {
        let [height, width, channels] = self.shape(xs);
        let (out_c, group_c, kernel_h, kernel_w) = weight.dims4()?;
        let groups = geometry.groups;
        if [kernel_h, kernel_w] != geometry.kernel || group_c * groups != channels || !out_c.is_multiple_of(groups) {
            bail!("{path}: weights {:?} with {geometry:?} do not fit {channels} channels", weight.dims())
        }
        if let Some(bias) = bias
            && bias.dims() != [out_c]
        {
            bail!("{path}: bias {:?} does not fit weights {:?}", bias.dims(), weight.dims())
        }
        let [out_h, out_w] = geometry.out_hw([height, width])?;
        let path = path.trim_end_matches('.').to_owned();
        let conv = Conv {
            weight: weight.clone(),
            bias: bias.cloned(),
            geometry: *geometry,
            activation,
            path,
            arithmetic: Arithmetic::Float,
            converts_input: false,
            precision: None,
            is_residual_bf16: false,
        };
        if groups == 1 || (group_c == 1 && out_c == channels) {
            return Ok(self.push(Op::Conv { xs, conv, residual: None }, [out_h, out_w, out_c]));
        }
        let group_out = out_c / groups;
        let mut parts = Vec::with_capacity(groups);
        for group in 0..groups {
            let xs = self.narrow(xs, group * group_c, group_c)?;
            let weight = weight.narrow(0, group * group_out, group_out)?;
            let bias = bias.map(|bias| bias.narrow(0, group * group_out, group_out)).transpose()?;
            let conv = Conv { weight, bias, geometry: geometry.groups(1), ..conv.clone() };
            parts.push(self.push(Op::Conv { xs, conv, residual: None }, [out_h, out_w, group_out]));
        }
        self.concat(&parts)
    }

    /// [`crate::max_pool2d`].
    pub fn max_pool2d(&mut self, xs: Value, geometry: &ConvGeometry) -> Result<Value> {
        self.pool(xs, geometry, true)
    }

    /// [`crate::avg_pool2d`].
    pub fn avg_pool2d(&mut self, xs: Value, geometry: &ConvGeometry) -> Result<Value> {
        self.pool(xs, geometry, false)
    }

    fn pool(&mut self, xs: Value, geometry: &ConvGeometry, is_max: bool) -> Result<Value> {
        let [height, width, channels] = self.shape(xs);
        let [out_h, out_w] = geometry.out_hw([height, width])?;
        if (0..2).any(|axis| geometry.padding[axis] * 2 > geometry.kernel[axis]) {
            bail!("pooling pads by at most half its kernel: {geometry:?}")
        }
        Ok(self.push(Op::Pool { xs, geometry: *geometry, is_max }, [out_h, out_w, channels]))
    }

    /// [`crate::global_avg_pool2d`].
    pub fn global_avg_pool2d(&mut self, xs: Value) -> Value {
        let [_, _, channels] = self.shape(xs);
        self.push(Op::GlobalAverage(xs), [1, 1, channels])
    }

    /// [`crate::upsample_nearest2d`].
    pub fn upsample_nearest2d(&mut self, xs: Value, [height, width]: [usize; 2]) -> Value {
        let [_, _, channels] = self.shape(xs);
        self.push(Op::Resample(xs), [height, width, channels])
    }

    /// Joins maps of one size along their channels.
    pub fn concat(&mut self, parts: &[Value]) -> Result<Value> {
        let shapes: Vec<[usize; 3]> = parts.iter().map(|part| self.shape(*part)).collect();
        match shapes.as_slice() {
            [first, rest @ ..] if rest.iter().all(|shape| shape[..2] == first[..2]) => {
                let channels = shapes.iter().map(|shape| shape[2]).sum();
                Ok(self.push(Op::Concat(parts.to_vec()), [first[0], first[1], channels]))
            }
            _ => bail!("cannot join maps of {shapes:?}"),
        }
    }

    /// `len` channels from `start`.
    pub fn narrow(&mut self, xs: Value, start: usize, len: usize) -> Result<Value> {
        let [height, width, channels] = self.shape(xs);
        if start + len > channels {
            bail!("channels {start}..{} of {channels}", start + len)
        }
        Ok(self.push(Op::Narrow { xs, start }, [height, width, len]))
    }

    /// The sum of two maps of one shape.
    pub fn add(&mut self, a: Value, b: Value) -> Result<Value> {
        if self.shape(a) != self.shape(b) {
            bail!("cannot add maps of {:?} and {:?}", self.shape(a), self.shape(b))
        }
        Ok(self.push(Op::Add(a, b), self.shape(a)))
    }

    /// `xs` times `gate`, which is resampled to the size of `xs` by nearest neighbour: (1, 1, channels) gates each channel.
    pub fn multiply(&mut self, xs: Value, gate: Value) -> Result<Value> {
        if self.shape(xs)[2] != self.shape(gate)[2] {
            bail!("cannot gate a map of {:?} by {:?}", self.shape(xs), self.shape(gate))
        }
        Ok(self.push(Op::Multiply(xs, gate), self.shape(xs)))
    }

    /// Makes a map an output of the run, as (1, channels, height, width), its channels last in memory.
    pub fn output(&mut self, xs: Value) {
        self.outputs.push(Output::Map(xs));
    }

    /// Makes boxes an output of the run, from raw levels (4 · 16 + nc channels) and their pixels per cell: (1, 4 + nc,
    /// anchors) with centre x, centre y, width, height in pixels, then probabilities.
    pub fn output_boxes(&mut self, levels: &[(Value, f64)]) -> Result<()> {
        let channels: Vec<usize> = levels.iter().map(|(level, _)| self.shape(*level)[2]).collect();
        match channels.as_slice() {
            [first, rest @ ..] if *first >= BOX_CHANNELS && rest.iter().all(|channels| channels == first) => {
                self.outputs.push(Output::Boxes(levels.to_vec()));
                Ok(())
            }
            _ => bail!("cannot decode boxes from levels of {channels:?} channels"),
        }
    }
}

impl Op {
    /// The maps that the operation reads.
    pub(super) fn inputs(&self) -> Vec<Value> {
        match self {
            Self::Image | Self::Gone => Vec::new(),
            Self::Conv { xs, residual, .. } => [*xs].into_iter().chain(*residual).collect(),
            Self::Plain(xs)
            | Self::Pool { xs, .. }
            | Self::GlobalAverage(xs)
            | Self::Resample(xs)
            | Self::Quantize { xs, .. }
            | Self::Narrow { xs, .. } => vec![*xs],
            Self::Concat(parts) => parts.clone(),
            Self::Add(a, b) | Self::Multiply(a, b) => vec![*a, *b],
        }
    }
}

impl Output {
    /// The maps that the output is made of.
    pub(super) fn inputs(&self) -> Vec<Value> {
        match self {
            Self::Map(xs) => vec![*xs],
            Self::Boxes(levels) => levels.iter().map(|(level, _)| *level).collect(),
        }
    }
}
