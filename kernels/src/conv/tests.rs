use candle_core::{DType, Device, Result, Tensor, Var};
use proptest::prelude::*;

use super::product::{Panels, Product, SLACK};
use super::{Extents, compose, conv2d, reference};
use crate::simd::Isa;
use crate::{Activation, ConvGeometry};

/// Largest difference from the `f64` reference, relative to the largest magnitude of the result.
const F32_TOLERANCE: f64 = 1e-5;

#[derive(Debug, Clone)]
struct Problem {
    batch: usize,
    in_c: usize,
    out_c: usize,
    in_hw: [usize; 2],
    geometry: ConvGeometry,
}

impl Problem {
    fn tensors(&self, dtype: DType) -> Result<(Tensor, Tensor, Tensor)> {
        let [h, w] = self.in_hw;
        let [kernel_h, kernel_w] = self.geometry.kernel;
        let xs = random((self.batch, self.in_c, h, w), 1)?.to_dtype(dtype)?;
        let weight = random((self.out_c, self.in_c / self.geometry.groups, kernel_h, kernel_w), 2)?.to_dtype(dtype)?;
        let bias = random(self.out_c, 3)?.to_dtype(dtype)?;
        Ok((xs, weight, bias))
    }
}

fn random(shape: impl Into<candle_core::Shape>, seed: u64) -> Result<Tensor> {
    let shape = shape.into();
    let mut state = seed;
    let values: Vec<f64> = (0..shape.elem_count()).map(|_| crate::seeded::splitmix(&mut state)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

fn values(xs: &Tensor) -> Result<Vec<f64>> {
    xs.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

fn relative_difference(got: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len(), "same number of elements");
    let scale = expected.iter().fold(1e-3, |scale: f64, y| scale.max(y.abs()));
    got.iter().zip(expected).fold(0., |worst: f64, (g, e)| worst.max((g - e).abs())) / scale
}

fn problems() -> impl Strategy<Value = Problem> {
    let axis = (1..=5usize, 1..=3usize, 0..=3usize, 1..=2usize, 1..=13usize);
    let batch = prop_oneof![2 => 1..=2usize, 1 => 17..=20usize];
    (batch, prop_oneof![Just((1, 1)), Just((2, 3)), Just((3, 2))], 1..=5usize, axis.clone(), axis, 0..3usize)
        .prop_map(|(batch, (c, o), groups, rows, columns, kind)| {
            let (groups, in_c, out_c) = match kind {
                0 => (1, c * groups, o * groups),
                1 => (groups, groups * c, groups * o),
                _ => (groups + 1, groups + 1, (groups + 1) * o),
            };
            let geometry = ConvGeometry {
                kernel: [rows.0, columns.0],
                stride: [rows.1, columns.1],
                padding: [rows.2, columns.2],
                dilation: [rows.3, columns.3],
                groups,
            };
            Problem { batch, in_c, out_c, in_hw: [rows.4, columns.4], geometry }
        })
        .prop_filter("window fits", |problem| problem.geometry.out_hw(problem.in_hw).is_ok())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn forward_and_gradients_equal_the_reference(problem in problems()) {
        check(&problem).map_err(|error| TestCaseError::fail(error.to_string()))?;
    }
}

fn check(problem: &Problem) -> Result<()> {
    let (xs, weight, bias) = problem.tensors(DType::F64)?;
    let extents = Extents::new(xs.shape(), weight.shape(), &problem.geometry)?;
    let (xs_values, weight_values) = (values(&xs)?, values(&weight)?);
    let linear = reference::forward(&extents, &xs_values, &weight_values);
    let linear = Tensor::from_vec(linear, extents.out_shape(), &Device::Cpu)?;
    let expected = values(&linear.broadcast_add(&bias.reshape((1, (), 1, 1))?)?.silu()?)?;

    let (xs32, weight32, bias32) = problem.tensors(DType::F32)?;
    let got = conv2d(&xs32, &weight32, Some(&bias32), &problem.geometry, Activation::Silu)?;
    assert!(relative_difference(&values(&got)?, &expected) < F32_TOLERANCE, "f32 forward of {problem:?}");
    let composed = compose::conv2d(&xs32, &weight32, Some(&bias32), &problem.geometry, Activation::Silu)?;
    assert!(relative_difference(&values(&composed)?, &expected) < F32_TOLERANCE, "composed forward of {problem:?}");

    let (xs, weight, bias) = (Var::from_tensor(&xs)?, Var::from_tensor(&weight)?, Var::from_tensor(&bias)?);
    let ys = conv2d(&xs, &weight, Some(&bias), &problem.geometry, Activation::Identity)?;
    let grad = random(ys.shape(), 4)?;
    let grads = (ys * &grad)?.sum_all()?.backward()?;
    let grad_values = values(&grad)?;
    let close = |var: &Var, expected: &[f64], what: &str| -> Result<()> {
        let got = grads.get(var).ok_or_else(|| candle_core::Error::msg(format!("no gradient of the {what}")))?;
        assert_eq!(got.shape(), var.shape(), "shape of the gradient of the {what} of {problem:?}");
        assert!(relative_difference(&values(got)?, expected) < 1e-12, "gradient of the {what} of {problem:?}");
        Ok(())
    };
    close(&xs, &reference::grad_input(&extents, &weight_values, &grad_values), "input")?;
    close(&weight, &reference::grad_weight(&extents, &xs_values, &grad_values), "weight")?;
    let expected = [
        reference::grad_input(&extents, &weight_values, &grad_values),
        reference::grad_weight(&extents, &xs_values, &grad_values),
        values(&grad.sum((0, 2, 3))?)?,
    ];
    let wide = [&xs, &weight, &bias];
    let narrow = [Var::from_tensor(&xs32)?, Var::from_tensor(&weight32)?, Var::from_tensor(&bias32)?];
    let ys = conv2d(&narrow[0], &narrow[1], Some(&narrow[2]), &problem.geometry, Activation::Identity)?;
    let narrow_grads = (ys * grad.to_dtype(DType::F32)?)?.sum_all()?.backward()?;
    for (i, what) in ["input", "weight", "bias"].into_iter().enumerate() {
        close(wide[i], &expected[i], what)?;
        let got = narrow_grads.get(&narrow[i]).expect("each operand takes part");
        let difference = relative_difference(&values(got)?, &expected[i]);
        assert!(difference < F32_TOLERANCE, "f32 gradient of the {what} of {problem:?}: {difference:e}");
    }
    Ok(())
}

/// Many small images share a product, of the last stack fewer than of the others.
#[test]
fn stacked_images_equal_the_reference() -> Result<()> {
    for (in_hw, groups, out_c) in [([4, 4], 9, 9), ([2, 3], 8, 16), ([1, 1], 1, 24), ([7, 7], 1, 5), ([8, 8], 12, 12)] {
        for geometry in
            [ConvGeometry::square(1), ConvGeometry::square(3).same(), ConvGeometry::square(5).same().stride([2; 2])]
        {
            let geometry = geometry.groups(groups);
            check(&Problem { batch: 43, in_c: 2 * groups, out_c, in_hw, geometry })?;
        }
    }
    Ok(())
}

/// Products of more steps than one block has, of whole and of cut vectors.
#[test]
fn deep_products_equal_the_reference() -> Result<()> {
    for (in_c, out_c, in_hw, geometry) in [
        (700, 13, [7, 13], ConvGeometry::square(1)),
        (513, 2, [9, 3], ConvGeometry::square(1)),
        (150, 7, [6, 11], ConvGeometry::square(3).same()),
        (64, 300, [9, 7], ConvGeometry::square(3).same().stride([2; 2])),
    ] {
        check(&Problem { batch: 3, in_c, out_c, in_hw, geometry })?;
    }
    Ok(())
}

/// Panels of every height, on all vectors of this machine; without slack nothing behind the last position is written.
#[test]
fn products_of_every_height_equal_the_definition_on_every_instruction_set() {
    let (positions, stride, depth) = (37, 37 + SLACK, 300);
    let mut state = 5;
    let source: Vec<f32> = (0..2 * depth + stride).map(|_| crate::seeded::splitmix(&mut state) as f32).collect();
    let offsets: Vec<usize> = (0..depth).map(|step| step * 7 % (2 * depth)).collect();
    let weight = |group: usize, row: usize, step: usize| ((group * 31 + row * 17 + step) % 13) as f32 / 13. - 0.5;
    for (rows, isa) in (1..=17).flat_map(|rows| Isa::available().into_iter().map(move |isa| (rows, isa))) {
        let panels = Panels::new(2, [rows, depth], isa, weight);
        for (group, slack) in [(0, true), (1, false)] {
            let mut out = vec![f32::NAN; rows * stride];
            let (panels, source, offsets, out_stride) = (&panels, &source[..], &offsets[..], stride);
            let job = Product { panels, group, source, offsets, positions, slack, out: out.as_mut_ptr(), out_stride };
            // SAFETY: `out` has a row and its slack for each row.
            unsafe { job.run(isa) };
            for (row, out) in out.chunks_exact(stride).enumerate() {
                for (position, y) in out[..positions].iter().enumerate() {
                    let product = |(step, offset): (usize, &usize)| {
                        f64::from(weight(group, row, step)) * f64::from(source[offset + position])
                    };
                    let exact: f64 = offsets.iter().enumerate().map(product).sum();
                    let place = format!("row {row} of {rows}, position {position}, {}", isa.name());
                    assert!((f64::from(*y) - exact).abs() < 1e-4, "{place}: {y}, not {exact}");
                }
                assert!(slack || out[positions..].iter().all(|y| y.is_nan()), "row {row} of {rows}, {}", isa.name());
            }
        }
    }
}

#[test]
fn a_fused_activation_has_the_gradient_of_the_composed_one() -> Result<()> {
    let problem =
        Problem { batch: 2, in_c: 4, out_c: 6, in_hw: [7, 5], geometry: ConvGeometry::square(3).same().groups(2) };
    for activation in [Activation::Relu, Activation::Silu, Activation::HardSwish] {
        let (xs, weight, bias) = problem.tensors(DType::F64)?;
        let vars = [Var::from_tensor(&xs)?, Var::from_tensor(&weight)?, Var::from_tensor(&bias)?];
        let gradients = |ys: Tensor| -> Result<Vec<Vec<f64>>> {
            let grads = (&ys * random(ys.shape(), 5)?)?.sum_all()?.backward()?;
            vars.iter().map(|var| values(grads.get(var).expect("each operand takes part"))).collect()
        };
        let [xs, weight, bias] = &vars;
        let fused = gradients(conv2d(xs, weight, Some(bias), &problem.geometry, activation)?)?;
        let linear = conv2d(xs, weight, Some(bias), &problem.geometry, Activation::Identity)?;
        let composed = gradients(activation.apply(&linear)?)?;
        for (fused, composed) in fused.iter().zip(&composed) {
            assert!(relative_difference(fused, composed) < 1e-12, "{activation:?}");
        }
    }
    Ok(())
}

#[test]
fn strided_views_and_half_precision_are_accepted() -> Result<()> {
    let problem = Problem { batch: 1, in_c: 6, out_c: 4, in_hw: [9, 8], geometry: ConvGeometry::square(3).same() };
    let (xs, weight, bias) = problem.tensors(DType::F32)?;
    let expected = values(&conv2d(&xs, &weight, Some(&bias), &problem.geometry, Activation::Relu)?)?;
    let transposed = xs.transpose(2, 3)?.contiguous()?.transpose(2, 3)?;
    let got = conv2d(&transposed, &weight, Some(&bias), &problem.geometry, Activation::Relu)?;
    assert_eq!(values(&got)?, expected, "a transposed view of the input");
    for (dtype, tolerance) in [(DType::F16, 4e-3), (DType::BF16, 3e-2)] {
        let (xs, weight, bias) = problem.tensors(dtype)?;
        let got = conv2d(&xs, &weight, Some(&bias), &problem.geometry, Activation::Relu)?;
        assert_eq!(got.dtype(), dtype);
        assert!(relative_difference(&values(&got)?, &expected) < tolerance, "{dtype:?}");
    }
    Ok(())
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() -> Result<()> {
    for groups in [1, 16] {
        let geometry = ConvGeometry::square(3).stride([2, 2]).same().groups(groups);
        let problem = Problem { batch: 2, in_c: 16, out_c: 16, in_hw: [61, 67], geometry };
        let (xs, weight, bias) = problem.tensors(DType::F32)?;
        let vars = [Var::from_tensor(&xs)?, Var::from_tensor(&weight)?, Var::from_tensor(&bias)?];
        let run = |threads| -> Result<Vec<Vec<f64>>> {
            let pool =
                rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(candle_core::Error::wrap)?;
            pool.install(|| {
                let mut results = vec![values(&conv2d(&xs, &weight, Some(&bias), &geometry, Activation::Silu)?)?];
                let ys = conv2d(&vars[0], &vars[1], Some(&vars[2]), &geometry, Activation::Silu)?;
                let grads = ys.sqr()?.sum_all()?.backward()?;
                for var in &vars {
                    results.push(values(grads.get(var).expect("each operand takes part"))?);
                }
                Ok(results)
            })
        };
        let single = run(1)?;
        for threads in [2, 3, 8] {
            assert_eq!(run(threads)?, single, "{threads} threads, {groups} groups");
        }
    }
    Ok(())
}

/// Candle takes the missing rows and columns of a strided convolution from the height alone.
#[test]
fn stock_candle_has_no_gradient_of_a_rectangular_input_that_ours_has() -> Result<()> {
    let geometry = ConvGeometry::square(3).stride([2, 2]).same();
    let gradient = |conv: &dyn Fn(&Tensor, &Tensor) -> Result<Tensor>| -> Result<Vec<usize>> {
        let (xs, weight) = (Var::from_tensor(&random((1, 2, 7, 8), 1)?)?, random((3, 2, 3, 3), 2)?);
        let grads = conv(&xs, &weight)?.sum_all()?.backward()?;
        Ok(grads.get(&xs).expect("xs takes part").dims().to_vec())
    };
    assert_eq!(gradient(&|xs, weight| conv2d(xs, weight, None, &geometry, Activation::Identity))?, [1, 2, 7, 8]);
    let stock = gradient(&|xs, weight| xs.conv2d(weight, 1, 2, 1, 1));
    assert!(stock.is_err(), "candle is mended: use its operation ({stock:?})");
    Ok(())
}

#[test]
fn operands_that_do_not_fit_are_refused() -> Result<()> {
    let xs = random((1, 4, 5, 5), 1)?;
    let weight = |shape: (usize, usize, usize, usize)| random(shape, 2);
    let three = ConvGeometry::square(3);
    for (weight, bias, geometry) in [
        (weight((2, 3, 3, 3))?, None, three),
        (weight((2, 4, 3, 1))?, None, three),
        (weight((3, 2, 3, 3))?, None, three.groups(2)),
        (weight((2, 4, 3, 3))?, Some(random(3, 3)?), three),
        (weight((2, 4, 3, 3))?.to_dtype(DType::F32)?, None, three),
        (weight((2, 4, 7, 7))?, None, ConvGeometry::square(7)),
    ] {
        let result = conv2d(&xs, &weight, bias.as_ref(), &geometry, Activation::Identity);
        assert!(result.is_err(), "weight {:?} with {geometry:?}", weight.shape());
    }
    Ok(())
}
