//! Sums, gates, concatenation and activations, with their gradients.

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, bail};

use super::super::run::{Memories, Run, map as map_of, readable};
use super::super::{IMAGE, Launch, Map, OUTPUT, QUAD, Step, activation as numbered, word};
use super::windows::reduced;
use super::{dims, map};
use crate::Activation;
use crate::autograd::{Gradient, KernelOutput, differentiate};

/// `Operation` of `step.h`.
const ADD: u32 = 1;
const MULTIPLY: u32 = 2;

/// `a + b`, of one shape; without a gradient.
pub(crate) fn sum(a: &Tensor, b: &Tensor) -> Result<KernelOutput> {
    combined(&readable(a)?, &readable(b)?, ADD)
}

/// `a + b`, of one shape.
pub(crate) fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    differentiate(sum(a, b)?, &[a, b], |grad, _| Ok((0..2).map(|_| Some(Gradient::Shared(grad.clone()))).collect()))
}

/// `a` and what of `b` is at the nearest position.
fn combined(a: &Tensor, b: &Tensor, operation: u32) -> Result<KernelOutput> {
    map("combine", a, Some(b), dims(a)?, [None; 2], Step { operation, ..Step::default() })
}

/// `xs · gate`, the gate (n, c, 1, 1) or of the shape of `xs`.
pub(crate) fn multiply(xs: &Tensor, gate: &Tensor) -> Result<Tensor> {
    let (kept, kept_gate) = (readable(xs)?, readable(gate)?);
    let ys = combined(&kept, &kept_gate, MULTIPLY)?;
    differentiate(ys, &[xs, gate], move |grad, needs| {
        let grad = readable(grad)?;
        let of_gate = match kept.dims() == kept_gate.dims() {
            true => combined(&grad, &kept, MULTIPLY),
            false => reduced(&kept, Some(&grad)),
        };
        let grads = [combined(&grad, &kept_gate, MULTIPLY), of_gate];
        let needed = |(grad, needs): (Result<KernelOutput>, &bool)| {
            needs.then(|| Ok(Gradient::Own(grad?.tensor()?))).transpose()
        };
        grads.into_iter().zip(needs).map(needed).collect()
    })
}

/// The parts one after the other along the channels; of one size otherwise.
pub(crate) fn concat(parts: &[&Tensor]) -> Result<Tensor> {
    let channels: Vec<usize> = parts.iter().map(|part| part.dims()[1]).collect();
    let mut shape = dims(parts[0])?;
    shape[1] = channels.iter().sum();
    let mut run = Run::new();
    let output = run.own(shape.iter().product());
    let mut start = 0;
    for part in parts {
        let (image, second) = run.map(&readable(part)?)?;
        let [n, c, h, w] = dims(part)?;
        let out = Map::new(OUTPUT, [start, h * w * shape[1], shape[1], 1], [h, w, c])?;
        let step = Step { second, out, images: word(n)?, ..Step::default() };
        let launch = Launch::elements("combine", n * h * w * c.div_ceil(QUAD), step)?;
        run.launch(launch, Memories { image: Some(image), ..Memories::to(output) });
        start += c;
    }
    let ys = KernelOutput::channels_last(run.run()?.remove(0), shape);
    differentiate(ys, parts, move |grad, _| {
        let mut start = 0;
        let part = |channels: usize| {
            let part = grad.narrow(1, start, channels)?;
            start += channels;
            Ok(Some(Gradient::Shared(part)))
        };
        channels.into_iter().map(part).collect()
    })
}

/// An activation of its own.
pub(crate) fn activate(xs: &Tensor, kind: Activation) -> Result<Tensor> {
    let (kept, shape) = (readable(xs)?, dims(xs)?);
    let (activation, slope) = numbered(kind);
    let step = Step { activation, slope, ..Step::default() };
    let ys = map("normalise", &kept, None, shape, [None; 2], step)?;
    differentiate(ys, &[xs], move |grad, _| {
        let of_xs = map("normalise_back", &kept, Some(&readable(grad)?), shape, [None; 2], step)?.tensor()?;
        Ok(vec![Some(Gradient::Own(of_xs))])
    })
}

/// Adds `part` to the channels of `total` from `start` on, in place.
pub(crate) fn accumulate(total: &Tensor, start: usize, part: &Tensor) -> Result<()> {
    total.inplace_op2(&readable(part)?, &Accumulate { start })
}

struct Accumulate {
    start: usize,
}

impl Accumulate {
    fn launch(&self, total: &Layout, part: &Layout) -> Result<Launch> {
        let (Some(out), Some(second)) = (map_of(total)?, map_of(part)?) else {
            bail!("gradients at uneven steps: {total:?}, {part:?}")
        };
        let [n, c, h, w] = match *part.dims() {
            [n, c, h, w] => [n, c, h, w],
            _ => [1, part.shape().elem_count(), 1, 1],
        };
        let offset = out.offset as usize + self.start * out.step as usize;
        let strides = [offset, out.batch as usize, out.position as usize, out.step as usize];
        let step = Step {
            second: Map { memory: IMAGE, ..second },
            out: Map::new(OUTPUT, strides, [h, w, c])?,
            images: word(n)?,
            ..Step::default()
        };
        Launch::elements("accumulate", n * h * w * c.div_ceil(QUAD), step)
    }
}

impl InplaceOp2 for Accumulate {
    fn name(&self) -> &'static str {
        "add to channels"
    }

    #[cfg(not(feature = "emulate"))]
    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<()> {
        bail!("launches are a GPU's")
    }

    #[cfg(feature = "emulate")]
    fn cpu_fwd(&self, total: &mut CpuStorage, l1: &Layout, part: &CpuStorage, l2: &Layout) -> Result<()> {
        super::super::emulate::in_place(&self.launch(l1, l2)?, total, [part, part])
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        total: &mut candle_core::CudaStorage,
        l1: &Layout,
        part: &candle_core::CudaStorage,
        l2: &Layout,
    ) -> Result<()> {
        super::super::cuda::in_place(&self.launch(l1, l2)?, total, [part, part])
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        total: &mut candle_core::MetalStorage,
        l1: &Layout,
        part: &candle_core::MetalStorage,
        l2: &Layout,
    ) -> Result<()> {
        super::super::metal::in_place(&self.launch(l1, l2)?, total, [part, part])
    }
}
