//! Pooling over windows and over whole maps.

use super::epilogue::{load, store};
use super::{Body, Call, Invoke, Kernel, View, chunks, part};
use crate::ConvGeometry;
use crate::simd::{Isa, Vector, Width};

/// Maximum, or mean over the elements inside the map, of each window. A maximum may pass over a NaN.
pub(crate) struct Pool {
    pub(crate) input: View,
    pub(crate) out: View,
    pub(crate) geometry: ConvGeometry,
    pub(crate) is_max: bool,
    pub(crate) isa: Isa,
    pub(crate) threads: usize,
}

impl Kernel for Pool {
    fn views(&self) -> (Vec<View>, Vec<View>) {
        (vec![self.input], vec![self.out])
    }

    fn chunks(&self) -> usize {
        chunks(self.threads, 0, self.out.height)
    }

    fn describe(&self) -> String {
        format!("{} pool x{}", if self.is_max { "max" } else { "mean" }, self.chunks())
    }

    unsafe fn run(&self, call: Call) {
        // SAFETY: plans are built for an available instruction set; the rest is the caller's contract.
        unsafe { self.isa.run(Width::Full, Invoke(self, call)) }
    }
}

impl Body for Pool {
    #[inline(always)]
    unsafe fn body<V: Vector>(&self, call: Call) {
        let ConvGeometry { kernel: [kernel_h, kernel_w], stride, padding, dilation, .. } = self.geometry;
        let inside = |start: usize, tap: usize, axis: usize, len: usize| {
            let at = (start * stride[axis] + tap * dilation[axis]).wrapping_sub(padding[axis]);
            (at < len).then_some(at)
        };
        for y in part(self.out.height, self.chunks(), call.chunk) {
            for x in 0..self.out.width {
                let rows = (0..kernel_h).filter_map(|tap| inside(y, tap, 0, self.input.height));
                let columns = (0..kernel_w).filter_map(|tap| inside(x, tap, 1, self.input.width));
                let count = rows.clone().count() * columns.clone().count();
                for channel in (0..self.out.channels).step_by(V::LANES) {
                    let n = self.out.channels - channel;
                    // SAFETY: the views end in the arena, and the window's positions are in the map.
                    unsafe {
                        let mut result = V::splat(if self.is_max { f32::NEG_INFINITY } else { 0. });
                        for row in rows.clone() {
                            for column in columns.clone() {
                                let value = load::<V>(call.arena.add(self.input.at(row, column) + channel), n);
                                result = if self.is_max { result.max(value) } else { result.add(value) };
                            }
                        }
                        if !self.is_max {
                            result = result.div(V::splat(count as f32));
                        }
                        store(call.arena.add(self.out.at(y, x) + channel), n, result);
                    }
                }
            }
        }
    }
}

/// The mean of each channel.
pub(crate) struct GlobalAverage {
    pub(crate) input: View,
    /// One position.
    pub(crate) out: View,
    pub(crate) isa: Isa,
    pub(crate) threads: usize,
}

impl GlobalAverage {
    fn vectors(&self) -> usize {
        self.input.channels.div_ceil(self.isa.lanes(Width::Full))
    }
}

impl Kernel for GlobalAverage {
    fn views(&self) -> (Vec<View>, Vec<View>) {
        (vec![self.input], vec![self.out])
    }

    fn chunks(&self) -> usize {
        // Below some tens of thousands of elements a second thread costs more than it brings.
        let elements = self.input.positions() * self.input.channels;
        self.threads.min(self.vectors()).min(elements / 16_384).max(1)
    }

    fn describe(&self) -> String {
        format!("mean x{}", self.chunks())
    }

    unsafe fn run(&self, call: Call) {
        // SAFETY: plans are built for an available instruction set; the rest is the caller's contract.
        unsafe { self.isa.run(Width::Full, Invoke(self, call)) }
    }
}

impl Body for GlobalAverage {
    #[inline(always)]
    unsafe fn body<V: Vector>(&self, call: Call) {
        let positions = self.input.positions();
        for vector in part(self.vectors(), self.chunks(), call.chunk) {
            let channel = vector * V::LANES;
            let n = self.input.channels - channel;
            // SAFETY: the views end in the arena.
            unsafe {
                let from = call.arena.add(self.input.offset + channel);
                let mut sums = [V::zero(); 4];
                for position in 0..positions {
                    let value = load::<V>(from.add(position * self.input.stride), n);
                    sums[position % 4] = sums[position % 4].add(value);
                }
                let sum = sums[0].add(sums[1]).add(sums[2].add(sums[3]));
                let mean = sum.mul(V::splat(1. / positions as f32));
                store(call.arena.add(self.out.offset + channel), n, mean);
            }
        }
    }
}
