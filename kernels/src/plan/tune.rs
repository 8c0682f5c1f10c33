//! Measures which kernel is fastest for a convolution, to write the tables of [`super::choose`].

use std::time::Duration;

use candle_core::{DType, Device, Result, Tensor};

use super::choose::{Choice, ConvShape, candidates, line, rule};
use super::graph::{Graph, Op, Traced};
use super::lower::{Precision, lower};
use super::pack::Packs;
use crate::infer::Aligned;
use crate::{Activation, ConvGeometry, Isa, ThreadPool};

/// Runs per measurement, of which the fastest counts.
const RUNS: usize = 25;
/// How much faster than the rule's choice another must be to enter a table.
const GAIN: f64 = 0.95;

/// The dense convolutions of a network on an image of `[channels, height, width]`.
pub fn conv_shapes<N: Traced>(net: &N, endpoint: N::Endpoint, image: [usize; 3]) -> Result<Vec<ConvShape>> {
    let graph = Graph::of(net, endpoint, image)?;
    let mut shapes = Vec::new();
    for node in &graph.nodes {
        if let Op::Conv { xs, conv, .. } = &node.op
            && conv.geometry.groups == 1
            && xs.0 != 0
        {
            let [height, width, out_c] = node.shape;
            let ConvGeometry { kernel, stride, .. } = conv.geometry;
            let in_c = conv.weight.dims()[1];
            shapes.push(ConvShape { kernel, stride, channels: [in_c, out_c], out: [height, width] });
        }
    }
    shapes.sort_unstable();
    shapes.dedup();
    Ok(shapes)
}

/// The line of a table for a shape, if another choice than the rule's is faster on this machine.
pub fn tune(shape: &ConvShape, isa: Isa) -> Result<Option<String>> {
    let usual = rule(shape, isa);
    let mut best = (usual, measure(shape, usual, isa)?.as_secs_f64() * GAIN);
    for choice in candidates(shape, isa) {
        let time = measure(shape, choice, isa)?.as_secs_f64();
        if choice != usual && time < best.1 {
            best = (choice, time);
        }
    }
    Ok((best.0 != usual).then(|| line(shape, best.0)))
}

fn measure(shape: &ConvShape, choice: Choice, isa: Isa) -> Result<Duration> {
    let ConvShape { kernel, stride, channels: [in_c, out_c], out } = *shape;
    let geometry = ConvGeometry::new(kernel).stride(stride).same();
    let side = |axis: usize| (out[axis] - 1) * stride[axis] + kernel[axis] - 2 * geometry.padding[axis];
    let (mut graph, xs) = Graph::new([in_c, side(0), side(1)]);
    let weight = Tensor::full(0.01f32, (out_c, in_c, kernel[0], kernel[1]), &Device::Cpu)?;
    let bias = Tensor::zeros(out_c, DType::F32, &Device::Cpu)?;
    // A map of its own, as inside a network: a convolution of the image would read planes.
    let map = graph.max_pool2d(xs, &ConvGeometry::square(1))?;
    let ys = graph.conv2d(map, &weight, Some(&bias), &geometry, Activation::Silu, "conv")?;
    graph.output(ys);
    let pool = ThreadPool::current();
    let mut packs = Packs::default();
    let precision = Precision { forced: Some(choice), ..Default::default() };
    let (program, notes) = lower(graph, isa, pool.threads(), &mut packs, precision)?;
    let step = notes.iter().position(|note| note.name == "conv").unwrap_or(0);
    let image = vec![0.5; in_c * side(0) * side(1)];
    let mut output = vec![0.; out_c * out[0] * out[1]];
    let mut memory = Aligned::zeroed(program.memory(&pool));
    let mut best = Duration::MAX;
    for _ in 0..RUNS {
        let mut times = Vec::new();
        program.run(&pool, &mut memory, &image, &mut [&mut output], Some(&mut times));
        best = best.min(times[step]);
    }
    Ok(best)
}
