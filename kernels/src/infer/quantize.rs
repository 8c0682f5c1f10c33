//! Maps as integers, for convolutions in 8 bits.

use super::epilogue::load;
use super::{Body, Call, Invoke, Kernel, View, chunks, part};
use crate::simd::{Isa, Vector, Width};

/// How a map becomes integers: `clamp(round(x / scale), −zero_point, 255 − zero_point)` as `i16`, two channels to an element; the
/// last of an odd number has a 0 beside it. A NaN becomes the lowest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Integers {
    /// `1 / scale`.
    inverse: f32,
    limits: [f32; 2],
}

impl Integers {
    pub(crate) fn new(scale: f32, zero_point: u8) -> Self {
        let zero_point = f32::from(zero_point);
        Self { inverse: 1. / scale, limits: [-zero_point, 255. - zero_point] }
    }

    /// Writes the first `n` elements of `xs`, or all if there are as many.
    ///
    /// # Safety
    /// The vector's instruction set is there; `n.div_ceil(2)` elements at `p`, or half a vector, are writable.
    #[inline(always)]
    pub(super) unsafe fn store<V: Vector>(self, p: *mut f32, n: usize, xs: V) {
        let [low, high] = self.limits;
        // SAFETY: by the caller's contract.
        unsafe { V::splat(high).min(xs.mul(V::splat(self.inverse)).max(V::splat(low))).store_pairs(p, n) }
    }
}

/// A map as [`Integers`].
pub(crate) struct Quantize {
    input: View,
    out: View,
    integers: Integers,
    isa: Isa,
    chunks: usize,
}

impl Quantize {
    /// `out` has half as many channels as `input`, rounded up.
    pub(crate) fn new([input, out]: [View; 2], integers: Integers, isa: Isa, threads: usize) -> Self {
        Self { input, out, integers, isa, chunks: chunks(threads, 0, input.positions().div_ceil(8)) }
    }
}

impl Kernel for Quantize {
    fn views(&self) -> (Vec<View>, Vec<View>) {
        (vec![self.input], vec![self.out])
    }

    fn chunks(&self) -> usize {
        self.chunks
    }

    fn describe(&self) -> String {
        format!("quantize x{}", self.chunks)
    }

    unsafe fn run(&self, call: Call) {
        // SAFETY: plans are built for an available instruction set; the rest is the caller's contract.
        unsafe { self.isa.run(Width::Full, Invoke(self, call)) }
    }
}

impl Body for Quantize {
    #[inline(always)]
    unsafe fn body<V: Vector>(&self, call: Call) {
        for position in part(self.input.positions(), self.chunks, call.chunk) {
            // SAFETY: the views end in the arena, and an output position holds a pair for every two channels.
            unsafe {
                let from = call.arena.add(self.input.offset + position * self.input.stride);
                let to = call.arena.add(self.out.offset + position * self.out.stride);
                for channel in (0..self.input.channels).step_by(V::LANES) {
                    let n = self.input.channels - channel;
                    self.integers.store(to.add(channel / 2), n, load::<V>(from.add(channel), n));
                }
            }
        }
    }
}
