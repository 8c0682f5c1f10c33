//! Maps as low-precision numbers, for convolutions that multiply those.

use super::epilogue::load;
use super::{Body, Call, Invoke, Kernel, View, chunks, part};
use crate::simd::pairs::quad;
use crate::simd::{Isa, Vector, Width};

/// How a map becomes integers: `clamp(round(x / scale), −zero_point, 255 − zero_point)`. A NaN becomes the lowest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Integers {
    /// `1 / scale`.
    inverse: f32,
    limits: [f32; 2],
    zero_point: u8,
}

impl Integers {
    pub(crate) fn new(scale: f32, zero_point: u8) -> Self {
        let zero = f32::from(zero_point);
        Self { inverse: 1. / scale, limits: [-zero, 255. - zero], zero_point }
    }

    /// Writes the first `n` channels of `xs`, or all if there are as many, as [`LowPrecision::Pairs`].
    ///
    /// # Safety
    /// As [`LowPrecision::store`].
    #[inline(always)]
    pub(super) unsafe fn store<V: Vector>(self, p: *mut f32, channel: usize, n: usize, xs: V) {
        // SAFETY: by the caller's contract.
        unsafe { self.steps(xs).store_pairs(p.add(channel / 2), n) }
    }

    /// # Safety
    /// The vector's instruction set is there.
    #[inline(always)]
    unsafe fn steps<V: Vector>(self, xs: V) -> V {
        let [low, high] = self.limits;
        // SAFETY: by the caller's contract.
        unsafe { V::splat(high).min(xs.mul(V::splat(self.inverse)).max(V::splat(low))) }
    }
}

/// How a map holds several channels in one element. What is missing to the last element's is 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum LowPrecision {
    /// Two `i16`.
    Pairs(Integers),
    /// Four bytes, of which the zero point is 0.
    Bytes(Integers),
    /// Two `bf16`, rounded to nearest with ties to even.
    Bf16,
}

impl LowPrecision {
    /// Channels of an element.
    pub(crate) fn channels(self) -> usize {
        if matches!(self, Self::Bytes(_)) { 4 } else { 2 }
    }

    /// The element of a map's zeros.
    pub(crate) fn zero(self) -> f32 {
        match self {
            Self::Bytes(integers) => quad([integers.zero_point; 4]),
            Self::Pairs(_) | Self::Bf16 => 0.,
        }
    }

    /// Writes the first `n` channels of `xs`, or all if there are as many, from `channel` on of the position at `p`.
    ///
    /// # Safety
    /// The vector's instruction set is there; `channel` is a multiple of its lanes, and the channels' elements are writable.
    #[inline(always)]
    pub(super) unsafe fn store<V: Vector>(self, p: *mut f32, channel: usize, n: usize, xs: V) {
        // SAFETY: by the caller's contract.
        unsafe {
            match self {
                Self::Pairs(integers) => integers.store(p, channel, n, xs),
                Self::Bytes(integers) => {
                    integers.steps(xs).store_bytes(i32::from(integers.zero_point), p.add(channel / 4), n);
                }
                Self::Bf16 => xs.store_bf16(p.add(channel / 2), n),
            }
        }
    }
}

/// A map as low-precision numbers.
pub(crate) struct Quantize {
    input: View,
    out: View,
    precision: LowPrecision,
    isa: Isa,
    chunks: usize,
}

impl Quantize {
    /// `out` has as many elements as the channels of `input` take.
    pub(crate) fn new([input, out]: [View; 2], precision: LowPrecision, isa: Isa, threads: usize) -> Self {
        Self { input, out, precision, isa, chunks: chunks(threads, 0, input.positions().div_ceil(8)) }
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
        let name = if self.precision == LowPrecision::Bf16 { "round" } else { "quantize" };
        format!("{name} x{}", self.chunks)
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
            // SAFETY: the views end in the arena, and an output position holds all channels.
            unsafe {
                let from = call.arena.add(self.input.offset + position * self.input.stride);
                let to = call.arena.add(self.out.offset + position * self.out.stride);
                for channel in (0..self.input.channels).step_by(V::LANES) {
                    let n = self.input.channels - channel;
                    self.precision.store(to, channel, n, load::<V>(from.add(channel), n));
                }
            }
        }
    }
}
