//! Runs a program's launches on the CPU, by kernels that a C++ compiler made of `emulate.cpp`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use candle_core::{CpuStorage, DType, Result, Shape, Tensor, bail};

use super::{Forward, Step};

/// As `emulate.cpp` numbers them.
const KERNELS: [&str; 14] = [
    "dense_32x32",
    "dense_64x64",
    "dense_128x16",
    "dense_128x32",
    "dense_128x128",
    "warps_128x64",
    "warps_128x32",
    "warps_64x32",
    "row",
    "mean",
    "depthwise",
    "pool",
    "combine",
    "boxes",
];

/// The compiled emulator; `None` where there is no C++ compiler that knows 16-bit floats.
static EMULATOR: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let folder = Path::new(env!("OUT_DIR"));
    std::fs::create_dir_all(folder).expect("a folder for the emulator");
    // Test processes side by side make it once each, and put it in its place whole.
    let (program, made) = (folder.join("emulate"), folder.join(format!("emulate.{}", std::process::id())));
    let compile = |source: &Path| {
        let mut command = Command::new(&compiler);
        command.args(["-O2", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-o"]);
        command.arg(&made).arg(source).output()
    };
    let probe = folder.join("probe.cpp");
    std::fs::write(&probe, "int main() { return int(_Float16(0)); }").expect("a source file");
    match compile(&probe) {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            println!("not emulated: {compiler}: {}", String::from_utf8_lossy(&output.stderr));
            return None;
        }
        Err(error) => {
            println!("not emulated: {compiler}: {error}");
            return None;
        }
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kernels/gpu/emulate.cpp");
    let output = compile(&source).expect("a compiler that ran");
    assert!(output.status.success(), "{compiler}: {}", String::from_utf8_lossy(&output.stderr));
    std::fs::rename(&made, &program).expect("the emulator in its place");
    Some(program)
});

/// Whether programs can be emulated here; prints why not.
pub(crate) fn is_available() -> bool {
    EMULATOR.is_some()
}

/// What an arena that nothing was written to yet holds.
fn nan(dtype: DType, len: usize) -> Vec<u8> {
    match dtype {
        DType::F16 => half::f16::NAN.to_le_bytes().repeat(len),
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

fn storage_bytes(storage: &CpuStorage) -> Result<Vec<u8>> {
    match storage {
        CpuStorage::F32(xs) => Ok(xs.iter().flat_map(|x| x.to_ne_bytes()).collect()),
        CpuStorage::F16(xs) => Ok(xs.iter().flat_map(|x| x.to_ne_bytes()).collect()),
        _ => bail!("the emulator computes in f32 and f16"),
    }
}

/// The words of a step.
fn step_bytes(step: &Step) -> Vec<u8> {
    let words: &[u32; size_of::<Step>() / 4] =
        // SAFETY: a step is 32-bit words alone, without padding.
        unsafe { &*std::ptr::from_ref(step).cast() };
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Runs a program on pictures.
pub(super) fn run(forward: &Forward, pictures: &CpuStorage, images: usize) -> Result<(CpuStorage, Shape)> {
    let Some(emulator) = &*EMULATOR else { bail!("there is no emulator") };
    let (program, dtype) = (&forward.program, forward.weights.dtype());
    let mut input: Vec<u8> = u32::from(dtype == DType::F16).to_ne_bytes().to_vec();
    let mut put = |bytes: &[u8], size: usize| {
        input.extend(((bytes.len() / size) as u32).to_ne_bytes());
        input.extend(bytes);
    };
    let (size, outputs) = (dtype.size_in_bytes(), program.output_len(images));
    put(&nan(dtype, program.arena * images), size);
    put(&storage_bytes(pictures)?, size);
    put(&bytes(&forward.weights)?, size);
    put(&bytes(&forward.biases)?, 4);
    put(&nan(DType::F32, outputs), 4);
    let launches = program.launches(images, dtype)?;
    input.extend((launches.len() as u32).to_ne_bytes());
    for (index, launch) in launches.iter().enumerate() {
        // Whatever the size of a product, each of the tiles has its turn.
        let launch = &launch.tiled(index + images, dtype);
        let number = KERNELS.iter().position(|name| *name == launch.name).expect("a kernel of the emulator") as u32;
        for word in [number, launch.blocks[0], launch.blocks[1], launch.threads] {
            input.extend(word.to_ne_bytes());
        }
        input.extend(step_bytes(&launch.step));
    }
    let mut command = Command::new(emulator);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // An emulator that ends early says why on its stderr.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(&input));
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("the emulator: {}", String::from_utf8_lossy(&output.stderr))
    }
    let floats: Vec<f32> = output.stdout.as_chunks::<4>().0.iter().map(|bytes| f32::from_ne_bytes(*bytes)).collect();
    if floats.len() != outputs {
        bail!("the emulator gave {} of {outputs} elements", floats.len())
    }
    Ok((CpuStorage::F32(floats), outputs.into()))
}
