//! Gradients of all processes.

use std::ops::Range;
use std::sync::mpsc::channel;
use std::thread;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var};

use super::Communicator;

/// Bytes of the gradients that are sent at a time: PyTorch's number.
const BUCKET: usize = 25 << 20;

/// Gradients one behind the other.
enum Flat {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl Communicator {
    /// Replaces the gradients of these parameters by their sums over all processes. A loss that is a sum over images has so
    /// the gradient of all processes' images. Every process has gradients of the same parameters.
    ///
    /// They go in buckets, in the order of `parameters`: while one is on its way the next is laid out.
    ///
    /// # Errors
    /// Why the others' gradients do not come.
    pub fn all_reduce_gradients(&self, parameters: &[(String, Var)], grads: &mut GradStore) -> Result<()> {
        let vars: Vec<&Var> = parameters.iter().map(|(_, var)| var).filter(|var| grads.get(var).is_some()).collect();
        let buckets = buckets(&vars);
        thread::scope(|scope| {
            let (give, given) = channel::<Flat>();
            let (back, summed) = channel();
            scope.spawn(move || {
                for mut flat in given {
                    let sent = match &mut flat {
                        Flat::F32(values) => self.all_reduce_f32(values),
                        Flat::F64(values) => self.all_reduce_f64(values),
                    };
                    let failed = sent.is_err();
                    if back.send(sent.map(|()| flat)).is_err() || failed {
                        break;
                    }
                }
            });
            for bucket in &buckets {
                let flat = flat(bucket.clone().filter_map(|at| grads.get(vars[at])))?;
                // Where nobody takes it, why is in what comes back.
                let _ = give.send(flat);
            }
            drop(give);
            for bucket in &buckets {
                let Ok(flat) = summed.recv() else { candle_core::bail!("the gradients' thread ended early") };
                let (flat, mut from) = (flat?, 0);
                for at in bucket.clone() {
                    let (var, count) = (vars[at], vars[at].elem_count());
                    let Some(before) = grads.get(var) else { continue };
                    let (shape, dtype, device) = (before.shape().clone(), before.dtype(), before.device().clone());
                    let sum = match &flat {
                        Flat::F32(values) => Tensor::from_slice(&values[from..from + count], shape, &Device::Cpu),
                        Flat::F64(values) => Tensor::from_slice(&values[from..from + count], shape, &Device::Cpu),
                    };
                    from += count;
                    grads.insert(var, sum?.to_dtype(dtype)?.to_device(&device)?);
                }
            }
            Ok(())
        })
    }
}

/// Runs of variables of one type that make up a bucket each, one that is larger by itself.
fn buckets(vars: &[&Var]) -> Vec<Range<usize>> {
    let mut buckets: Vec<Range<usize>> = Vec::new();
    let (mut bytes, mut last) = (0, None);
    for (at, var) in vars.iter().enumerate() {
        let dtype = wide(var.dtype());
        let size = var.elem_count() * dtype.size_in_bytes();
        match buckets.last_mut() {
            Some(bucket) if last == Some(dtype) && bytes + size <= BUCKET => bucket.end = at + 1,
            _ => {
                buckets.push(at..at + 1);
                bytes = 0;
            }
        }
        (bytes, last) = (bytes + size, Some(dtype));
    }
    buckets
}

/// What values of a type are added in.
fn wide(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

fn flat<'a>(grads: impl Iterator<Item = &'a Tensor>) -> Result<Flat> {
    let (mut singles, mut doubles) = (Vec::new(), Vec::new());
    for grad in grads {
        let dtype = wide(grad.dtype());
        let grad = grad.detach().to_device(&Device::Cpu)?.to_dtype(dtype)?.flatten_all()?;
        match dtype {
            DType::F64 => doubles.extend(grad.to_vec1::<f64>()?),
            _ => singles.extend(grad.to_vec1::<f32>()?),
        }
    }
    Ok(if doubles.is_empty() { Flat::F32(singles) } else { Flat::F64(doubles) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_fits_in_order_and_one_type() -> Result<()> {
        let var = |count: usize, dtype| Var::zeros(count, dtype, &Device::Cpu);
        let third = BUCKET / 4 / 3;
        let vars = [
            var(third, DType::F32)?,
            var(third, DType::F32)?,
            var(third, DType::F32)?,
            var(9, DType::F32)?,
            var(BUCKET / 4 + 1, DType::F32)?,
            var(1, DType::F32)?,
            var(1, DType::F64)?,
            var(1, DType::F64)?,
        ];
        let vars: Vec<&Var> = vars.iter().collect();
        assert_eq!(buckets(&vars), [0..3, 3..4, 4..5, 5..6, 6..8]);
        assert!(buckets(&[]).is_empty());
        Ok(())
    }
}
