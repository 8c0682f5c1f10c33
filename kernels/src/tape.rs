//! The tape on which kernels note their gradients, and the way back along it.

use std::collections::HashSet;
use std::collections::hash_map::{Entry, HashMap};
use std::rc::Rc;

use candle_core::{DType, Result, Tensor, TensorId, bail};

use super::autograd::{Backward, Gradient, KernelOutput, dense, join};
use super::context::{GradientSink, gradient_sink, is_recording, is_stock, set_tape, with_tape};
use super::elementwise::{add_to_channels, sum};
use super::gpu::train;

/// Runs `f`, a function of `xs` and of variables, so that its kernels are differentiated as one node.
///
/// The results and their gradients are those of `f(xs)`; operations of candle's own may take part, at their usual cost. The
/// gradients can be computed once, as in PyTorch: what they need is freed on the way.
pub fn joint_backward(xs: &Tensor, f: impl FnOnce(&Tensor) -> Result<Vec<Tensor>>) -> Result<Vec<Tensor>> {
    let wide = matches!(xs.dtype(), DType::F32 | DType::F64);
    let has_kernels = xs.device().is_cpu() || train::takes(xs);
    if !has_kernels || !wide || is_stock() || is_recording() {
        return f(xs);
    }
    set_tape(Some(Tape::default()));
    let recording = Recording;
    let results = f(xs)?;
    let Some(mut tape) = set_tape(None) else { bail!("the tape was lost") };
    drop(recording);
    let ids: Vec<Option<TensorId>> = results.iter().map(|result| tape.source(result)).collect();
    if ids.iter().all(Option::is_none) {
        return Ok(results);
    }
    let operands = std::mem::take(&mut tape.leaves);
    let leaves: Vec<TensorId> = operands.iter().map(Tensor::id).collect();
    let copies = results.iter().map(copy).collect::<Result<_>>()?;
    drop(results);
    let backward = move |grads: Vec<Option<Tensor>>| tape.back(ids.into_iter().zip(grads), &leaves);
    join(copies, &operands.iter().collect::<Vec<_>>(), Box::new(backward))
}

/// Leaves no tape behind, whatever happens.
struct Recording;

impl Drop for Recording {
    fn drop(&mut self) {
        set_tape(None);
    }
}

/// The elements in a buffer of their own.
fn copy(xs: &Tensor) -> Result<KernelOutput> {
    let is_map = !xs.is_contiguous() && xs.rank() == 4 && train::takes(xs);
    // Nothing but these elements is in the storage then.
    let dense = if is_map { xs.detach().permute((0, 2, 3, 1))? } else { xs.detach() }.force_contiguous()?;
    let (storage, layout) = dense.storage_and_layout();
    let (storage, shape) = (storage.try_clone(layout)?, dense.shape().clone());
    Ok(match *dense.dims() {
        [n, h, w, c] if is_map => KernelOutput::channels_last(storage, [n, c, h, w]),
        _ => KernelOutput::planes(storage, shape),
    })
}

/// Notes on this thread's tape how the gradients of `operands` follow from that of `ys`.
///
/// `base` is the variable that `ys` is or is a view of, if it is not a view of an operand.
pub(super) fn note(ys: &Tensor, base: Option<&Tensor>, operands: &[&Tensor], backward: Backward) -> Result<()> {
    with_tape(|tape| {
        let Some(tape) = tape else { bail!("there is no tape") };
        let operands: Vec<Option<TensorId>> = operands.iter().map(|operand| tape.source(operand)).collect();
        let base = base.map(Tensor::id).filter(|base| *base != ys.id());
        tape.known.extend([ys.id()].into_iter().chain(base));
        tape.records.push(Record::Kernel { result: ys.id(), base, operands, backward });
        Ok(())
    })
}

/// What the kernels of a function did.
#[derive(Default)]
pub(crate) struct Tape {
    records: Vec<Record>,
    /// What has a record, and variables.
    known: HashSet<TensorId>,
    /// Variables from outside.
    leaves: Vec<Tensor>,
}

enum Record {
    Kernel {
        result: TensorId,
        /// The result as it lies in memory, (n, h, w, c), if it is a view of it.
        base: Option<TensorId>,
        operands: Vec<Option<TensorId>>,
        backward: Backward,
    },
    /// A result of candle's own operations.
    Graph(Tensor),
}

impl Tape {
    /// The key under which the gradient of an operand is summed; none for a constant.
    fn source(&mut self, operand: &Tensor) -> Option<TensorId> {
        if !operand.track_op() {
            return None;
        }
        if self.known.insert(operand.id()) {
            if operand.is_variable() {
                self.leaves.push(operand.clone());
            } else {
                for node in operand.sorted_nodes() {
                    if node.is_variable() && self.known.insert(node.id()) {
                        self.leaves.push(node.clone());
                    }
                }
                self.records.push(Record::Graph(operand.clone()));
            }
        }
        Some(operand.id())
    }

    /// From the gradients of results, those of the leaves.
    fn back(
        self,
        results: impl Iterator<Item = (Option<TensorId>, Option<Tensor>)>,
        leaves: &[TensorId],
    ) -> Result<Vec<Option<Tensor>>> {
        let mut sums = Sums::default();
        for (id, grad) in results {
            if let (Some(id), Some(grad)) = (id, grad) {
                sums.add(id, Gradient::Shared(dense(&grad)?))?;
            }
        }
        let mut finished = gradient_sink().map(|sink| Finished::new(sink, &self.records, leaves));
        for record in self.records.into_iter().rev() {
            let read = if finished.is_some() { record.reads() } else { Vec::new() };
            record.back(&mut sums)?;
            if let Some(finished) = &mut finished {
                finished.behind(&read, &mut sums)?;
            }
        }
        Ok(leaves.iter().map(|leaf| sums.take(leaf)).collect())
    }
}

impl Record {
    /// What it reads, as often as it does.
    fn reads(&self) -> Vec<TensorId> {
        match self {
            Self::Kernel { operands, .. } => operands.iter().flatten().copied().collect(),
            Self::Graph(tensor) => {
                tensor.sorted_nodes().into_iter().filter(|node| node.is_variable()).map(Tensor::id).collect()
            }
        }
    }

    /// From the gradient of its result, those of what it reads.
    fn back(self, sums: &mut Sums) -> Result<()> {
        match self {
            Self::Kernel { result, base, operands, backward } => {
                if let Some(grad) = base.and_then(|base| sums.take(&base)) {
                    sums.add(result, Gradient::Shared(grad.permute((0, 3, 1, 2))?))?;
                }
                let Some(grad) = sums.take(&result) else { return Ok(()) };
                let needs: Vec<bool> = operands.iter().map(Option::is_some).collect();
                for (operand, grad) in operands.into_iter().zip(backward(&grad, &needs)?) {
                    if let (Some(operand), Some(grad)) = (operand, grad) {
                        sums.add(operand, grad)?;
                    }
                }
            }
            Self::Graph(tensor) => {
                let Some(grad) = sums.take(&tensor.id()) else { return Ok(()) };
                let mut grads = (&tensor * &grad)?.sum_all()?.backward()?;
                for variable in tensor.sorted_nodes().into_iter().filter(|node| node.is_variable()) {
                    if let Some(grad) = grads.remove(variable) {
                        sums.add(variable.id(), Gradient::Shared(dense(&grad)?))?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Hands gradients of leaves to a sink when the last record that reads them is behind.
struct Finished {
    sink: Rc<dyn GradientSink>,
    /// How many reads of each leaf lie ahead.
    reads: HashMap<TensorId, usize>,
}

impl Finished {
    fn new(sink: Rc<dyn GradientSink>, records: &[Record], leaves: &[TensorId]) -> Self {
        let mut reads: HashMap<TensorId, usize> = leaves.iter().map(|leaf| (*leaf, 0)).collect();
        for read in records.iter().flat_map(Record::reads) {
            if let Some(count) = reads.get_mut(&read) {
                *count += 1;
            }
        }
        Self { sink, reads }
    }

    fn behind(&mut self, read: &[TensorId], sums: &mut Sums) -> Result<()> {
        for leaf in read {
            let Some(count) = self.reads.get_mut(leaf) else { continue };
            *count -= 1;
            if *count == 0
                && let Some(sum) = sums.0.get(leaf)
                && self.sink.keep(*leaf, &sum.grad)?
            {
                sums.take(leaf);
            }
        }
        Ok(())
    }
}

/// Gradients by what they are of, summed over its uses.
#[derive(Default)]
struct Sums(HashMap<TensorId, Sum>);

struct Sum {
    grad: Tensor,
    /// Whether nothing else reads the buffer.
    own: bool,
}

impl Sums {
    fn take(&mut self, id: &TensorId) -> Option<Tensor> {
        self.0.remove(id).map(|sum| sum.grad)
    }

    fn add(&mut self, id: TensorId, part: Gradient) -> Result<()> {
        match self.0.entry(id) {
            Entry::Vacant(entry) => {
                entry.insert(match part {
                    Gradient::Own(grad) => Sum { grad, own: true },
                    Gradient::Shared(grad) => Sum { grad, own: false },
                    Gradient::Channels { start, channels, grad } => {
                        let zeros = zeros(&grad, channels)?;
                        add_to_channels(&zeros, start, &grad)?;
                        Sum { grad: zeros, own: true }
                    }
                });
            }
            Entry::Occupied(mut entry) => {
                let total = entry.get_mut();
                let (start, part, own) = match part {
                    Gradient::Own(grad) => (None, grad, true),
                    Gradient::Shared(grad) => (None, grad, false),
                    Gradient::Channels { start, grad, .. } => (Some(start), grad, false),
                };
                match start {
                    _ if total.own => add_to_channels(&total.grad, start.unwrap_or(0), &part)?,
                    None if own => {
                        add_to_channels(&part, 0, &total.grad)?;
                        *total = Sum { grad: part, own: true };
                    }
                    None => *total = Sum { grad: sum(&total.grad, &part)?, own: true },
                    Some(start) => {
                        *total = Sum { grad: copied(&total.grad)?, own: true };
                        add_to_channels(&total.grad, start, &part)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Zeros of the shape of a gradient but for the channels.
fn zeros(grad: &Tensor, channels: usize) -> Result<Tensor> {
    let mut dims = grad.dims().to_vec();
    dims[1] = channels;
    let [n, c, h, w] = dims[..] else { return Tensor::zeros(dims, grad.dtype(), grad.device()) };
    if train::takes(grad) {
        return Tensor::zeros((n, h, w, c), grad.dtype(), grad.device())?.permute((0, 3, 1, 2));
    }
    Tensor::zeros(dims, grad.dtype(), grad.device())
}

/// A copy of a gradient.
fn copied(grad: &Tensor) -> Result<Tensor> {
    if grad.rank() == 4 && train::takes(grad) {
        return grad.permute((0, 2, 3, 1))?.force_contiguous()?.permute((0, 3, 1, 2));
    }
    grad.force_contiguous()
}

#[cfg(test)]
#[path = "tape_tests.rs"]
pub(super) mod tests;
