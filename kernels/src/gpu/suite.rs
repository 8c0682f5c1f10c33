//! Every operation, forward and backward, on each device of the build's and the machine's, against the CPU's in `f64`.

use candle_core::{DType, Device, Result, Tensor, Var};
use proptest::prelude::*;

use super::place::PLACES;
use crate::tape::tests::{network, variables};
use crate::{
    Activation, ConvGeometry, add, avg_pool2d, batch_norm, concat, conv2d, global_avg_pool2d, joint_backward,
    max_pool2d, multiply, narrow_channels, upsample_nearest2d,
};

/// Largest difference, relative to the largest magnitude.
const TOLERANCE: f64 = 1e-5;

/// Values that `f32` holds, as `f64`.
fn random(shape: impl Into<candle_core::Shape>, seed: u64) -> Result<Tensor> {
    let (shape, mut state) = (shape.into(), seed);
    let values: Vec<f32> = (0..shape.elem_count()).map(|_| crate::seeded::splitmix(&mut state) as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(DType::F64)
}

fn values(xs: &Tensor) -> Result<Vec<f64>> {
    xs.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

/// What an operation is called, and its results; of operands as [`operands`] gives them.
type Operation = (&'static str, fn(&[Tensor]) -> Result<Vec<Tensor>>);

const OPERATIONS: [Operation; 11] = [
    ("convolution, bias, activation", |x| {
        let geometry = ConvGeometry::square(3).same().stride([2, 2]);
        Ok(vec![conv2d(&x[0], &x[1], Some(&x[2]), &geometry, Activation::Silu)?])
    }),
    ("depthwise convolution", |x| {
        let geometry = ConvGeometry::square(5).same().stride([2, 1]).groups(8);
        Ok(vec![conv2d(&x[0], &x[3], None, &geometry, Activation::Identity)?])
    }),
    ("ghost module", |x| {
        let primary = conv2d(&x[0], &x[1], None, &ConvGeometry::square(3).same(), Activation::Relu)?;
        let cheap = conv2d(&primary, &x[3], Some(&x[2]), &ConvGeometry::square(5).same().groups(8), Activation::Relu)?;
        Ok(vec![concat(&[&primary, &cheap])?])
    }),
    ("batch norm in training", |x| Ok(vec![batch_norm(&x[0], &x[2], &x[2], 1e-3, Activation::Silu)?.0])),
    ("max pool with padding", |x| Ok(vec![max_pool2d(&x[0], &ConvGeometry::square(5).same())?])),
    ("average pool", |x| Ok(vec![avg_pool2d(&x[0], &ConvGeometry::square(2).stride([2, 2]))?])),
    ("global mean", |x| Ok(vec![global_avg_pool2d(&x[0])?])),
    ("nearest upsampling", |x| Ok(vec![upsample_nearest2d(&x[0], [18, 14])?])),
    ("gate", |x| Ok(vec![multiply(&x[0], &x[4])?])),
    ("sum", |x| Ok(vec![add(&x[0], &x[0])?])),
    ("concatenation, channels", |x| Ok(vec![concat(&[&narrow_channels(&x[0], 1, 5)?, &x[0]])?])),
];

fn operands() -> Result<[Tensor; 5]> {
    Ok([
        random((2, 8, 9, 7), 1)?,
        random((8, 8, 3, 3), 2)?,
        (random(8, 3)? + 1.5)?,
        random((8, 1, 5, 5), 4)?,
        random((2, 8, 1, 1), 5)?,
    ])
}

/// Each operation on each device in each type: forward, and in `f32` backward. Prints what ran where.
#[test]
fn the_list() -> Result<()> {
    for (name, f) in OPERATIONS {
        check(name, &operands()?, f)?;
        for (dtype, unit) in [(DType::F16, 2f64.powi(-10)), (DType::BF16, 2f64.powi(-7))] {
            let operands = operands()?.map(|operand| operand.to_dtype(dtype));
            let operands = operands.into_iter().collect::<Result<Vec<_>>>()?;
            let wide = operands.iter().map(|operand| operand.to_dtype(DType::F64)).collect::<Result<Vec<_>>>()?;
            let truth = values(&f(&wide)?[0])?;
            for place in PLACES.iter() {
                let here: Vec<Tensor> =
                    operands.iter().map(|operand| operand.to_device(place.device())).collect::<Result<_>>()?;
                let got = place.run(|| values(&f(&here)?[0]))?;
                let scale = truth.iter().fold(0f64, |scale, y| scale.max(y.abs()));
                let worst = got.iter().zip(&truth).fold(0., |worst: f64, (g, t)| worst.max((g - t).abs()));
                // A result is rounded to half a unit; those of a ghost module are rounded twice, and the second time multiplied.
                let most = if name == "ghost module" { 8. } else { 1. };
                assert!(
                    worst <= most * unit * scale,
                    "{name} in {dtype:?} on {place:?}: off by {worst:e} of {scale:e}"
                );
            }
        }
        for place in PLACES.iter() {
            println!("{name} | {place:?} | forward f32, f16, bf16 | backward f32");
        }
    }
    Ok(())
}

/// Results of a function of some operands and the operands' gradients.
fn results(
    operands: &[Tensor],
    f: &dyn Fn(&[Tensor]) -> Result<Vec<Tensor>>,
    device: &Device,
    dtype: DType,
) -> Result<Vec<Vec<f64>>> {
    let vars = operands.iter().map(|operand| Var::from_tensor(&operand.to_dtype(dtype)?.to_device(device)?));
    let vars = vars.collect::<Result<Vec<_>>>()?;
    let tensors: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let ys = f(&tensors)?;
    let weighted = |(index, ys): (usize, &Tensor)| {
        (ys * random(ys.shape(), 90 + index as u64)?.to_dtype(dtype)?.to_device(device)?)?.sum_all()
    };
    let loss = Tensor::stack(&ys.iter().enumerate().map(weighted).collect::<Result<Vec<_>>>()?, 0)?.sum_all()?;
    let grads = loss.backward()?;
    let of = |var: &Var| match grads.get(var) {
        Some(grad) => {
            assert_eq!(grad.dims(), var.dims());
            values(grad)
        }
        None => Ok(Vec::new()),
    };
    ys.iter().map(values).chain(vars.iter().map(of)).collect()
}

fn check(what: &str, operands: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Vec<Tensor>>) -> Result<()> {
    check_against(what, |_| 1e-3, operands, f)
}

/// [`check`], where a value of [`results`] counts as no smaller than this, by its number.
fn check_against(
    what: &str,
    least: impl Fn(usize) -> f64,
    operands: &[Tensor],
    f: impl Fn(&[Tensor]) -> Result<Vec<Tensor>>,
) -> Result<()> {
    let truth = results(operands, &f, &Device::Cpu, DType::F64)?;
    for place in PLACES.iter() {
        let got = place.run(|| results(operands, &f, place.device(), DType::F32))?;
        for (index, (got, truth)) in got.iter().zip(&truth).enumerate() {
            assert_eq!(got.len(), truth.len(), "{what}, {place:?}, {index}");
            let scale = truth.iter().fold(least(index), |scale: f64, y| scale.max(y.abs()));
            let worst = got.iter().zip(truth).fold(0., |worst: f64, (g, t)| worst.max((g - t).abs()));
            assert!(worst <= TOLERANCE * scale, "{what}, {place:?}, value {index}: off by {worst:e} of {scale:e}");
        }
    }
    Ok(())
}

fn failed(error: candle_core::Error) -> TestCaseError {
    TestCaseError::fail(error.to_string())
}

/// The operand as it lies, as a part of a wider one, or with its channels last.
fn lying(xs: &Tensor, kind: usize) -> Result<Tensor> {
    match kind {
        0 => Ok(xs.clone()),
        1 => Tensor::cat(&[xs, xs, xs], 1)?.narrow(1, xs.dim(1)?, xs.dim(1)?),
        2 => xs.permute((0, 2, 3, 1))?.contiguous()?.permute((0, 3, 1, 2)),
        _ => xs.transpose(2, 3)?.contiguous()?.transpose(2, 3),
    }
}

fn axes() -> impl Strategy<Value = (ConvGeometry, [usize; 2])> {
    let axis = (1..=5usize, 1..=3usize, 0..=3usize, 1..=2usize, 1..=13usize);
    (axis.clone(), axis)
        .prop_map(|(rows, columns)| {
            let geometry = ConvGeometry {
                kernel: [rows.0, columns.0],
                stride: [rows.1, columns.1],
                padding: [rows.2, columns.2],
                dilation: [rows.3, columns.3],
                groups: 1,
            };
            (geometry, [rows.4, columns.4])
        })
        .prop_filter("window fits", |(geometry, in_hw)| geometry.out_hw(*in_hw).is_ok())
}

/// 0 where an activation's gradient jumps within what `f32` rounds, so that no two of them need agree; else 1.
fn away_from_kinks(xs: &Tensor) -> Result<Tensor> {
    let is_smooth = |x: f64| [-3., 0., 3., 6.].iter().all(|kink| (x - kink).abs() > 1e-3);
    let kept = values(xs)?.into_iter().map(|x| f64::from(u8::from(is_smooth(x)))).collect();
    Tensor::from_vec(kept, xs.shape(), &Device::Cpu)
}

/// Batch norm of a map whose values lie about a number, with its moments.
fn norm(dims: [usize; 4], activation: Activation, about: f64, layout: usize) -> Result<()> {
    let operands = [random(&dims, 1)?, (random(dims[1], 2)? + 1.)?, random(dims[1], 3)?];
    let normed = |operands: &[Tensor], activation| {
        let [xs, weight, bias] = operands else { unreachable!("three operands") };
        // `f32` holds a mean far from zero, and these values with fewer digits.
        let xs = (lying(xs, layout)? + about)?.to_dtype(DType::F32)?.to_dtype(xs.dtype())?;
        batch_norm(&xs, weight, bias, 1e-3, activation)
    };
    let smooth = away_from_kinks(&normed(&operands, Activation::Identity)?.0)?;
    // The gradients of weight and bias, behind three results and the map's gradient, are sums over a channel: they may cancel, and
    // what is rounded of their terms, some tenths each, does not.
    let terms = (dims[0] * dims[2] * dims[3]) as f64;
    let least = |index| if index > 3 { 0.1 * terms.sqrt() } else { 1e-3 };
    check_against(&format!("{activation:?} of {dims:?}"), least, &operands, |operands| {
        let (ys, moments) = normed(operands, activation)?;
        let ys = (&ys * smooth.to_dtype(ys.dtype())?.to_device(ys.device())?)?;
        Ok(vec![ys, moments.mean, moments.var])
    })
}

/// The weight's gradient is a small difference of products with distances from the mean.
#[test]
fn a_mean_between_two_floats() -> Result<()> {
    norm([1, 1, 1, 5], Activation::Identity, -10., 0)
}

/// Convolutions of a map whose values are `random`, and their gradients.
fn convolutions_of(
    geometry: ConvGeometry,
    [batch, in_c, h, w]: [usize; 4],
    [out_c, groups]: [usize; 2],
    layout: usize,
) -> Result<()> {
    let [kernel_h, kernel_w] = geometry.kernel;
    let weight = random((out_c, in_c / groups, kernel_h, kernel_w), 2)?;
    let operands = [random((batch, in_c, h, w), 1)?, weight, random(out_c, 3)?];
    // Every result is a sum of terms of some tenths, and of the bias: it may cancel, and what is rounded of the terms does not.
    check_against(
        &format!("{geometry:?} in {groups} groups"),
        |_| 0.1,
        &operands,
        |operands| {
            let [xs, weight, bias] = operands else { unreachable!("three operands") };
            let geometry = geometry.groups(groups);
            let linear = conv2d(&lying(xs, layout)?, weight, Some(bias), &geometry, Activation::Identity)?;
            let activated = conv2d(xs, weight, None, &geometry, Activation::Silu)?;
            let constant = conv2d(&xs.detach(), &weight.detach(), Some(&bias.detach()), &geometry, Activation::Relu)?;
            Ok(vec![linear, activated, constant])
        },
    )
}

/// No value behind the ReLU is above a thousandth, and its terms are some tenths.
#[test]
fn a_convolution_that_cancels() -> Result<()> {
    let geometry = ConvGeometry { kernel: [1, 4], stride: [3, 1], padding: [2, 0], dilation: [1, 2], groups: 1 };
    convolutions_of(geometry, [1, 1, 8, 8], [1, 1], 0)
}

/// The bias' gradient is near zero, its terms are not.
#[test]
fn sums_that_cancel() -> Result<()> {
    norm([3, 1, 2, 3], Activation::Gelu, -10., 0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn convolutions(
        (geometry, [h, w]) in axes(),
        batch in 1..=3usize,
        in_c in 1..=9usize,
        out_c in prop_oneof![1..=9usize, 17..=70usize],
        groups in 0..3usize,
        layout in 0..4usize,
    ) {
        let (groups, in_c, out_c) = match groups {
            0 => (1, in_c, out_c),
            1 => (in_c, in_c, in_c),
            _ => (out_c, out_c, out_c),
        };
        convolutions_of(geometry, [batch, in_c, h, w], [out_c, groups], layout).map_err(failed)?;
    }

    #[test]
    fn batch_norms(
        (batch, channels, h, w) in (1..=3usize, 1..=40usize, 1..=9usize, 1..=23usize),
        activation in 0..Activation::ALL.len(),
        about in prop_oneof![Just(0.), Just(-10.)],
        layout in 0..4usize,
    ) {
        prop_assume!(batch * h * w > 4);
        norm([batch, channels, h, w], Activation::ALL[activation], about, layout).map_err(failed)?;
    }

    #[test]
    fn pools(
        (mut geometry, [h, w]) in axes(),
        channels in 1..=9usize,
        layout in 0..4usize,
    ) {
        for axis in 0..2 {
            geometry.padding[axis] = geometry.padding[axis].min(geometry.kernel[axis] / 2);
        }
        prop_assume!(geometry.out_hw([h, w]).is_ok());
        // Each window touches the input.
        prop_assume!((0..2).all(|axis| geometry.padding[axis] < geometry.dilation[axis].max(2)));
        let run = || {
            // With ties.
            let coarse = (random((2, channels, h, w), 1)? * 4.)?.round()?;
            check(&format!("{geometry:?} of {h}x{w}"), &[coarse], |operands| {
                let xs = lying(&operands[0], layout)?;
                Ok(vec![max_pool2d(&xs, &geometry)?, avg_pool2d(&xs, &geometry)?])
            })
        };
        run().map_err(failed)?;
    }

    #[test]
    fn maps(
        (batch, channels, h, w) in (1..=3usize, 1..=9usize, 1..=9usize, 1..=9usize),
        out_hw in (1..=19usize, 1..=19usize),
        activation in 0..Activation::ALL.len(),
        layout in 0..4usize,
    ) {
        let run = || {
            let operands = [random((batch, channels, h, w), 1)?, random((batch, channels, 1, 1), 2)?];
            check(&format!("maps {:?} to {out_hw:?}", operands[0].shape()), &operands, |operands| {
                let [xs, gate] = operands else { unreachable!("two operands") };
                let lying = lying(xs, layout)?;
                let resampled = upsample_nearest2d(&lying, [out_hw.0, out_hw.1])?;
                let gated = multiply(&lying, gate)?;
                let squared = multiply(&lying, xs)?;
                let sum = add(&Activation::ALL[activation].apply(&lying)?, &gated)?;
                let part = narrow_channels(&lying, channels / 2, channels - channels / 2)?;
                let joined = concat(&[&part, &squared, &lying])?;
                Ok(vec![resampled, sum, joined, global_avg_pool2d(&lying)?])
            })
        };
        run().map_err(failed)?;
    }
}

#[test]
fn a_network_on_a_tape_has_the_gradients_of_one_without() -> Result<()> {
    let variables: Vec<Tensor> = variables()?.into_iter().map(|var| var.as_tensor().clone()).collect();
    let exact = |xs: &Tensor| xs.to_dtype(DType::F32)?.to_dtype(DType::F64);
    let mut operands = variables.iter().map(exact).collect::<Result<Vec<_>>>()?;
    operands.push(random((2, 3, 6, 8), 9)?);
    for is_taped in [false, true] {
        check(&format!("a network, taped: {is_taped}"), &operands, |operands| {
            let (xs, weights) = (&operands[4], &operands[..4]);
            if is_taped { joint_backward(xs, |xs| network(xs, weights)) } else { network(xs, weights) }
        })?;
    }
    Ok(())
}

/// Sums over many positions are divided into parts.
#[test]
fn large_maps() -> Result<()> {
    let operands = [random((2, 5, 47, 53), 1)?, random((18, 5, 3, 3), 2)?, random((5, 1, 3, 3), 3)?, random(18, 4)?];
    check("large maps", &operands, |operands| {
        let [xs, dense, depthwise, bias] = operands else { unreachable!("four operands") };
        let three = ConvGeometry::square(3).same();
        let ys = conv2d(xs, dense, Some(bias), &three.stride([2, 2]), Activation::Identity)?;
        let cheap = conv2d(xs, depthwise, None, &three.groups(5), Activation::Identity)?;
        let (normed, _) = batch_norm(&ys, bias, bias, 1e-3, Activation::HardSwish)?;
        Ok(vec![ys, cheap, normed])
    })
}

/// A maximum of nothing but numbers would hide that a training diverged.
#[test]
fn nan_is_the_largest_of_a_window() -> Result<()> {
    for place in PLACES.iter() {
        let mut xs = vec![1f32; 2 * 5 * 5];
        xs[12] = f32::NAN;
        let xs = Tensor::from_vec(xs, (1, 2, 5, 5), place.device())?;
        let ys = place.run(|| values(&max_pool2d(&xs, &ConvGeometry::square(3).same())?))?;
        let of_first = |i: usize| (1..4).contains(&(i / 5)) && (1..4).contains(&(i % 5)) && i < 25;
        for (index, y) in ys.iter().enumerate() {
            assert_eq!(y.is_nan(), of_first(index), "{place:?}, element {index}");
        }
    }
    Ok(())
}
