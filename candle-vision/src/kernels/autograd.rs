//! How the kernels take part in candle's differentiation, with any number of operands.
//!
//! A kernel computes its result from plain elements, and says with [`differentiable`] how the gradients of its operands
//! follow from the result's. Outside of [`super::with_tape`] each result becomes a node of candle's graph. Inside, the kernels
//! note their gradients on a tape of their own, and the whole function becomes one node: gradients of kernels are summed in
//! place, views of them are not copied, and what only the gradient needs is freed as soon as it has been used.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Device, Layout, Result, Shape, Tensor, Var, bail};

use super::real::Real;
use super::tape;

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
            Self::Own(grad) | Self::Shared(grad) => grad.contiguous(),
            Self::Channels { start, channels, grad } => grad.pad_with_zeros(1, start, channels - start - grad.dim(1)?),
        }
    }
}

/// From the result's gradient and whether each operand needs one, the gradients of the operands. The given gradient's
/// pictures are dense: it may be some channels of another tensor.
pub(crate) type Backward = Box<dyn FnOnce(&Tensor, &[bool]) -> Result<Vec<Option<Gradient>>> + Send>;

/// The result of a kernel on the CPU, as a differentiable function of `operands`.
pub(crate) fn differentiable<T: Real>(
    ys: Vec<T>,
    shape: impl Into<Shape>,
    operands: &[&Tensor],
    backward: impl FnOnce(&Tensor, &[bool]) -> Result<Vec<Option<Gradient>>> + Send + 'static,
) -> Result<Tensor> {
    let shape = shape.into();
    if operands.iter().all(|operand| !operand.track_op()) {
        return Tensor::from_vec(ys, shape, &Device::Cpu);
    }
    if tape::is_recording() {
        // Candle's own operations keep the graph of what they compute from variables.
        let ys = Var::from_vec(ys, shape, &Device::Cpu)?.into_inner();
        tape::note(&ys, operands, Box::new(backward))?;
        return Ok(ys);
    }
    let needs: Vec<bool> = operands.iter().map(|operand| operand.track_op()).collect();
    let run = move |grads: Vec<Option<Tensor>>| {
        let Some(Some(grad)) = grads.into_iter().next() else { bail!("a kernel's result has no gradient") };
        backward(&grad.contiguous()?, &needs)?.into_iter().map(|grad| grad.map(Gradient::whole).transpose()).collect()
    };
    let mut results = join(vec![(T::to_cpu_storage_owned(ys), shape)], operands, Box::new(run))?;
    results.pop().ok_or_else(|| candle_core::Error::msg("a node without a result"))
}

/// From the gradients of several results, those of all operands.
pub(super) type JointBackward = Box<dyn FnOnce(Vec<Option<Tensor>>) -> Result<Vec<Option<Tensor>>> + Send>;

/// Makes `results` functions of `operands` in candle's graph.
///
/// Candle's operations have up to three operands and one result. So the operands are strung on a chain of scalars, one
/// link each; a barrier behind them runs `backward` once all results have their gradients; and the links, which candle
/// visits after it, hand the operands their gradients.
pub(super) fn join(
    results: Vec<(CpuStorage, Shape)>,
    operands: &[&Tensor],
    backward: JointBackward,
) -> Result<Vec<Tensor>> {
    let shared = Arc::new(Shared {
        backward: Mutex::new(Some(backward)),
        of_results: Mutex::new(vec![None; results.len()]),
        of_operands: Mutex::new(vec![None; operands.len()]),
    });
    let mut chain = Tensor::zeros((), DType::F32, &Device::Cpu)?;
    for (index, operand) in operands.iter().enumerate() {
        if operand.track_op() {
            chain = chain.apply_op2(operand, Link { shared: shared.clone(), index })?;
        }
    }
    let barrier = chain.apply_op1(Barrier(shared.clone()))?;
    let result = |(index, ys)| barrier.apply_op1(Output { shared: shared.clone(), index, ys: Mutex::new(Some(ys)) });
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

fn scalar() -> Result<(CpuStorage, Shape)> {
    Ok((CpuStorage::F32(vec![0.]), ().into()))
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

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        scalar()
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

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        scalar()
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
    ys: Mutex<Option<(CpuStorage, Shape)>>,
}

impl CustomOp1 for Output {
    fn name(&self) -> &'static str {
        "result of a kernel"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        lock(&self.ys).take().ok_or_else(|| candle_core::Error::msg("a result that was taken"))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        lock(&self.shared.of_results)[self.index] = Some(grad.clone());
        Ok(Some(Tensor::zeros((), DType::F32, &Device::Cpu)?))
    }
}
