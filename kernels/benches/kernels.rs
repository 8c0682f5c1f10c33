//! Each inference kernel beside candle's own operation: `cargo bench -p ghostzoo-kernels`.
//!
//! A kernel runs as a plan of one operation on one image, so that its time includes the copies at the plan's two ends.

use candle_core::{Device, Result};
use criterion::{Criterion, criterion_group, criterion_main};
use ghostzoo_kernels::plan::{Graph, Session, Value};
use ghostzoo_kernels::seeded;
use ghostzoo_kernels::{Activation, ConvGeometry, Isa, conv2d, max_pool2d, with_candle_ops};

/// A convolution with SiLU: name, channels in and out, side of the input, geometry.
const CONVOLUTIONS: [(&str, [usize; 2], usize, ConvGeometry); 8] = [
    ("stem 3x3/2", [3, 16], 640, ConvGeometry::square(3).stride([2, 2]).same()),
    ("1x1", [64, 64], 80, ConvGeometry::square(1)),
    ("1x1 to few channels", [72, 12], 56, ConvGeometry::square(1)),
    ("3x3", [64, 64], 80, ConvGeometry::square(3).same()),
    ("3x3/2", [32, 64], 160, ConvGeometry::square(3).stride([2, 2]).same()),
    ("depthwise 3x3", [120, 120], 28, ConvGeometry::square(3).same().groups(120)),
    ("depthwise 3x3/2", [72, 72], 56, ConvGeometry::square(3).stride([2, 2]).same().groups(72)),
    ("depthwise 5x5", [64, 64], 80, ConvGeometry::square(5).same().groups(64)),
];

fn convolutions(criterion: &mut Criterion) -> Result<()> {
    for (name, [in_c, out_c], side, geometry) in CONVOLUTIONS {
        let [kernel_h, kernel_w] = geometry.kernel;
        let uniform = |name: &str, shape: candle_core::Shape| seeded::uniform(name, &shape, &Device::Cpu);
        let xs = uniform("xs", (1, in_c, side, side).into())?;
        let weight = uniform("weight", (out_c, in_c / geometry.groups, kernel_h, kernel_w).into())?;
        let bias = uniform("bias", out_c.into())?;
        let session = Session::new(Isa::best())?;
        let net = |graph: &mut Graph, xs: Value| {
            let ys = graph.conv2d(xs, &weight, Some(&bias), &geometry, Activation::Silu, name)?;
            graph.output(ys);
            Ok(())
        };
        let plan = || session.run(&net, (), &xs);
        let stock = || with_candle_ops(|| conv2d(&xs, &weight, Some(&bias), &geometry, Activation::Silu));
        let mut group = criterion.benchmark_group(format!("{name} {in_c}-{out_c} {side}"));
        group.bench_function("plan", |bencher| bencher.iter(|| plan().expect("the plan runs")));
        group.sample_size(10);
        group.bench_function("candle", |bencher| bencher.iter(|| stock().expect("candle runs")));
    }
    Ok(())
}

fn pools(criterion: &mut Criterion) -> Result<()> {
    let xs = seeded::uniform("xs", &(1, 128, 20, 20).into(), &Device::Cpu)?;
    let window = ConvGeometry::square(5).same();
    let session = Session::new(Isa::best())?;
    let net = |graph: &mut Graph, xs: Value| {
        let ys = graph.max_pool2d(xs, &window)?;
        graph.output(ys);
        Ok(())
    };
    let plan = || session.run(&net, (), &xs);
    let mut group = criterion.benchmark_group("max pool 5x5 128 20");
    group.bench_function("plan", |bencher| bencher.iter(|| plan().expect("the plan runs")));
    group.bench_function("candle", |bencher| {
        bencher.iter(|| with_candle_ops(|| max_pool2d(&xs, &window)).expect("candle runs"));
    });
    Ok(())
}

fn all(criterion: &mut Criterion) {
    convolutions(criterion).expect("convolutions");
    pools(criterion).expect("pools");
}

criterion_group!(kernels, all);
criterion_main!(kernels);
