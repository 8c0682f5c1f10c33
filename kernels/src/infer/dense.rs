//! Dense convolutions as matrix products: positions times channels straight from the map where the window is 1x1, else from
//! rows gathered in scratch memory.

use std::sync::Arc;

use super::epilogue::{Bias, Epilogue};
use super::gemm::{InOrder, Packed, Rows, Sink, multiply};
use super::windows::Windows;
use super::{Body, Call, Invoke, Kernel, View, grid, part};
use crate::ConvGeometry;
use crate::simd::Vector;

/// Elements that gathered rows may take.
const GATHERED: usize = 32 * 1024;

/// A dense convolution of `input`, with one group.
pub(crate) struct Dense {
    config: DenseConfig,
    /// How many parts of the output's positions, and of the weights' panels.
    grid: [usize; 2],
    /// Gathered rows at a time; 0 where rows are read in place.
    block: usize,
}

/// What a [`Dense`] computes.
pub(crate) struct DenseConfig {
    pub(crate) input: View,
    pub(crate) geometry: ConvGeometry,
    /// Depth ordered by window row, window column, channel.
    pub(crate) weights: Arc<Packed>,
    pub(crate) bias: Bias,
    pub(crate) epilogue: Epilogue,
    /// Of a convolution in 8 bits, whose elements are pairs: what an integer sum of each channel counts.
    pub(crate) scales: Option<Bias>,
}

impl Dense {
    /// Cuts the work for `threads`: by positions, which each read all weights, or, where there are few, by panels of weights.
    pub(crate) fn new(config: DenseConfig, threads: usize) -> Self {
        let (positions, k, panels) = (config.epilogue.out.positions(), config.weights.k, config.weights.panels());
        let macs = positions * k * config.weights.n;
        let grid = grid(threads, macs, [positions.div_ceil(8), panels], positions < 8 * threads);
        let in_place = config.geometry.is_pointwise();
        let block = if in_place { 0 } else { (GATHERED / k.max(1)).clamp(8, 256).min(positions.div_ceil(grid[0])) };
        Self { config, grid, block }
    }
}

impl Kernel for Dense {
    fn views(&self) -> (Vec<View>, Vec<View>) {
        let (mut read, written) = self.config.epilogue.views();
        read.push(self.config.input);
        (read, written)
    }

    fn chunks(&self) -> usize {
        self.grid[0] * self.grid[1]
    }

    fn scratch(&self) -> usize {
        self.block * self.config.weights.k
    }

    fn describe(&self) -> String {
        let weights = &self.config.weights;
        let how = if self.block == 0 { "gemm" } else { "gathered gemm" };
        let bits = if self.config.scales.is_some() { "int8 " } else { "" };
        format!("{bits}{how} {}x{}", weights.isa.lanes(weights.width), self.chunks())
    }

    fn weight_bytes(&self) -> usize {
        self.config.weights.bytes()
    }

    unsafe fn run(&self, call: Call) {
        let weights = &self.config.weights;
        // SAFETY: plans are built for an available instruction set; the rest is the caller's contract.
        unsafe { weights.isa.run(weights.width, Invoke(self, call)) }
    }
}

impl Body for Dense {
    #[inline(always)]
    unsafe fn body<V: Vector>(&self, call: Call) {
        let DenseConfig { bias, epilogue, scales, .. } = &self.config;
        // SAFETY: the views end in the arena, and the scales are padded as the bias is; the rest is the caller's contract.
        unsafe {
            let store = epilogue.bind(call.arena, bias);
            match scales {
                None => self.multiply::<V, _>(call, store),
                Some(scales) => self.multiply::<V, _>(call, store.of_integers(scales)),
            }
        }
    }
}

impl Dense {
    /// A chunk's products into its sink.
    ///
    /// # Safety
    /// As [`Kernel::run`]; the sink's contract.
    #[inline(always)]
    unsafe fn multiply<V: Vector, S: Sink>(&self, call: Call, store: S) {
        let DenseConfig { input, geometry, weights, epilogue, .. } = &self.config;
        let positions = part(epilogue.out.positions(), self.grid[0], call.chunk / self.grid[1]);
        let panels = part(weights.panels(), self.grid[1], call.chunk % self.grid[1]);
        if self.block == 0 {
            let start = call.arena.wrapping_add(input.offset + positions.start * input.stride);
            let rows = Rows { start, stride: input.stride, count: positions.len(), first: positions.start };
            // SAFETY: each position of the input has `k` channels.
            unsafe { multiply::<V, _, _>(rows, InOrder, weights, panels, store) };
            return;
        }
        let windows = Windows { input: *input, geometry: *geometry, out_width: epilogue.out.width, padding: 0. };
        for first in positions.clone().step_by(self.block) {
            let block = first..(first + self.block).min(positions.end);
            let rows = Rows { start: call.scratch, stride: weights.k, count: block.len(), first };
            // SAFETY: the scratch memory holds `block` rows of `k` elements.
            unsafe {
                windows.gather::<V>(call.arena, block, call.scratch, weights.k);
                multiply::<V, _, _>(rows, InOrder, weights, panels.clone(), store);
            }
        }
    }
}
