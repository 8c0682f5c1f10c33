//! Rewrites of a graph: residuals are added where a convolution stores its sums.

use super::graph::{Graph, Op, Value};

/// Moves each addition into the convolution that feeds it, or into the parts of the concatenation that feeds it.
pub(super) fn fuse_residuals(graph: &mut Graph) {
    for index in 0..graph.nodes.len() {
        let Op::Add(a, b) = graph.nodes[index].op else { continue };
        for (sum, residual) in [(a, b), (b, a)] {
            if try_fuse(graph, index, sum, residual) {
                break;
            }
        }
    }
}

/// Rewrites node `index`, `sum + residual`, if `sum` is made for it alone.
fn try_fuse(graph: &mut Graph, index: usize, sum: Value, residual: Value) -> bool {
    if sum == residual || readers(graph, sum) != 1 {
        return false;
    }
    match &graph.nodes[sum.0].op {
        Op::Conv { xs, conv, residual: None } => {
            graph.nodes[index].op = Op::Conv { xs: *xs, conv: conv.clone(), residual: Some(residual) };
            graph.nodes[sum.0].op = Op::Gone;
            true
        }
        Op::Concat(parts) => {
            let parts = parts.clone();
            let is_free = |part: &Value| {
                matches!(graph.nodes[part.0].op, Op::Conv { residual: None, .. }) && !depends(graph, residual, *part)
            };
            let distinct = (1..parts.len()).all(|i| !parts[..i].contains(&parts[i]));
            if !parts.iter().all(is_free) || !distinct {
                return false;
            }
            let mut start = 0;
            let mut sums = Vec::with_capacity(parts.len());
            for part in parts {
                let shape = graph.nodes[part.0].shape;
                let Ok(slice) = graph.narrow(residual, start, shape[2]) else { return false };
                start += shape[2];
                let Op::Conv { xs, conv, .. } = &graph.nodes[part.0].op else { return false };
                let fused = Op::Conv { xs: *xs, conv: conv.clone(), residual: Some(slice) };
                graph.nodes.push(super::graph::Node { op: fused, shape });
                let fused = Value(graph.nodes.len() - 1);
                // Other readers of the part take what the same convolution stores before it adds the residual.
                graph.nodes[part.0].op = Op::Plain(fused);
                sums.push(fused);
            }
            graph.nodes[sum.0].op = Op::Gone;
            graph.nodes[index].op = Op::Concat(sums);
            true
        }
        _ => false,
    }
}

/// How often a map is read.
pub(super) fn readers(graph: &Graph, value: Value) -> usize {
    let by_nodes = graph.nodes.iter().flat_map(|node| node.op.inputs());
    let by_outputs = graph.outputs.iter().flat_map(|output| output.inputs());
    by_nodes.chain(by_outputs).filter(|read| *read == value).count()
}

/// Whether `value` is computed from `source`.
fn depends(graph: &Graph, value: Value, source: Value) -> bool {
    let (mut seen, mut open) = (vec![false; graph.nodes.len()], vec![value]);
    while let Some(value) = open.pop() {
        if value == source {
            return true;
        }
        if !std::mem::replace(&mut seen[value.0], true) {
            open.extend(graph.nodes[value.0].op.inputs());
        }
    }
    false
}

/// Every node that the outputs need, each after what it reads, otherwise in the order of recording.
pub(super) fn order(graph: &Graph) -> Vec<Value> {
    let (mut done, mut order) = (vec![false; graph.nodes.len()], Vec::new());
    let roots = graph.outputs.iter().flat_map(|output| output.inputs());
    // Nodes wait on the stack until their inputs are done.
    let mut open: Vec<Value> = roots.collect();
    open.reverse();
    while let Some(value) = open.last().copied() {
        if done[value.0] {
            open.pop();
            continue;
        }
        let mut waits: Vec<Value> =
            graph.nodes[value.0].op.inputs().into_iter().filter(|input| !done[input.0]).collect();
        if waits.is_empty() {
            done[value.0] = true;
            order.push(value);
            open.pop();
        } else {
            waits.sort_by(|a, b| b.cmp(a));
            open.extend(waits);
        }
    }
    order
}
