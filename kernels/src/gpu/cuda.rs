//! Launches on CUDA. The kernels were compiled to PTX when the crate was built, by the toolkit that candle needs for its own; the
//! driver makes machine code of a module when it is first used.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use candle_core::backend::BackendStorage;
use candle_core::cuda::CudaDType;
use candle_core::cuda::cudarc::driver::sys::CUevent_flags::CU_EVENT_DEFAULT;
use candle_core::cuda::cudarc::driver::sys::CUgraphInstantiate_flags;
use candle_core::cuda::cudarc::driver::sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
use candle_core::cuda::cudarc::driver::{
    CudaEvent, CudaFunction, CudaGraph, CudaSlice, CudaStream, CudaView, DeviceRepr, LaunchConfig, PushKernelArg,
};
use candle_core::{CudaDevice, CudaStorage, DType, Error, Layout, Result, Shape, Storage, Tensor, WithDType, bail};

use super::run::Buffer;
use super::{Forward, Kernel, Launch, Program, Step};

/// The kernels of a type of elements, or those of training: `name.cu`, compiled.
macro_rules! ptx {
    ($name:literal) => {
        (concat!("ghostzoo ", $name), include_str!(concat!(env!("OUT_DIR"), "/", $name, ".ptx")))
    };
}

/// The module that has a kernel, and its text.
fn module(kernel: Kernel, dtype: DType) -> Result<(&'static str, &'static str)> {
    Ok(match (kernel, dtype) {
        (Kernel::Train, _) => ptx!("train"),
        (_, DType::F32) => ptx!("f32"),
        (_, DType::F16) => ptx!("f16"),
        (_, DType::BF16) => ptx!("bf16"),
        (_, other) => bail!("a network computes in f32, f16 or bf16 on CUDA, not in {other:?}"),
    })
}

// SAFETY: 32-bit words alone, laid out as the kernels' `Step` is.
unsafe impl DeviceRepr for Step {}

/// Graphs that are kept.
const KEPT: usize = 8;

/// What the runs of a network share: the arena, the kernels by name, and the launches of a run as one graph.
#[derive(Debug, Clone, Default)]
pub(super) struct Workspace(Arc<Mutex<Shared>>);

#[derive(Default)]
struct Shared {
    arena: Option<CudaSlice<u8>>,
    functions: Vec<(&'static str, DType, CudaFunction)>,
    /// Of programs and numbers of images that ran once, the oldest first.
    graphs: Vec<(Key, Option<Graph>)>,
    /// Whether launches cannot be captured here.
    is_uncapturable: bool,
    /// The end of the last run: threads have streams of their own, and the arena is one.
    end: Option<CudaEvent>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("functions", &self.functions.len()).field("graphs", &self.graphs.len()).finish()
    }
}

/// A program, and the images of a batch.
type Key = (Arc<Program>, usize, DType);

/// A run's launches on buffers of its own, and on the arena.
struct Graph {
    graph: CudaGraph,
    xs: CudaSlice<u8>,
    output: CudaSlice<f32>,
    /// What the launches read.
    _weights: [Tensor; 2],
}

// SAFETY: a graph is not bound to a thread; whoever uses it holds the lock of `Shared`.
unsafe impl Send for Graph {}

impl Shared {
    fn function(&mut self, device: &CudaDevice, launch: &Launch, dtype: DType) -> Result<CudaFunction> {
        let found = self.functions.iter().find(|(name, of, _)| (*name, *of) == (launch.name, dtype));
        if let Some((.., function)) = found {
            return Ok(function.clone());
        }
        let function = function(device, launch, dtype)?;
        self.functions.push((launch.name, dtype, function.clone()));
        Ok(function)
    }

    /// Makes the arena hold `bytes`.
    fn grow(&mut self, device: &CudaDevice, bytes: usize) -> Result<()> {
        if self.arena.as_ref().is_none_or(|arena| arena.len() < bytes) {
            if let Some(end) = &self.end {
                end.synchronize().map_err(Error::wrap)?;
            }
            (self.arena, self.graphs) = (None, Vec::new());
            // SAFETY: the launches of a run write every element of the arena that they read.
            self.arena = Some(unsafe { device.alloc::<u8>(bytes)? });
        }
        Ok(())
    }
}

impl Launch {
    fn config(&self) -> LaunchConfig {
        let [x, y] = self.blocks;
        LaunchConfig { grid_dim: (x, y, 1), block_dim: (self.threads, 1, 1), shared_mem_bytes: 0 }
    }
}

/// The function of a launch.
fn function(device: &CudaDevice, launch: &Launch, dtype: DType) -> Result<CudaFunction> {
    let (module, ptx) = module(launch.kernel, dtype)?;
    let name = format!("{}_{}", launch.name, dtype.as_str());
    Ok(device.get_or_load_custom_func(&name, module, ptx)?.into_cuda_function())
}

/// A function of `detect.cu`.
pub(super) fn detect_function(device: &CudaDevice, name: &str) -> Result<CudaFunction> {
    let (module, ptx) = ptx!("detect");
    Ok(device.get_or_load_custom_func(name, module, ptx)?.into_cuda_function())
}

/// The graph of a program that ran before, once it is captured.
fn find<'a>(graphs: &'a mut [(Key, Option<Graph>)], (program, images, dtype): &Key) -> Option<&'a mut Option<Graph>> {
    let is_it = |(other, n, of): &Key| Arc::ptr_eq(other, program) && n == images && of == dtype;
    graphs.iter_mut().find(|(key, _)| is_it(key)).map(|(_, graph)| graph)
}

/// Runs a program on images, on their device's stream; `times` gets how long each launch took.
pub(super) fn run(
    forward: &Forward,
    xs: &CudaStorage,
    layout: &Layout,
    times: Option<&mut Vec<Duration>>,
) -> Result<(CudaStorage, Shape)> {
    match forward.weights.dtype() {
        DType::F32 => typed::<f32>(forward, xs, layout, times),
        DType::F16 => typed::<half::f16>(forward, xs, layout, times),
        DType::BF16 => typed::<half::bf16>(forward, xs, layout, times),
        other => bail!("a network computes in f32, f16 or bf16 on CUDA, not in {other:?}"),
    }
}

fn typed<T: WithDType + CudaDType + DeviceRepr>(
    forward: &Forward,
    xs: &CudaStorage,
    layout: &Layout,
    times: Option<&mut Vec<Duration>>,
) -> Result<(CudaStorage, Shape)> {
    let (device, images) = (xs.device(), layout.dims()[0]);
    let (weights, biases) = (forward.weights.storage_and_layout().0, forward.biases.storage_and_layout().0);
    let (Storage::Cuda(weights), Storage::Cuda(biases)) = (&*weights, &*biases) else {
        bail!("the weights are not on the images' device")
    };
    let (weights, biases) = (weights.as_cuda_slice::<T>()?, biases.as_cuda_slice::<f32>()?);
    let start = layout.start_offset();
    let xs = xs.as_cuda_slice::<T>()?.slice(start..start + layout.shape().elem_count());
    let output_len = forward.program.output_len(images).max(1);
    let bytes = (forward.program.arena * images).max(1) * size_of::<T>();
    let memory = |error: Error| {
        let megabytes = (bytes + output_len * 4) / 1_000_000;
        error.context(format!("a batch of {images} needs {megabytes} MB more on the GPU"))
    };
    let stream = device.cuda_stream();
    // Held until all is launched: the launches of two runs on one arena may not alternate.
    let mut shared = forward.workspace.cuda.0.lock().unwrap_or_else(PoisonError::into_inner);
    shared.grow(device, bytes).map_err(memory)?;
    let key = (forward.program.clone(), images, forward.weights.dtype());
    let may_capture = times.is_none() && !shared.is_uncapturable;
    // A captured run needs nothing of these.
    let is_captured = may_capture && matches!(find(&mut shared.graphs, &key), Some(Some(_)));
    let launches = if is_captured { Vec::new() } else { forward.program.launches(images, key.2 != DType::F32)? };
    let functions = launches.iter().map(|launch| shared.function(device, launch, key.2)).collect::<Result<Vec<_>>>()?;
    let Shared { arena: Some(arena), graphs, is_uncapturable, end, .. } = &mut *shared else {
        bail!("an arena that was dropped")
    };
    // SAFETY: the launches write every element of the output.
    let mut output = unsafe { device.alloc::<f32>(output_len) }.map_err(memory)?;
    if let Some(end) = end {
        stream.wait(end).map_err(Error::wrap)?;
    }
    let run = Run { stream: &stream, launches: &launches, functions: &functions };
    match find(graphs, &key) {
        Some(slot) if may_capture => {
            if slot.is_none() {
                // SAFETY: images are copied before each launch of the graph, which writes the whole output.
                let (own_xs, own_output) = unsafe {
                    let len = xs.len() * size_of::<T>();
                    (device.alloc::<u8>(len).map_err(memory)?, device.alloc::<f32>(output_len).map_err(memory)?)
                };
                match run.captured(|| run.launch(arena, &own_xs.as_view(), weights, biases, &own_output, None)) {
                    Ok(graph) => {
                        let weights = [forward.weights.clone(), forward.biases.clone()];
                        *slot = Some(Graph { graph, xs: own_xs, output: own_output, _weights: weights });
                    }
                    Err(_) => *is_uncapturable = true,
                }
            }
            match slot {
                Some(graph) => {
                    // SAFETY: bytes of elements that any bytes are.
                    let bytes = unsafe { xs.transmute::<u8>(xs.len() * size_of::<T>()) };
                    let Some(bytes) = bytes else { bail!("images of no bytes") };
                    device.memcpy_dtod(&bytes, &mut graph.xs)?;
                    graph.graph.launch().map_err(Error::wrap)?;
                    device.memcpy_dtod(&graph.output, &mut output)?;
                }
                None => run.launch(arena, &xs, weights, biases, &output, times)?,
            }
        }
        found => {
            let is_new = found.is_none() && may_capture;
            run.launch(arena, &xs, weights, biases, &output, times)?;
            if is_new {
                if graphs.len() == KEPT {
                    graphs.remove(0);
                }
                graphs.push((key, None));
            }
        }
    }
    *end = Some(stream.record_event(None).map_err(Error::wrap)?);
    Ok((CudaStorage::wrap_cuda_slice(output, device.clone()), output_len.into()))
}

/// The launches of a run on a stream.
struct Run<'a> {
    stream: &'a Arc<CudaStream>,
    launches: &'a [Launch],
    functions: &'a [CudaFunction],
}

impl Run<'_> {
    fn launch<T: DeviceRepr, P>(
        &self,
        arena: &CudaSlice<u8>,
        xs: &CudaView<'_, P>,
        weights: &CudaSlice<T>,
        biases: &CudaSlice<f32>,
        output: &CudaSlice<f32>,
        mut times: Option<&mut Vec<Duration>>,
    ) -> Result<()> {
        let event = || self.stream.record_event(Some(CU_EVENT_DEFAULT)).map_err(Error::wrap);
        for (launch, function) in self.launches.iter().zip(self.functions) {
            let start = times.is_some().then(event).transpose()?;
            let mut builder = self.stream.launch_builder(function);
            builder.arg(&launch.step).arg(arena).arg(xs).arg(weights).arg(biases).arg(output);
            // SAFETY: the arguments are the kernel's, and its program was checked to stay inside its memories.
            unsafe { builder.launch(launch.config()) }.map_err(Error::wrap)?;
            if let (Some(times), Some(start)) = (times.as_deref_mut(), start) {
                let milliseconds = start.elapsed_ms(&event()?).map_err(Error::wrap)?;
                times.push(Duration::from_secs_f64(f64::from(milliseconds) / 1e3));
            }
        }
        Ok(())
    }

    /// What `launch` launches, as a graph.
    fn captured(&self, launch: impl FnOnce() -> Result<()>) -> Result<CudaGraph> {
        self.stream.begin_capture(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).map_err(Error::wrap)?;
        let launched = launch();
        let graph = self.stream.end_capture(CUgraphInstantiate_flags(0)).map_err(Error::wrap);
        launched?;
        graph?.ok_or_else(|| Error::msg("nothing was captured"))
    }
}

/// The memory of a tensor of 32-bit elements, as bytes.
pub(super) fn bytes_of(storage: &CudaStorage) -> Result<CudaView<'_, u8>> {
    // SAFETY: any bytes are bytes.
    let bytes = unsafe {
        match storage.dtype() {
            DType::F32 => storage.as_cuda_slice::<f32>()?.transmute::<u8>(storage.as_cuda_slice::<f32>()?.num_bytes()),
            DType::U32 => storage.as_cuda_slice::<u32>()?.transmute::<u8>(storage.as_cuda_slice::<u32>()?.num_bytes()),
            other => bail!("a kernel of f32 got {other:?}"),
        }
    };
    bytes.ok_or_else(|| Error::msg("a tensor of no bytes"))
}

/// Runs launches in a type on inputs and on buffers of any content, of these lengths in that type; gives the latter.
pub(super) fn launch(
    device: &CudaDevice,
    dtype: DType,
    inputs: &[CudaView<'_, u8>],
    own: &[usize],
    launches: &[(Launch, [Buffer; 5])],
) -> Result<Vec<Storage>> {
    match dtype {
        DType::F32 => launch_in::<f32>(device, inputs, own, launches),
        DType::F16 => launch_in::<half::f16>(device, inputs, own, launches),
        DType::BF16 => launch_in::<half::bf16>(device, inputs, own, launches),
        other => bail!("kernels compute in f32, f16 or bf16, not in {other:?}"),
    }
}

fn launch_in<T: WithDType + CudaDType + DeviceRepr>(
    device: &CudaDevice,
    inputs: &[CudaView<'_, u8>],
    own: &[usize],
    launches: &[(Launch, [Buffer; 5])],
) -> Result<Vec<Storage>> {
    // SAFETY: a run writes each element of its buffers before it reads it.
    let buffer = |len: &usize| unsafe { device.alloc::<T>((*len).max(1)) }.map(Some);
    let mut own = own.iter().map(buffer).collect::<Result<Vec<_>>>()?;
    let stream = device.cuda_stream();
    for (launch, memories) in launches {
        let function = function(device, launch, T::DTYPE)?;
        let [read @ .., Buffer::Own(written)] = memories else { bail!("{} writes to an input", launch.name) };
        let Some(mut output) = own[*written].take() else { bail!("a buffer that was given away") };
        let mut builder = stream.launch_builder(&function);
        builder.arg(&launch.step);
        for buffer in read {
            match buffer {
                Buffer::Input(index) => builder.arg(&inputs[*index]),
                Buffer::Own(index) => match &own[*index] {
                    Some(slice) => builder.arg(slice),
                    None => bail!("{} reads what it writes", launch.name),
                },
            };
        }
        builder.arg(&mut output);
        // SAFETY: the arguments are the kernel's, whose step stays inside its buffers.
        unsafe { builder.launch(launch.config()) }.map_err(Error::wrap)?;
        own[*written] = Some(output);
    }
    let storage = |slice| Storage::Cuda(CudaStorage::wrap_cuda_slice(slice, device.clone()));
    Ok(own.into_iter().flatten().map(storage).collect())
}

/// Runs a launch that changes `total` and reads two more buffers.
pub(super) fn in_place(launch: &Launch, total: &mut CudaStorage, [arena, image]: [&CudaStorage; 2]) -> Result<()> {
    let device = arena.device();
    let (function, stream) = (function(device, launch, DType::F32)?, device.cuda_stream());
    let (arena, image) = (arena.as_cuda_slice::<f32>()?, image.as_cuda_slice::<f32>()?);
    let total = total.as_cuda_slice_mut::<f32>()?;
    let mut builder = stream.launch_builder(&function);
    builder.arg(&launch.step).arg(arena).arg(image).arg(arena).arg(arena).arg(total);
    // SAFETY: the arguments are the kernel's, whose step stays inside its buffers.
    unsafe { builder.launch(launch.config()) }.map_err(Error::wrap)?;
    Ok(())
}
