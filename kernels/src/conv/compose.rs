//! Convolution composed of candle's own operations, for devices without a kernel of ours.

use candle_core::{Result, Tensor};

use crate::{Activation, ConvGeometry};

/// [`super::conv2d`] for checked operands. Padding is added by hand and unequal strides are taken by selecting rows and
/// columns, because candle's convolution knows one padding and one stride for both axes.
pub(super) fn conv2d(
    xs: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    geometry: &ConvGeometry,
    activation: Activation,
) -> Result<Tensor> {
    let ConvGeometry { stride: [stride_h, stride_w], padding: [pad_h, pad_w], dilation, groups, .. } = *geometry;
    let xs = match (pad_h, pad_w) {
        (h, w) if h == w => xs.clone(),
        (h, w) => xs.pad_with_zeros(2, h, h)?.pad_with_zeros(3, w, w)?.contiguous()?,
    };
    let padding = if pad_h == pad_w { pad_h } else { 0 };
    let stride = if stride_h == stride_w { stride_h } else { 1 };
    let weight = weight.contiguous()?;
    let ys = if dilation[0] == dilation[1] {
        xs.conv2d(&weight, padding, stride, dilation[0], groups)?
    } else {
        xs.conv2d(&dilated(&weight, dilation)?, padding, stride, 1, groups)?
    };
    let ys = if stride_h == stride_w { ys } else { every(&every(&ys, 2, stride_h)?, 3, stride_w)? };
    let ys = match bias {
        Some(bias) => ys.broadcast_add(&bias.reshape((1, (), 1, 1))?)?,
        None => ys,
    };
    activation.apply(&ys)
}

/// Every `step`-th element along `dim`.
fn every(xs: &Tensor, dim: usize, step: usize) -> Result<Tensor> {
    let indices: Vec<u32> = (0..xs.dim(dim)? as u32).step_by(step).collect();
    xs.index_select(&Tensor::new(indices, xs.device())?, dim)
}

/// The kernel with zeros written between its taps.
fn dilated(weight: &Tensor, dilation: [usize; 2]) -> Result<Tensor> {
    let mut weight = weight.clone();
    for (axis, step) in [2, 3].into_iter().zip(dilation) {
        let taps = weight.dim(axis)?;
        let spread = weight.unsqueeze(axis + 1)?.pad_with_zeros(axis + 1, 0, step - 1)?.flatten(axis, axis + 1)?;
        weight = spread.narrow(axis, 0, (taps - 1) * step + 1)?;
    }
    weight.contiguous()
}
