//! Plans by image size, and their runs.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use candle_core::{DType, Device, Result, Tensor, bail};
use rayon::prelude::*;

use super::forwards::Forwards;
use super::graph::{Graph, Traced};
use super::lower::{OpInfo, Precision, lower};
use super::pack::Packs;
use super::quantization::Quantization;
use crate::context::is_emulating;
use crate::flops;
use crate::infer::{MemoryPool, Program};
use crate::{Isa, ThreadPool, is_stock};

/// Images per thread from which on a batch runs side by side. Then no thread waits for another within an image.
pub(super) const PER_THREAD: usize = 2;
/// Plans that are kept: networks on images of many shapes rebuild the oldest.
const KEPT: usize = 8;

/// The plans of one network, whose [`Traced::Endpoint`] is `E`, its packed weights and their memory. Results depend neither
/// on the number of threads nor on the other images of a batch.
pub struct Session<E> {
    isa: Isa,
    state: Mutex<State<E>>,
    memory: MemoryPool,
    forwards: Mutex<Forwards<E>>,
    quantization: Quantization,
}

impl<E> fmt::Debug for Session<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("isa", &self.isa).finish_non_exhaustive()
    }
}

struct State<E> {
    packs: Packs,
    plans: HashMap<Key<E>, Arc<Plan>>,
    /// Oldest first.
    keys: Vec<Key<E>>,
}

/// The endpoint, the image's channels, height and width, and whether it is computed in `bf16`.
type Key<E> = (E, [usize; 3], bool);

/// What a plan for images (n, channels, height, width) is kept by.
fn key<E>(endpoint: E, xs: &Tensor) -> Result<Key<E>> {
    let (_, channels, height, width) = xs.dims4()?;
    Ok((endpoint, [channels, height, width], xs.dtype() == DType::BF16))
}

impl<E> Default for State<E> {
    fn default() -> Self {
        Self { packs: Packs::default(), plans: HashMap::new(), keys: Vec::new() }
    }
}

struct Plan {
    program: Program,
    notes: Vec<OpInfo>,
    /// Dimensions of each output for one image.
    outputs: Vec<Vec<usize>>,
}

/// A step of a plan and how long it took.
#[derive(Debug, Clone, PartialEq)]
pub struct OpTiming {
    /// The layer's path, or the operation.
    pub name: String,
    /// The algorithm, its vector lanes and its number of chunks.
    pub kernel: String,
    /// Multiply-accumulates that the layer is defined by.
    pub macs: usize,
    /// Bytes of weights and maps that it reads and writes.
    pub bytes: usize,
    /// How long it took.
    pub time: Duration,
}

impl<E: Copy + Eq + Hash + Send> Session<E> {
    /// A session for an instruction set of this machine.
    pub fn new(isa: Isa) -> Result<Self> {
        if !Isa::available().contains(&isa) && !Isa::EMULATED.contains(&isa) {
            bail!("this machine does not run {isa}")
        }
        Ok(Self {
            isa,
            state: Mutex::default(),
            memory: MemoryPool::default(),
            forwards: Mutex::default(),
            quantization: Quantization::new(),
        })
    }

    /// A session on the widest instruction set, if a network's tensors are constants: variables may be set after they were
    /// packed, and need gradients. Running statistics are read once, when they are folded.
    pub fn of_constants(tensors: &BTreeMap<String, Tensor>) -> Result<Option<Self>> {
        let is_trained = |name: &str| !name.ends_with("running_mean") && !name.ends_with("running_var");
        let has_variables = tensors.iter().any(|(name, tensor)| is_trained(name) && tensor.track_op());
        if has_variables { Ok(None) } else { Self::new(Isa::best()).map(Some) }
    }

    /// Computes the named convolutions in 8 bits from now on, on the CPU. A GPU takes their weights as they are.
    pub fn set_quantization(&mut self, quantization: Quantization) {
        self.state = Mutex::default();
        self.quantization = quantization;
    }

    /// Runs on another instruction set of this machine from now on.
    pub fn set_isa(&mut self, isa: Isa) -> Result<()> {
        let quantization = std::mem::take(&mut self.quantization);
        *self = Self { quantization, ..Self::new(isa)? };
        Ok(())
    }

    /// Whether a run may stand in for a network's own forward pass: a tensor that is not part of a gradient's
    /// graph, in a type that `f32` holds.
    pub fn accepts(&self, xs: &Tensor) -> bool {
        let fits = matches!(xs.dtype(), DType::F32 | DType::F16 | DType::BF16);
        fits && !is_stock() && !flops::is_counting() && !xs.track_op() && xs.rank() == 4 && xs.elem_count() > 0
    }

    /// Runs the session's network on images (n, c, h, w): a few one after the other, each on all threads; many side by
    /// side, each on one. The outputs are those of the endpoint, stacked over the batch, in `f32`; maps are (n, c, h, w)
    /// with their channels last in memory. Of images in `bf16`, dense convolutions multiply input and weights as `bf16` where the
    /// processor has an instruction for it; all other numbers are `f32`.
    pub fn run<N: Traced<Endpoint = E>>(&self, net: &N, endpoint: E, xs: &Tensor) -> Result<Vec<Tensor>> {
        match xs.device() {
            Device::Cpu if !is_emulating() => self.run_timed(net, endpoint, xs, None),
            _ => self.forward(net, endpoint, xs),
        }
    }

    /// [`Session::run`] as a GPU's launches.
    pub(super) fn forward<N: Traced<Endpoint = E>>(&self, net: &N, endpoint: E, xs: &Tensor) -> Result<Vec<Tensor>> {
        self.forwards.lock().unwrap_or_else(PoisonError::into_inner).run(net, endpoint, xs)
    }

    /// [`Session::run`] with the time of each step: on the CPU of the first image, on a GPU of the whole batch.
    pub fn profile<N: Traced<Endpoint = E>>(&self, net: &N, endpoint: E, xs: &Tensor) -> Result<Vec<OpTiming>> {
        if !xs.device().is_cpu() {
            return self.forwards.lock().unwrap_or_else(PoisonError::into_inner).profile(net, endpoint, xs);
        }
        let mut times = Vec::new();
        let xs = xs.narrow(0, 0, 1)?;
        self.run_timed(net, endpoint, &xs, Some(&mut times))?;
        let key = key(endpoint, &xs)?;
        let plan = self.state.lock().unwrap_or_else(PoisonError::into_inner).plans.get(&key).cloned();
        let Some(plan) = plan else { bail!("the plan was dropped") };
        let mut steps = Vec::with_capacity(times.len());
        for ((step, note), time) in plan.program.steps().iter().zip(&plan.notes).zip(times) {
            let (read, written) = step.views();
            let elements: usize = read.iter().chain(&written).map(|view| view.positions() * view.channels).sum();
            let bytes = elements * size_of::<f32>() + step.weight_bytes();
            steps.push(OpTiming { name: note.name.clone(), kernel: step.describe(), macs: note.macs, bytes, time });
        }
        Ok(steps)
    }

    fn run_timed<N: Traced<Endpoint = E>>(
        &self,
        net: &N,
        endpoint: E,
        xs: &Tensor,
        mut times: Option<&mut Vec<Duration>>,
    ) -> Result<Vec<Tensor>> {
        let (batch, c, h, w) = xs.dims4()?;
        let plan = self.plan(net, key(endpoint, xs)?)?;
        let pool = ThreadPool::current();
        let xs = xs.to_dtype(DType::F32)?.contiguous()?;
        let (storage, layout) = xs.storage_and_layout();
        let candle_core::Storage::Cpu(storage) = &*storage else { bail!("a session runs on the CPU") };
        let images = &storage.as_slice::<f32>()?[layout.start_offset()..];
        let lens: Vec<usize> = plan.outputs.iter().map(|dims| dims.iter().product()).collect();
        let mut outputs: Vec<Vec<f32>> = lens.iter().map(|len| vec![0.; batch * len]).collect();
        let mut parts: Vec<Vec<&mut [f32]>> = (0..batch).map(|_| Vec::with_capacity(lens.len())).collect();
        for (output, len) in outputs.iter_mut().zip(&lens) {
            parts.iter_mut().zip(output.chunks_exact_mut((*len).max(1))).for_each(|(parts, part)| parts.push(part));
        }
        if times.is_none() && batch >= PER_THREAD * pool.threads() {
            let alone = ThreadPool::alone();
            images.par_chunks_exact(c * h * w).zip(parts).for_each(|(image, mut parts)| {
                self.memory.with(plan.program.memory(alone), |memory| {
                    plan.program.run(alone, memory, image, &mut parts, None);
                });
            });
        } else {
            self.memory.with(plan.program.memory(&pool), |memory| {
                for (image, mut parts) in images.chunks_exact(c * h * w).zip(parts) {
                    plan.program.run(&pool, memory, image, &mut parts, times.as_deref_mut());
                }
            });
        }
        let tensor = |(output, dims): (Vec<f32>, &Vec<usize>)| {
            let dims: Vec<usize> = [batch].into_iter().chain(dims.iter().copied()).collect();
            let tensor = Tensor::from_vec(output, dims, &Device::Cpu)?;
            if tensor.rank() == 4 { tensor.permute((0, 3, 1, 2)) } else { Ok(tensor) }
        };
        outputs.into_iter().zip(&plan.outputs).map(tensor).collect()
    }

    fn plan<N: Traced<Endpoint = E>>(&self, net: &N, key: Key<E>) -> Result<Arc<Plan>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = state.plans.get(&key) {
            return Ok(plan.clone());
        }
        let graph = Graph::of(net, key.0, key.1)?;
        let outputs = graph.outputs.iter().map(|output| output.dims(&graph)).collect();
        let threads = ThreadPool::current().threads();
        let precision = Precision { quantization: Some(&self.quantization), is_bf16: key.2, forced: None };
        let (program, notes) = lower(graph, self.isa, threads, &mut state.packs, precision)?;
        let plan = Arc::new(Plan { program, notes, outputs });
        if state.keys.len() == KEPT {
            let oldest = state.keys.remove(0);
            state.plans.remove(&oldest);
            state.packs.retain_used();
        }
        state.keys.push(key);
        state.plans.insert(key, plan.clone());
        Ok(plan)
    }
}
