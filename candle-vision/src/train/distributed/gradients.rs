//! Gradients of all processes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, TensorId, Var, bail};
use ghostzoo_kernels::{GradientSink, with_gradient_sink};

use super::Communicator;

/// Bytes of the gradients that are sent at a time, at least, but for the last: that of PyTorch's first bucket.
const BUCKET: usize = 1 << 20;

/// Gradients one behind the other.
enum Flat {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

/// Gradients of some parameters, by their numbers.
struct Bucket {
    parameters: Vec<usize>,
    values: Flat,
}

impl Communicator {
    /// The gradients of a scalar loss for these parameters, summed over all processes. A loss that is a sum over images has so
    /// the gradient of all processes' images. Every process has gradients of the same parameters.
    ///
    /// They go in buckets of at least 1 MB. Where `overlap` is asked for, a bucket is on its way while the backward pass goes
    /// on: on the CPU, for what [`ghostzoo_kernels::joint_backward`] differentiates. Nothing else may use the group meanwhile.
    ///
    /// # Errors
    /// Those of the pass; why the others' gradients do not come.
    pub fn backward(&self, loss: &Tensor, parameters: &[(String, Var)], overlap: bool) -> Result<GradStore> {
        thread::scope(|scope| {
            let (give, given) = channel::<Bucket>();
            let (back, summed) = channel();
            scope.spawn(move || {
                for mut bucket in given {
                    let sent = match &mut bucket.values {
                        Flat::F32(values) => self.all_reduce_f32(values),
                        Flat::F64(values) => self.all_reduce_f64(values),
                    };
                    let failed = sent.is_err();
                    if back.send(sent.map(|()| bucket)).is_err() || failed {
                        break;
                    }
                }
            });
            let (mut grads, mut buckets) = if overlap && loss.device().is_cpu() {
                let sink = Rc::new(Sink { buckets: RefCell::new(Buckets::new(give, parameters)) });
                let grads = with_gradient_sink(sink.clone(), || loss.backward())?;
                let Some(sink) = Rc::into_inner(sink) else { bail!("the gradients' sink is still in use") };
                (grads, sink.buckets.into_inner())
            } else {
                (loss.backward()?, Buckets::new(give, parameters))
            };
            for (at, (_, var)) in parameters.iter().enumerate() {
                if let Some(grad) = grads.remove(var) {
                    buckets.add(at, &grad)?;
                }
            }
            buckets.finish();
            for bucket in summed {
                let Bucket { parameters: numbers, values } = bucket?;
                let mut from = 0;
                for (_, var) in numbers.into_iter().map(|at| &parameters[at]) {
                    let (count, shape) = (var.elem_count(), var.shape());
                    let sum = match &values {
                        Flat::F32(values) => Tensor::from_slice(&values[from..from + count], shape, &Device::Cpu),
                        Flat::F64(values) => Tensor::from_slice(&values[from..from + count], shape, &Device::Cpu),
                    };
                    from += count;
                    let sum = sum?.to_dtype(var.dtype())?.to_device(var.device())?;
                    let sum = match grads.remove(var) {
                        Some(other) => (other + sum)?,
                        None => sum,
                    };
                    grads.insert(var, sum);
                }
            }
            Ok(grads)
        })
    }
}

/// Takes gradients from a backward pass that goes on.
struct Sink {
    buckets: RefCell<Buckets>,
}

impl GradientSink for Sink {
    fn keep(&self, variable: TensorId, grad: &Tensor) -> Result<bool> {
        let mut buckets = self.buckets.borrow_mut();
        match buckets.numbers.get(&variable).copied() {
            Some(at) => buckets.add(at, grad).map(|()| true),
            None => Ok(false),
        }
    }
}

/// Lays out gradients in the order in which they come, which is that of all processes.
struct Buckets {
    /// Numbers of the parameters.
    numbers: HashMap<TensorId, usize>,
    /// The bucket that is being filled.
    open: Option<Bucket>,
    give: Sender<Bucket>,
}

impl Buckets {
    fn new(give: Sender<Bucket>, parameters: &[(String, Var)]) -> Self {
        let numbers = parameters.iter().enumerate().map(|(at, (_, var))| (var.id(), at)).collect();
        Self { numbers, open: None, give }
    }

    fn add(&mut self, at: usize, grad: &Tensor) -> Result<()> {
        let values = Flat::of(grad)?;
        let is_appended = self.open.as_mut().is_some_and(|open| open.values.append(&values));
        match &mut self.open {
            Some(open) if is_appended => open.parameters.push(at),
            _ => {
                self.send();
                self.open = Some(Bucket { parameters: vec![at], values });
            }
        }
        if self.open.as_ref().is_some_and(|bucket| bucket.values.bytes() >= BUCKET) {
            self.send();
        }
        Ok(())
    }

    fn send(&mut self) {
        if let Some(bucket) = self.open.take() {
            // Where nobody takes it, why is in what comes back.
            let _ = self.give.send(bucket);
        }
    }

    /// Sends what is left; no more will come.
    fn finish(mut self) {
        self.send();
    }
}

impl Flat {
    /// The values of a gradient, doubles where it has doubles.
    fn of(grad: &Tensor) -> Result<Self> {
        let grad = grad.detach().to_device(&Device::Cpu)?;
        Ok(match grad.dtype() {
            DType::F64 => Self::F64(grad.flatten_all()?.to_vec1()?),
            _ => Self::F32(grad.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?),
        })
    }

    /// Puts others of its type behind its own; whether they are.
    fn append(&mut self, other: &Self) -> bool {
        match (self, other) {
            (Self::F32(values), Self::F32(other)) => values.extend_from_slice(other),
            (Self::F64(values), Self::F64(other)) => values.extend_from_slice(other),
            _ => return false,
        }
        true
    }

    fn bytes(&self) -> usize {
        match self {
            Self::F32(values) => size_of_val(&**values),
            Self::F64(values) => size_of_val(&**values),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_goes_when_it_is_full_and_holds_one_type() -> Result<()> {
        let var = |count: usize, dtype| Var::zeros(count, dtype, &Device::Cpu).map(|var| (String::new(), var));
        let half = BUCKET / 4 / 2;
        let parameters = [
            var(half, DType::F32)?,
            var(half, DType::F32)?,
            var(2 * half + 1, DType::F32)?,
            var(1, DType::F16)?,
            var(1, DType::F64)?,
            var(1, DType::F64)?,
        ];
        let (give, given) = channel();
        let mut buckets = Buckets::new(give, &parameters);
        for (at, (_, var)) in parameters.iter().enumerate() {
            buckets.add(at, var)?;
        }
        buckets.finish();
        let sent: Vec<(Vec<usize>, usize)> =
            given.iter().map(|bucket| (bucket.parameters, bucket.values.bytes())).collect();
        assert_eq!(sent, [(vec![0, 1], BUCKET), (vec![2], BUCKET + 4), (vec![3], 4), (vec![4, 5], 16)]);
        Ok(())
    }
}
