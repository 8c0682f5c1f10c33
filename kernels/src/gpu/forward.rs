//! A program as an operation on a batch of images.

use std::sync::Arc;
use std::time::Duration;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Storage, Tensor, bail};

use super::Program;

/// What the runs of a network share on a GPU.
#[derive(Debug, Clone, Default)]
pub(crate) struct Workspace {
    #[cfg(feature = "cuda")]
    pub(super) cuda: super::cuda::Workspace,
    #[cfg(feature = "metal")]
    pub(super) metal: super::metal::Arena,
}

/// A program with its weights on a device. As an operation on contiguous images (images, channels, height, width) in the
/// weights' type it gives all outputs, one after the other, in `f32`.
#[derive(Debug, Clone)]
pub(crate) struct Forward {
    pub(crate) program: Arc<Program>,
    /// Packed weights, flat.
    pub(crate) weights: Tensor,
    /// Biases in `f32`, flat.
    pub(crate) biases: Tensor,
    #[cfg_attr(not(any(feature = "cuda", feature = "metal")), expect(dead_code, reason = "what a GPU keeps"))]
    pub(crate) workspace: Workspace,
}

impl Forward {
    /// Runs the program on contiguous images; the time of each launch.
    pub(crate) fn profile(&self, xs: &Tensor) -> Result<Vec<Duration>> {
        let (storage, layout) = xs.storage_and_layout();
        match &*storage {
            #[cfg(feature = "cuda")]
            Storage::Cuda(storage) => {
                let mut times = Vec::new();
                super::cuda::run(self, storage, layout, Some(&mut times))?;
                Ok(times)
            }
            Storage::Cpu(_) | Storage::Metal(_) => bail!("launches are timed on CUDA alone, not for {:?}", layout),
            #[cfg(not(feature = "cuda"))]
            Storage::Cuda(_) => bail!("this program is built without CUDA"),
        }
    }
}

impl CustomOp1 for Forward {
    fn name(&self) -> &'static str {
        "network"
    }

    #[cfg(not(feature = "emulate"))]
    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        bail!("launches are a GPU's")
    }

    #[cfg(feature = "emulate")]
    fn cpu_fwd(&self, xs: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        if !layout.is_contiguous() || layout.start_offset() != 0 {
            bail!("images are contiguous")
        }
        super::emulate::run(self, xs, layout.dims()[0])
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, xs: &candle_core::CudaStorage, layout: &Layout) -> Result<(candle_core::CudaStorage, Shape)> {
        if !layout.is_contiguous() {
            bail!("images are contiguous")
        }
        super::cuda::run(self, xs, layout, None)
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(&self, xs: &candle_core::MetalStorage, layout: &Layout) -> Result<(candle_core::MetalStorage, Shape)> {
        if !layout.is_contiguous() {
            bail!("images are contiguous")
        }
        super::metal::run(self, xs, layout)
    }
}
