//! From a graph to a program: one kernel per operation.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{Result, bail};

use super::choose::{Choice, ConvAlgorithm, choose, choose_int8};
use super::fuse::{fuse_residuals, order};
use super::graph::{Arithmetic, Conv, Graph, Node, Op, Output, Value};
use super::low_precision::{quantize_inputs, round_inputs, store_converted};
use super::pack::{Packs, Weights, offsets, padded};
use super::place::Places;
use super::quantization::Quantization;
use crate::infer::{
    BOX_CHANNELS, Bias, Combine, DecodeBoxes, Dense, DenseConfig, Depthwise, DotConfig, DotConv, Epilogue,
    GlobalAverage, Integers, Interleave, Kernel, LowPrecision, Operation, PackedDots, Pool, Program, Quantize, Rows,
    SIDES, Stem, View, Winograd, Winograd2Int8, Winograd4, Winograd4Int8, WinogradConfig,
};
use crate::{Isa, Width, sources};

/// What a step of a program is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct OpInfo {
    /// The layer's path, or the operation.
    pub(super) name: String,
    pub(super) macs: usize,
}

/// How convolutions are computed.
#[derive(Clone, Copy, Default)]
pub(super) struct Precision<'a> {
    /// Those in 8 bits.
    pub(super) quantization: Option<&'a Quantization>,
    /// Whether the others may multiply `bf16`, where the instruction set has that.
    pub(super) is_bf16: bool,
    /// How every convolution in `f32` is computed, instead of the best known way.
    pub(super) forced: Option<Choice>,
}

/// Lowers a graph.
pub(super) fn lower(
    mut graph: Graph,
    isa: Isa,
    threads: usize,
    packs: &mut Packs,
    Precision { quantization, is_bf16, forced }: Precision,
) -> Result<(Program, Vec<OpInfo>)> {
    fuse_residuals(&mut graph);
    if let Some(quantization) = quantization {
        quantize_inputs(&mut graph, quantization, isa)?;
    }
    if is_bf16 {
        round_inputs(&mut graph, isa);
    }
    store_converted(&mut graph, isa);
    let order = order(&graph);
    let places = Places::new(&graph, &order);
    let plain: BTreeMap<Value, Value> = order
        .iter()
        .filter_map(|value| match graph.nodes[value.0].op {
            Op::Plain(conv) => Some((conv, *value)),
            _ => None,
        })
        .collect();
    let mut choices = BTreeMap::new();
    let mut convs = Vec::new();
    for value in &order {
        if let Op::Conv { xs, conv, .. } = &graph.nodes[value.0].op {
            let [height, width, _] = graph.nodes[value.0].shape;
            let choose = || choose(conv, *xs == Value(0), [height, width], isa);
            let choice = match &conv.arithmetic {
                Arithmetic::Int8(found) => choose_int8(conv, found, isa)?,
                Arithmetic::Bf16 => (ConvAlgorithm::DotsBf16, Width::Full),
                Arithmetic::Float => forced.unwrap_or_else(choose),
            };
            choices.insert(*value, choice);
            convs.push((conv, choice));
        }
    }
    packs.prepare(&convs, isa.vectors())?;
    let mut lowering =
        Lowering { graph: &graph, places, plain, choices, isa, threads, packs, steps: Vec::new(), notes: Vec::new() };
    for value in &order {
        lowering.node(*value)?;
    }
    let outputs = lowering.outputs();
    let [height, width, channels] = graph.nodes[0].shape;
    let Lowering { places, steps, notes, .. } = lowering;
    Ok((Program::new(steps, places.arena, height * width * channels, outputs)?, notes))
}

struct Lowering<'a> {
    graph: &'a Graph,
    places: Places,
    /// The map without the residual, by convolution.
    plain: BTreeMap<Value, Value>,
    choices: BTreeMap<Value, Choice>,
    isa: Isa,
    threads: usize,
    packs: &'a mut Packs,
    steps: Vec<Box<dyn Kernel>>,
    notes: Vec<OpInfo>,
}

impl Lowering<'_> {
    fn push(&mut self, step: impl Kernel + 'static, name: &str, macs: usize) {
        self.steps.push(Box::new(step));
        self.notes.push(OpInfo { name: name.to_owned(), macs });
    }

    fn node(&mut self, value: Value) -> Result<()> {
        let graph = self.graph;
        let out = self.places.view(value);
        let (isa, threads) = (self.isa.vectors(), self.threads);
        match &graph.nodes[value.0].op {
            Op::Image => {
                if self.reads_image_as_map() {
                    self.push(Interleave::new(out), "image", 0);
                }
            }
            Op::Conv { xs, conv, residual } => self.conv(value, *xs, conv, *residual)?,
            Op::Plain(_) | Op::Narrow { .. } | Op::Gone => {}
            Op::Pool { xs, geometry, is_max } => {
                let input = self.places.view(*xs);
                let pool = Pool { input, out, geometry: *geometry, is_max: *is_max, isa, threads };
                self.push(pool, "pool", 0);
            }
            Op::Quantize { xs, precision } => {
                let input = self.places.view(*xs);
                let name = if *precision == LowPrecision::Bf16 { "round" } else { "quantize" };
                self.push(Quantize::new([input, out], *precision, isa, threads), name, 0);
            }
            Op::GlobalAverage(xs) => {
                let input = self.places.view(*xs);
                self.push(GlobalAverage { input, out, isa, threads }, "mean", 0);
            }
            Op::Resample(xs) => self.combine(Operation::Copy, None, *xs, value, "resample"),
            Op::Add(a, b) => self.combine(Operation::Add, Some(*a), *b, value, "add"),
            Op::Multiply(xs, gate) => self.combine(Operation::Multiply, Some(*xs), *gate, value, "gate"),
            Op::Concat(_) => {
                let copies = self.places.copies.clone();
                for (_, channel, part) in copies.into_iter().filter(|(concat, ..)| *concat == value) {
                    let shape = graph.nodes[part.0].shape;
                    let (from, out) = (self.places.view(part), self.places.part(value, channel, shape));
                    let indices = [(0..shape[0]).collect(), (0..shape[1]).collect()];
                    self.push(Combine::new(Operation::Copy, [out, from, out], indices, isa, threads), "copy", 0);
                }
            }
        }
        Ok(())
    }

    fn combine(&mut self, operation: Operation, first: Option<Value>, second: Value, out: Value, name: &str) {
        let (second, out) = (self.places.view(second), self.places.view(out));
        let first = first.map_or(out, |first| self.places.view(first));
        let indices = [sources(second.height, out.height), sources(second.width, out.width)];
        self.push(Combine::new(operation, [first, second, out], indices, self.isa.vectors(), self.threads), name, 0);
    }

    fn reads_image_as_map(&self) -> bool {
        let is_planes =
            |value: usize| self.choices.get(&Value(value)).is_some_and(|choice| choice.0 == ConvAlgorithm::Planar);
        let reads = |(value, node): (usize, &Node)| match &node.op {
            Op::Conv { xs, residual, .. } => (*xs == Value(0) && !is_planes(value)) || *residual == Some(Value(0)),
            op => op.inputs().contains(&Value(0)),
        };
        let by_nodes = self.graph.nodes.iter().enumerate().any(reads);
        by_nodes || self.graph.outputs.iter().any(|output| output.inputs().contains(&Value(0)))
    }

    fn conv(&mut self, value: Value, xs: Value, conv: &Conv, residual: Option<Value>) -> Result<()> {
        let epilogue = Epilogue {
            activation: conv.activation,
            out: self.places.view(value),
            residual: residual.map(|residual| self.places.view(residual)),
            plain: self.plain.get(&value).map(|plain| self.places.view(*plain)),
            is_residual_bf16: conv.is_residual_bf16,
            precision: conv.precision.map(|precision| (precision, conv.weight.dims()[0])),
        };
        let (input, geometry, threads) = (self.places.view(xs), conv.geometry, self.threads);
        let macs = epilogue.out.positions() * conv.weight.elem_count();
        let bias = self.packs.bias(conv)?;
        let choice = self.choices[&value];
        let scales = match &conv.arithmetic {
            Arithmetic::Int8(found) => Some(padded(&found.sum_scales())),
            Arithmetic::Float | Arithmetic::Bf16 => None,
        };
        match (choice.0, self.packs.weights(conv, choice)) {
            (_, Some(Weights::Depthwise(weights))) => {
                self.push(Depthwise::new(input, geometry, weights, bias, epilogue, threads), &conv.path, macs);
            }
            (form, Some(Weights::Winograd(weights))) => {
                let padding = geometry.padding;
                let config = WinogradConfig { input, padding, weights, bias, epilogue, scales };
                match form {
                    ConvAlgorithm::Winograd2Int8 => {
                        self.push(Winograd::<Winograd2Int8, 4, 2>::new(config, threads), &conv.path, macs);
                    }
                    ConvAlgorithm::Winograd4Int8 => {
                        self.push(Winograd::<Winograd4Int8, 6, 4>::new(config, threads), &conv.path, macs);
                    }
                    _ => self.push(Winograd::<Winograd4, 6, 4>::new(config, threads), &conv.path, macs),
                }
            }
            (_, Some(Weights::Dots(weights))) => {
                let step = self.dots(conv, input, weights, bias, epilogue)?;
                self.push(step, &conv.path, macs);
            }
            (ConvAlgorithm::Planar, Some(Weights::Matrix(weights))) => {
                let [height, width, channels] = self.graph.nodes[0].shape;
                let step = Stem::new([channels, height, width], geometry, weights, bias, epilogue, threads);
                self.push(step, &conv.path, macs);
            }
            (_, Some(Weights::Matrix(weights))) => {
                let step = Dense::new(DenseConfig { input, geometry, weights, bias, epilogue, scales }, threads);
                self.push(step, &conv.path, macs);
            }
            (_, None) => bail!("{}: its weights were not packed", conv.path),
        }
        Ok(())
    }

    /// A convolution of low-precision numbers.
    fn dots(
        &self,
        conv: &Conv,
        input: View,
        weights: Arc<PackedDots>,
        bias: Bias,
        epilogue: Epilogue,
    ) -> Result<DotConv> {
        let (dot, precision, integers) = match &conv.arithmetic {
            Arithmetic::Int8(found) => {
                let precision = LowPrecision::Bytes(Integers::new(found.input_scale, found.input_zero_point));
                let offsets = offsets(conv, found.input_zero_point)?;
                (self.isa.int8(), precision, Some([padded(&found.sum_scales()), offsets]))
            }
            Arithmetic::Float | Arithmetic::Bf16 => (self.isa.bf16(), LowPrecision::Bf16, None),
        };
        let Some(dot) = dot else { bail!("{}: {} has no products of low-precision numbers", conv.path, self.isa) };
        let (geometry, converts_input) = (conv.geometry, conv.converts_input);
        let config = DotConfig { dot, input, precision, converts_input, geometry, weights, bias, epilogue, integers };
        Ok(DotConv::new(config, self.isa.vectors(), self.threads))
    }

    /// Pushes the steps that write the outputs, and gives their sizes.
    fn outputs(&mut self) -> Vec<usize> {
        let graph = self.graph;
        let mut lens = Vec::new();
        for (index, output) in graph.outputs.iter().enumerate() {
            let channels = output.inputs().first().map_or(0, |xs| graph.nodes[xs.0].shape[2]);
            match output {
                Output::Map(xs) => {
                    let from = self.places.view(*xs);
                    self.push(Rows::new(from, index, self.threads), "output", 0);
                    lens.push(from.positions() * channels);
                }
                Output::Boxes(levels) => {
                    let levels: Vec<_> =
                        levels.iter().map(|(level, stride)| (self.places.view(*level), *stride as f32)).collect();
                    let anchors: usize = levels.iter().map(|(view, _)| view.positions()).sum();
                    lens.push(anchors * (channels - BOX_CHANNELS + SIDES));
                    self.push(DecodeBoxes::new(levels, index, self.isa.vectors()), "boxes", anchors * BOX_CHANNELS);
                }
            }
        }
        lens
    }
}
