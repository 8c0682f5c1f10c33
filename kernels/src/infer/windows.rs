//! The windows of a convolution as the rows of a matrix.

use super::View;
use super::epilogue::{load, store};
use crate::ConvGeometry;
use crate::simd::Vector;

/// The windows of a map.
#[derive(Clone, Copy)]
pub(super) struct Windows {
    pub(super) input: View,
    pub(super) geometry: ConvGeometry,
    /// Columns of the output.
    pub(super) out_width: usize,
    /// The element beyond the map's edges.
    pub(super) padding: f32,
}

impl Windows {
    /// Copies the windows of the positions into rows, ordered by window row, window column, channel; `stride` elements from one row
    /// to the next.
    ///
    /// # Safety
    /// The map ends in the arena; each row has room for a window.
    #[inline(always)]
    pub(super) unsafe fn gather<V: Vector>(
        &self,
        arena: *const f32,
        positions: std::ops::Range<usize>,
        rows: *mut f32,
        stride: usize,
    ) {
        let Self { input, geometry, out_width, padding: beyond } = self;
        let ConvGeometry { kernel: [kernel_h, kernel_w], stride: step, padding, dilation, .. } = *geometry;
        let dense_row = input.stride == input.channels && dilation[1] == 1;
        for (row, position) in positions.enumerate() {
            let mut to = rows.wrapping_add(row * stride);
            let (y, x) = (position / out_width * step[0], position % out_width * step[1]);
            let whole = x >= padding[1] && x + kernel_w <= input.width + padding[1];
            for tap_y in 0..kernel_h {
                let row = (y + tap_y * dilation[0]).wrapping_sub(padding[0]);
                // SAFETY: positions inside the map are read; the row has room for each tap.
                unsafe {
                    if row >= input.height {
                        copy::<V>(Err(*beyond), to, kernel_w * input.channels);
                        to = to.add(kernel_w * input.channels);
                    } else if dense_row && whole {
                        let from = arena.add(input.at(row, x - padding[1]));
                        copy::<V>(Ok(from), to, kernel_w * input.channels);
                        to = to.add(kernel_w * input.channels);
                    } else {
                        for tap_x in 0..kernel_w {
                            let column = (x + tap_x * dilation[1]).wrapping_sub(padding[1]);
                            let from =
                                if column < input.width { Ok(arena.add(input.at(row, column))) } else { Err(*beyond) };
                            copy::<V>(from, to, input.channels);
                            to = to.add(input.channels);
                        }
                    }
                }
            }
        }
    }
}

impl Windows {
    /// Copies the rows of the map that row `y` of the output reads, each between its borders, to every `stride` elements. There are
    /// elements of the map, or beyond it, up to the end of each copy.
    ///
    /// # Safety
    /// The map ends in the arena; each copy has room for `stride` elements.
    #[inline(always)]
    pub(super) unsafe fn strips<V: Vector>(&self, arena: *const f32, y: usize, strips: *mut f32, stride: usize) {
        let Self { input, geometry, padding: beyond, .. } = self;
        let ConvGeometry { kernel: [kernel_h, _], stride: step, padding, dilation, .. } = *geometry;
        let (channels, left) = (input.channels, (padding[1] * input.channels).min(stride));
        let inside = (input.width * channels).min(stride - left);
        for tap in 0..kernel_h {
            let (to, row) =
                (strips.wrapping_add(tap * stride), (y * step[0] + tap * dilation[0]).wrapping_sub(padding[0]));
            // SAFETY: rows of the map are read, and `stride` elements are written.
            unsafe {
                if row >= input.height {
                    copy::<V>(Err(*beyond), to, stride);
                    continue;
                }
                copy::<V>(Err(*beyond), to, left);
                if input.stride == channels {
                    copy::<V>(Ok(arena.add(input.at(row, 0))), to.add(left), inside);
                } else {
                    for x in 0..inside.div_ceil(channels) {
                        let n = channels.min(inside - x * channels);
                        copy::<V>(Ok(arena.add(input.at(row, x))), to.add(left + x * channels), n);
                    }
                }
                copy::<V>(Err(*beyond), to.add(left + inside), stride - left - inside);
            }
        }
    }
}

/// Copies `n` elements, or one of them `n` times.
///
/// # Safety
/// `from`, if it is a place, is readable and `to` writable for `n` elements.
#[inline(always)]
unsafe fn copy<V: Vector>(from: Result<*const f32, f32>, to: *mut f32, n: usize) {
    let mut i = 0;
    while i < n {
        // SAFETY: at most `n - i` elements are touched.
        unsafe {
            let value = match from {
                Ok(from) => load(from.add(i), n - i),
                Err(element) => V::splat(element),
            };
            store(to.add(i), n - i, value);
        }
        i += V::LANES;
    }
}
