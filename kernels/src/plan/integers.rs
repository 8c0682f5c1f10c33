//! Rewrites of a graph for convolutions in 8 bits: who reads integers, and who writes them.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::Result;

use super::fuse::readers;
use super::graph::{Graph, Op, Value};
use super::quantization::{ConvQuantization, Quantization, check};
use crate::infer::Integers;

/// Has the named convolutions read integers, each map's once.
pub(super) fn quantize_inputs(graph: &mut Graph, quantization: &Quantization) -> Result<()> {
    let mut made: HashMap<(Value, u32, u8), Value> = HashMap::new();
    for index in 0..graph.nodes.len() {
        let Op::Conv { xs, conv, .. } = &graph.nodes[index].op else { continue };
        let Some(found) = quantization.get(&conv.path) else { continue };
        let xs = *xs;
        check(conv, found)?;
        let found = Arc::new(found.clone());
        let ConvQuantization { input_scale, input_zero_point, .. } = *found;
        let key = (xs, input_scale.to_bits(), input_zero_point);
        let integers = *made.entry(key).or_insert_with(|| {
            let [height, width, channels] = graph.shape(xs);
            let op = Op::Quantize { xs, integers: Integers::new(input_scale, input_zero_point) };
            graph.push(op, [height, width, channels.div_ceil(2)])
        });
        if let Op::Conv { xs, conv, .. } = &mut graph.nodes[index].op {
            (*xs, conv.quantization) = (integers, Some(found));
        }
    }
    Ok(())
}

/// Has maps that are only read as integers written as such, where a convolution makes them, and copied as such.
pub(super) fn store_integers(graph: &mut Graph) {
    let mut open: Vec<Value> = (0..graph.nodes.len()).map(Value).collect();
    while let Some(value) = open.pop() {
        let Op::Quantize { xs, integers } = graph.nodes[value.0].op else { continue };
        if readers(graph, xs) != 1 {
            continue;
        }
        let [height, width, channels] = graph.shape(xs);
        let shape = [height, width, channels.div_ceil(2)];
        match &mut graph.nodes[xs.0].op {
            Op::Conv { conv, .. } => conv.integers = Some(integers),
            Op::Resample(from) => {
                let from = *from;
                let made = quantized(graph, from, integers);
                graph.nodes[xs.0].op = Op::Resample(made);
                open.push(made);
            }
            Op::Concat(parts) => {
                let parts = parts.clone();
                let whole_pairs = parts.iter().rev().skip(1).all(|part| graph.shape(*part)[2].is_multiple_of(2));
                if !whole_pairs {
                    continue;
                }
                let parts: Vec<Value> = parts.into_iter().map(|part| quantized(graph, part, integers)).collect();
                open.extend(&parts);
                graph.nodes[xs.0].op = Op::Concat(parts);
            }
            _ => continue,
        }
        graph.nodes[xs.0].shape = shape;
        graph.nodes[value.0].op = Op::Gone;
        replace(graph, value, xs);
    }
}

/// The integers of a map.
fn quantized(graph: &mut Graph, xs: Value, integers: Integers) -> Value {
    let is_it = |op: &Op| matches!(op, Op::Quantize { xs: from, integers: made } if (*from, *made) == (xs, integers));
    if let Some(index) = graph.nodes.iter().position(|node| is_it(&node.op)) {
        return Value(index);
    }
    let [height, width, channels] = graph.shape(xs);
    graph.push(Op::Quantize { xs, integers }, [height, width, channels.div_ceil(2)])
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
            Op::Resample(xs) => swap(xs),
            _ => {}
        }
    }
}
