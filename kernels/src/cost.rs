//! Arithmetic cost of a forward pass, counted without its convolutions.

use std::cell::Cell;

use candle_core::{Result, Tensor};

use crate::ConvGeometry;

/// What one forward pass computes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Multiply-accumulates of convolutions and linear layers, without their biases.
    pub macs: u64,
    /// Elements written by batch normalisations that are not folded into a convolution.
    pub batch_norm_outputs: u64,
}

impl Cost {
    /// Floating-point operations as Ultralytics counts them: 2 · (MACs + 4 · batch-norm outputs).
    pub fn flops(&self) -> u64 {
        2 * (self.macs + 4 * self.batch_norm_outputs)
    }
}

thread_local! {
    static COUNTER: Cell<Option<Cost>> = const { Cell::new(None) };
}

/// Runs `forward` and counts what the layers it calls on this thread would compute: there a [`crate::conv2d`] gives
/// zeros of its result's shape, and reads no weight.
pub fn count<R>(forward: impl FnOnce() -> R) -> (R, Cost) {
    let outer = COUNTER.replace(Some(Cost::default()));
    let result = forward();
    let cost = COUNTER.replace(outer).unwrap_or_default();
    (result, cost)
}

/// Whether this thread counts.
pub(crate) fn is_counting() -> bool {
    COUNTER.get().is_some()
}

fn record(update: impl FnOnce(&mut Cost)) {
    COUNTER.with(|counter| {
        if let Some(mut cost) = counter.get() {
            update(&mut cost);
            counter.set(Some(cost));
        }
    });
}

/// Counts a convolution on a thread that counts, and gives its shape in zeros.
pub(crate) fn record_conv(xs: &Tensor, weight: &Tensor, geometry: &ConvGeometry) -> Result<Option<Tensor>> {
    if !is_counting() {
        return Ok(None);
    }
    let (batch, _, in_h, in_w) = xs.dims4()?;
    let [out_h, out_w] = geometry.out_hw([in_h, in_w])?;
    record(|cost| cost.macs += (batch * out_h * out_w * weight.elem_count()) as u64);
    Tensor::zeros((batch, weight.dim(0)?, out_h, out_w), xs.dtype(), xs.device()).map(Some)
}

/// Adds multiply-accumulates that are no [`crate::conv2d`].
pub fn record_macs(macs: usize) {
    record(|cost| cost.macs += macs as u64);
}

/// Adds a batch normalisation of `xs` that is not folded into a convolution.
pub fn record_batch_norm(xs: &Tensor) {
    record(|cost| cost.batch_norm_outputs += xs.elem_count() as u64);
}
