//! Launches on Metal, encoded where candle encodes its own. A module is compiled when it is first used.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::metal_backend::{DeviceId, MetalDevice, MetalStorage};
use candle_core::{DType, Error, Layout, Result, Shape, Storage, Tensor, bail};
use candle_metal_kernels::metal::{Buffer as Memory, ComputePipeline, Library};
use objc2_metal::{MTLCompileOptions, MTLSize};

use super::run::Buffer;
use super::{Forward, Kernel, Launch, msl};

/// A buffer, and the byte that it is used from on.
pub(super) type Part<'a> = (&'a Memory, usize);

/// A function of a module, and the blocks that run it.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) module: &'static str,
    pub(super) name: String,
    pub(super) blocks: [u32; 2],
    pub(super) threads: u32,
}

/// What was compiled, by device and module, and by device and function.
#[derive(Default)]
struct Compiled {
    libraries: HashMap<(DeviceId, &'static str), Library>,
    pipelines: HashMap<(DeviceId, String), ComputePipeline>,
}

static COMPILED: LazyLock<Mutex<Compiled>> = LazyLock::new(Mutex::default);

/// The arena that the runs of a network share, on the device of the last one.
#[derive(Debug, Clone, Default)]
pub(super) struct Arena(Arc<Mutex<Option<OnDevice>>>);

type OnDevice = (DeviceId, Arc<Memory>);

/// The module that has a kernel.
fn module(kernel: Kernel, dtype: DType) -> Result<&'static str> {
    Ok(match (kernel, dtype) {
        (Kernel::Train, _) => "train",
        (_, DType::F32) => "f32",
        (_, DType::F16) => "f16",
        (_, DType::BF16) => "bf16",
        (_, other) => bail!("a network computes in f32, f16 or bf16 on Metal, not in {other:?}"),
    })
}

impl Compiled {
    fn library(&mut self, device: &MetalDevice, module: &'static str) -> Result<Library> {
        if let Some(library) = self.libraries.get(&(device.id(), module)) {
            return Ok(library.clone());
        }
        let Some((_, text)) = msl::MODULES.iter().find(|(name, _)| *name == module) else {
            bail!("there is no module {module}")
        };
        let options = MTLCompileOptions::new();
        // Sums keep what roundings leave out, and maps may hold infinities.
        #[expect(deprecated, reason = "what took its place is not in macOS 14")]
        options.setFastMathEnabled(false);
        let compiled = device.metal_device().new_library_with_source(&msl::assemble(text), Some(&options));
        let library = compiled.map_err(|error| {
            let needs = if module == "bf16" { " (bf16 needs Metal 3.1, which macOS 14 has)" } else { "" };
            Error::msg(format!("Metal does not compile the kernels of {module}{needs}: {error}"))
        })?;
        self.libraries.insert((device.id(), module), library.clone());
        Ok(library)
    }

    fn pipeline(&mut self, device: &MetalDevice, call: Call) -> Result<ComputePipeline> {
        let key = (device.id(), call.name);
        if let Some(pipeline) = self.pipelines.get(&key) {
            return Ok(pipeline.clone());
        }
        let library = self.library(device, call.module)?;
        let failed = |error| Error::msg(format!("Metal does not make the kernel {}: {error}", key.1));
        let function = library.get_function(&key.1, None).map_err(failed)?;
        let pipeline = device.metal_device().new_compute_pipeline_state_with_function(&function).map_err(failed)?;
        let most = pipeline.max_total_threads_per_threadgroup();
        if most < call.threads as usize {
            bail!("the kernel {} has blocks of {} threads, and this GPU runs {most}", key.1, call.threads)
        }
        self.pipelines.insert(key, pipeline.clone());
        Ok(pipeline)
    }
}

/// Encodes a launch on parts of buffers: arena, image, weights, biases, output. Of these the arena and the output count as
/// written.
pub(super) fn encode(device: &MetalDevice, dtype: DType, launch: &Launch, parts: [Part<'_>; 5]) -> Result<()> {
    let (module, name) = (module(launch.kernel, dtype)?, format!("{}_{}", launch.name, dtype.as_str()));
    let call = Call { module, name, blocks: launch.blocks, threads: launch.threads };
    dispatch(device, call, &launch.step, &parts, &[0, 4])
}

/// Encodes a call: `words`, which are 32-bit words alone, are its first argument, and parts of buffers the others. Those of
/// the parts that are in `written` count as written: candle's encoder puts a barrier before each launch that shares one of
/// them with a launch before.
pub(super) fn dispatch<T>(
    device: &MetalDevice,
    call: Call,
    words: &T,
    parts: &[Part<'_>],
    written: &[usize],
) -> Result<()> {
    let size = |width: u32, height: u32| MTLSize { width: width as usize, height: height as usize, depth: 1 };
    let (blocks, threads) = (size(call.blocks[0], call.blocks[1]), size(call.threads, 1));
    let pipeline = COMPILED.lock().unwrap_or_else(PoisonError::into_inner).pipeline(device, call)?;
    let commands = device.command_encoder()?;
    let encoder = commands.as_ref();
    encoder.set_compute_pipeline_state(&pipeline);
    encoder.set_bytes(0, words);
    for (index, (memory, start)) in parts.iter().enumerate() {
        match written.contains(&index) {
            true => encoder.set_output_buffer(index + 1, Some(*memory), *start),
            false => encoder.set_input_buffer(index + 1, Some(*memory), *start),
        }
    }
    encoder.dispatch_thread_groups(blocks, threads);
    Ok(())
}

/// Runs a program on images.
pub(super) fn run(forward: &Forward, xs: &MetalStorage, layout: &Layout) -> Result<(MetalStorage, Shape)> {
    let (device, images, dtype) = (xs.device(), layout.dims()[0], forward.weights.dtype());
    if xs.dtype() != dtype {
        bail!("images in {:?} for a network in {dtype:?}", xs.dtype())
    }
    let launches = forward.program.launches(images, false)?;
    let (weights, biases) = (forward.weights.storage_and_layout().0, forward.biases.storage_and_layout().0);
    let xs = (xs.buffer(), layout.start_offset() * dtype.size_in_bytes());
    let (weights, biases) = (part(&weights, &forward.weights)?, part(&biases, &forward.biases)?);
    let (bytes, outputs) = (forward.program.arena * images * dtype.size_in_bytes(), forward.program.output_len(images));
    let memory = |error: Error| {
        let megabytes = (bytes + outputs * 4) / 1_000_000;
        error.context(format!("a batch of {images} needs {megabytes} MB more on the GPU: give a smaller one"))
    };
    // Held until all is encoded: the launches of two runs on one arena may not alternate.
    let mut kept = forward.workspace.metal.0.lock().unwrap_or_else(PoisonError::into_inner);
    let arena = match &*kept {
        Some((id, arena)) if *id == device.id() && arena.length() >= bytes => arena.clone(),
        _ => {
            *kept = None;
            let arena = device.new_buffer(bytes.max(1), DType::U8, "arena").map_err(memory)?;
            kept.insert((device.id(), arena)).1.clone()
        }
    };
    let output = device.new_buffer(outputs.max(1), DType::F32, "output").map_err(memory)?;
    for launch in &launches {
        encode(device, dtype, launch, [(&arena, 0), xs, weights, biases, (&output, 0)])?;
    }
    Ok((MetalStorage::new(output, device.clone(), outputs, DType::F32), outputs.into()))
}

/// The elements of a flat tensor.
fn part<'a>(storage: &'a Storage, tensor: &Tensor) -> Result<Part<'a>> {
    let Storage::Metal(storage) = storage else { bail!("the weights are not on the images' device") };
    Ok((storage.buffer(), tensor.layout().start_offset() * tensor.dtype().size_in_bytes()))
}

/// Runs launches in a type on inputs and on buffers of any content, of these lengths in that type; gives the latter.
pub(super) fn launch(
    device: &MetalDevice,
    dtype: DType,
    inputs: &[&MetalStorage],
    own: &[usize],
    launches: &[(Launch, [Buffer; 5])],
) -> Result<Vec<Storage>> {
    if let Some(input) = inputs.iter().find(|input| !matches!(input.dtype(), DType::F32 | DType::U32)) {
        bail!("a kernel got {:?}", input.dtype())
    }
    let memory = |len: &usize| device.new_buffer((*len).max(1), dtype, "result");
    let memories = own.iter().map(memory).collect::<Result<Vec<_>>>()?;
    for (launch, buffers) in launches {
        let parts = buffers.map(|buffer| match buffer {
            Buffer::Input(index) => (inputs[index].buffer(), 0),
            Buffer::Own(index) => (&*memories[index], 0),
        });
        encode(device, dtype, launch, parts)?;
    }
    let storage =
        |(memory, len): (Arc<Memory>, &usize)| Storage::Metal(MetalStorage::new(memory, device.clone(), *len, dtype));
    Ok(memories.into_iter().zip(own).map(storage).collect())
}

/// Runs a launch that changes `total` and reads two more buffers.
pub(super) fn in_place(launch: &Launch, total: &mut MetalStorage, [arena, image]: [&MetalStorage; 2]) -> Result<()> {
    if [total.dtype(), arena.dtype(), image.dtype()] != [DType::F32; 3] {
        bail!("{} is a kernel of f32 alone", launch.name)
    }
    let read = (arena.buffer(), 0);
    encode(arena.device(), DType::F32, launch, [read, (image.buffer(), 0), read, read, (total.buffer(), 0)])
}
