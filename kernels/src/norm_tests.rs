use std::sync::{Arc, Barrier, Mutex};

use candle_core::{DType, Device, Result, Tensor, Var};
use proptest::prelude::*;

use super::{batch_norm, compose};
use crate::gpu::place::{PLACES, Place};
use crate::{Activation, AllGather, with_sync_batch_norm};

fn random(shape: impl Into<candle_core::Shape>, seed: u64) -> Result<Tensor> {
    let (shape, mut state) = (shape.into(), seed);
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn results_and_gradients_equal_those_of_the_composed_form(
        (batch, channels, h, w) in (1..=4usize, 1..=5usize, 1..=9usize, 1..=40usize),
        activation in 0..Activation::ALL.len(),
        about in prop_oneof![Just(0.), Just(-300.)],
    ) {
        prop_assume!(batch * h * w > 1);
        let dims = [batch, channels, h, w];
        check(dims, Activation::ALL[activation], about).map_err(|error| TestCaseError::fail(error.to_string()))?;
    }
}

fn check(dims: [usize; 4], activation: Activation, about: f64) -> Result<()> {
    let (eps, channels) = (1e-3, dims[1]);
    let vars = [
        Var::from_tensor(&(random(&dims, 1)? + about)?)?,
        Var::from_tensor(&(random(channels, 2)? + 1.)?)?,
        Var::from_tensor(&random(channels, 3)?)?,
    ];
    let gradients = |ys: &Tensor| -> Result<Vec<Vec<f64>>> {
        let grads = (ys * random(&dims, 4)?)?.sum_all()?.backward()?;
        vars.iter().map(|var| values(grads.get(var).expect("each operand takes part"))).collect()
    };
    let [xs, weight, bias] = &vars;
    let (ys, moments) = batch_norm(xs, weight, bias, eps, activation)?;
    let (expected, expected_moments) = compose(xs, weight, bias, eps, activation, moments.count)?;
    // A mean far from zero costs digits of the inputs themselves.
    let tolerance = 1e-10 * (1. + about.abs());
    assert!(relative_difference(&values(&ys)?, &values(&expected)?) < tolerance, "{activation:?} of {dims:?}");
    for (got, expected) in [(moments.mean, expected_moments.mean), (moments.var, expected_moments.var)] {
        assert!(relative_difference(&values(&got)?, &values(&expected)?) < tolerance, "moments of {dims:?}");
    }
    for (got, expected) in gradients(&ys)?.iter().zip(&gradients(&expected)?) {
        // Where a channel's elements hardly differ, gradients are differences of large numbers.
        assert!(relative_difference(got, expected) < 1e3 * tolerance, "gradients of {activation:?} of {dims:?}");
    }
    let narrow = |t: &Tensor| t.to_dtype(DType::F32);
    if about == 0. {
        let (ys32, _) = batch_norm(&narrow(xs)?, &narrow(weight)?, &narrow(bias)?, eps, activation)?;
        assert!(relative_difference(&values(&ys32)?, &values(&ys)?) < 1e-4, "f32 of {activation:?} of {dims:?}");
    }
    Ok(())
}

#[test]
fn planes_of_several_parts_equal_the_composed_form() -> Result<()> {
    for activation in [Activation::Identity, Activation::Relu, Activation::Silu] {
        check([2, 3, 33, 40], activation, 0.)?;
    }
    Ok(())
}

#[test]
fn a_mean_far_from_zero_costs_single_precision_no_digits_of_the_variance() -> Result<()> {
    for dims in [[5, 2, 33, 70], [64, 2, 3, 5]] {
        let xs = (random(&dims, 1)? + 300.)?.to_dtype(DType::F32)?;
        let column = |dtype| Tensor::ones(2, dtype, &Device::Cpu);
        let moments = |xs: &Tensor, dtype| -> Result<_> {
            Ok(batch_norm(xs, &column(dtype)?, &column(dtype)?, 1e-3, Activation::Identity)?.1)
        };
        let (got, exact) = (moments(&xs, DType::F32)?, moments(&xs.to_dtype(DType::F64)?, DType::F64)?);
        let difference = relative_difference(&values(&got.var)?, &values(&exact.var)?);
        assert!(difference < 1e-6, "the variance of {dims:?} differs by {difference:e}");
        assert!(relative_difference(&values(&got.mean)?, &values(&exact.mean)?) < 1e-7, "the mean of {dims:?}");
    }
    Ok(())
}

#[test]
fn gradients_equal_central_differences() -> Result<()> {
    let dims = [3, 2, 4, 5];
    let cotangent = random(&dims, 5)?;
    for activation in [Activation::Identity, Activation::Silu, Activation::Sigmoid, Activation::Gelu] {
        let vars = [
            Var::from_tensor(&random(&dims, 1)?)?,
            Var::from_tensor(&(random(2, 2)? + 1.)?)?,
            Var::from_tensor(&random(2, 3)?)?,
        ];
        let loss = || {
            let [xs, weight, bias] = &vars;
            (batch_norm(xs, weight, bias, 1e-3, activation)?.0 * &cotangent)?.sum_all()
        };
        let grads = loss()?.backward()?;
        for (operand, var) in vars.iter().enumerate() {
            let (grad, start) = (values(grads.get(var).expect("takes part"))?, values(var)?);
            for i in (0..grad.len()).step_by(7) {
                let step = 1e-6;
                let shifted = |by: f64| {
                    let mut moved = start.clone();
                    moved[i] += by;
                    var.set(&Tensor::from_vec(moved, var.shape(), &Device::Cpu)?)?;
                    loss()?.to_scalar::<f64>()
                };
                let numeric = (shifted(step)? - shifted(-step)?) / (2. * step);
                var.set(&Tensor::from_vec(start.clone(), var.shape(), &Device::Cpu)?)?;
                let got = grad[i];
                assert!((got - numeric).abs() < 1e-7, "{activation:?}, operand {operand}, {i}: {got} != {numeric}");
            }
        }
    }
    Ok(())
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() -> Result<()> {
    let xs = Var::from_tensor(&random((3, 7, 31, 33), 1)?.to_dtype(DType::F32)?)?;
    let column = |seed| random(7, seed)?.to_dtype(DType::F32);
    let run = |threads| -> Result<[Vec<f64>; 2]> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(candle_core::Error::wrap)?;
        pool.install(|| {
            let (ys, _) = batch_norm(&xs, &column(2)?, &column(3)?, 1e-3, Activation::Silu)?;
            let grads = ys.sqr()?.sum_all()?.backward()?;
            Ok([values(&ys)?, values(grads.get(&xs).expect("xs takes part"))?])
        })
    };
    let single = run(1)?;
    for threads in [2, 3, 8] {
        assert_eq!(run(threads)?, single, "{threads} threads");
    }
    Ok(())
}

#[test]
fn one_value_per_channel_and_unfitting_operands_are_refused() -> Result<()> {
    let column = random(2, 1)?;
    let error = |xs: &Tensor, weight: &Tensor| batch_norm(xs, weight, &column, 1e-3, Activation::Relu).err();
    let message = error(&random((1, 2, 1, 1), 1)?, &column).expect("an error").to_string();
    assert!(message.contains("more than one value per channel"), "{message}");
    assert!(error(&random((2, 3, 2, 2), 1)?, &column).is_some(), "three channels, two weights");
    assert!(error(&random((2, 2, 2, 2), 1)?, &random(3, 1)?).is_some(), "two channels, three weights");
    Ok(())
}

/// Threads that stand for processes.
#[derive(Debug)]
struct Threads {
    given: Mutex<Vec<Vec<f64>>>,
    barrier: Barrier,
}

#[derive(Debug)]
struct Member(Arc<Threads>, usize);

impl AllGather for Member {
    fn all_gather(&self, values: Vec<f64>) -> Result<Vec<Vec<f64>>> {
        self.0.given.lock().expect("no panic")[self.1] = values;
        self.0.barrier.wait();
        let all = self.0.given.lock().expect("no panic").clone();
        self.0.barrier.wait();
        Ok(all)
    }
}

/// Result, mean, variance, and the gradients of input, weight and bias for `grad`.
fn pass(xs: &Tensor, grad: &Tensor) -> Result<(Vec<Vec<f64>>, usize)> {
    let (channels, like) = (xs.dim(1)?, |t: Tensor| t.to_dtype(xs.dtype())?.to_device(xs.device()));
    let vars = [
        Var::from_tensor(xs)?,
        Var::from_tensor(&like((random(channels, 2)? + 1.)?)?)?,
        Var::from_tensor(&like(random(channels, 3)?)?)?,
    ];
    let (ys, stats) = batch_norm(&vars[0], &vars[1], &vars[2], 1e-3, Activation::Silu)?;
    let grads = (&ys * grad)?.sum_all()?.backward()?;
    let mut all = vec![values(&ys)?, values(&stats.mean)?, values(&stats.var)?];
    for var in &vars {
        all.push(values(grads.get(var).expect("each operand takes part"))?);
    }
    Ok((all, stats.count))
}

/// What [`pass`] gives of the parts of a batch, each of which a thread has, by kernels of a place.
fn parts_of(place: &Place, batch: [&Tensor; 2], parts: &[usize]) -> Result<Vec<(Vec<Vec<f64>>, usize)>> {
    let given = Mutex::new(vec![Vec::new(); parts.len()]);
    let threads = Arc::new(Threads { given, barrier: Barrier::new(parts.len()) });
    std::thread::scope(|scope| {
        let member = |rank: usize| {
            let (group, first) = (Member(threads.clone(), rank), parts[..rank].iter().sum::<usize>());
            let part = batch.map(|all| all.narrow(0, first, parts[rank])?.contiguous());
            scope.spawn(move || {
                let [xs, grad] = part;
                place.run(|| with_sync_batch_norm(Arc::new(group), || pass(&xs?, &grad?)))
            })
        };
        let all: Vec<_> = (0..parts.len()).map(member).collect();
        all.into_iter().map(|member| member.join().expect("no panic")).collect()
    })
}

#[test]
fn processes_together_have_the_moments_and_gradients_of_the_whole_batch() -> Result<()> {
    let cases = [(vec![2, 2], [5, 7], 0.), (vec![1, 3, 2], [3, 1], -300.), (vec![1, 1, 1], [1, 1], 0.)];
    for ((parts, plane, about), place) in cases.iter().flat_map(|case| PLACES.iter().map(move |place| (case, place))) {
        let dims = [parts.iter().sum::<usize>(), 3, plane[0], plane[1]];
        let (dtype, rounding) = if matches!(place, Place::Cpu) { (DType::F64, 1e-10) } else { (DType::F32, 1e-6) };
        let batch = [(random(&dims, 5)? + *about)?.to_dtype(dtype)?, random(&dims, 6)?.to_dtype(dtype)?];
        let (whole, count) = pass(&batch[0].to_dtype(DType::F64)?, &batch[1].to_dtype(DType::F64)?)?;
        let [xs, grad] = batch.map(|all| all.to_device(place.device()));
        let found = parts_of(place, [&xs?, &grad?], parts)?;
        let tolerance = rounding * (1. + f64::abs(*about));
        for (at, expected) in whole.iter().enumerate() {
            let of = |rank: usize| found[rank].0[at].as_slice();
            let got: Vec<f64> = match at {
                // Results and gradients of the input are of each process's own images.
                0 | 3 => (0..parts.len()).flat_map(of).copied().collect(),
                // Moments are the same everywhere.
                1 | 2 => {
                    assert!((1..parts.len()).all(|rank| of(rank) == of(0)), "{at}");
                    of(0).to_vec()
                }
                // The others add up.
                _ => (0..3).map(|channel| (0..parts.len()).map(|rank| of(rank)[channel]).sum()).collect(),
            };
            let distance = relative_difference(&got, expected);
            assert!(distance < tolerance, "{at} of {parts:?}, {place:?}: {distance}, {got:?} {expected:?}");
        }
        assert!(found.iter().all(|(_, of_all)| *of_all == count), "{count}");
    }
    Ok(())
}
