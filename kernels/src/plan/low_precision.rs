//! Rewrites of a graph for convolutions of low-precision numbers: who reads them, and who writes them.

use std::sync::Arc;

use candle_core::Result;

use super::choose::{ConvAlgorithm, choose};
use super::fuse::readers;
use super::graph::{Arithmetic, Graph, Op, Value};
use super::quantization::{Quantization, check};
use crate::Isa;
use crate::infer::{Integers, LowPrecision};

/// Has the named convolutions read integers, each map's once.
pub(super) fn quantize_inputs(graph: &mut Graph, quantization: &Quantization, isa: Isa) -> Result<()> {
    for index in 0..graph.nodes.len() {
        let Op::Conv { xs, conv, .. } = &graph.nodes[index].op else { continue };
        let Some(found) = quantization.get(&conv.path) else { continue };
        check(conv, found)?;
        let integers = Integers::new(found.input_scale, found.input_zero_point);
        let precision =
            if isa.int8().is_some() { LowPrecision::Bytes(integers) } else { LowPrecision::Pairs(integers) };
        let (xs, arithmetic) = (*xs, Arithmetic::Int8(Arc::new(found.clone())));
        read(graph, index, xs, precision, arithmetic);
    }
    Ok(())
}

/// Has dense convolutions read `bf16`, where the instruction set multiplies those and is not faster in `f32`.
pub(super) fn round_inputs(graph: &mut Graph, isa: Isa) {
    let Some(dot) = isa.bf16() else { return };
    for index in 0..graph.nodes.len() {
        let [height, width, _] = graph.nodes[index].shape;
        let Op::Conv { xs, conv, .. } = &graph.nodes[index].op else { continue };
        let choice = choose(conv, *xs == Value(0), [height, width], isa);
        let is_dense = match choice.0 {
            ConvAlgorithm::Dense => true,
            ConvAlgorithm::Winograd => !dot.loses_to_winograd(),
            _ => false,
        };
        if is_dense {
            let xs = *xs;
            read(graph, index, xs, LowPrecision::Bf16, Arithmetic::Bf16);
        }
    }
}

/// Has a convolution of a map read it as low-precision numbers.
fn read(graph: &mut Graph, index: usize, xs: Value, precision: LowPrecision, arithmetic: Arithmetic) {
    let converted = converted(graph, xs, precision);
    if let Op::Conv { xs, conv, .. } = &mut graph.nodes[index].op {
        (*xs, conv.arithmetic) = (converted, arithmetic);
    }
}

/// Has maps that are only read as low-precision numbers of one form written as such, where a convolution makes them, and copied as such.
/// What else is read so by convolutions without a window, these convert themselves.
pub(super) fn store_converted(graph: &mut Graph, isa: Isa) {
    let mut is_done = false;
    while !is_done {
        is_done = true;
        for index in (0..graph.nodes.len()).rev() {
            if let Op::Quantize { xs, precision } = graph.nodes[index].op {
                is_done &= !store(graph, Value(index), xs, precision);
            }
        }
    }
    for index in 0..graph.nodes.len() {
        let Op::Quantize { xs, precision } = graph.nodes[index].op else { continue };
        let has_dots = if precision == LowPrecision::Bf16 { isa.bf16() } else { isa.int8() }.is_some();
        if has_dots
            && graph.nodes.iter().all(|node| !node.op.inputs().contains(&Value(index)) || is_pointwise(&node.op))
        {
            for node in &mut graph.nodes {
                if let Op::Conv { xs: read, conv, .. } = &mut node.op
                    && *read == Value(index)
                {
                    (*read, conv.converts_input) = (xs, true);
                }
            }
            graph.nodes[index].op = Op::Gone;
        }
    }
}

fn is_pointwise(op: &Op) -> bool {
    matches!(op, Op::Conv { conv, .. } if conv.geometry.is_pointwise())
}

/// Has `value`, the low-precision numbers of `xs`, made where that is made, if it can be.
fn store(graph: &mut Graph, value: Value, xs: Value, precision: LowPrecision) -> bool {
    let residuals = residual_readers(graph, xs, precision);
    if readers(graph, xs) != 1 + residuals.len() {
        return false;
    }
    let shape = elements(graph, xs, precision);
    let is_whole = |channels: usize| channels.is_multiple_of(precision.channels());
    match &mut graph.nodes[xs.0].op {
        Op::Conv { conv, .. } => conv.precision = Some(precision),
        Op::Resample(from) => {
            let from = *from;
            let made = converted(graph, from, precision);
            graph.nodes[xs.0].op = Op::Resample(made);
        }
        // All of the map is read so: other parts are of no other scale.
        Op::Narrow { xs: from, start } if precision == LowPrecision::Bf16 && is_whole(*start) => {
            let (from, start) = (*from, *start / precision.channels());
            let made = converted(graph, from, precision);
            graph.nodes[xs.0].op = Op::Narrow { xs: made, start };
        }
        Op::Concat(parts) => {
            let parts = parts.clone();
            if !parts.iter().rev().skip(1).all(|part| is_whole(graph.shape(*part)[2])) {
                return false;
            }
            let parts: Vec<Value> = parts.into_iter().map(|part| converted(graph, part, precision)).collect();
            graph.nodes[xs.0].op = Op::Concat(parts);
        }
        _ => return false,
    }
    graph.nodes[xs.0].shape = shape;
    graph.nodes[value.0].op = Op::Gone;
    for index in residuals {
        if let Op::Conv { conv, .. } = &mut graph.nodes[index].op {
            conv.is_residual_bf16 = true;
        }
    }
    replace(graph, value, xs);
    true
}

/// The convolutions that add a map, where they can add it as low-precision numbers.
fn residual_readers(graph: &Graph, xs: Value, precision: LowPrecision) -> Vec<usize> {
    let adds =
        |index: &usize| matches!(&graph.nodes[*index].op, Op::Conv { residual: Some(residual), .. } if *residual == xs);
    (0..graph.nodes.len()).filter(|_| precision == LowPrecision::Bf16).filter(adds).collect()
}

/// Height, width and elements of a map as low-precision numbers.
fn elements(graph: &Graph, xs: Value, precision: LowPrecision) -> [usize; 3] {
    let [height, width, channels] = graph.shape(xs);
    [height, width, channels.div_ceil(precision.channels())]
}

/// The low-precision numbers of a map.
fn converted(graph: &mut Graph, xs: Value, precision: LowPrecision) -> Value {
    let is_it = |op: &Op| matches!(op, Op::Quantize { xs: from, precision: made } if (*from, *made) == (xs, precision));
    if let Some(index) = graph.nodes.iter().position(|node| is_it(&node.op)) {
        return Value(index);
    }
    let shape = elements(graph, xs, precision);
    graph.push(Op::Quantize { xs, precision }, shape)
}

/// Has every reader of a map read another.
fn replace(graph: &mut Graph, old: Value, new: Value) {
    let swap = |value: &mut Value| {
        if *value == old {
            *value = new;
        }
    };
    for node in &mut graph.nodes {
        match &mut node.op {
            Op::Conv { xs, residual, .. } => [xs].into_iter().chain(residual).for_each(swap),
            Op::Concat(parts) => parts.iter_mut().for_each(swap),
            Op::Resample(xs) | Op::Narrow { xs, .. } => swap(xs),
            _ => {}
        }
    }
}
