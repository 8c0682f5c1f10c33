//! Gradients between the backward pass and the optimizer's step: summed and clipped.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, DType, Device, Result, Storage, Tensor, Var, WithDType, bail};
use rayon::prelude::*;

/// Added to a norm before it divides, as in PyTorch.
const EPS: f64 = 1e-6;

/// Elements whose squares one thread adds up.
const CHUNK: usize = 1 << 14;

/// The sum of the gradients of several backward passes, for some parameters.
#[derive(Debug)]
pub struct GradAccumulator {
    parameters: Vec<(String, Var)>,
    sum: Option<GradStore>,
}

impl GradAccumulator {
    /// No gradients yet, for these parameters.
    #[must_use]
    pub fn new(parameters: &[(String, Var)]) -> Self {
        Self { parameters: parameters.to_vec(), sum: None }
    }

    /// The parameters.
    pub(super) fn parameters(&self) -> &[(String, Var)] {
        &self.parameters
    }

    /// Adds the gradients of one backward pass. A parameter that it did not reach keeps its sum.
    pub fn add(&mut self, mut grads: GradStore) -> Result<()> {
        if let Some(sum) = self.sum.take() {
            for (_, var) in &self.parameters {
                if let Some(before) = sum.get(var) {
                    let total = match grads.remove(var) {
                        Some(grad) => (before + grad)?,
                        None => before.clone(),
                    };
                    grads.insert(var, total);
                }
            }
        }
        self.sum = Some(grads);
        Ok(())
    }

    /// The square root of the sum of all squares, in `f64`.
    pub fn norm(&self) -> Result<f64> {
        let grads = self.parameters.iter().filter_map(|(_, var)| self.sum.as_ref()?.get(var));
        let (here, elsewhere): (Vec<&Tensor>, Vec<&Tensor>) = grads.partition(|grad| grad.device().is_cpu());
        let mut sum = 0.;
        for grad in here {
            sum += sum_of_squares(grad)?;
        }
        if !elsewhere.is_empty() {
            // The host waits for a GPU once.
            let squares = |grad: &&Tensor| grad.to_dtype(DType::F32)?.sqr()?.sum_all();
            let squares = Tensor::stack(&elsewhere.iter().map(squares).collect::<Result<Vec<_>>>()?, 0)?;
            sum += squares.to_vec1::<f32>()?.into_iter().map(f64::from).sum::<f64>();
        }
        Ok(sum.sqrt())
    }

    /// Scales all gradients by `max_norm / (norm + 1e-6)` where that is below 1, and returns the norm before.
    ///
    /// As `torch.nn.utils.clip_grad_norm_`; a norm that is not a number makes all gradients so.
    pub fn clip_norm(&mut self, max_norm: f64) -> Result<f64> {
        let norm = self.norm()?;
        let factor = max_norm / (norm + EPS);
        if factor < 1. || factor.is_nan() {
            self.replace(|grad| grad * factor)?;
        }
        Ok(norm)
    }

    /// Clamps each element to `[−limit, limit]`, as `torch.nn.utils.clip_grad_value_`.
    pub fn clip_value(&mut self, limit: f64) -> Result<()> {
        self.replace(|grad| grad.clamp(-limit, limit))
    }

    /// The sum, which starts anew, or `None` where nothing was added.
    pub fn take(&mut self) -> Option<GradStore> {
        self.sum.take()
    }

    /// The sums so far, by the parameters' names.
    #[must_use]
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        let of = |(name, var): &(String, Var)| Some((name.clone(), self.sum.as_ref()?.get(var)?.clone()));
        self.parameters.iter().filter_map(of).collect()
    }

    /// Restores what [`GradAccumulator::tensors`] gave. Fails, and changes nothing, where a tensor belongs to no parameter or
    /// does not have its shape.
    pub fn set_all(&mut self, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        if tensors.is_empty() {
            self.sum = None;
            return Ok(());
        }
        // The only way to a store is a backward pass.
        let mut sum = Tensor::new(0f32, &Device::Cpu)?.backward()?;
        for (name, tensor) in tensors {
            let Some((_, var)) = self.parameters.iter().find(|(parameter, _)| parameter == name) else {
                bail!("the saved gradient {name} belongs to no parameter in training")
            };
            if tensor.dims() != var.dims() {
                bail!("the saved gradient {name} has the shape {:?}, its parameter {:?}", tensor.dims(), var.dims())
            }
            sum.insert(var, tensor.to_device(var.device())?.to_dtype(var.dtype())?);
        }
        self.sum = Some(sum);
        Ok(())
    }

    fn replace(&mut self, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<()> {
        let Some(sum) = &mut self.sum else { return Ok(()) };
        for (_, var) in &self.parameters {
            if let Some(grad) = sum.remove(var) {
                sum.insert(var, f(&grad)?);
            }
        }
        Ok(())
    }
}

fn sum_of_squares(xs: &Tensor) -> Result<f64> {
    fn of<T: WithDType>(xs: &[T]) -> f64 {
        let parts = xs.par_chunks(CHUNK).map(|xs| xs.iter().map(|x| x.to_f64() * x.to_f64()).sum::<f64>());
        parts.collect::<Vec<_>>().into_iter().sum()
    }
    let xs = xs.contiguous()?;
    {
        let (storage, layout) = xs.storage_and_layout();
        if let (Storage::Cpu(storage), Some((start, end))) = (&*storage, layout.contiguous_offsets()) {
            match storage {
                CpuStorage::F32(xs) => return Ok(of(&xs[start..end])),
                CpuStorage::F64(xs) => return Ok(of(&xs[start..end])),
                _ => {}
            }
        }
    }
    xs.to_dtype(candle_core::DType::F32)?.sqr()?.sum_all()?.to_dtype(candle_core::DType::F64)?.to_scalar()
}

#[cfg(test)]
mod tests {
    use super::super::golden::{difference, golden, number, uniform};
    use super::*;
    use candle_core::{DType, Device};

    /// Rounding in f64 of values below 1000.
    const TOLERANCE: f64 = 1e-12;

    const SHAPES: [(&str, &[usize]); 5] =
        [("one", &[3]), ("wide", &[2, 5]), ("tall", &[5, 2]), ("column", &[3, 2, 3, 1]), ("row", &[2, 2, 1, 3])];

    fn parameters() -> Result<Vec<(String, Var)>> {
        SHAPES.iter().map(|(name, dims)| Ok(((*name).into(), Var::zeros(*dims, DType::F64, &Device::Cpu)?))).collect()
    }

    /// The gradients of these parameters in a step of the script.
    fn grads(parameters: &[(String, Var)], step: usize, with: impl Fn(&str) -> bool) -> Result<GradStore> {
        let mut loss = Tensor::zeros((), DType::F64, &Device::Cpu)?;
        for (name, var) in parameters.iter().filter(|(name, _)| with(name)) {
            loss = (loss + (var.as_tensor() * uniform(&format!("{name}.{step}"), var.dims())?)?.sum_all()?)?;
        }
        loss.backward()
    }

    #[test]
    fn clipping_by_norm_equals_torchs() -> Result<()> {
        let golden = golden("averages");
        for limit in [0.5, 1e3] {
            let parameters = parameters()?;
            let mut sum = GradAccumulator::new(&parameters);
            sum.add(grads(&parameters, 0, |name| name != "row")?)?;
            let golden = &golden["clip_norm"][if limit < 1. { "0.5" } else { "1000.0" }];
            let norm = sum.clip_norm(limit)?;
            assert!((norm - number(&golden["norm"])).abs() < TOLERANCE, "{norm} is not {}", golden["norm"]);
            let clipped = sum.take().expect("gradients");
            for (name, var) in &parameters {
                match clipped.get(var) {
                    Some(grad) => assert!(difference(grad, &golden["grads"][name])? < TOLERANCE, "{limit}: {name}"),
                    None => assert_eq!(name, "row"),
                }
            }
            assert!(sum.take().is_none(), "the next sum starts anew");
        }
        Ok(())
    }

    #[test]
    fn sums_reach_from_pass_to_pass() -> Result<()> {
        let parameters = parameters()?;
        let mut sum = GradAccumulator::new(&parameters);
        sum.add(grads(&parameters, 0, |name| name != "one")?)?;
        sum.add(grads(&parameters, 1, |name| name != "tall")?)?;
        sum.add(grads(&parameters, 2, |name| name == "wide")?)?;
        let sum = sum.take().expect("gradients");
        for (name, var) in &parameters {
            let steps: &[usize] = match name.as_str() {
                "one" => &[1],
                "tall" => &[0],
                "wide" => &[0, 1, 2],
                _ => &[0, 1],
            };
            let mut expected = var.zeros_like()?;
            for step in steps {
                expected = (expected + uniform(&format!("{name}.{step}"), var.dims())?)?;
            }
            let found = sum.get(var).expect("a gradient");
            let difference = (found - expected)?.abs()?.max_all()?.to_scalar::<f64>()?;
            assert!(difference < TOLERANCE, "{name}: {difference:e}");
        }
        Ok(())
    }

    #[test]
    fn clipping_by_value_clamps_and_a_nan_spreads() -> Result<()> {
        let var = Var::new(&[1f32, 2., 3.], &Device::Cpu)?;
        let other = Var::new(&[1f32], &Device::Cpu)?;
        let parameters = [("a".to_owned(), var.clone()), ("b".to_owned(), other.clone())];
        let grads = |factors: &[f32; 3]| -> Result<GradStore> {
            let loss = (var.as_tensor() * Tensor::new(factors, &Device::Cpu)?)?.sum_all()?;
            (loss + other.sum_all()?)?.backward()
        };
        let mut sum = GradAccumulator::new(&parameters);
        sum.add(grads(&[-5., 0.25, 5.])?)?;
        sum.clip_value(0.5)?;
        assert_eq!(sum.take().expect("gradients").get(&var).expect("one").to_vec1::<f32>()?, [-0.5, 0.25, 0.5]);
        sum.add(grads(&[f32::NAN, 0., 0.])?)?;
        assert!(sum.clip_norm(10.)?.is_nan());
        assert!(sum.take().expect("gradients").get(&other).expect("one").to_vec1::<f32>()?[0].is_nan());
        Ok(())
    }

    #[test]
    fn a_norm_does_not_depend_on_dtype_or_layout() -> Result<()> {
        let xs = crate::seeded::uniform("xs", &(300, 200).into(), &Device::Cpu)?;
        let expected: f64 = xs.flatten_all()?.to_vec1::<f32>()?.iter().map(|x| f64::from(*x).powi(2)).sum();
        for xs in [xs.clone(), xs.t()?, xs.to_dtype(DType::F64)?] {
            assert!((sum_of_squares(&xs)? / expected - 1.).abs() < 1e-12);
        }
        // Half precision rounds the elements themselves, by up to 2⁻¹¹.
        assert!((sum_of_squares(&xs.to_dtype(DType::F16)?)? / expected - 1.).abs() < 1e-3);
        Ok(())
    }
}
