//! Sums, gates, concatenation and ranges of channels of (n, c, h, w), with their gradients.

use candle_core::{CpuStorage, DType, InplaceOp2, Layout, Result, Tensor, bail};
use rayon::prelude::*;

use super::autograd::{Gradient, differentiable};
use super::gpu::train;
use super::maps::{Maps, dispatch_dtype, read, tensor, unwritten, with_dense_images, zeros};
use super::real::{Real, sums_of, widest};
use super::shared::dispatch_real;
use super::{context, is_stock, tape};

/// Elements that one task works on.
const TASK_ELEMENTS: usize = 16 * 1024;

/// Whether the kernels of this module take the operands; candle's operations take all others.
fn has_kernel(operands: &[&Tensor]) -> bool {
    let dtype = operands[0].dtype();
    let fits = |operand: &&Tensor| operand.device().is_cpu() && operand.rank() == 4 && operand.dtype() == dtype;
    matches!(dtype, DType::F32 | DType::F64) && !is_stock() && operands.iter().all(fits)
}

/// Whether a GPU's kernels take the operands.
fn on_gpu(operands: &[&Tensor]) -> bool {
    let dtype = operands[0].dtype();
    let fits = |operand: &&Tensor| operand.rank() == 4 && operand.dtype() == dtype && train::takes(operand);
    dtype == DType::F32 && operands.iter().all(fits)
}

/// `a + b`, of one shape.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if on_gpu(&[a, b]) && a.dims() == b.dims() {
        return train::add(a, b);
    }
    if !has_kernel(&[a, b]) || a.dims() != b.dims() {
        return a + b;
    }
    let (dense_a, dense_b) = (with_dense_images(a)?, with_dense_images(b)?);
    dispatch_dtype!("add", a.dtype(), T => {
        let ys = read::<T, _>(&dense_a, |a| read(&dense_b, |b| Ok(zip(a, b, |a, b| a + b))))?;
        differentiable(ys, a.shape(), &[a, b], |grad, _| {
            Ok((0..2).map(|_| Some(Gradient::Shared(grad.clone()))).collect())
        })
    })
}

/// The sum of two gradients of one shape, in a buffer of its own.
pub(super) fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if on_gpu(&[a, b]) {
        return train::sum(a, b)?.tensor();
    }
    if !has_kernel(&[a, b]) {
        return a + b;
    }
    let (dense_a, dense_b) = (with_dense_images(a)?, with_dense_images(b)?);
    dispatch_dtype!("add", a.dtype(), T => {
        tensor(read::<T, _>(&dense_a, |a| read(&dense_b, |b| Ok(zip(a, b, |a, b| a + b))))?, a.shape())
    })
}

fn zip<T: Real>(a: Maps<'_, T>, b: Maps<'_, T>, f: impl Fn(T, T) -> T + Copy + Sync) -> Vec<T> {
    a.map(|run, a, ys| {
        let b = run.of(b);
        widest(move || ys.iter_mut().zip(a).zip(b).for_each(|((y, a), b)| *y = f(*a, *b)));
    })
}

/// `xs · gate`, the gate (n, c, 1, 1) or of the shape of `xs`.
pub fn multiply(xs: &Tensor, gate: &Tensor) -> Result<Tensor> {
    let per_channel = gate.rank() == 4 && gate.dims()[2..] == [1, 1] && gate.dims()[..2] == xs.dims()[..2];
    if on_gpu(&[xs, gate]) && (per_channel || xs.dims() == gate.dims()) {
        return train::multiply(xs, gate);
    }
    if !has_kernel(&[xs, gate]) || !(per_channel || xs.dims() == gate.dims()) {
        return xs.broadcast_mul(gate);
    }
    let (plane, factors) = (xs.dims()[2] * xs.dims()[3], gate.dims()[2] * gate.dims()[3]);
    let (kept, kept_gate) = (with_dense_images(&xs.detach())?, with_dense_images(&gate.detach())?);
    dispatch_dtype!("multiply", xs.dtype(), T => {
        let gated = move |xs: &Tensor, gate: &Tensor| {
            read::<T, _>(xs, |xs| read(gate, |gate| Ok(if factors == plane {
                zip(xs, gate, |x, g| x * g)
            } else {
                by_channel(xs, gate, plane)
            })))
        };
        let ys = gated(&kept, &kept_gate)?;
        differentiable(ys, xs.shape(), &[xs, gate], move |grad, needs| {
            let grad_xs = if needs[0] { Some(tensor(gated(grad, &kept_gate)?, kept.shape())?) } else { None };
            let grad_gate = if !needs[1] {
                None
            } else if factors == plane {
                Some(tensor(gated(&kept, grad)?, kept.shape())?)
            } else {
                let sums = read::<T, _>(&kept, |xs| read(grad, |grad| Ok(channel_products(xs, grad, plane))))?;
                Some(tensor(sums, kept_gate.shape())?)
            };
            Ok(vec![grad_xs.map(Gradient::Own), grad_gate.map(Gradient::Own)])
        })
    })
}

/// Each plane times its factor.
fn by_channel<T: Real>(xs: Maps<'_, T>, factors: Maps<'_, T>, plane: usize) -> Vec<T> {
    let image = xs.image_len();
    // SAFETY: the planes make up the buffer, and each is written.
    let mut out = unsafe { unwritten(xs.batch() * image) };
    out.par_chunks_mut(image.max(1)).enumerate().for_each(|(index, out)| {
        let planes = out.chunks_exact_mut(plane).zip(xs.image(index).chunks_exact(plane));
        for ((out, xs), factor) in planes.zip(factors.image(index)) {
            let factor = *factor;
            widest(move || out.iter_mut().zip(xs).for_each(|(y, x)| *y = *x * factor));
        }
    });
    out
}

/// The scalar product of each pair of planes.
fn channel_products<T: Real>(a: Maps<'_, T>, b: Maps<'_, T>, plane: usize) -> Vec<T> {
    let mut out = zeros(a.batch() * a.image_len() / plane);
    let channels = out.len() / a.batch().max(1);
    out.par_chunks_mut(channels.max(1)).enumerate().for_each(|(index, out)| {
        let planes = a.image(index).chunks_exact(plane).zip(b.image(index).chunks_exact(plane));
        for (sum, (a, b)) in out.iter_mut().zip(planes) {
            let [total, _] = widest(|| sums_of(a, b, |a, b| [a * b, 0.]));
            *sum = T::nearest(total);
        }
    });
    out
}

/// The parts one after the other along the channels.
pub fn concat(parts: &[&Tensor]) -> Result<Tensor> {
    let Some(first) = parts.first() else { bail!("a concatenation of nothing") };
    let rest = |part: &Tensor| (part.dims()[0], part.dims()[2..].to_vec());
    if on_gpu(parts) && parts.iter().all(|part| rest(part) == rest(first)) {
        return train::concat(parts);
    }
    if !has_kernel(parts) || parts.iter().any(|part| rest(part) != rest(first)) {
        return Tensor::cat(parts, 1);
    }
    let channels: Vec<usize> = parts.iter().map(|part| part.dims()[1]).collect();
    let mut dims = first.dims().to_vec();
    dims[1] = channels.iter().sum();
    let plane = dims[2] * dims[3];
    let dense: Vec<Tensor> = parts.iter().map(|part| with_dense_images(&part.detach())).collect::<Result<_>>()?;
    dispatch_dtype!("concat", first.dtype(), T => {
        let image = dims[1] * plane;
        // SAFETY: the parts have all channels, and each is copied.
        let mut ys = unsafe { unwritten::<T>(dims[0] * image) };
        let mut start = 0;
        for part in &dense {
            read::<T, _>(part, |part| {
                let len = part.image_len();
                ys.par_chunks_mut(image.max(1)).enumerate().for_each(|(index, ys)| {
                    ys[start..start + len].copy_from_slice(part.image(index));
                });
                start += len;
                Ok(())
            })?;
        }
        differentiable(ys, dims, parts, move |grad, _| {
            let mut start = 0;
            let part = |channels: usize| {
                let part = grad.narrow(1, start, channels)?;
                start += channels;
                Ok(Some(Gradient::Shared(part)))
            };
            channels.into_iter().map(part).collect()
        })
    })
}

/// `len` channels from `start` on; on a tape, a view.
pub fn narrow_channels(xs: &Tensor, start: usize, len: usize) -> Result<Tensor> {
    let ys = xs.narrow(1, start, len)?;
    if context::is_recording() && xs.track_op() && (has_kernel(&[xs]) || on_gpu(&[xs])) {
        let channels = xs.dims()[1];
        tape::note(
            &ys,
            None,
            &[xs],
            Box::new(move |grad, _| Ok(vec![Some(Gradient::Channels { start, channels, grad: grad.clone() })])),
        )?;
    }
    Ok(ys)
}

/// Adds `part` to the channels of `total` from `start` on, in place.
pub(super) fn add_to_channels(total: &Tensor, start: usize, part: &Tensor) -> Result<()> {
    if train::takes(total) {
        return train::accumulate(total, start, part);
    }
    let inner: usize = total.dims().iter().skip(2).product();
    total.inplace_op2(&with_dense_images(part)?, &AddToChannels { start: start * inner })
}

struct AddToChannels {
    /// First element within an image.
    start: usize,
}

impl InplaceOp2 for AddToChannels {
    fn name(&self) -> &'static str {
        "add to channels"
    }

    fn cpu_fwd(&self, s1: &mut CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<()> {
        let Some((first, end)) = l1.contiguous_offsets() else { bail!("a strided sum of gradients: {l1:?}") };
        let batch = l1.dims().first().copied().unwrap_or(1).max(1);
        dispatch_real!("add to channels", s2, T => {
            let part = Maps::of(s2.as_slice::<T>()?, l2)?;
            let total = &mut storage_mut::<T>(s1)?[first..end];
            let image = total.len() / batch;
            total.par_chunks_mut(image.max(1)).enumerate().for_each(|(index, total)| {
                let part = part.image(index);
                let total = &mut total[self.start..self.start + part.len()];
                total.par_chunks_mut(TASK_ELEMENTS).zip(part.par_chunks(TASK_ELEMENTS)).for_each(|(total, part)| {
                    widest(move || total.iter_mut().zip(part).for_each(|(sum, x)| *sum += *x));
                });
            });
            Ok(())
        })
    }
}

fn storage_mut<T: Real>(storage: &mut CpuStorage) -> Result<&mut [T]> {
    match T::slice_mut(storage) {
        Some(elements) => Ok(elements),
        None => bail!("gradients of two dtypes are added"),
    }
}
