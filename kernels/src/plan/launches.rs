//! From a graph to a GPU's program: one launch per operation.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor, bail};

use super::fuse::{fuse_residuals, order};
use super::graph::{Conv, Graph, Op, Output, Value};
use super::lower::OpInfo;
use super::place::Places;
use crate::gpu::{self, IMAGE, Kernel, LEVELS, Level, Map, OUTPUT, Program, QUAD, Step, Window, word};
use crate::infer::{View, overlap};

/// A program, what each launch is for, and the convolutions whose weights it reads, in order.
pub(super) struct Lowered {
    pub(super) program: Program,
    pub(super) notes: Vec<OpInfo>,
    pub(super) convs: Vec<Conv>,
}

/// What `bodies.h` calls an operation.
const COPY: u32 = 0;
const ADD: u32 = 1;
const MULTIPLY: u32 = 2;

/// Lowers a graph.
pub(super) fn lower(mut graph: Graph) -> Result<Lowered> {
    fuse_residuals(&mut graph);
    let order = order(&graph);
    let places = Places::new(&graph, &order);
    let plain = order.iter().filter_map(|value| match graph.nodes[value.0].op {
        Op::Plain(conv) => Some((conv, *value)),
        _ => None,
    });
    let plain = plain.collect();
    let outputs = Vec::new();
    let mut lowering = Lowering {
        graph: &graph,
        places,
        plain,
        steps: Vec::new(),
        notes: Vec::new(),
        convs: Vec::new(),
        packed: [0, 0],
        outputs,
    };
    for value in &order {
        lowering.node(*value)?;
    }
    lowering.outputs()?;
    let Lowering { places, steps, notes, convs, outputs, .. } = lowering;
    Ok(Lowered { program: Program { steps, arena: places.arena, outputs }, notes, convs })
}

/// The weights of convolutions as `bodies.h` has them, flat and in `dtype`, and their biases in `f32`, on `device`.
pub(super) fn pack(convs: &[Conv], dtype: DType, device: &Device) -> Result<[Tensor; 2]> {
    if convs.is_empty() {
        return Ok([Tensor::zeros(QUAD, dtype, device)?, Tensor::zeros(QUAD, DType::F32, device)?]);
    }
    let filled = |xs: Tensor, dim: usize| {
        let len = xs.dim(dim)?;
        xs.pad_with_zeros(dim, 0, len.next_multiple_of(QUAD) - len)
    };
    let weight = |conv: &Conv| {
        // (kernel_h, kernel_w, input channels, output channels)
        let weight = conv.weight.to_dtype(dtype)?.permute((2, 3, 1, 0))?;
        let weight = if is_depthwise(conv) { weight } else { filled(weight, 2)? };
        filled(weight, 3)?.flatten_all()
    };
    let bias = |conv: &Conv| match &conv.bias {
        Some(bias) => filled(bias.to_dtype(DType::F32)?, 0),
        None => Tensor::zeros(conv.weight.dim(0)?.next_multiple_of(QUAD), DType::F32, conv.weight.device()),
    };
    let [weights, biases]: [Vec<Tensor>; 2] =
        [convs.iter().map(weight).collect::<Result<_>>()?, convs.iter().map(bias).collect::<Result<_>>()?];
    Ok([Tensor::cat(&weights, 0)?.to_device(device)?, Tensor::cat(&biases, 0)?.to_device(device)?])
}

fn is_depthwise(conv: &Conv) -> bool {
    conv.geometry.groups > 1
}

/// Elements of a convolution's weights and of its biases as [`pack`] lays them out.
fn packed_len(conv: &Conv) -> Result<[usize; 2]> {
    let (out_c, in_c, kernel_h, kernel_w) = conv.weight.dims4()?;
    let (out_c, in_c) =
        (out_c.next_multiple_of(QUAD), if is_depthwise(conv) { 1 } else { in_c.next_multiple_of(QUAD) });
    Ok([kernel_h * kernel_w * in_c * out_c, out_c])
}

struct Lowering<'a> {
    graph: &'a Graph,
    places: Places,
    /// The map without the residual, by convolution.
    plain: BTreeMap<Value, Value>,
    steps: Vec<(Kernel, Step)>,
    notes: Vec<OpInfo>,
    convs: Vec<Conv>,
    /// Elements of weights and biases so far.
    packed: [usize; 2],
    outputs: Vec<usize>,
}

impl Lowering<'_> {
    /// Adds a launch that reads and writes these maps: those of the arena may not overlap.
    fn push(&mut self, kernel: Kernel, step: Step, read: &[Value], written: &[View], name: &str) -> Result<()> {
        let views = read.iter().filter(|value| !self.is_image(**value)).map(|value| self.places.view(*value));
        let views: Vec<View> = views.collect();
        for to in written {
            if let Some(from) = views.iter().find(|from| overlap(from, to)) {
                bail!("{name}: {to:?} is written over {from:?}")
            }
        }
        self.steps.push((kernel, step));
        let macs = match kernel {
            Kernel::Dense | Kernel::Depthwise => {
                let positions = step.out.height as usize * step.out.width as usize;
                self.convs.last().map_or(0, |conv| positions * conv.weight.elem_count())
            }
            _ => 0,
        };
        self.notes.push(OpInfo { name: name.to_owned(), macs });
        Ok(())
    }

    fn is_image(&self, value: Value) -> bool {
        self.places.root(value).0 == Value(0)
    }

    /// Where a value is read.
    fn map(&self, value: Value) -> Result<Map> {
        let (root, channel) = self.places.root(value);
        if root != Value(0) {
            return Map::of(self.places.view(value), self.places.arena);
        }
        // The image stays where it is, in planes.
        let ([height, width, channels], [.., own]) = (self.graph.shape(root), self.graph.shape(value));
        let plane = height * width;
        Map::new(IMAGE, [channel * plane, channels * plane, 1, plane], [height, width, own])
    }

    fn node(&mut self, value: Value) -> Result<()> {
        let graph = self.graph;
        match &graph.nodes[value.0].op {
            Op::Image | Op::Plain(_) | Op::Narrow { .. } | Op::Gone => Ok(()),
            Op::Quantize { .. } => bail!("a GPU has no convolutions in 8 bits"),
            Op::Conv { xs, conv, residual } => self.conv(value, *xs, conv, *residual),
            Op::Pool { xs, geometry, is_max } => {
                let step = Step { window: Window::new(geometry)?, is_max: u32::from(*is_max), ..Step::default() };
                self.unary(Kernel::Pool, step, *xs, value, "pool")
            }
            Op::GlobalAverage(xs) => self.unary(Kernel::Mean, Step::default(), *xs, value, "mean"),
            Op::Resample(xs) => self.combine(COPY, None, *xs, value, "resample"),
            Op::Add(a, b) => self.combine(ADD, Some(*a), *b, value, "add"),
            Op::Multiply(xs, gate) => self.combine(MULTIPLY, Some(*xs), *gate, value, "gate"),
            Op::Concat(_) => {
                let copies = self.places.copies.clone();
                for (_, channel, part) in copies.into_iter().filter(|(concat, ..)| *concat == value) {
                    let out = self.places.part(value, channel, graph.shape(part));
                    let step = Step {
                        operation: COPY,
                        second: self.map(part)?,
                        out: Map::of(out, self.places.arena)?,
                        ..Step::default()
                    };
                    self.push(Kernel::Combine, step, &[part], &[out], "copy")?;
                }
                Ok(())
            }
        }
    }

    fn unary(&mut self, kernel: Kernel, step: Step, xs: Value, value: Value, name: &str) -> Result<()> {
        let step = Step { input: self.map(xs)?, out: self.map(value)?, ..step };
        let out = self.places.view(value);
        self.push(kernel, step, &[xs], &[out], name)
    }

    fn combine(&mut self, operation: u32, first: Option<Value>, second: Value, value: Value, name: &str) -> Result<()> {
        let input = first.map(|first| self.map(first)).transpose()?.unwrap_or_default();
        let step = Step { operation, input, second: self.map(second)?, out: self.map(value)?, ..Step::default() };
        let (read, out) = ([second].into_iter().chain(first).collect::<Vec<_>>(), self.places.view(value));
        self.push(Kernel::Combine, step, &read, &[out], name)
    }

    fn conv(&mut self, value: Value, xs: Value, conv: &Conv, residual: Option<Value>) -> Result<()> {
        let plain = self.plain.get(&value).copied();
        let optional = |value: Option<Value>| value.map(|value| self.map(value)).transpose();
        let (activation, slope) = gpu::activation(conv.activation);
        let step = Step {
            input: self.map(xs)?,
            out: self.map(value)?,
            second: optional(residual)?.unwrap_or_default(),
            plain: optional(plain)?.unwrap_or_default(),
            has_second: u32::from(residual.is_some()),
            has_plain: u32::from(plain.is_some()),
            window: Window::new(&conv.geometry)?,
            activation,
            slope,
            weight: word(self.packed[0])?,
            bias: word(self.packed[1])?,
            ..Step::default()
        };
        let lens = packed_len(conv)?;
        self.packed = [self.packed[0] + lens[0], self.packed[1] + lens[1]];
        self.convs.push(conv.clone());
        let read: Vec<Value> = [xs].into_iter().chain(residual).collect();
        let written: Vec<View> = [value].into_iter().chain(plain).map(|value| self.places.view(value)).collect();
        let kernel = if is_depthwise(conv) { Kernel::Depthwise } else { Kernel::Dense };
        self.push(kernel, step, &read, &written, &conv.path)
    }

    /// Adds the launches that write the outputs.
    fn outputs(&mut self) -> Result<()> {
        let graph = self.graph;
        for output in &graph.outputs {
            let before = self.outputs.iter().sum();
            match output {
                Output::Map(xs) => {
                    let shape = graph.shape(*xs);
                    let len = shape.iter().product();
                    let out = Map::new(OUTPUT, [before, len, shape[2], 1], shape)?;
                    let step = Step { operation: COPY, second: self.map(*xs)?, out, ..Step::default() };
                    self.push(Kernel::Combine, step, &[*xs], &[], "output")?;
                    self.outputs.push(len);
                }
                Output::Boxes(levels) => {
                    if levels.len() > LEVELS {
                        bail!("boxes of {} levels: a GPU decodes at most {LEVELS}", levels.len())
                    }
                    let sizes = levels.iter().map(|(level, _)| graph.shape(*level));
                    let anchors: usize = sizes.map(|[height, width, _]| height * width).sum();
                    let rows = levels.first().map_or(0, |(level, _)| graph.shape(*level)[2] - 60);
                    let out = Map::new(OUTPUT, [before, rows * anchors, 1, anchors], [1, anchors, rows])?;
                    let mut step =
                        Step { out, levels: word(levels.len())?, anchors: word(anchors)?, ..Step::default() };
                    for (slot, (level, pixels)) in step.level.iter_mut().zip(levels) {
                        *slot = Level { map: self.map(*level)?, pixels: *pixels as f32 };
                    }
                    let read: Vec<Value> = levels.iter().map(|(level, _)| *level).collect();
                    self.push(Kernel::Boxes, step, &read, &[], "boxes")?;
                    self.outputs.push(rows * anchors);
                }
            }
        }
        Ok(())
    }
}
