use super::super::golden::{difference, golden, number, uniform};
use super::*;
use candle_core::{Tensor, Var};
use ghostzoo_kernels::with_candle_ops;

/// Rounding in f64, relative to the size of the logits.
const TOLERANCE: f64 = 1e-14;

/// The same in f32: 24 bits, and sums of some rounded terms.
const SINGLE_TOLERANCE: f64 = 1e-6;

const SHAPE: [usize; 2] = [6, 5];
const CLASSES: [u32; 6] = [0, 4, 2, 2, 1, 3];

fn inputs(dtype: DType) -> Result<[Tensor; 4]> {
    let targets = ((uniform("targets", &SHAPE)? + 1.)? / 2.)?;
    let soft = targets.broadcast_div(&targets.sum_keepdim(1)?)?;
    let all = [targets, soft, (uniform("weights", &SHAPE)? + 1.)?, uniform("teacher", &SHAPE)?];
    let mut cast = all.iter().map(|tensor| tensor.to_dtype(dtype));
    let mut next = || cast.next().expect("four tensors");
    Ok([next()?, next()?, next()?, next()?])
}

fn loss(name: &str, xs: &Tensor, size: f64) -> Result<Tensor> {
    let [targets, soft, weights, teacher] = inputs(xs.dtype())?;
    let teacher = (teacher * (size / 2.))?;
    let classes = |smoothing| class_targets(&CLASSES, SHAPE[1], smoothing, xs.dtype(), xs.device());
    let count = (SHAPE[0] * SHAPE[1]) as f64;
    match name {
        "bce" => bce_with_logits(xs, &targets, None),
        "bce_weighted" => bce_with_logits(xs, &targets, Some(&weights)),
        "bce_classes" => bce_with_logits(xs, &classes(0.1)?, None)? / count,
        "bce_threshold" => bce_with_logits(xs, &soft.gt(0.2)?.to_dtype(xs.dtype())?, None)? / count,
        "cross_entropy" => cross_entropy(xs, &classes(0.)?),
        "cross_entropy_smooth" => cross_entropy(xs, &classes(0.1)?),
        "cross_entropy_soft" => cross_entropy(xs, &soft),
        "distill_soft" => distill_soft(xs, &teacher, 3.),
        "distill_hard" => distill_hard(xs, &teacher),
        other => panic!("no loss {other}"),
    }
}

#[test]
fn values_and_gradients_equal_torchs_and_timms() -> Result<()> {
    let golden = golden("losses");
    for (size, cases) in golden.as_object().expect("sizes") {
        let size: f64 = size.parse().expect("a number");
        for (name, expected) in cases.as_object().expect("losses") {
            for (dtype, tolerance) in [(DType::F64, TOLERANCE), (DType::F32, SINGLE_TOLERANCE)] {
                for stock in [false, true] {
                    let xs = Var::from_tensor(&(uniform("logits", &SHAPE)? * size)?.to_dtype(dtype)?)?;
                    let run = || loss(name, &xs, size);
                    let loss = if stock { with_candle_ops(run)? } else { run()? };
                    assert_eq!(loss.dims(), [0; 0]);
                    let expected_value = number(&expected["value"]);
                    let value: f64 = loss.to_dtype(DType::F64)?.to_scalar()?;
                    let error = (value - expected_value).abs() / expected_value.abs().max(1.);
                    assert!(error < tolerance * 10., "{name} of {size} in {dtype:?}: {value} != {expected_value}");
                    // The loss may be one part of several.
                    let grads = (loss * 2.)?.backward()?;
                    let grad = (grads.get(&xs).expect("a gradient") / 2.)?;
                    let error = difference(&grad, &expected["grad"])?;
                    assert!(
                        error < tolerance * size.max(10.),
                        "{name} of {size} in {dtype:?}: gradient off by {error:e}"
                    );
                }
            }
        }
    }
    Ok(())
}

#[test]
fn candles_own_binary_cross_entropy_is_no_number_at_large_logits() -> Result<()> {
    let logits = Tensor::new(&[[200f32, -200.]], &Device::Cpu)?;
    let targets = Tensor::new(&[[1f32, 0.]], &Device::Cpu)?;
    let stock = candle_nn::loss::binary_cross_entropy_with_logit(&logits, &targets)?.to_scalar::<f32>()?;
    assert!(stock.is_nan(), "{stock}");
    assert_eq!(bce_with_logits(&logits, &targets, None)?.to_scalar::<f32>()?, 0.);
    Ok(())
}

#[test]
fn a_large_batch_gives_the_sum_of_its_parts() -> Result<()> {
    // Two chunks and a part of one.
    let [xs, targets, weights] =
        ["xs", "ts", "ws"].map(|name| crate::seeded::uniform(name, &(331, 101).into(), &Device::Cpu));
    let (xs, targets, weights) = ((xs? * 5.)?, targets?.abs()?, weights?.abs()?);
    let whole = bce_with_logits(&xs, &targets, Some(&weights))?.to_scalar::<f32>()?;
    let mut parts = 0.;
    for row in 0..331 {
        let row = |tensor: &Tensor| tensor.get(row);
        parts += bce_with_logits(&row(&xs)?, &row(&targets)?, Some(&row(&weights)?))?.to_scalar::<f32>()?;
    }
    // Each part is rounded once more.
    assert!((whole / parts - 1.).abs() < 1e-5, "{whole} is not {parts}");
    let strided = bce_with_logits(&xs.t()?, &targets.t()?, Some(&weights.t()?))?.to_scalar::<f32>()?;
    assert!((whole / strided - 1.).abs() < 1e-6, "{whole} is not {strided}");
    assert!(bce_with_logits(&xs, &targets.t()?, None).is_err());
    Ok(())
}

#[test]
fn neither_targets_nor_the_teacher_get_a_gradient() -> Result<()> {
    let [student, other] = ["a", "b"].map(|name| uniform(name, &SHAPE).and_then(|values| Var::from_tensor(&values)));
    let (student, other) = (student?, other?);
    let losses = [
        bce_with_logits(&student, &other, Some(&other))?,
        distill_soft(&student, &other, 2.)?,
        distill_hard(&student, &other)?,
    ];
    for loss in losses {
        let grads = loss.backward()?;
        assert!(grads.get(&student).is_some() && grads.get(&other).is_none());
    }
    let mixed = distilled(&Tensor::new(8f64, &Device::Cpu)?, &Tensor::new(4f64, &Device::Cpu)?, 0.25)?;
    assert_eq!(mixed.to_scalar::<f64>()?, 7.);
    let error = class_targets(&[0, 3], 3, 0., DType::F32, &Device::Cpu).expect_err("classes count from 0").to_string();
    assert!(error.contains("image 1 of the batch has class 3, of 3"), "{error}");
    Ok(())
}
