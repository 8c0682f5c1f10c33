//! Convolutions in 8 bits against their definition, computed by plain loops over integers.

use candle_core::{Device, Result, Tensor};
use proptest::prelude::*;

use super::{POOLS, failed};
use crate::infer::Aligned;
use crate::plan::graph::Graph;
use crate::plan::lower::{Precision, lower};
use crate::plan::pack::Packs;
use crate::plan::quantization::{ConvQuantization, Quantization, check_quantization};
use crate::seeded::splitmix;
use crate::simd::Dot;
use crate::{Activation, ConvGeometry, Isa};

fn precision(quantization: &Quantization) -> Precision<'_> {
    Precision { quantization: Some(quantization), ..Default::default() }
}

/// A convolution of a map with a residual, its input quantized.
#[derive(Debug, Clone)]
struct Problem {
    /// Height, width, channels.
    input: [usize; 3],
    out_c: usize,
    geometry: ConvGeometry,
    activation: Activation,
    scale: f32,
    zero_point: u8,
    has_residual: bool,
    /// Whether every input and weight has its largest magnitude.
    is_extreme: bool,
    seed: u64,
}

/// What a problem computes from.
struct Tensors {
    image: Vec<f32>,
    /// (out_c, in_c, kh, kw)
    weights: Vec<i8>,
    scales: Vec<f32>,
    bias: Vec<f32>,
}

impl Problem {
    fn tensors(&self) -> Tensors {
        let [height, width, in_c] = self.input;
        let [kernel_h, kernel_w] = self.geometry.kernel;
        let mut state = self.seed;
        let mut next = || splitmix(&mut state);
        let mut many = |n: usize, f: &dyn Fn(f64) -> f64| -> Vec<f64> { (0..n).map(|_| f(next())).collect() };
        // Beyond the range at both ends, and ties between integers.
        let span = f64::from(self.scale) * 160.;
        let zero = f64::from(128 - i32::from(self.zero_point)) * f64::from(self.scale);
        let image = many(height * width * in_c, &|x| {
            if self.is_extreme { if x < 0. { -1e30 } else { 1e30 } } else { zero + x * span }
        });
        let ties = |x: f64| {
            if self.is_extreme { x } else { (x / f64::from(self.scale) * 2.).round() / 2. * f64::from(self.scale) }
        };
        let image = image.iter().enumerate().map(|(i, x)| if i % 3 == 0 { ties(*x) } else { *x } as f32).collect();
        let limit = |x: f64| if self.is_extreme { 127f64.copysign(x) } else { (x * 127.).round() };
        let weights = many(self.out_c * in_c * kernel_h * kernel_w, &limit).iter().map(|x| *x as i8).collect();
        let scales = many(self.out_c, &|x| 0.01 + 0.009 * x).iter().map(|x| *x as f32).collect();
        let bias = many(self.out_c, &|x| x).iter().map(|x| *x as f32).collect();
        Tensors { image, weights, scales, bias }
    }

    /// The map by the definition, each element with the magnitude that its rounding goes with.
    fn truth(&self, tensors: &Tensors) -> Result<Vec<[f64; 2]>> {
        let [height, width, in_c] = self.input;
        let ConvGeometry { kernel: [kernel_h, kernel_w], stride, padding, dilation, .. } = self.geometry;
        let [out_h, out_w] = self.geometry.out_hw([height, width])?;
        let inverse = 1. / self.scale;
        let integer = |y: usize, x: usize, channel: usize| {
            let value = (tensors.image[(channel * height + y) * width + x] * inverse).round_ties_even();
            (f64::from(value) + f64::from(self.zero_point)).clamp(0., 255.) as i64 - i64::from(self.zero_point)
        };
        let mut truth = Vec::new();
        for y in 0..out_h {
            for x in 0..out_w {
                for out in 0..self.out_c {
                    let mut sum = 0i64;
                    for tap in 0..kernel_h * kernel_w {
                        let row = (y * stride[0] + tap / kernel_w * dilation[0]).wrapping_sub(padding[0]);
                        let column = (x * stride[1] + tap % kernel_w * dilation[1]).wrapping_sub(padding[1]);
                        if row < height && column < width {
                            for channel in 0..in_c {
                                let weight = tensors.weights[(out * in_c + channel) * kernel_h * kernel_w + tap];
                                sum += i64::from(weight) * integer(row, column, channel);
                            }
                        }
                    }
                    // Each step rounds once: the same bits where there is no activation.
                    let linear = sum as i32 as f32 * (tensors.scales[out] * self.scale) + tensors.bias[out];
                    assert_eq!(i64::from(sum as i32), sum, "sums stay in 32 bits");
                    let residual = if self.has_residual { f64::from(linear) } else { 0. };
                    let value = Tensor::new(&[f64::from(linear)], &Device::Cpu)?;
                    let value = self.activation.apply(&value)?.to_vec1::<f64>()?[0];
                    truth.push([value + residual, value.abs().max(f64::from(linear.abs())).max(1.)]);
                }
            }
        }
        Ok(truth)
    }

    /// The map as a plan computes it.
    fn run(&self, tensors: &Tensors, isa: Isa, threads: usize, pool: usize) -> Result<(Vec<f32>, Vec<String>)> {
        let [height, width, in_c] = self.input;
        let [kernel_h, kernel_w] = self.geometry.kernel;
        let taps = in_c * kernel_h * kernel_w;
        let weights: Vec<f32> =
            tensors.weights.iter().enumerate().map(|(i, w)| f32::from(*w) * tensors.scales[i / taps]).collect();
        let weight = Tensor::from_vec(weights, (self.out_c, in_c, kernel_h, kernel_w), &Device::Cpu)?;
        let bias = Tensor::new(tensors.bias.as_slice(), &Device::Cpu)?;
        let (mut graph, image) = Graph::new([in_c, height, width]);
        let plain = graph.conv2d(image, &weight, Some(&bias), &self.geometry, Activation::Identity, "plain.")?;
        let mut ys = graph.conv2d(image, &weight, Some(&bias), &self.geometry, self.activation, "conv.")?;
        if self.has_residual {
            ys = graph.add(ys, plain)?;
        }
        graph.output(ys);
        let found = ConvQuantization {
            weight_scale: tensors.scales.clone(),
            input_scale: self.scale,
            input_zero_point: self.zero_point,
        };
        let quantization = Quantization::from([("conv".to_owned(), found.clone()), ("plain".to_owned(), found)]);
        let (program, _) = lower(graph, isa, threads, &mut Packs::default(), precision(&quantization))?;
        let pool = &POOLS[pool];
        let mut memory = Aligned::zeroed(program.memory(pool));
        memory.fill(f32::NAN);
        let [out_h, out_w] = self.geometry.out_hw([height, width])?;
        let mut output = vec![f32::NAN; out_h * out_w * self.out_c];
        program.run(pool, &mut memory, &tensors.image, &mut [&mut output], None);
        Ok((output, program.steps().iter().map(|step| step.describe()).collect()))
    }

    fn check(&self) -> Result<()> {
        let tensors = self.tensors();
        let truth = self.truth(&tensors)?;
        for isa in Isa::available().into_iter().chain([Isa::EmulatedAmx]) {
            let (got, _) = self.run(&tensors, isa, 1, 0)?;
            for (index, (got, [value, size])) in got.iter().zip(&truth).enumerate() {
                let exact = self.activation == Activation::Identity && !self.has_residual;
                let bound = if exact { 0. } else { size * 1e-6 };
                assert!((f64::from(*got) - value).abs() <= bound, "{isa}: {index} is {got}, not {value}: {self:?}");
            }
            for (threads, pool) in [(2, 1), (3, 2), (5, 1)] {
                let (again, _) = self.run(&tensors, isa, threads, pool)?;
                assert!(got == again, "{isa}, {threads} threads: {self:?}");
            }
        }
        Ok(())
    }

    fn is_affordable(&self) -> bool {
        let [height, width, in_c] = self.input;
        let depth = in_c * self.geometry.kernel.iter().product::<usize>();
        self.geometry.out_hw([height, width]).is_ok_and(|[h, w]| h * w * self.out_c * depth <= 1_000_000)
    }
}

fn problems() -> impl Strategy<Value = Problem> {
    let kernels = vec![[1, 1], [1, 1], [3, 3], [3, 3], [5, 5], [1, 5], [2, 2]];
    let axis = || (prop_oneof![2 => Just(1usize), 1 => Just(2)], 0..=2usize, 1..=2usize);
    let window =
        (proptest::sample::select(kernels), axis(), axis(), any::<bool>()).prop_map(|(kernel, y, x, plain)| {
            let dilation = if plain { [1, 1] } else { [y.2, x.2] };
            let padding = [y.1.min(kernel[0] / 2 * dilation[0]), x.1.min(kernel[1] / 2 * dilation[1])];
            ConvGeometry { kernel, stride: [y.0, x.0], padding, dilation, groups: 1 }
        });
    let sizes = ([1..=20usize, 1..=20usize, 1..=67usize], 1..=67usize);
    let integers =
        (prop_oneof![Just(0.004f32), Just(0.05), 0.001f32..0.3], prop_oneof![Just(0u8), Just(255), any::<u8>()]);
    let kind =
        (proptest::sample::select(Activation::ALL.to_vec()), any::<bool>(), prop::bool::weighted(0.1), any::<u64>());
    (sizes, window, integers, kind)
        .prop_map(|((input, out_c), geometry, (scale, zero_point), (activation, has_residual, is_extreme, seed))| {
            Problem { input, out_c, geometry, activation, scale, zero_point, has_residual, is_extreme, seed }
        })
        .prop_filter("fits and is affordable", Problem::is_affordable)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn convolutions_in_8_bits_equal_their_definition(problem in problems()) {
        problem.check().map_err(failed)?;
    }
}

/// A problem of one convolution.
fn problem(input: [usize; 3], out_c: usize, geometry: ConvGeometry) -> Problem {
    Problem {
        input,
        out_c,
        geometry,
        activation: Activation::Identity,
        scale: 0.02,
        zero_point: 100,
        has_residual: false,
        is_extreme: false,
        seed: 7,
    }
}

#[test]
fn the_longest_windows_stay_in_32_bits() -> Result<()> {
    for zero_point in [0, 255] {
        let window = problem([1, 1, 66_311], 8, ConvGeometry::square(1));
        Problem { is_extreme: true, zero_point, ..window.clone() }.check()?;
    }
    // The longest for which four times a sum stays in 32 bits, and one more.
    for channels in [1842, 1843] {
        let window = problem([3, 3, channels], 8, ConvGeometry::square(3));
        Problem { is_extreme: true, zero_point: 255, ..window }.check()?;
    }
    let longer = problem([1, 1, 66_312], 8, ConvGeometry::square(1));
    let error = longer.run(&longer.tensors(), Isa::Portable, 1, 0).expect_err("too long").to_string();
    assert!(error.contains("too large for sums in 32 bits"), "{error}");
    Ok(())
}

#[test]
fn the_largest_sums_of_wide_tiles_stay_in_32_bits() -> Result<()> {
    // The most channels of largest weights that F(4x4, 3x3) takes, and one more: all inputs, and all weights, have one sign.
    for (channels, kernel) in [(115, "int8 winograd 4x4"), (116, "int8 winograd 2x2")] {
        for (zero_point, input, sign) in [(0, 1e30, 1), (255, -1e30, 1), (0, 1e30, -1), (255, -1e30, -1)] {
            let window = problem([9, 6, channels], 8, ConvGeometry::square(3).same());
            let problem = Problem { is_extreme: true, zero_point, ..window };
            let mut tensors = problem.tensors();
            tensors.image.fill(input);
            tensors.weights.fill(127 * sign);
            let truth = problem.truth(&tensors)?;
            for isa in Isa::available() {
                let (got, steps) = problem.run(&tensors, isa, 2, 1)?;
                assert!(
                    got.iter().zip(&truth).all(|(got, [value, _])| f64::from(*got) == *value),
                    "{isa}: {problem:?}"
                );
                assert!(isa.int8().is_some() || steps.iter().any(|step| step.starts_with(kernel)), "{isa}: {steps:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn every_kernel_of_8_bits_is_taken() -> Result<()> {
    let three = ConvGeometry::square(3).same();
    let cases = [
        ("int8 gemm", [41, 67, 65], 65, ConvGeometry::square(1)),
        ("int8 gathered gemm", [41, 67, 33], 49, three.stride([2, 2])),
        ("int8 winograd 4x4", [41, 67, 67], 67, three),
        ("int8 winograd 4x4", [5, 7, 48], 67, three),
        // Sums of weights whose magnitudes are half of the largest in the mean.
        ("int8 winograd 4x4", [5, 7, 190], 8, three),
        ("int8 winograd 2x2", [5, 7, 240], 8, three),
    ];
    for (kernel, input, out_c, geometry) in cases {
        let problem = problem(input, out_c, geometry);
        for isa in Isa::available().into_iter().chain(Isa::EMULATED) {
            let (_, steps) = problem.run(&problem.tensors(), isa, 2, 1)?;
            let kernel = isa.int8().map_or(kernel, Dot::name);
            assert!(steps.iter().any(|step| step.starts_with(kernel)), "{isa}: {kernel} is not among {steps:?}");
            // One for both, unless each makes the bytes that it multiplies.
            let made = usize::from(isa.int8().is_none() || !geometry.is_pointwise());
            assert_eq!(steps.iter().filter(|step| step.starts_with("quantize")).count(), made, "{isa}: {steps:?}");
        }
    }
    Ok(())
}

#[test]
fn what_cannot_be_computed_is_refused() -> Result<()> {
    let problem = problem([4, 4, 6], 3, ConvGeometry::square(1));
    let refused = |change: &dyn Fn(&mut Tensors, &mut Problem)| -> Result<String> {
        let (mut problem, mut tensors) = (problem.clone(), problem.tensors());
        change(&mut tensors, &mut problem);
        Ok(problem.run(&tensors, Isa::Portable, 1, 0).expect_err("refused").to_string())
    };
    for scale in [0., -1., f32::NAN, f32::INFINITY, 1e-40] {
        let error = refused(&|_, problem| problem.scale = scale)?;
        assert!(error.contains("must be positive"), "{scale}: {error}");
    }
    let quantization = |path: &str, found: &[f32]| {
        let weight_scale = found.to_vec();
        Quantization::from([(
            path.to_owned(),
            ConvQuantization { weight_scale, input_scale: 1e-3, input_zero_point: 0 },
        )])
    };
    let weight = Tensor::full(0.5f32, (2, 3, 1, 1), &Device::Cpu)?;
    let net = |graph: &mut Graph, image| {
        let depthwise = ConvGeometry::square(1).groups(3);
        let ys = graph.conv2d(image, &weight, None, &ConvGeometry::square(1), Activation::Silu, "conv")?;
        let zs = graph.conv2d(
            image,
            &Tensor::full(0.5f32, (3, 1, 1, 1), &Device::Cpu)?,
            None,
            &depthwise,
            Activation::Silu,
            "apart",
        )?;
        graph.output(ys);
        graph.output(zs);
        Ok(())
    };
    let checked = |path: &str, scales: &[f32]| check_quantization(&net, (), [3, 4, 4], &quantization(path, scales));
    checked("conv", &[0.5; 2])?;
    for (path, scales, what) in [
        ("none", vec![0.5; 2], "none is no dense convolution"),
        ("apart", vec![0.5; 3], "apart is no dense convolution"),
        ("conv", vec![0.5; 3], "3 scales"),
        // The product of the scales is no normal number.
        ("conv", vec![1e-37; 2], "must be positive"),
    ] {
        let error = checked(path, &scales).expect_err("refused").to_string();
        assert!(error.contains(what), "{error}");
    }
    let weight = Tensor::full(0.5f32, (3, 6, 1, 1), &Device::Cpu)?;
    for (scales, what) in [(vec![1.; 3], "no integer"), (vec![1e-3; 3], "no integer"), (vec![1.; 2], "2 scales")] {
        let (mut graph, image) = Graph::new([6, 4, 4]);
        let ys = graph.conv2d(image, &weight, None, &ConvGeometry::square(1), Activation::Silu, "conv")?;
        graph.output(ys);
        let found = ConvQuantization { weight_scale: scales, input_scale: 1., input_zero_point: 0 };
        let quantization = Quantization::from([("conv".to_owned(), found)]);
        let error = lower(graph, Isa::Portable, 1, &mut Packs::default(), precision(&quantization)).err();
        let error = error.expect("refused").to_string();
        assert!(error.contains(what), "{error}");
    }
    Ok(())
}
