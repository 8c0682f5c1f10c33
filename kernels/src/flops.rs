//! Arithmetic of a forward pass, counted without its convolutions.

use candle_core::{Result, Tensor};

use crate::{ConvGeometry, context};

/// What one forward pass computes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flops {
    /// Multiply-accumulates of convolutions and linear layers, without their biases.
    pub macs: u64,
    /// Elements written by batch normalisations that are not folded into a convolution.
    pub batch_norm_outputs: u64,
}

impl Flops {
    /// Floating-point operations as Ultralytics counts them: 2 · (MACs + 4 · batch-norm outputs).
    pub fn total(&self) -> u64 {
        2 * (self.macs + 4 * self.batch_norm_outputs)
    }
}

/// Runs `forward` and counts what the layers it calls on this thread would compute: there a [`crate::conv2d`] gives
/// zeros of its result's shape, and reads no weight.
pub fn count<R>(forward: impl FnOnce() -> R) -> (R, Flops) {
    context::with_flops(forward)
}

/// Whether this thread counts.
pub(crate) fn is_counting() -> bool {
    context::flops().is_some()
}

fn record(update: impl FnOnce(&mut Flops)) {
    if let Some(mut flops) = context::flops() {
        update(&mut flops);
        context::set_flops(flops);
    }
}

/// Counts a convolution on a thread that counts, and gives its shape in zeros.
pub(crate) fn record_conv(xs: &Tensor, weight: &Tensor, geometry: &ConvGeometry) -> Result<Option<Tensor>> {
    if !is_counting() {
        return Ok(None);
    }
    let (batch, _, in_h, in_w) = xs.dims4()?;
    let [out_h, out_w] = geometry.out_hw([in_h, in_w])?;
    record(|flops| flops.macs += (batch * out_h * out_w * weight.elem_count()) as u64);
    Tensor::zeros((batch, weight.dim(0)?, out_h, out_w), xs.dtype(), xs.device()).map(Some)
}

/// Adds multiply-accumulates that are no [`crate::conv2d`].
pub fn record_macs(macs: usize) {
    record(|flops| flops.macs += macs as u64);
}

/// Adds a batch normalisation of `xs` that is not folded into a convolution.
pub fn record_batch_norm(xs: &Tensor) {
    record(|flops| flops.batch_norm_outputs += xs.elem_count() as u64);
}
