//! Pooling, means and resampling, with their gradients.

use candle_core::{Result, Tensor};

use super::super::run::{Memories, Run, readable, result_map};
use super::super::{ARENA, Kernel, Map, Step, Window};
use super::{dims, map};
use crate::ConvGeometry;
use crate::autograd::{Gradient, KernelOutput, differentiate};

/// What is taken of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Max,
    Average,
}

/// Pooling by windows that touch the input.
pub(crate) fn pool(xs: &Tensor, geometry: &ConvGeometry, kind: Kind) -> Result<Tensor> {
    let (kept, [n, c, h, w]) = (readable(xs)?, dims(xs)?);
    let [out_h, out_w] = geometry.out_hw([h, w])?;
    let out = [n, c, out_h, out_w];
    let step = Step { window: Window::new(geometry)?, is_max: u32::from(kind == Kind::Max), ..Step::default() };
    let ys = map("pool", &kept, None, out, [None; 2], step)?;
    differentiate(ys, &[xs], move |grad, _| {
        let grad = readable(grad)?;
        let taps = match kind {
            Kind::Max => Some(map("largest", &kept, None, out, [None; 2], step)?.tensor()?),
            Kind::Average => None,
        };
        let of_xs = map("pool_back", &grad, taps.as_ref(), [n, c, h, w], [None; 2], step)?.tensor()?;
        Ok(vec![Some(Gradient::Own(of_xs))])
    })
}

/// Resampling to the nearest neighbour.
pub(crate) fn resample(xs: &Tensor, [out_h, out_w]: [usize; 2]) -> Result<Tensor> {
    let (kept, shape) = (readable(xs)?, dims(xs)?);
    let ys = spread(&kept, [out_h, out_w])?;
    differentiate(ys, &[xs], move |grad, _| {
        let of_xs = map("resample_back", &readable(grad)?, None, shape, [None; 2], Step::default())?.tensor()?;
        Ok(vec![Some(Gradient::Own(of_xs))])
    })
}

/// The mean of each channel of each image.
pub(crate) fn global_mean(xs: &Tensor) -> Result<Tensor> {
    let (kept, [_, _, h, w]) = (readable(xs)?, dims(xs)?);
    let ys = reduced(&kept, None)?;
    differentiate(ys, &[xs], move |grad, _| {
        let share = readable(&(grad / (h * w) as f64)?)?;
        Ok(vec![Some(Gradient::Own(spread(&share, [h, w])?.tensor()?))])
    })
}

/// Nearest neighbours, without a gradient.
fn spread(xs: &Tensor, [h, w]: [usize; 2]) -> Result<KernelOutput> {
    let [n, c, ..] = dims(xs)?;
    // A copy reads its second operand alone.
    map("combine", xs, Some(xs), [n, c, h, w], [None; 2], Step::default())
}

/// The mean of each channel of each image, or the sum of its products with another's; without a gradient.
pub(super) fn reduced(xs: &Tensor, second: Option<&Tensor>) -> Result<KernelOutput> {
    let [n, c, ..] = dims(xs)?;
    let mut run = Run::new();
    let (arena, input) = run.map(xs)?;
    let (image, second) = second.map(|second| run.map(second)).transpose()?.unzip();
    let step = Step {
        input: Map { memory: ARENA, ..input },
        second: second.unwrap_or_default(),
        has_second: u32::from(second.is_some()),
        out: result_map([n, c, 1, 1])?,
        ..Step::default()
    };
    let output = run.own(n * c);
    let memories = Memories { arena: Some(arena), image, ..Memories::to(output) };
    run.launch(Kernel::Mean.launch(&step, n, false)?, memories);
    Ok(KernelOutput::channels_last(run.run()?.remove(0), [n, c, 1, 1]))
}
