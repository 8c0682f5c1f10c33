//! The image's end of the network: planes (channels, height, width) to channels-last maps.

use std::sync::Arc;

use super::epilogue::{Bias, Epilogue};
use super::gemm::{self, Depth, Packed, multiply};
use super::{Body, Call, Invoke, Kernel, View, chunks, part};
use crate::ConvGeometry;
use crate::simd::Vector;

/// The first convolution, read straight from the planes: few channels make rows of a gathered matrix too short.
pub(crate) struct Stem {
    /// Channels, height and width of the image.
    image: [usize; 3],
    geometry: ConvGeometry,
    weights: Arc<Packed>,
    bias: Bias,
    epilogue: Epilogue,
    /// By depth (channel, window row, window column), the element of the padded rows.
    offsets: Vec<usize>,
    chunks: usize,
}

impl Stem {
    /// A convolution with one group; `weights`' depth is ordered by channel, window row, window column.
    pub(crate) fn new(
        image: [usize; 3],
        geometry: ConvGeometry,
        weights: Arc<Packed>,
        bias: Bias,
        epilogue: Epilogue,
        threads: usize,
    ) -> Self {
        let [kernel_h, kernel_w] = geometry.kernel;
        let row = image[2] + 2 * geometry.padding[1];
        let mut offsets = Vec::with_capacity(weights.k);
        for line in 0..image[0] * kernel_h {
            offsets.extend((0..kernel_w).map(|tap| line * row + tap * geometry.dilation[1]));
        }
        let macs = epilogue.out.positions() * weights.k * weights.n;
        let chunks = chunks(threads, macs, epilogue.out.height);
        Self { image, geometry, weights, bias, epilogue, offsets, chunks }
    }

    fn row(&self) -> usize {
        self.image[2] + 2 * self.geometry.padding[1]
    }
}

/// Depth through a table.
#[derive(Clone, Copy)]
struct Table<'a>(&'a [usize]);

impl Depth for Table<'_> {
    #[inline(always)]
    fn at(self, step: usize) -> usize {
        self.0[step]
    }
}

impl Kernel for Stem {
    fn views(&self) -> (Vec<View>, Vec<View>) {
        self.epilogue.views()
    }

    fn chunks(&self) -> usize {
        self.chunks
    }

    fn scratch(&self) -> usize {
        self.image[0] * self.geometry.kernel[0] * self.row()
    }

    fn describe(&self) -> String {
        format!("planar {}x{}", self.weights.isa.lanes(self.weights.width), self.chunks)
    }

    fn weight_bytes(&self) -> usize {
        self.weights.bytes()
    }

    unsafe fn run(&self, call: Call) {
        // SAFETY: plans are built for an available instruction set; the rest is the caller's contract.
        unsafe { self.weights.isa.run(self.weights.width, Invoke(self, call)) }
    }
}

impl Body for Stem {
    #[inline(always)]
    unsafe fn body<V: Vector>(&self, call: Call) {
        let [channels, height, width] = self.image;
        let ConvGeometry { kernel: [kernel_h, _], stride, padding, dilation, .. } = self.geometry;
        let (row, out) = (self.row(), self.epilogue.out);
        // SAFETY: the views end in the arena.
        let store = unsafe { self.epilogue.bind(call.arena, &self.bias) };
        for y in part(out.height, self.chunks, call.chunk) {
            for channel in 0..channels {
                for tap in 0..kernel_h {
                    let line = (channel * kernel_h + tap) * row;
                    let in_y = (y * stride[0] + tap * dilation[0]).wrapping_sub(padding[0]);
                    // SAFETY: the scratch memory holds all padded rows, and the image has row `in_y`.
                    unsafe {
                        let to = std::slice::from_raw_parts_mut(call.scratch.add(line), row);
                        to.fill(0.);
                        if in_y < height {
                            let from = call.image.add((channel * height + in_y) * width);
                            to[padding[1]..][..width].copy_from_slice(std::slice::from_raw_parts(from, width));
                        }
                    }
                }
            }
            let rows = gemm::Rows { start: call.scratch, stride: stride[1], count: out.width, first: y * out.width };
            // SAFETY: the last window of the row ends in the padded row.
            unsafe { multiply::<V, _, _>(rows, Table(&self.offsets), &self.weights, 0..self.weights.panels(), store) };
        }
    }
}

/// The image as a channels-last map.
pub(crate) struct Interleave {
    out: View,
}

impl Interleave {
    pub(crate) fn new(out: View) -> Self {
        Self { out }
    }
}

impl Kernel for Interleave {
    fn views(&self) -> (Vec<View>, Vec<View>) {
        (Vec::new(), vec![self.out])
    }

    fn chunks(&self) -> usize {
        1
    }

    fn describe(&self) -> String {
        "interleave".to_owned()
    }

    unsafe fn run(&self, call: Call) {
        let positions = self.out.positions();
        for position in 0..positions {
            for channel in 0..self.out.channels {
                // SAFETY: the view ends in the arena, and the image has its size.
                unsafe {
                    let x = *call.image.add(channel * positions + position);
                    *call.arena.add(self.out.offset + position * self.out.stride + channel) = x;
                }
            }
        }
    }
}

/// A map as an output tensor (height, width, channels).
pub(crate) struct Rows {
    from: View,
    output: usize,
    chunks: usize,
}

impl Rows {
    pub(crate) fn new(from: View, output: usize, threads: usize) -> Self {
        Self { from, output, chunks: chunks(threads, 0, from.positions()) }
    }
}

impl Kernel for Rows {
    fn views(&self) -> (Vec<View>, Vec<View>) {
        (vec![self.from], Vec::new())
    }

    fn chunks(&self) -> usize {
        self.chunks
    }

    fn describe(&self) -> String {
        format!("rows x{}", self.chunks)
    }

    unsafe fn run(&self, call: Call) {
        let View { offset, stride, channels, .. } = self.from;
        for position in part(self.from.positions(), self.chunks, call.chunk) {
            // SAFETY: the view ends in the arena, and the output has its size.
            unsafe {
                let from = call.arena.add(offset + position * stride);
                let to = (*call.outputs.add(self.output)).add(position * channels);
                std::ptr::copy_nonoverlapping(from, to, channels);
            }
        }
    }
}
