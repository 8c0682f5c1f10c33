use candle_core::{DType, Device, Result, Tensor, Var};
use ghostzoo_kernels::Activation;
use serde::Deserialize;

use super::{BatchNorm, BatchNormConfig};

/// Largest difference of `f64` results, relative to the largest magnitude: sums run in other orders than PyTorch's.
const F64_TOLERANCE: f64 = 1e-12;
/// The same of `f32` results, of which PyTorch's own are within 2.2e-7: a few roundings.
const F32_TOLERANCE: f64 = 1e-6;

fn values(xs: &Tensor) -> Result<Vec<f64>> {
    xs.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

fn relative_difference(got: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len(), "same number of elements");
    let scale = expected.iter().fold(1e-3, |scale: f64, y| scale.max(y.abs()));
    got.iter().zip(expected).fold(0., |worst: f64, (g, e)| worst.max((g - e).abs())) / scale
}

#[derive(Deserialize)]
struct Golden {
    shape: [usize; 4],
    momentum: f64,
    eps: f64,
    weight: Vec<f64>,
    bias: Vec<f64>,
    inputs: Vec<Vec<f64>>,
    cotangents: Vec<Vec<f64>>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    ys: Vec<f64>,
    grad_xs: Vec<f64>,
    grad_weight: Vec<f64>,
    grad_bias: Vec<f64>,
    running_mean: Vec<f64>,
    running_var: Vec<f64>,
}

#[test]
fn two_steps_equal_pytorchs_with_their_gradients_and_running_statistics() -> Result<()> {
    let text = include_str!("../../../tests/golden/train/batch_norm.json");
    let golden: Golden = serde_json::from_str(text).map_err(candle_core::Error::wrap)?;
    for (dtype, tolerance) in [(DType::F64, F64_TOLERANCE), (DType::F32, F32_TOLERANCE)] {
        let map = candle_nn::VarMap::new();
        let vb = candle_nn::VarBuilder::from_varmap(&map, dtype, &Device::Cpu);
        let config = BatchNormConfig { eps: golden.eps, momentum: golden.momentum };
        let norm = BatchNorm::new(golden.shape[1], config, vb)?;
        let variable = |name: &str| map.data().lock().expect("no other thread")[name].clone();
        let vector = |values: &[f64]| Tensor::new(values, &Device::Cpu)?.to_dtype(dtype);
        variable("weight").set(&vector(&golden.weight)?)?;
        variable("bias").set(&vector(&golden.bias)?)?;
        for (step, (xs, cotangent)) in golden.inputs.iter().zip(&golden.cotangents).enumerate() {
            let xs = Var::from_tensor(&vector(xs)?.reshape(&golden.shape)?)?;
            let ys = norm.forward_with(&xs, Activation::Silu, true)?;
            let grads = (&ys * vector(cotangent)?.reshape(&golden.shape)?)?.sum_all()?.backward()?;
            let grad = |var: &Var| values(grads.get(var).expect("each variable takes part"));
            let expected = &golden.steps[step];
            for (what, got, expected) in [
                ("result", values(&ys)?, &expected.ys),
                ("gradient of the input", grad(&xs)?, &expected.grad_xs),
                ("gradient of the weight", grad(&variable("weight"))?, &expected.grad_weight),
                ("gradient of the bias", grad(&variable("bias"))?, &expected.grad_bias),
                ("running mean", values(&variable("running_mean"))?, &expected.running_mean),
                ("running variance", values(&variable("running_var"))?, &expected.running_var),
            ] {
                let difference = relative_difference(&got, expected);
                assert!(difference < tolerance, "{dtype:?}, step {step}: the {what} differs by {difference:e}");
            }
        }
    }
    Ok(())
}
