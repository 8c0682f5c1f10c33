//! Single convolutions of every shape, and the kernels that they take.

use candle_core::Result;
use proptest::prelude::*;

use super::net::Net;
use super::{check, failed, steps};
use crate::{Activation, ConvGeometry, Isa};

#[derive(Debug, Clone)]
struct Problem {
    batch: usize,
    /// Channels, height, width.
    image: [usize; 3],
    out_c: usize,
    geometry: ConvGeometry,
    activation: Activation,
    has_bias: bool,
}

impl Problem {
    fn net(&self) -> Result<Net> {
        let mut net = Net::new(self.image);
        let out = net.conv(0, self.out_c, self.geometry, self.activation, self.has_bias)?;
        net.outputs.push(out);
        Ok(net)
    }

    fn is_affordable(&self) -> bool {
        let ConvGeometry { kernel: [kernel_h, kernel_w], groups, .. } = self.geometry;
        let sums = |[height, width]: [usize; 2]| height * width * self.out_c * self.batch;
        let depth = self.image[0] / groups * kernel_h * kernel_w;
        self.geometry.out_hw([self.image[1], self.image[2]]).is_ok_and(|hw| sums(hw) * depth <= 8_000_000)
    }
}

/// Lengths below and at the blocks' edges, then larger ones.
fn lengths() -> impl Strategy<Value = usize> {
    prop_oneof![2 => 1..=3usize, 4 => 4..=9usize, 2 => 10..=24usize, 1 => 25..=67usize]
}

fn channels() -> impl Strategy<Value = usize> {
    prop_oneof![2 => 1..=4usize, 4 => 5..=20usize, 1 => Just(16), 1 => Just(32), 1 => Just(64), 2 => 21..=67usize]
}

fn problems() -> impl Strategy<Value = Problem> {
    let kernels = vec![[1, 1], [1, 1], [3, 3], [3, 3], [5, 5], [1, 5], [5, 1], [2, 2], [7, 7]];
    let axis = || (prop_oneof![2 => Just(1usize), 1 => Just(2)], 0..=3usize, 1..=2usize);
    let window =
        (proptest::sample::select(kernels), axis(), axis(), any::<bool>()).prop_map(|(kernel, y, x, plain)| {
            let dilation = if plain { [1, 1] } else { [y.2, x.2] };
            let padding = [y.1.min(kernel[0] / 2 * dilation[0]), x.1.min(kernel[1] / 2 * dilation[1])];
            ConvGeometry { kernel, stride: [y.0, x.0], padding, dilation, groups: 1 }
        });
    let sizes = ([lengths(), lengths()], [channels(), channels()], 1..=3usize);
    (sizes, window, 0..5usize, 2..=5usize, proptest::sample::select(Activation::ALL.to_vec()), any::<bool>())
        .prop_map(|((size, [in_c, out_c], batch), geometry, kind, groups, activation, has_bias)| {
            let (groups, in_c, out_c) = match kind {
                0 | 1 => (1, in_c, out_c),
                2 | 3 => (in_c, in_c, in_c),
                _ => (groups, groups * in_c.div_ceil(groups), groups * out_c.div_ceil(groups)),
            };
            let geometry = geometry.groups(groups);
            Problem { batch, image: [in_c, size[0], size[1]], out_c, geometry, activation, has_bias }
        })
        .prop_filter("fits and is affordable", Problem::is_affordable)
}

fn winograd_problems() -> impl Strategy<Value = Problem> {
    let sizes = ([lengths(), lengths()], [8..=67usize, 8..=67usize], 1..=3usize, [0..=2usize, 0..=2usize]);
    (sizes, proptest::sample::select(Activation::ALL.to_vec()), any::<bool>())
        .prop_map(|((size, [in_c, out_c], batch, padding), activation, has_bias)| {
            let geometry = ConvGeometry::square(3).padding(padding);
            Problem { batch, image: [in_c, size[0], size[1]], out_c, geometry, activation, has_bias }
        })
        .prop_filter("fits and is affordable", Problem::is_affordable)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn convolutions_equal_the_front_door(problem in problems()) {
        problem.net().and_then(|net| check(&net, problem.batch)).map_err(failed)?;
    }

    #[test]
    fn three_by_three_convolutions_equal_the_front_door(problem in winograd_problems()) {
        problem.net().and_then(|net| check(&net, problem.batch)).map_err(failed)?;
    }
}

#[test]
fn depthwise_windows_may_lie_beside_the_map() -> Result<()> {
    for (kernel, padding) in [(1, 1), (3, 2), (3, 3), (5, 2), (5, 3), (5, 5)] {
        for (stride, [height, width]) in [(1, [1, 1]), (2, [3, 2]), (1, [2, 9]), (2, [4, 20])] {
            let geometry = ConvGeometry::square(kernel).padding([padding; 2]).stride([stride; 2]).groups(17);
            let (image, activation) = ([17, height, width], Activation::Identity);
            check(&Problem { batch: 1, image, out_c: 17, geometry, activation, has_bias: true }.net()?, 1)?;
        }
    }
    Ok(())
}

#[test]
fn every_kernel_is_taken_and_long_steps_do_not_depend_on_threads() -> Result<()> {
    let three = ConvGeometry::square(3).same();
    let cases = [
        ("planar", [3, 41, 67], 33, three.stride([2, 2])),
        ("gemm", [65, 41, 67], 65, ConvGeometry::square(1)),
        ("gathered gemm", [33, 41, 67], 49, three.stride([2, 2])),
        ("gathered gemm", [67, 3, 3], 67, three.stride([2, 1])),
        ("depthwise", [67, 41, 67], 67, ConvGeometry::square(5).same().groups(67)),
        ("winograd", [67, 41, 67], 67, three),
        ("winograd", [48, 5, 7], 67, three),
    ];
    for (kernel, image, out_c, geometry) in cases {
        let problem = Problem { batch: 1, image, out_c, geometry, activation: Activation::Silu, has_bias: true };
        let net = problem.net()?;
        for isa in Isa::available() {
            let steps = steps(&net, isa, false)?;
            let taken = steps.iter().any(|(name, step)| name == "conv" && step.starts_with(kernel));
            assert!(taken, "{isa}: {kernel} is not among {steps:?}");
        }
        check(&net, 1)?;
    }
    Ok(())
}
