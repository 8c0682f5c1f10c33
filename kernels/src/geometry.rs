//! Window geometry shared by convolutions and pooling, forward and backward, on every device.

use candle_core::{Result, bail};

/// Kernel, stride, padding and dilation of a sliding window, each as `[height, width]`, and the number of groups.
///
/// Padding is symmetric per axis: `padding[0]` rows above and below, `padding[1]` columns left and right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConvGeometry {
    /// Window size in elements.
    pub kernel: [usize; 2],
    /// Step between windows in elements.
    pub stride: [usize; 2],
    /// Implicit border on both sides of each axis, in elements.
    pub padding: [usize; 2],
    /// Distance between neighbouring taps in elements.
    pub dilation: [usize; 2],
    /// Number of channel groups; 1 is a dense convolution.
    pub groups: usize,
}

impl ConvGeometry {
    /// A dense window of `kernel` elements with stride 1, no padding and no dilation.
    pub const fn new(kernel: [usize; 2]) -> Self {
        Self { kernel, stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 }
    }

    /// [`ConvGeometry::new`] for a `k` × `k` window.
    pub const fn square(k: usize) -> Self {
        Self::new([k, k])
    }

    /// Replaces the stride.
    pub const fn stride(mut self, stride: [usize; 2]) -> Self {
        self.stride = stride;
        self
    }

    /// Replaces the padding.
    pub const fn padding(mut self, padding: [usize; 2]) -> Self {
        self.padding = padding;
        self
    }

    /// Pads by half the dilated kernel, so that stride 1 keeps the size of an odd kernel's input.
    pub const fn same(mut self) -> Self {
        self.padding = [self.dilation[0] * (self.kernel[0] - 1) / 2, self.dilation[1] * (self.kernel[1] - 1) / 2];
        self
    }

    /// Replaces the dilation.
    pub const fn dilation(mut self, dilation: [usize; 2]) -> Self {
        self.dilation = dilation;
        self
    }

    /// Replaces the number of groups.
    pub const fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// Output `[height, width]` for an input of `[height, width]`, rounded down as PyTorch does.
    ///
    /// Fails on a zero kernel, stride, dilation or group count, on a window larger than the padded input, and on
    /// arithmetic overflow.
    pub fn out_hw(&self, in_hw: [usize; 2]) -> Result<[usize; 2]> {
        if self.groups == 0 {
            bail!("window geometry has zero groups: {self:?}")
        }
        let mut out = [0; 2];
        for axis in 0..2 {
            let (kernel, stride, dilation) = (self.kernel[axis], self.stride[axis], self.dilation[axis]);
            if kernel == 0 || stride == 0 || dilation == 0 {
                bail!("window geometry has a zero kernel, stride or dilation: {self:?}")
            }
            let padded = self.padding[axis].checked_mul(2).and_then(|pad| pad.checked_add(in_hw[axis]));
            let reach = (kernel - 1).checked_mul(dilation).and_then(|reach| reach.checked_add(1));
            let (Some(padded), Some(reach)) = (padded, reach) else { bail!("window geometry overflows: {self:?}") };
            if reach > padded {
                bail!(
                    "window of {reach} elements does not fit into a padded input of {padded} ({self:?}, input {in_hw:?})"
                )
            }
            out[axis] = (padded - reach) / stride + 1;
        }
        Ok(out)
    }

    /// Whether the window is 1x1 with stride 1 and no padding: a plain matrix product.
    pub fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.padding == [0, 0]
    }

    /// Range of output positions along `axis` whose tap `tap` reads inside an input of `in_len`, clipped to `out_len`.
    pub(crate) fn valid_outputs(
        &self,
        axis: usize,
        tap: usize,
        in_len: usize,
        out_len: usize,
    ) -> std::ops::Range<usize> {
        let (stride, pad, offset) = (self.stride[axis], self.padding[axis], tap * self.dilation[axis]);
        let start = pad.saturating_sub(offset).div_ceil(stride).min(out_len);
        let end = if in_len + pad > offset { (in_len + pad - offset).div_ceil(stride) } else { 0 };
        start..end.clamp(start, out_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_sizes_follow_the_floor_formula() -> Result<()> {
        let cases = [
            (ConvGeometry::square(3).stride([2, 2]).same(), [640, 641], [320, 321]),
            (ConvGeometry::new([1, 5]).same(), [7, 7], [7, 7]),
            (ConvGeometry::new([5, 1]).same(), [7, 9], [7, 9]),
            (ConvGeometry::square(2).stride([2, 2]), [7, 6], [3, 3]),
            (ConvGeometry::square(3).dilation([2, 2]).same(), [9, 9], [9, 9]),
        ];
        for (geometry, input, expected) in cases {
            assert_eq!(geometry.out_hw(input)?, expected, "{geometry:?} on {input:?}");
        }
        Ok(())
    }

    #[test]
    fn impossible_windows_are_refused() {
        for geometry in [
            ConvGeometry::square(0),
            ConvGeometry::square(3).stride([0, 1]),
            ConvGeometry::square(3).dilation([0, 1]),
            ConvGeometry::square(3).groups(0),
            ConvGeometry::square(5),
            ConvGeometry::square(usize::MAX).dilation([2, 2]),
            ConvGeometry::square(3).padding([usize::MAX, 1]),
        ] {
            assert!(geometry.out_hw([4, 4]).is_err(), "{geometry:?}");
        }
    }

    #[test]
    fn valid_outputs_equal_a_direct_test_of_every_position() {
        for (kernel, stride, pad, dilation, len) in
            [(3, 1, 1, 1, 5), (5, 2, 2, 1, 7), (3, 2, 0, 2, 9), (3, 3, 4, 1, 2), (7, 1, 3, 1, 1)]
        {
            let geometry = ConvGeometry::square(kernel).stride([stride; 2]).padding([pad; 2]).dilation([dilation; 2]);
            let Ok([out, _]) = geometry.out_hw([len, len]) else { continue };
            for tap in 0..kernel {
                let range = geometry.valid_outputs(0, tap, len, out);
                for position in 0..out {
                    let read = (position * stride + tap * dilation).checked_sub(pad).is_some_and(|i| i < len);
                    assert_eq!(range.contains(&position), read, "{geometry:?} tap {tap} position {position}");
                }
            }
        }
    }
}
