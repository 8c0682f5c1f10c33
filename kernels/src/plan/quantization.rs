//! What a convolution in 8 bits needs beside its weights, and what it is calibrated by.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{Result, Tensor, bail};

use super::graph::{Arithmetic, Conv, Graph, Op, Output, Traced, Value};
use super::lower::{Precision, lower};
use super::pack::Packs;
use crate::infer::{MemoryPool, Program};
use crate::{ConvGeometry, Isa, ThreadPool};

/// How a convolution computes in 8 bits: input and weights as integers, their products summed exactly in 32 bits, the rest in
/// `f32`.
///
/// An input `x` becomes `q = clamp(round(x · (1 / input_scale)) + input_zero_point, 0, 255)`, ties to even, which stands for
/// `(q − input_zero_point) · input_scale`; weights are `i8 · weight_scale`. The convolution is
/// `activation(Σ(q − input_zero_point) · weight · (input_scale · weight_scale) + bias)`.
#[derive(Debug, Clone, PartialEq)]
pub struct ConvQuantization {
    /// Step of the weights of each output channel, positive and normal.
    pub weight_scale: Vec<f32>,
    /// Step of the input, positive and normal.
    pub input_scale: f32,
    /// The integer of an input of 0.
    pub input_zero_point: u8,
}

/// The convolutions that compute in 8 bits, by their path. Weights are given to the network as `f32`, multiples of their steps.
pub type Quantization = BTreeMap<String, ConvQuantization>;

/// A dense convolution of a network, as a calibration sees it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ObservedConv {
    /// Its path in the checkpoint.
    pub path: String,
    /// Weights (out_c, in_c, kh, kw).
    pub weight: Tensor,
    /// Bias (out_c).
    pub bias: Option<Tensor>,
    /// Its window.
    pub geometry: ConvGeometry,
    /// Height, width and channels of its input.
    pub input: [usize; 3],
    /// Whether it reads the image.
    pub reads_image: bool,
    /// Whether its result only gates another map.
    pub is_gate: bool,
    /// Index of its input in what [`Observer::run`] gives; none for one that reads the image.
    pub map: Option<usize>,
}

/// Runs a network in `f32` for the inputs of its dense convolutions.
pub struct Observer {
    program: Program,
    memory: MemoryPool,
    convs: Vec<ObservedConv>,
    lens: Vec<usize>,
    image: [usize; 3],
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observer").field("convs", &self.convs.len()).field("image", &self.image).finish_non_exhaustive()
    }
}

impl Observer {
    /// An observer for images of `[channels, height, width]`.
    ///
    /// # Errors
    /// Where the network does not take such an image.
    pub fn new<N: Traced>(net: &N, endpoint: N::Endpoint, image: [usize; 3]) -> Result<Self> {
        let mut graph = Graph::of(net, endpoint, image)?;
        let gates = gates(&graph);
        let mut maps: Vec<Value> = Vec::new();
        let mut convs = Vec::new();
        for (index, node) in graph.nodes.iter().enumerate() {
            let Op::Conv { xs, conv, .. } = &node.op else { continue };
            if conv.geometry.groups > 1 {
                continue;
            }
            let Conv { weight, bias, geometry, path, .. } = conv.clone();
            let reads_image = xs.0 == 0;
            let map = (!reads_image).then(|| {
                maps.iter().position(|map| map == xs).unwrap_or_else(|| {
                    maps.push(*xs);
                    maps.len() - 1
                })
            });
            let (input, is_gate) = (graph.shape(*xs), gates.contains(&Value(index)));
            convs.push(ObservedConv { path, weight, bias, geometry, input, reads_image, is_gate, map });
        }
        let lens = maps.iter().map(|map| graph.shape(*map).iter().product()).collect();
        graph.outputs = maps.into_iter().map(Output::Map).collect();
        let threads = ThreadPool::current().threads();
        let (program, _) = lower(graph, Isa::best(), threads, &mut Packs::default(), Precision::default())?;
        Ok(Self { program, memory: MemoryPool::default(), convs, lens, image })
    }

    /// The dense convolutions, in the order of the network.
    pub fn convs(&self) -> &[ObservedConv] {
        &self.convs
    }

    /// The inputs of the convolutions on one image (channels, height, width), each (height, width, channels).
    ///
    /// # Errors
    /// Where the image has another size.
    pub fn run(&self, image: &[f32]) -> Result<Vec<Vec<f32>>> {
        if image.len() != self.image.iter().product::<usize>() {
            bail!("an image of {} elements for {:?}", image.len(), self.image)
        }
        let mut outputs: Vec<Vec<f32>> = self.lens.iter().map(|len| vec![0.; *len]).collect();
        let mut parts: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
        let pool = ThreadPool::current();
        self.memory.with(self.program.memory(&pool), |memory| self.program.run(&pool, memory, image, &mut parts, None));
        Ok(outputs)
    }
}

/// Most products of a window, so that sums of 255 · 127 stay in 32 bits.
const MAX_DEPTH: usize = (i32::MAX / (255 * 127)) as usize;

/// The convolutions whose results only gate other maps.
fn gates(graph: &Graph) -> BTreeSet<Value> {
    let mut gates = BTreeSet::new();
    for node in &graph.nodes {
        let Op::Multiply(_, gate) = node.op else { continue };
        let mut value = gate;
        while let Op::Conv { xs, .. } = graph.nodes[value.0].op {
            gates.insert(value);
            value = xs;
        }
    }
    gates
}

impl ConvQuantization {
    /// What a sum of integers counts, by output channel.
    pub(super) fn sum_scales(&self) -> Vec<f32> {
        self.weight_scale.iter().map(|scale| scale * self.input_scale).collect()
    }
}

/// Refuses a quantization that a network on an image of `[channels, height, width]` cannot compute: of a path that is no dense
/// convolution, or is several in groups; with another number of scales than output channels, or scales that are none; of a window
/// too large.
pub fn check_quantization<N: Traced>(
    net: &N,
    endpoint: N::Endpoint,
    image: [usize; 3],
    quantization: &Quantization,
) -> Result<()> {
    let graph = Graph::of(net, endpoint, image)?;
    let mut found: BTreeMap<&str, Vec<&Conv>> = BTreeMap::new();
    for node in &graph.nodes {
        if let Op::Conv { conv, .. } = &node.op {
            found.entry(&conv.path).or_default().push(conv);
        }
    }
    for (path, wanted) in quantization {
        match found.get(path.as_str()).map(Vec::as_slice) {
            Some([conv]) if conv.geometry.groups == 1 => check(conv, wanted)?,
            _ => bail!("{path} is no dense convolution of the network"),
        }
    }
    Ok(())
}

/// Refuses what cannot be computed.
pub(super) fn check(conv: &Conv, quantization: &ConvQuantization) -> Result<()> {
    let ConvQuantization { weight_scale, input_scale, .. } = quantization;
    let (path, dims) = (&conv.path, conv.weight.dims());
    if conv.geometry.groups != 1 || weight_scale.len() != dims[0] {
        bail!("{path}: {} scales of weights for a convolution {dims:?}", weight_scale.len())
    }
    if dims[1..].iter().product::<usize>() > MAX_DEPTH {
        bail!("{path}: a window of {:?} is too large for sums in 32 bits", &dims[1..])
    }
    let sums = quantization.sum_scales();
    if !weight_scale.iter().chain(&sums).chain([input_scale]).all(|scale| scale.is_normal() && *scale > 0.) {
        bail!("{path}: scales of 8 bits must be positive numbers")
    }
    Ok(())
}

/// The integer of a weight by output channel, input channel and window position; 0 for a channel behind the last.
pub(super) fn integers<'a>(conv: &'a Conv, weight: &'a [f32]) -> Result<impl Fn(usize, usize, usize) -> i16 + use<'a>> {
    let Arithmetic::Int8(quantization) = &conv.arithmetic else { bail!("{}: its weights have no scales", conv.path) };
    let (out_c, in_c, kernel_h, kernel_w) = conv.weight.dims4()?;
    let taps = kernel_h * kernel_w;
    let step = move |out: usize, index: usize| weight[out * in_c * taps + index] / quantization.weight_scale[out];
    for (out, index) in (0..out_c).flat_map(|out| (0..in_c * taps).map(move |index| (out, index))) {
        let value = step(out, index);
        if !(value.round().abs() <= 127. && (value - value.round()).abs() < 1e-3) {
            bail!("{}: a weight of {value} steps is no integer of 8 bits", conv.path)
        }
    }
    Ok(move |out, channel, tap| if channel < in_c { step(out, channel * taps + tap).round() as i16 } else { 0 })
}
