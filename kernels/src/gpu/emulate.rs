//! Runs launches on the CPU, by kernels that a C++ compiler made of `emulate.cpp` and of `emulate_metal.cpp`.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, id};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{CpuStorage, DType, Error, Result, Shape, Storage, Tensor, bail};

use super::run::Buffer;
use super::{Forward, Launch, Step, msl};
use crate::context;

/// The GPU whose text of the kernels is emulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmulatedGpu {
    /// CUDA, with every index checked.
    Cuda,
    /// Metal, with the checks of a sanitizer where the compiler has one.
    Metal,
}

/// What makes a program end that reads or writes where it may not, if the compiler has it.
const CHECKED: [&str; 2] = ["-fsanitize=address,alignment,bounds", "-fno-sanitize-recover=all"];

impl EmulatedGpu {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Cuda, Self::Metal];

    /// Its compiled emulator; `None` where there is no C++ compiler that knows 16-bit floats.
    fn program(self) -> Option<&'static Path> {
        static CUDA: LazyLock<Option<PathBuf>> = LazyLock::new(|| compiled("emulate", &[]));
        static METAL: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
            for (name, text) in msl::MODULES {
                std::fs::create_dir_all(out()).expect("a folder for the emulators");
                std::fs::write(made(name), msl::assemble(text)).expect("a source file");
                std::fs::rename(made(name), out().join(name).with_extension("msl")).expect("the file in its place");
            }
            let include = format!("-I{}", out().display());
            let stand_in = concat!("-isystem", env!("CARGO_MANIFEST_DIR"), "/src/gpu/emulate");
            let mut options = vec!["-Wno-attributes", "-Wno-unknown-pragmas", stand_in, &include];
            match compile("int main() {}", &made("emulate_metal"), &CHECKED) {
                Ok(()) => options.extend(CHECKED),
                Err(error) => println!("Metal's kernels are emulated without checks of their indices: {error}"),
            }
            compiled("emulate_metal", &options)
        });
        match self {
            Self::Cuda => CUDA.as_deref(),
            Self::Metal => METAL.as_deref(),
        }
    }
}

fn out() -> &'static Path {
    Path::new(env!("OUT_DIR"))
}

/// Where this process makes a file. Test processes side by side make it once each, and put it in its place whole.
fn made(name: &str) -> PathBuf {
    out().join(format!("{name}.{}", id()))
}

fn compile(text: &str, program: &Path, options: &[&str]) -> std::result::Result<(), String> {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    std::fs::create_dir_all(out()).expect("a folder for the emulators");
    let mut command = Command::new(&compiler);
    command.args(["-x", "c++", "-O2", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"]);
    command.args(["-I", concat!(env!("CARGO_MANIFEST_DIR"), "/src/gpu")]);
    // Products are rounded before they are added, on every machine.
    command.args(options).args(["-ffp-contract=off", "-o"]).arg(program).arg("-");
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| format!("{compiler}: {error}"))?;
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().map_err(|error| format!("{compiler}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{compiler}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

/// What an emulator is made of: the compiler, its options and every file of the kernels.
fn fingerprint(options: &[&str]) -> u64 {
    fn add(folder: &Path, hash: &mut DefaultHasher) -> std::io::Result<()> {
        let mut entries = std::fs::read_dir(folder)?.collect::<std::io::Result<Vec<_>>>()?;
        entries.sort_by_key(std::fs::DirEntry::path);
        for path in entries.iter().map(std::fs::DirEntry::path) {
            if path.is_dir() {
                add(&path, hash)?;
            } else {
                (path.file_name(), std::fs::read(&path)?).hash(hash);
            }
        }
        Ok(())
    }
    let mut hash = DefaultHasher::new();
    (std::env::var("CXX").ok(), options).hash(&mut hash);
    add(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/gpu")), &mut hash).expect("the kernels' sources");
    hash.finish()
}

/// The emulator `name`, which one process makes and others find; prints why there is none.
fn compiled(name: &str, options: &[&str]) -> Option<PathBuf> {
    let program = out().join(format!("{name}.{:016x}", fingerprint(options)));
    if program.exists() {
        return Some(program);
    }
    let made = made(name);
    if let Err(error) = compile("int main() { return int(_Float16(0)); }", &made, &[]) {
        println!("not emulated: {error}");
        return None;
    }
    compile(&format!("#include \"{name}.cpp\"\n"), &made, options).expect("an emulator that compiles");
    std::fs::rename(&made, &program).expect("the emulator in its place");
    Some(program)
}

/// Whether programs can be emulated here; prints why not.
pub(crate) fn is_available(kind: EmulatedGpu) -> bool {
    kind.program().is_some()
}

/// What a buffer that nothing was written to yet holds.
pub(super) fn nan(dtype: DType, len: usize) -> Vec<u8> {
    match dtype {
        DType::F16 => half::f16::NAN.to_ne_bytes().repeat(len),
        DType::BF16 => half::bf16::NAN.to_ne_bytes().repeat(len),
        _ => f32::NAN.to_ne_bytes().repeat(len),
    }
}

fn bytes(xs: &Tensor) -> Result<Vec<u8>> {
    let (storage, layout) = xs.storage_and_layout();
    let candle_core::Storage::Cpu(storage) = &*storage else { bail!("the emulator's tensors are on the CPU") };
    if !layout.is_contiguous() {
        bail!("the emulator's tensors are contiguous")
    }
    let all = storage_bytes(storage)?;
    let (size, start) = (xs.dtype().size_in_bytes(), layout.start_offset());
    Ok(all[start * size..(start + xs.elem_count()) * size].to_vec())
}

pub(super) fn storage_bytes(storage: &CpuStorage) -> Result<Vec<u8>> {
    match storage {
        CpuStorage::F32(xs) => Ok(xs.iter().flat_map(|x| x.to_ne_bytes()).collect()),
        CpuStorage::F16(xs) => Ok(xs.iter().flat_map(|x| x.to_ne_bytes()).collect()),
        CpuStorage::BF16(xs) => Ok(xs.iter().flat_map(|x| x.to_ne_bytes()).collect()),
        CpuStorage::U32(xs) => Ok(xs.iter().flat_map(|x| x.to_ne_bytes()).collect()),
        _ => bail!("the emulator computes in f32, f16 and bf16"),
    }
}

/// The words of a step.
fn step_bytes(step: &Step) -> Vec<u8> {
    let words: &[u32; size_of::<Step>() / 4] =
        // SAFETY: a step is 32-bit words alone, without padding.
        unsafe { &*std::ptr::from_ref(step).cast() };
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Runs launches on buffers, in the kernels of a type; gives those buffers of which `results` has the numbers.
pub(super) fn launch(
    dtype: DType,
    buffers: &[Vec<u8>],
    launches: &[(Launch, [usize; 5])],
    results: &[usize],
) -> Result<Vec<Vec<u8>>> {
    let number = match dtype {
        DType::F32 => 0,
        DType::F16 => 1,
        DType::BF16 => 2,
        other => bail!("the emulator computes in f32, f16 and bf16, not in {other:?}"),
    };
    let mut input = Vec::new();
    let word = |input: &mut Vec<u8>, word: usize| input.extend((word as u32).to_ne_bytes());
    word(&mut input, number);
    word(&mut input, buffers.len());
    for buffer in buffers {
        word(&mut input, buffer.len());
        input.extend(buffer);
    }
    word(&mut input, launches.len());
    for (launch, memories) in launches {
        word(&mut input, launch.name.len());
        input.extend(launch.name.bytes());
        let [x, y] = launch.blocks;
        [x, y, launch.threads].into_iter().for_each(|count| word(&mut input, count as usize));
        memories.iter().for_each(|buffer| word(&mut input, *buffer));
        input.extend(step_bytes(&launch.step));
    }
    word(&mut input, results.len());
    results.iter().for_each(|buffer| word(&mut input, *buffer));
    let output = answer(&input)?;
    let mut rest = output.as_slice();
    let mut next = |buffer: &usize| rest.split_off(..buffers[*buffer].len()).map(<[u8]>::to_vec);
    results.iter().map(|buffer| next(buffer).ok_or_else(|| Error::msg("the emulator gave too little"))).collect()
}

/// What the emulator writes when it reads `input`.
pub(super) fn answer(input: &[u8]) -> Result<Vec<u8>> {
    let Some(emulator) = emulated().program() else { bail!("there is no emulator") };
    let mut command = Command::new(emulator);
    command.env("ASAN_OPTIONS", "detect_leaks=0");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // An emulator that ends early says why on its stderr.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input));
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("the emulator: {}", String::from_utf8_lossy(&output.stderr))
    }
    Ok(output.stdout)
}

/// Runs of single launches so far.
static TURN: AtomicUsize = AtomicUsize::new(0);

/// Runs launches in a type on inputs and on buffers of NaN, of these lengths in that type; gives the latter.
pub(super) fn launch_single(
    dtype: DType,
    inputs: Vec<Vec<u8>>,
    own: &[usize],
    launches: &[(Launch, [Buffer; 5])],
) -> Result<Vec<Storage>> {
    let first = inputs.len();
    let number = |buffer: Buffer| match buffer {
        Buffer::Input(index) => index,
        Buffer::Own(index) => first + index,
    };
    let size = dtype.size_in_bytes();
    // Whole words.
    let made = |len: &usize| nan(dtype, (len * size).next_multiple_of(4) / size);
    let buffers: Vec<Vec<u8>> = inputs.into_iter().chain(own.iter().map(made)).collect();
    // Whatever the size of a product, each of the tiles has its turn.
    let turn = TURN.fetch_add(1, Ordering::Relaxed);
    let bound = |(launch, memories): &(Launch, [Buffer; 5])| (launch.tiled(turn, false), memories.map(number));
    let launches: Vec<_> = launches.iter().map(bound).collect();
    let results: Vec<usize> = (first..buffers.len()).collect();
    let results = launch(dtype, &buffers, &launches, &results)?;
    let storage = |(bytes, len): (&Vec<u8>, &usize)| match dtype {
        DType::F16 => CpuStorage::F16(halves(&bytes[..len * size], half::f16::from_bits)),
        DType::BF16 => CpuStorage::BF16(halves(&bytes[..len * size], half::bf16::from_bits)),
        _ => CpuStorage::F32(floats(bytes)),
    };
    Ok(results.iter().zip(own).map(|result| Storage::Cpu(storage(result))).collect())
}

/// Runs a launch that changes `total` and reads two more buffers.
pub(super) fn in_place(one: &Launch, total: &mut CpuStorage, [arena, image]: [&CpuStorage; 2]) -> Result<()> {
    let buffers = [storage_bytes(total)?, storage_bytes(arena)?, storage_bytes(image)?];
    let changed = launch(DType::F32, &buffers, &[(*one, [1, 2, 1, 1, 0])], &[0])?;
    *total = CpuStorage::F32(floats(&changed[0]));
    Ok(())
}

/// Runs `f` with the kernels for CUDA, emulated, in the place of the CPU's on this thread; `None`, and prints why, where there is
/// no C++ compiler that knows 16-bit floats.
#[cfg(feature = "emulate")]
pub fn with_emulated_gpu<R>(f: impl FnOnce() -> R) -> Option<R> {
    with_emulated(EmulatedGpu::Cuda, f)
}

/// [`with_emulated_gpu`], with the kernels for any GPU.
pub fn with_emulated<R>(kind: EmulatedGpu, f: impl FnOnce() -> R) -> Option<R> {
    kind.program()?;
    Some(context::with_emulated(kind, f))
}

pub(super) fn emulated() -> EmulatedGpu {
    context::emulated().unwrap_or(EmulatedGpu::Cuda)
}

/// The elements of a buffer.
pub(super) fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_ne_bytes(*bytes)).collect()
}

fn halves<T>(bytes: &[u8], of: fn(u16) -> T) -> Vec<T> {
    bytes.as_chunks::<2>().0.iter().map(|bytes| of(u16::from_ne_bytes(*bytes))).collect()
}

/// Runs a program on images.
pub(super) fn run(forward: &Forward, xs: &CpuStorage, images: usize) -> Result<(CpuStorage, Shape)> {
    let (program, dtype) = (&forward.program, forward.weights.dtype());
    let outputs = program.output_len(images);
    let buffers = [
        nan(dtype, program.arena * images),
        storage_bytes(xs)?,
        bytes(&forward.weights)?,
        bytes(&forward.biases)?,
        nan(DType::F32, outputs),
    ];
    let has_warps = dtype != DType::F32 && emulated() == EmulatedGpu::Cuda;
    let launches = program.launches(images, has_warps)?;
    // Whatever the size of a product, each of the tiles has its turn.
    let tiled = |(index, launch): (usize, &Launch)| (launch.tiled(index + images, has_warps), [0, 1, 2, 3, 4]);
    let launches: Vec<_> = launches.iter().enumerate().map(tiled).collect();
    let output = launch(dtype, &buffers, &launches, &[4])?.remove(0);
    Ok((CpuStorage::F32(floats(&output)), outputs.into()))
}
