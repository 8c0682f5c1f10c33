//! How the kernels take part in candle's differentiation, with any number of operands.
//!
//! A kernel computes its result from plain elements, and says with [`differentiable`] how the gradients of its operands
//! follow from the result's. Outside of [`super::joint_backward`] each result becomes a node of candle's graph. Inside, the kernels
//! note their gradients on a tape of their own, and the whole function becomes one node: gradients of kernels are summed in
//! place, views of them are not copied, and what only the gradient needs is freed as soon as it has been used.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::op::BackpropOp;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, DType, Device, Layout, MetalStorage, Result, Shape, Storage, Tensor,
    bail,
};

use super::real::Real;
use super::{context, tape};

/// The gradient of one operand.
pub(crate) enum Gradient {
    /// In a buffer of its own.
    Own(Tensor),
    /// In the buffer of the result's gradient.
    Shared(Tensor),
    /// Of the channels (dimension 1) from `start` on, of `channels`; zero elsewhere. In any buffer.
    Channels { start: usize, channels: usize, grad: Tensor },
}

impl Gradient {
    /// The gradient of all elements.
    fn whole(self) -> Result<Tensor> {
        match self {
            Self::Own(grad) | Self::Shared(grad) => dense(&grad),
            Self::Channels { start, channels, grad } => grad.pad_with_zeros(1, start, channels - start - grad.dim(1)?),
        }
    }
}

/// From the result's gradient and whether each operand needs one, the gradients of the operands. The given gradient's
/// images are dense: it may be some channels of another tensor.
pub(crate) type Backward = Box<dyn FnOnce(&Tensor, &[bool]) -> Result<Vec<Option<Gradient>>> + Send>;

/// A kernel's result before it is a tensor.
#[derive(Debug)]
pub(crate) struct KernelOutput {
    storage: Storage,
    shape: Shape,
    /// Whether (n, c, h, w) lie in memory as (n, h, w, c).
    is_channels_last: bool,
}

impl KernelOutput {
    /// Elements in the order of their dimensions.
    pub(super) fn planes(storage: Storage, shape: Shape) -> Self {
        Self { storage, shape, is_channels_last: false }
    }

    /// Maps of these dimensions, (n, c, h, w), that lie as (n, h, w, c).
    pub(crate) fn channels_last(storage: Storage, [n, c, h, w]: [usize; 4]) -> Self {
        Self { storage, shape: (n, h, w, c).into(), is_channels_last: true }
    }

    /// The result as a constant.
    pub(crate) fn tensor(self) -> Result<Tensor> {
        let (is_last, base) = self.base(false);
        if is_last { in_planes(&base) } else { Ok(base) }
    }

    /// The tensor as it lies in memory.
    fn base(self, is_variable: bool) -> (bool, Tensor) {
        let base = Tensor::from_storage(self.storage, self.shape, BackpropOp::none(), is_variable);
        (self.is_channels_last, base)
    }
}

/// (n, h, w, c) as (n, c, h, w).
fn in_planes(xs: &Tensor) -> Result<Tensor> {
    xs.permute((0, 3, 1, 2))
}

/// A gradient as kernels read it: those of the CPU want whole images, those of a GPU take any strides.
pub(super) fn dense(grad: &Tensor) -> Result<Tensor> {
    if grad.device().is_cpu() && !super::gpu::train::takes(grad) { grad.contiguous() } else { Ok(grad.clone()) }
}

/// The result of a kernel on the CPU, as a differentiable function of `operands`.
pub(crate) fn differentiable<T: Real>(
    ys: Vec<T>,
    shape: impl Into<Shape>,
    operands: &[&Tensor],
    backward: impl FnOnce(&Tensor, &[bool]) -> Result<Vec<Option<Gradient>>> + Send + 'static,
) -> Result<Tensor> {
    differentiate(KernelOutput::planes(Storage::Cpu(T::to_cpu_storage_owned(ys)), shape.into()), operands, backward)
}

/// The result of a kernel as a differentiable function of `operands`.
pub(crate) fn differentiate(
    ys: KernelOutput,
    operands: &[&Tensor],
    backward: impl FnOnce(&Tensor, &[bool]) -> Result<Vec<Option<Gradient>>> + Send + 'static,
) -> Result<Tensor> {
    if operands.iter().all(|operand| !operand.track_op()) {
        return ys.tensor();
    }
    if context::is_recording() {
        // Candle's own operations keep the graph of what they compute from variables.
        let (is_last, base) = ys.base(true);
        let ys = if is_last { in_planes(&base)? } else { base.clone() };
        tape::note(&ys, Some(&base), operands, Box::new(backward))?;
        return Ok(ys);
    }
    let needs: Vec<bool> = operands.iter().map(|operand| operand.track_op()).collect();
    let run = move |grads: Vec<Option<Tensor>>| {
        let Some(Some(grad)) = grads.into_iter().next() else { bail!("a kernel's result has no gradient") };
        backward(&dense(&grad)?, &needs)?.into_iter().map(|grad| grad.map(Gradient::whole).transpose()).collect()
    };
    let mut results = join(vec![ys], operands, Box::new(run))?;
    results.pop().ok_or_else(|| candle_core::Error::msg("a node without a result"))
}

/// From the gradients of several results, those of all operands.
pub(super) type JointBackward = Box<dyn FnOnce(Vec<Option<Tensor>>) -> Result<Vec<Option<Tensor>>> + Send>;

/// Makes `results` functions of `operands` in candle's graph.
///
/// Candle's operations have up to three operands and one result. So the operands are strung on a chain of scalars, one
/// link each; a barrier behind them runs `backward` once all results have their gradients; and the links, which candle
/// visits after it, hand the operands their gradients.
pub(super) fn join(results: Vec<KernelOutput>, operands: &[&Tensor], backward: JointBackward) -> Result<Vec<Tensor>> {
    let shared = Arc::new(Shared {
        backward: Mutex::new(Some(backward)),
        of_results: Mutex::new(vec![None; results.len()]),
        of_operands: Mutex::new(vec![None; operands.len()]),
    });
    let device = operands.first().map_or(&Device::Cpu, |operand| operand.device());
    let mut chain = Tensor::zeros((), DType::F32, device)?;
    for (index, operand) in operands.iter().enumerate() {
        if operand.track_op() {
            chain = chain.apply_op2(operand, Link { shared: shared.clone(), index })?;
        }
    }
    let barrier = chain.apply_op1(Barrier(shared.clone()))?;
    let result = |(index, ys): (usize, KernelOutput)| {
        let KernelOutput { storage, shape, is_channels_last } = ys;
        let ys = Mutex::new(Some((storage, shape)));
        let base = barrier.apply_op1(Output { shared: shared.clone(), index, ys, is_channels_last })?;
        if is_channels_last { in_planes(&base) } else { Ok(base) }
    };
    results.into_iter().enumerate().map(result).collect()
}

/// What the nodes of one [`join`] share.
struct Shared {
    backward: Mutex<Option<JointBackward>>,
    of_results: Mutex<Vec<Option<Tensor>>>,
    of_operands: Mutex<Vec<Option<Tensor>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A scalar of the chain, from the one before.
fn scalar<S: BackendStorage>(before: &S, layout: &Layout) -> Result<(S, Shape)> {
    Ok((before.try_clone(layout)?, ().into()))
}

/// An operand on the chain.
struct Link {
    shared: Arc<Shared>,
    index: usize,
}

impl CustomOp2 for Link {
    fn name(&self) -> &'static str {
        "operand of a kernel"
    }

    fn cpu_fwd(&self, chain: &CpuStorage, l: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        scalar(chain, l)
    }

    fn cuda_fwd(&self, chain: &CudaStorage, l: &Layout, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        scalar(chain, l)
    }

    fn metal_fwd(
        &self,
        chain: &MetalStorage,
        l: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        scalar(chain, l)
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(grad.clone()), lock(&self.shared.of_operands)[self.index].take()))
    }
}

/// The end of the chain of operands, before all results.
struct Barrier(Arc<Shared>);

impl CustomOp1 for Barrier {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn cpu_fwd(&self, chain: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        scalar(chain, l)
    }

    fn cuda_fwd(&self, chain: &CudaStorage, l: &Layout) -> Result<(CudaStorage, Shape)> {
        scalar(chain, l)
    }

    fn metal_fwd(&self, chain: &MetalStorage, l: &Layout) -> Result<(MetalStorage, Shape)> {
        scalar(chain, l)
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let Some(backward) = lock(&self.0.backward).take() else {
            bail!(
                "the gradients of this result were computed before, and what they need was freed: run the network again"
            )
        };
        let of_results = lock(&self.0.of_results).iter_mut().map(Option::take).collect();
        let grads = backward(of_results)?;
        *lock(&self.0.of_operands) = grads;
        Ok(Some(grad.clone()))
    }
}

/// A result behind the barrier.
struct Output {
    shared: Arc<Shared>,
    index: usize,
    /// Until the node has it.
    ys: Mutex<Option<(Storage, Shape)>>,
    is_channels_last: bool,
}

/// Takes an output's storage, which is of one kind.
macro_rules! taken {
    ($output:expr, $kind:ident) => {
        match lock(&$output.ys).take() {
            Some((Storage::$kind(storage), shape)) => Ok((storage, shape)),
            _ => bail!("a kernel's result is on another device, or was taken"),
        }
    };
}

impl CustomOp1 for Output {
    fn name(&self) -> &'static str {
        "result of a kernel"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        taken!(self, Cpu)
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        taken!(self, Cuda)
    }

    fn metal_fwd(&self, _: &MetalStorage, _: &Layout) -> Result<(MetalStorage, Shape)> {
        taken!(self, Metal)
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let of_result = if self.is_channels_last { in_planes(grad)? } else { grad.clone() };
        lock(&self.shared.of_results)[self.index] = Some(of_result);
        Ok(Some(Tensor::zeros((), DType::F32, grad.device())?))
    }
}
