//! Updates of a tensor in place.

use candle_core::{CpuStorage, InplaceOp3, Layout, Result, Tensor, Var, bail};

use super::super::{Launch, Map, Step, word};

/// Replaces the elements of `xs` by an update of `update.h`, of `ys` and `zs` of its shape and other storage.
pub(crate) fn update(xs: &Var, ys: &Tensor, zs: &Tensor, operation: u32, factors: [f64; 5]) -> Result<()> {
    let factors = factors.map(|factor| factor as f32);
    xs.inplace_op3(&ys.contiguous()?, &zs.contiguous()?, &Update { operation, factors })
}

struct Update {
    operation: u32,
    factors: [f32; 5],
}

impl Update {
    fn launch(&self, layouts: [&Layout; 3]) -> Result<Launch> {
        let shape = layouts[0].shape();
        if layouts.iter().any(|layout| layout.shape() != shape || !layout.is_contiguous()) {
            bail!("an update of {shape:?} got other shapes, or strided tensors")
        }
        let map = |layout: &Layout| {
            let (offset, channels) = (word(layout.start_offset())?, word(layout.shape().elem_count())?);
            Ok::<_, candle_core::Error>(Map { offset, channels, ..Map::default() })
        };
        let step = Step {
            out: map(layouts[0])?,
            input: map(layouts[1])?,
            second: map(layouts[2])?,
            operation: self.operation,
            factors: self.factors,
            ..Step::default()
        };
        Launch::elements("update", shape.elem_count(), step)
    }
}

impl InplaceOp3 for Update {
    fn name(&self) -> &'static str {
        "update"
    }

    #[cfg(not(feature = "emulate"))]
    fn cpu_fwd(
        &self,
        _: &mut CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<()> {
        bail!("launches are a GPU's")
    }

    #[cfg(feature = "emulate")]
    fn cpu_fwd(
        &self,
        xs: &mut CpuStorage,
        l1: &Layout,
        ys: &CpuStorage,
        l2: &Layout,
        zs: &CpuStorage,
        l3: &Layout,
    ) -> Result<()> {
        super::super::emulate::in_place(&self.launch([l1, l2, l3])?, xs, [ys, zs])
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        xs: &mut candle_core::CudaStorage,
        l1: &Layout,
        ys: &candle_core::CudaStorage,
        l2: &Layout,
        zs: &candle_core::CudaStorage,
        l3: &Layout,
    ) -> Result<()> {
        super::super::cuda::in_place(&self.launch([l1, l2, l3])?, xs, [ys, zs])
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        xs: &mut candle_core::MetalStorage,
        l1: &Layout,
        ys: &candle_core::MetalStorage,
        l2: &Layout,
        zs: &candle_core::MetalStorage,
        l3: &Layout,
    ) -> Result<()> {
        super::super::metal::in_place(&self.launch([l1, l2, l3])?, xs, [ys, zs])
    }
}
