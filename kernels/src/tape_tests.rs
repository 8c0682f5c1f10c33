use candle_core::{DType, Device, Result, Tensor, Var};

use super::joint_backward;
use crate::{
    Activation, ConvGeometry, add, avg_pool2d, batch_norm, concat, conv2d, global_avg_pool2d, max_pool2d, multiply,
    narrow_channels, upsample_nearest2d,
};

fn random(shape: impl Into<candle_core::Shape>, seed: u64) -> Result<Tensor> {
    let (shape, mut state) = (shape.into(), seed);
    let values: Vec<f64> = (0..shape.elem_count()).map(|_| crate::seeded::splitmix(&mut state)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

fn values(xs: &Tensor) -> Result<Vec<f64>> {
    xs.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

/// Every kernel, results used several times, views, and operations of candle's own between them.
pub(crate) fn network(xs: &Tensor, weights: &[Tensor]) -> Result<Vec<Tensor>> {
    let [conv, depthwise, scale, shift] = weights else { unreachable!("four variables") };
    let three = ConvGeometry::square(3).same();
    let ys = conv2d(xs, conv, None, &three, Activation::Identity)?;
    let (ys, _) = batch_norm(&ys, scale, shift, 1e-3, Activation::Silu)?;
    let (first, second) = (narrow_channels(&ys, 0, 2)?, narrow_channels(&ys, 2, 2)?);
    let cheap = conv2d(&second, depthwise, Some(shift), &three.groups(2), Activation::Relu)?;
    let joined = concat(&[&first, &cheap, &ys])?;
    let gated = multiply(&joined, &Activation::Sigmoid.apply(&global_avg_pool2d(&joined)?)?)?;
    let small = avg_pool2d(&gated, &ConvGeometry::square(2).stride([2, 2]))?;
    let again = upsample_nearest2d(&max_pool2d(&small, &three)?, [6, 8])?;
    // Candle's own operations see the tape's results as they see variables.
    let mixed = (add(&gated, &again)?.tanh()? * (scale.sum_all()? / 4.)?.broadcast_as(gated.shape())?)?;
    let last = multiply(&add(&mixed, &gated)?, &again)?;
    Ok(vec![last, ys, (small * 2.)?])
}

pub(crate) fn variables() -> Result<Vec<Var>> {
    let shapes: [&[usize]; 4] = [&[4, 3, 3, 3], &[4, 1, 3, 3], &[4], &[4]];
    shapes.iter().enumerate().map(|(i, shape)| Var::from_tensor(&random(*shape, i as u64)?)).collect()
}

fn tensors(variables: &[Var]) -> Vec<Tensor> {
    variables.iter().map(|var| var.as_tensor().clone()).collect()
}

#[test]
fn results_and_gradients_are_those_without_a_tape() -> Result<()> {
    let variables = variables()?;
    let xs = Var::from_tensor(&random((2, 3, 6, 8), 9)?)?;
    let run = |taped: bool, used: &[usize]| -> Result<[Vec<Vec<f64>>; 2]> {
        let f = |xs: &Tensor| network(xs, &tensors(&variables));
        let results = if taped { joint_backward(&xs, f)? } else { f(&xs)? };
        let weighted = |i: &usize| (&results[*i] * random(results[*i].shape(), 20 + *i as u64)?)?.sum_all();
        let loss = Tensor::stack(&used.iter().map(weighted).collect::<Result<Vec<_>>>()?, 0)?.sum_all()?;
        let grads = loss.backward()?;
        let of = |var: &Var| values(grads.get(var).expect("each variable takes part"));
        let grads = variables.iter().chain([&xs]).map(of).collect::<Result<_>>()?;
        Ok([results.iter().map(values).collect::<Result<_>>()?, grads])
    };
    for used in [&[0, 1, 2][..], &[0], &[2, 0]] {
        let ([results, grads], [expected, expected_grads]) = (run(true, used)?, run(false, used)?);
        assert_eq!(results, expected);
        for (got, expected) in grads.iter().zip(&expected_grads) {
            let scale = expected.iter().fold(1e-3, |scale: f64, y| scale.max(y.abs()));
            let worst = got.iter().zip(expected).fold(0., |worst: f64, (g, e)| worst.max((g - e).abs()));
            assert!(worst < 1e-12 * scale, "results {used:?}: {worst:e} of {scale:e}");
        }
    }
    Ok(())
}

#[test]
fn constants_need_no_tape_and_gradients_come_once() -> Result<()> {
    let (variables, xs) = (variables()?, random((2, 3, 6, 8), 9)?);
    let results = joint_backward(&xs, |xs| Ok(vec![global_avg_pool2d(xs)?]))?;
    assert!(!results[0].track_op(), "a function of constants");
    let loss = joint_backward(&xs, |xs| network(xs, &tensors(&variables)))?[0].sum_all()?;
    loss.backward()?;
    let error = loss.backward().expect_err("what the gradients need was freed").to_string();
    assert!(error.contains("run the network again"), "{error}");
    Ok(())
}

#[test]
fn a_failed_network_leaves_no_tape_behind() -> Result<()> {
    let xs = random((2, 3, 6, 8), 9)?;
    assert!(joint_backward(&xs, |_| candle_core::bail!("a failure")).is_err());
    let results = joint_backward(&xs, |xs| network(xs, &tensors(&variables()?)))?;
    assert!(results.iter().all(Tensor::track_op));
    Ok(())
}

/// Keeps the gradients of some variables, and notes the order in which they came.
struct Kept {
    wanted: Vec<candle_core::TensorId>,
    seen: std::cell::RefCell<Vec<(candle_core::TensorId, Tensor)>>,
}

impl crate::GradientSink for Kept {
    fn keep(&self, variable: candle_core::TensorId, grad: &Tensor) -> Result<bool> {
        self.seen.borrow_mut().push((variable, grad.copy()?));
        Ok(self.wanted.contains(&variable))
    }
}

#[test]
fn a_sink_sees_each_gradient_once_when_it_is_whole() -> Result<()> {
    let variables = variables()?;
    let xs = Var::from_tensor(&random((2, 3, 6, 8), 9)?)?;
    let leaves: Vec<&Var> = variables.iter().chain([&xs]).collect();
    let loss = || -> Result<Tensor> {
        let results = joint_backward(&xs, |xs| network(xs, &tensors(&variables)))?;
        let sums: Vec<Tensor> = results.iter().map(|ys| ys.sqr()?.sum_all()).collect::<Result<_>>()?;
        Tensor::stack(&sums, 0)?.sum_all()
    };
    let expected = loss()?.backward()?;
    let kept = std::rc::Rc::new(Kept { wanted: vec![variables[0].id(), variables[2].id()], seen: Vec::new().into() });
    let grads = crate::with_gradient_sink(kept.clone(), || loss()?.backward())?;
    let seen = kept.seen.borrow();
    assert_eq!(seen.len(), leaves.len());
    for leaf in &leaves {
        let (_, grad) = seen.iter().find(|(id, _)| *id == leaf.id()).expect("each variable");
        let of_pass = expected.get(leaf).expect("each variable takes part");
        assert_eq!(values(grad)?, values(of_pass)?);
        match grads.get(leaf) {
            Some(grad) => assert_eq!(values(grad)?, values(of_pass)?),
            None => assert!(kept.wanted.contains(&leaf.id())),
        }
    }
    let place = |var: &Var| seen.iter().position(|(id, _)| *id == var.id());
    let [conv, depthwise, _, shift] = &variables[..] else { unreachable!("four variables") };
    assert!(place(depthwise) < place(shift) && place(shift) <= place(conv), "the last layer's comes first");
    // Outside of the scope nothing is kept.
    assert!(loss()?.backward()?.get(&variables[0]).is_some());
    assert_eq!(seen.len(), leaves.len());
    Ok(())
}
