//! Rewrites of a graph for convolutions of short numbers: who reads them, and who writes them.

use std::sync::Arc;

use candle_core::Result;

use super::choose::{ConvAlgorithm, choose};
use super::fuse::readers;
use super::graph::{Arithmetic, Graph, Op, Value};
use super::quantization::{Quantization, check};
use crate::Isa;
use crate::infer::{Integers, Short};

/// Has the named convolutions read integers, each map's once.
pub(super) fn quantize_inputs(graph: &mut Graph, quantization: &Quantization, isa: Isa) -> Result<()> {
    for index in 0..graph.nodes.len() {
        let Op::Conv { xs, conv, .. } = &graph.nodes[index].op else { continue };
        let Some(found) = quantization.get(&conv.path) else { continue };
        check(conv, found)?;
        let integers = Integers::new(found.input_scale, found.input_zero_point);
        let short = if isa.int8().is_some() { Short::Bytes(integers) } else { Short::Pairs(integers) };
        let (xs, arithmetic) = (*xs, Arithmetic::Int8(Arc::new(found.clone())));
        read(graph, index, xs, short, arithmetic);
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
            read(graph, index, xs, Short::Bf16, Arithmetic::Bf16);
        }
    }
}

/// Has a convolution of a map read it as short numbers.
fn read(graph: &mut Graph, index: usize, xs: Value, short: Short, arithmetic: Arithmetic) {
    let shortened = shortened(graph, xs, short);
    if let Op::Conv { xs, conv, .. } = &mut graph.nodes[index].op {
        (*xs, conv.arithmetic) = (shortened, arithmetic);
    }
}

/// Has maps that are only read as short numbers of one form written as such, where a convolution makes them, and copied as such.
/// What else is read so by convolutions without a window, these shorten themselves.
pub(super) fn store_short(graph: &mut Graph, isa: Isa) {
    let mut is_done = false;
    while !is_done {
        is_done = true;
        for index in (0..graph.nodes.len()).rev() {
            if let Op::Quantize { xs, short } = graph.nodes[index].op {
                is_done &= !store(graph, Value(index), xs, short);
            }
        }
    }
    for index in 0..graph.nodes.len() {
        let Op::Quantize { xs, short } = graph.nodes[index].op else { continue };
        let has_dots = if short == Short::Bf16 { isa.bf16() } else { isa.int8() }.is_some();
        if has_dots
            && graph.nodes.iter().all(|node| !node.op.inputs().contains(&Value(index)) || is_pointwise(&node.op))
        {
            for node in &mut graph.nodes {
                if let Op::Conv { xs: read, conv, .. } = &mut node.op
                    && *read == Value(index)
                {
                    (*read, conv.shortens) = (xs, true);
                }
            }
            graph.nodes[index].op = Op::Gone;
        }
    }
}

fn is_pointwise(op: &Op) -> bool {
    matches!(op, Op::Conv { conv, .. } if conv.geometry.is_pointwise())
}

/// Has `value`, the short numbers of `xs`, made where that is made, if it can be.
fn store(graph: &mut Graph, value: Value, xs: Value, short: Short) -> bool {
    let residuals = residual_readers(graph, xs, short);
    if readers(graph, xs) != 1 + residuals.len() {
        return false;
    }
    let shape = elements(graph, xs, short);
    let is_whole = |channels: usize| channels.is_multiple_of(short.channels());
    match &mut graph.nodes[xs.0].op {
        Op::Conv { conv, .. } => conv.short = Some(short),
        Op::Resample(from) => {
            let from = *from;
            let made = shortened(graph, from, short);
            graph.nodes[xs.0].op = Op::Resample(made);
        }
        // All of the map is read so: other parts are of no other scale.
        Op::Narrow { xs: from, start } if short == Short::Bf16 && is_whole(*start) => {
            let (from, start) = (*from, *start / short.channels());
            let made = shortened(graph, from, short);
            graph.nodes[xs.0].op = Op::Narrow { xs: made, start };
        }
        Op::Concat(parts) => {
            let parts = parts.clone();
            if !parts.iter().rev().skip(1).all(|part| is_whole(graph.shape(*part)[2])) {
                return false;
            }
            let parts: Vec<Value> = parts.into_iter().map(|part| shortened(graph, part, short)).collect();
            graph.nodes[xs.0].op = Op::Concat(parts);
        }
        _ => return false,
    }
    graph.nodes[xs.0].shape = shape;
    graph.nodes[value.0].op = Op::Gone;
    for index in residuals {
        if let Op::Conv { conv, .. } = &mut graph.nodes[index].op {
            conv.is_residual_short = true;
        }
    }
    replace(graph, value, xs);
    true
}

/// The convolutions that add a map, where they can add it as short numbers.
fn residual_readers(graph: &Graph, xs: Value, short: Short) -> Vec<usize> {
    let adds =
        |index: &usize| matches!(&graph.nodes[*index].op, Op::Conv { residual: Some(residual), .. } if *residual == xs);
    (0..graph.nodes.len()).filter(|_| short == Short::Bf16).filter(adds).collect()
}

/// Height, width and elements of a map as short numbers.
fn elements(graph: &Graph, xs: Value, short: Short) -> [usize; 3] {
    let [height, width, channels] = graph.shape(xs);
    [height, width, channels.div_ceil(short.channels())]
}

/// The short numbers of a map.
fn shortened(graph: &mut Graph, xs: Value, short: Short) -> Value {
    let is_it = |op: &Op| matches!(op, Op::Quantize { xs: from, short: made } if (*from, *made) == (xs, short));
    if let Some(index) = graph.nodes.iter().position(|node| is_it(&node.op)) {
        return Value(index);
    }
    let shape = elements(graph, xs, short);
    graph.push(Op::Quantize { xs, short }, shape)
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
