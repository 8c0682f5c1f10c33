//! Inference on the CPU: kernels over channels-last maps in one arena, each with its epilogue fused.
//!
//! A kernel is built for its shapes, its weights packed, and cut into chunks that threads run in any order. Every
//! output element is computed by one chunk in an order that depends on neither the chunks nor the threads.

mod aligned;
mod combine;
mod decode;
mod dense;
mod depthwise;
mod dots;
mod epilogue;
mod gemm;
mod planar;
mod pool;
mod program;
mod quantize;
#[cfg(test)]
mod tests;
mod windows;
mod winograd;
mod winograd_float;
mod winograd_int8;

pub(crate) use aligned::{Aligned, LINE};
pub(crate) use combine::{Combine, Operation};
pub(crate) use decode::{BOX_CHANNELS, DecodeBoxes, SIDES};
pub(crate) use dense::{Dense, DenseConfig};
pub(crate) use depthwise::{Depthwise, PackedDepthwise};
pub(crate) use dots::{DotConfig, DotConv, PackedDots};
pub(crate) use epilogue::{Bias, Epilogue};
pub(crate) use gemm::Packed;
pub(crate) use planar::{Interleave, Rows, Stem};
pub(crate) use pool::{GlobalAverage, Pool};
pub(crate) use program::{MemoryPool, Program, overlap};
pub(crate) use quantize::{Integers, LowPrecision, Quantize};
pub(crate) use winograd::{PackedWinograd, Winograd, WinogradConfig};
pub(crate) use winograd_float::Winograd4;
pub(crate) use winograd_int8::{MAX_CHANNELS, MAX_WEIGHTS, Winograd2Int8, Winograd4Int8};

use super::simd::{Job, Vector};

/// A map (height, width, channels) in the arena: element (y, x, c) is at `offset + (y · width + x) · stride + c`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) offset: usize,
    /// Elements from one position to the next: at least `channels`.
    pub(crate) stride: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
}

impl View {
    pub(crate) fn positions(&self) -> usize {
        self.height * self.width
    }

    /// One past the last element.
    pub(crate) fn end(&self) -> usize {
        match self.positions() {
            0 => self.offset,
            positions => self.offset + (positions - 1) * self.stride + self.channels,
        }
    }

    /// Offset of position (y, x).
    #[inline(always)]
    pub(crate) fn at(&self, y: usize, x: usize) -> usize {
        self.offset + (y * self.width + x) * self.stride
    }
}

/// What a chunk works on.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    /// The arena, in which every view of the kernel ends.
    pub(crate) arena: *mut f32,
    /// The image, as planes (channels, height, width).
    pub(crate) image: *const f32,
    /// The output tensors.
    pub(crate) outputs: *const *mut f32,
    /// This thread's scratch memory of [`Kernel::scratch`] elements, on a cache line.
    pub(crate) scratch: *mut f32,
    /// Which chunk.
    pub(crate) chunk: usize,
}

/// A step of a plan.
pub(crate) trait Kernel: Send + Sync {
    /// The maps that it reads and the maps that it writes.
    fn views(&self) -> (Vec<View>, Vec<View>);

    /// Into how many parts it is cut.
    fn chunks(&self) -> usize;

    /// Elements of scratch memory that a chunk needs.
    fn scratch(&self) -> usize {
        0
    }

    /// The algorithm and its choices, for the profile.
    fn describe(&self) -> String;

    /// Bytes of packed weights that a run reads.
    fn weight_bytes(&self) -> usize {
        0
    }

    /// Runs one chunk.
    ///
    /// # Safety
    /// `call` is as its fields say; no chunk runs twice at the same time; what is written is read by no other thread.
    unsafe fn run(&self, call: Call);
}

/// The body of a [`Kernel`], generic over the vector.
trait Body {
    /// # Safety
    /// As [`Kernel::run`]; the vector's instruction set is there.
    unsafe fn body<V: Vector>(&self, call: Call);
}

/// A chunk of a kernel as a job.
struct Invoke<'a, K>(&'a K, Call);

impl<K: Body> Job for Invoke<'_, K> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        // SAFETY: by the caller's contract.
        unsafe { self.0.body::<V>(self.1) }
    }
}

/// The part `index` of `parts` nearly equal parts of `0..len`.
fn part(len: usize, parts: usize, index: usize) -> std::ops::Range<usize> {
    len * index / parts..len * (index + 1) / parts
}

/// Into how many parts a dense convolution's output positions, and its panels of weights, are cut for `threads`: by positions, of
/// which there are at most `most` parts and each reads all weights, or, where there are few, by panels.
fn grid(threads: usize, macs: usize, [most, panels]: [usize; 2], is_few: bool) -> [usize; 2] {
    /// Multiply-accumulates on few positions that are not worth a second thread.
    const FEW_MACS: usize = 20_000;
    match is_few {
        false => [chunks(threads, macs, most), 1],
        true if macs >= FEW_MACS => [1, chunks(threads, 0, panels)],
        true => [1, 1],
    }
}

/// Into how many chunks a step of `macs` multiply-accumulates is cut for `threads`: one each, so that a thread keeps to its
/// part of the map from step to step, or several where the step is long enough for threads to drift apart.
fn chunks(threads: usize, macs: usize, most: usize) -> usize {
    const LONG: usize = 8_000_000;
    let each = if threads > 1 && macs > LONG { 4 } else { 1 };
    (threads * each).min(most).max(1)
}
